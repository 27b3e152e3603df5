#include "control/controllers/daemonset/history.h"

#include <boost/json.hpp>

#include <algorithm>
#include <optional>

#include "api/codec/json.h"
#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "control/controllers/daemonset/rolling.h"

namespace sluice::controllers {
namespace {

// As Go writes maps: members by name, at every level. The codecs bound the depth.
boost::json::value sorted(const boost::json::value& value) {
    if (const auto* array = value.if_array()) {
        boost::json::array out;
        for (const auto& element : *array) out.push_back(sorted(element));
        return out;
    }
    const auto* object = value.if_object();
    if (object == nullptr) return value;
    std::vector<std::string_view> names;
    for (const auto& member : *object) names.emplace_back(member.key().data(), member.key().size());
    std::ranges::sort(names);
    boost::json::object out;
    for (const auto name : names) out[name] = sorted(object->at(name));
    return out;
}

}  // namespace

std::string template_patch(const DaemonSet& set) {
    auto pod_template = codec::to_json_value(set.spec().template_());
    pod_template.as_object()["$patch"] = "replace";
    const boost::json::value patch{{"spec", {{"template", sorted(pod_template)}}}};
    return codec::write_json(patch);
}

bool records(const ControllerRevision& revision, const std::string& patch) {
    if (revision.data().raw() == patch) return true;
    const auto parsed = codec::parse_json(revision.data().raw());
    return parsed && codec::write_json(sorted(*parsed)) == patch;
}

ControllerRevision make_revision(const DaemonSet& set, const std::string& patch,
                                 std::int64_t number) {
    const std::optional<int> collisions =
        set.status().has_collisioncount() ? std::optional<int>(set.status().collisioncount())
                                          : std::nullopt;
    const std::string hash = template_hash(set.spec().template_(), collisions);
    ControllerRevision out;
    auto* metadata = out.mutable_metadata();
    metadata->set_name(set.metadata().name() + "-" + hash);
    metadata->set_namespace_(set.metadata().namespace_());
    *metadata->mutable_labels() = set.spec().template_().metadata().labels();
    (*metadata->mutable_labels())[kRevisionHashLabel] = hash;
    // kubectl keeps the cause of a change there.
    *metadata->mutable_annotations() = set.metadata().annotations();
    out.mutable_data()->set_raw(patch);
    out.set_revision(number);
    return out;
}

std::int64_t highest_revision(const Revisions& revisions) {
    std::int64_t highest = 0;
    for (const auto& revision : revisions) highest = std::max(highest, revision->revision());
    return highest;
}

std::string hash_of(const ControllerRevision& revision) {
    const auto found = revision.metadata().labels().find(kRevisionHashLabel);
    return found == revision.metadata().labels().end() ? "" : found->second;
}

Revisions superfluous(Revisions old, int limit, const std::set<std::string>& live_hashes) {
    const int count = static_cast<int>(old.size()) - std::max(0, limit);
    if (count <= 0) return {};
    std::ranges::sort(old, {}, [](const RevisionPtr& revision) { return revision->revision(); });
    Revisions out;
    for (const auto& revision : old) {
        if (static_cast<int>(out.size()) == count) break;
        if (!live_hashes.contains(hash_of(*revision))) out.push_back(revision);
    }
    return out;
}

}  // namespace sluice::controllers
