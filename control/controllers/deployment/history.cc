#include "control/controllers/deployment/history.h"

#include <fmt/core.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "control/controllers/pod_status.h"

namespace sluice::controllers {
namespace {

constexpr std::array kOwnAnnotations = {
    "kubectl.kubernetes.io/last-applied-configuration",
    kRevisionAnnotation,
    kRevisionHistoryAnnotation,
    kDesiredReplicasAnnotation,
    kMaxReplicasAnnotation,
    "deprecated.deployment.rollback.to",
};

std::int64_t number(const std::string& text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = error == std::errc{} && end == text.data() + text.size();
    return whole && value >= 0 && value < INT64_MAX ? value : 0;
}

std::string annotation(const ReplicaSet& set, const char* name) {
    const auto& annotations = set.metadata().annotations();
    const auto found = annotations.find(name);
    return found == annotations.end() ? std::string() : found->second;
}

bool set_annotation(ReplicaSet* set, const std::string& name, const std::string& value) {
    auto& annotations = *set->mutable_metadata()->mutable_annotations();
    const auto found = annotations.find(name);
    if (found != annotations.end() && found->second == value) return false;
    annotations[name] = value;
    return true;
}

bool older(const ReplicaSet& a, const ReplicaSet& b) {
    const auto when = [](const ReplicaSet& set) {
        return set.metadata().creationtimestamp().seconds();
    };
    if (when(a) != when(b)) return when(a) < when(b);
    return a.metadata().name() < b.metadata().name();
}

}  // namespace

bool same_template(const ::k8s::io::api::core::v1::PodTemplateSpec& a,
                   const ::k8s::io::api::core::v1::PodTemplateSpec& b) {
    ::k8s::io::api::core::v1::PodTemplateSpec left = a;
    ::k8s::io::api::core::v1::PodTemplateSpec right = b;
    for (auto* side : {&left, &right}) {
        side->mutable_metadata()->mutable_labels()->erase(kTemplateHashLabel);
    }
    return google::protobuf::util::MessageDifferencer::Equals(left, right);
}

ReplicaSetPtr find_new_set(const Deployment& deployment, const ReplicaSets& sets) {
    ReplicaSetPtr found;
    for (const auto& set : sets) {
        if (found != nullptr && !older(*set, *found)) continue;
        if (same_template(set->spec().template_(), deployment.spec().template_())) found = set;
    }
    return found;
}

std::int64_t revision_of(const ReplicaSet& set) {
    return number(annotation(set, kRevisionAnnotation));
}

std::int64_t highest_revision(const ReplicaSets& sets) {
    std::int64_t highest = 0;
    for (const auto& set : sets) highest = std::max(highest, revision_of(*set));
    return highest;
}

bool annotate(const Deployment& deployment, std::int64_t revision, bool exists, ReplicaSet* set) {
    bool changed = false;
    for (const auto& [name, value] : deployment.metadata().annotations()) {
        if (std::ranges::find(kOwnAnnotations, name) != kOwnAnnotations.end()) continue;
        changed |= set_annotation(set, name, value);
    }
    const std::int64_t before = revision_of(*set);
    if (before >= revision) return changed;
    if (exists && before > 0) {
        // A template that came back by an undo: its earlier revisions stay on record.
        std::string history = annotation(*set, kRevisionHistoryAnnotation);
        history = history.empty() ? std::to_string(before)
                                  : fmt::format("{},{}", history, before);
        while (history.size() > kMaxRevisionHistoryBytes) {
            history.erase(0, history.find(',') + 1);
        }
        set_annotation(set, kRevisionHistoryAnnotation, history);
    }
    set_annotation(set, kRevisionAnnotation, std::to_string(revision));
    return true;
}

bool annotate_size(int wanted, const Bounds& bounds, ReplicaSet* set) {
    const std::int64_t max_replicas = std::int64_t{wanted} + bounds.surge;
    const bool desired = set_annotation(set, kDesiredReplicasAnnotation, std::to_string(wanted));
    const bool most = set_annotation(set, kMaxReplicasAnnotation, std::to_string(max_replicas));
    return desired || most;
}

bool remembers_other_size(const ReplicaSet& set, int wanted) {
    const auto& annotations = set.metadata().annotations();
    const auto found = annotations.find(kDesiredReplicasAnnotation);
    return found != annotations.end() && found->second != std::to_string(wanted);
}

Bounds bounds_of(const Deployment& deployment) {
    const auto& spec = deployment.spec();
    Bounds bounds;
    if (spec.strategy().type() == "Recreate") return bounds;
    const auto& rolling = spec.strategy().rollingupdate();
    bounds.surge = scaled_value(rolling.maxsurge(), spec.replicas(), true);
    bounds.unavailable =
        std::min(scaled_value(rolling.maxunavailable(), spec.replicas(), false), spec.replicas());
    const bool stuck = bounds.surge == 0 && bounds.unavailable == 0;
    if (stuck && spec.replicas() > 0) bounds.unavailable = 1;
    return bounds;
}

SetSize size_of(const ReplicaSet& set) {
    SetSize size;
    size.name = set.metadata().name();
    size.replicas = set.spec().replicas();
    size.available = set.status().availablereplicas();
    size.max_replicas = static_cast<int>(std::clamp<std::int64_t>(
        number(annotation(set, kMaxReplicasAnnotation)), 0, INT32_MAX));
    size.created = set.metadata().creationtimestamp().seconds();
    return size;
}

ReplicaSets superfluous(const Deployment& deployment, const ReplicaSets& old) {
    const auto& spec = deployment.spec();
    if (!spec.has_revisionhistorylimit() || spec.revisionhistorylimit() == INT32_MAX) return {};
    ReplicaSets surplus;
    for (const auto& set : old) {
        if (!set->metadata().has_deletiontimestamp()) surplus.push_back(set);
    }
    const auto keep = static_cast<std::size_t>(std::max(0, spec.revisionhistorylimit()));
    if (surplus.size() <= keep) return {};
    std::ranges::stable_sort(surplus, [](const auto& a, const auto& b) {
        return revision_of(*a) < revision_of(*b);
    });
    surplus.resize(surplus.size() - keep);
    std::erase_if(surplus, [](const ReplicaSetPtr& set) {
        return set->status().replicas() != 0 || set->spec().replicas() != 0 ||
               set->status().observedgeneration() < set->metadata().generation();
    });
    return surplus;
}

}  // namespace sluice::controllers
