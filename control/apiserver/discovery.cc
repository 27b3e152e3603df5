#include "control/apiserver/discovery.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <utility>

#include "api/codec/group_priority.h"
#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/http/status_body.h"

namespace sluice::apiserver {
namespace {

using http::json_quote;

constexpr const char* kAggregatedType =
    "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList";
constexpr std::string_view kProtobufType = "application/vnd.kubernetes.protobuf";

struct GroupVersion {
    std::string group;
    std::string version;
    std::vector<const codec::KindInfo*> kinds;  // by resource name
    std::vector<const codec::ActionResource*> actions{};
    const aggregator::RemoteVersion* remote = nullptr;  // of another server, which answers for its resources
    codec::GroupPriority priority{};
    [[nodiscard]] std::string name() const {
        return group.empty() ? version : group + "/" + version;
    }
};

// The versions of other servers take the place of custom kinds.
void add_remote(const std::vector<aggregator::RemoteVersion>& remote, std::vector<GroupVersion>* all) {
    for (const auto& version : remote) {
        const auto found = std::find_if(all->begin(), all->end(), [&](const GroupVersion& known) {
            return known.group == version.group && known.version == version.version;
        });
        GroupVersion& target = found == all->end() ? all->emplace_back() : *found;
        target.group = version.group;
        target.version = version.version;
        target.kinds.clear();
        target.remote = &version;
        target.priority = {version.group_priority, version.version_priority};
    }
}

// By the priorities of their groups, which are those of each group's first version, and then by their own.
void sort_by_priority(std::vector<GroupVersion>* all) {
    std::map<std::string, std::int32_t> groups;
    for (const auto& entry : *all) {
        auto& highest = groups[entry.group];
        highest = std::max(highest, entry.priority.group);
    }
    std::stable_sort(all->begin(), all->end(), [&groups](const GroupVersion& a, const GroupVersion& b) {
        const std::int32_t left = groups.at(a.group);
        const std::int32_t right = groups.at(b.group);
        if (left != right) return left > right;
        if (a.group != b.group) return a.group < b.group;
        return a.priority.version > b.priority.version;
    });
}

// custom: in the order in which their groups and versions are preferred.
std::vector<GroupVersion> group_versions(const std::vector<codec::PublishedKind>& custom,
                                         const std::vector<aggregator::RemoteVersion>& remote) {
    std::vector<GroupVersion> all;
    const auto add = [&all](const codec::KindInfo& kind) {
        const auto found = std::find_if(all.begin(), all.end(), [&](const GroupVersion& known) {
            return known.group == kind.gvk.group && known.version == kind.gvk.version;
        });
        GroupVersion& target =
            found == all.end()
                ? all.emplace_back(GroupVersion{kind.gvk.group, kind.gvk.version, {}, {}})
                : *found;
        target.kinds.push_back(&kind);
    };
    for (const auto& kind : codec::all_kinds()) add(kind);
    for (const auto& kind : custom) add(kind.info);
    for (auto& entry : all) {
        std::sort(entry.kinds.begin(), entry.kinds.end(),
                  [](const auto* a, const auto* b) { return a->resource < b->resource; });
    }
    // Groups may have nothing but actions (reviews).
    for (const auto& action : codec::action_resources()) {
        const auto found = std::find_if(all.begin(), all.end(), [&](const GroupVersion& known) {
            return known.group == action.gvk.group && known.version == action.gvk.version;
        });
        GroupVersion& target =
            found == all.end()
                ? all.emplace_back(GroupVersion{action.gvk.group, action.gvk.version, {}, {}})
                : *found;
        target.actions.push_back(&action);
    }
    for (auto& entry : all) entry.priority = codec::group_priority(entry.group, entry.version);
    add_remote(remote, &all);
    sort_by_priority(&all);
    return all;
}

template <class Range, class Function>
std::string json_array(const Range& range, Function element) {
    std::string out = "[";
    for (const auto& item : range) {
        if (out.size() > 1) out += ',';
        out += element(item);
    }
    return out + "]";
}

std::string string_array(const std::vector<std::string>& items) {
    return json_array(items, [](const std::string& item) { return json_quote(item); });
}

// Namespaces are emptied one by one, so kube-apiserver offers no deletecollection for them.
std::string verbs(const codec::KindInfo& kind) {
    std::vector<std::string> all = {"create", "delete", "deletecollection", "get",
                                    "list",   "patch",  "update",           "watch"};
    if (kind.gvk.group.empty() && kind.resource == "namespaces") all.erase(all.begin() + 2);
    return string_array(all);
}

// Resources that can only be created come between the others, in the order of names.
std::string action_row(const codec::ActionResource& action) {
    return fmt::format(
        R"({{"name":{},"singularName":{},"namespaced":{},"kind":{},"verbs":["create"]}})",
        json_quote(action.resource), json_quote(action.singular), action.namespaced,
        json_quote(action.gvk.kind));
}

// A subresource names its group and version only where they are not the list's own.
std::string subresource_row(const codec::KindInfo& kind, const codec::Subresource& part) {
    const bool foreign =
        part.gvk.group != kind.gvk.group || part.gvk.version != kind.gvk.version;
    return fmt::format(
        R"({{"name":{},"singularName":"","namespaced":{},{}"kind":{},"verbs":{}}})",
        json_quote(kind.resource + "/" + part.name), kind.namespaced,
        foreign ? fmt::format(R"("group":{},"version":{},)", json_quote(part.gvk.group),
                              json_quote(part.gvk.version))
                : "",
        json_quote(part.gvk.kind), string_array(part.verbs));
}

std::string resource_list(const GroupVersion& group_version) {
    std::string resources = "[";
    std::vector<const codec::ActionResource*> actions = group_version.actions;
    const auto add_actions = [&](const std::string* before) {
        while (!actions.empty() && (before == nullptr || actions.front()->resource < *before)) {
            if (resources.size() > 1) resources += ',';
            resources += action_row(*actions.front());
            actions.erase(actions.begin());
        }
    };
    for (const auto* kind : group_version.kinds) {
        add_actions(&kind->resource);
        if (resources.size() > 1) resources += ',';
        resources += fmt::format(
            R"({{"name":{},"singularName":{},"namespaced":{},"kind":{},"verbs":{})",
            json_quote(kind->resource), json_quote(kind->singular), kind->namespaced,
            json_quote(kind->gvk.kind), verbs(*kind));
        if (!kind->short_names.empty()) {
            resources += fmt::format(R"(,"shortNames":{})", string_array(kind->short_names));
        }
        if (!kind->categories.empty()) {
            resources += fmt::format(R"(,"categories":{})", string_array(kind->categories));
        }
        resources += '}';
        for (const auto& part : kind->subresources) resources += "," + subresource_row(*kind, part);
    }
    add_actions(nullptr);
    // kube-apiserver writes no apiVersion in the core group's list.
    return fmt::format(R"({{"kind":"APIResourceList",{}"groupVersion":{},"resources":{}]}})",
                       group_version.group.empty() ? "" : R"("apiVersion":"v1",)",
                       json_quote(group_version.name()), resources);
}

// `members`: the versions of one group, the preferred one first.
std::string group_body(std::span<const GroupVersion* const> members) {
    const auto version = [](const GroupVersion* member) {
        return fmt::format(R"({{"groupVersion":{},"version":{}}})", json_quote(member->name()),
                           json_quote(member->version));
    };
    return fmt::format(R"("name":{},"versions":{},"preferredVersion":{})",
                       json_quote(members.front()->group), json_array(members, version),
                       version(members.front()));
}

std::string kind_object(const codec::GroupVersionKind& gvk) {
    return fmt::format(R"({{"group":{},"version":{},"kind":{}}})", json_quote(gvk.group),
                       json_quote(gvk.version), json_quote(gvk.kind));
}

std::string aggregated_subresource(const codec::Subresource& part) {
    return fmt::format(R"({{"subresource":{},"responseKind":{},"verbs":{}}})",
                       json_quote(part.name), kind_object(part.gvk), string_array(part.verbs));
}

std::string aggregated_action(const codec::ActionResource& action) {
    return fmt::format(
        R"({{"resource":{},"responseKind":{},"scope":"{}","singularResource":{},"verbs":["create"]}})",
        json_quote(action.resource), kind_object(action.gvk),
        action.namespaced ? "Namespaced" : "Cluster", json_quote(action.singular));
}

std::string aggregated_resource(const codec::KindInfo& kind) {
    std::string out = fmt::format(
        R"({{"resource":{},"responseKind":{},"scope":"{}","singularResource":{},"verbs":{})",
        json_quote(kind.resource), kind_object(kind.gvk),
        kind.namespaced ? "Namespaced" : "Cluster", json_quote(kind.singular), verbs(kind));
    if (!kind.short_names.empty()) {
        out += fmt::format(R"(,"shortNames":{})", string_array(kind.short_names));
    }
    if (!kind.categories.empty()) {
        out += fmt::format(R"(,"categories":{})", string_array(kind.categories));
    }
    if (!kind.subresources.empty()) {
        out += fmt::format(R"(,"subresources":{})",
                           json_array(kind.subresources, aggregated_subresource));
    }
    return out + "}";
}

// The resources of one version in the order of their names.
std::vector<std::string> aggregated_resources(const GroupVersion& member) {
    std::map<std::string, std::string> by_name;
    for (const auto* kind : member.kinds) by_name[kind->resource] = aggregated_resource(*kind);
    for (const auto* action : member.actions) {
        by_name[action->resource] = aggregated_action(*action);
    }
    std::vector<std::string> out;
    for (auto& [name, text] : by_name) out.push_back(std::move(text));
    return out;
}

std::string aggregated_group(std::span<const GroupVersion* const> members) {
    const auto version = [](const GroupVersion* member) {
        if (member->remote != nullptr) {
            return fmt::format(R"({{"version":{},"resources":{},"freshness":"{}"}})", json_quote(member->version),
                               member->remote->resources, member->remote->stale ? "Stale" : "Current");
        }
        return fmt::format(
            R"({{"version":{},"resources":{},"freshness":"Current"}})", json_quote(member->version),
            json_array(aggregated_resources(*member), [](const std::string& text) { return text; }));
    };
    const std::string& group = members.front()->group;
    return fmt::format(R"({{"metadata":{{{}"creationTimestamp":null}},"versions":{}}})",
                       group.empty() ? "" : fmt::format(R"("name":{},)", json_quote(group)),
                       json_array(members, version));
}

std::string aggregated_list(const std::vector<std::vector<const GroupVersion*>>& groups,
                            std::string_view version) {
    return fmt::format(
        R"({{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/{}","metadata":{{}},"items":{}}})",
        version, json_array(groups, [](const auto& members) { return aggregated_group(members); }));
}

template <class Message>
std::string as_protobuf(const std::string& json, const char* kind) {
    Message message;
    const auto read = codec::decode_json(json, &message);
    SLUICE_ASSERT(read.has_value());  // the text was made a moment ago, in this file
    return codec::encode_protobuf(message, {"", "v1", kind});
}

enum class Form { kJson, kProtobuf, kAggregatedV2, kAggregatedV2beta1, kNone };

std::string_view trim(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// One media range of an Accept header. Clients list what they want in order of preference.
Form form_of(std::string_view range, bool has_aggregated) {
    std::string_view type;
    std::string_view group;
    std::string_view version;
    std::string_view as;
    bool first = true;
    while (true) {
        const std::size_t semicolon = range.find(';');
        const std::string_view part = trim(range.substr(0, semicolon));
        if (std::exchange(first, false)) {
            type = part;
        } else if (part.starts_with("g=")) {
            group = part.substr(2);
        } else if (part.starts_with("v=")) {
            version = part.substr(2);
        } else if (part.starts_with("as=")) {
            as = part.substr(3);
        }
        if (semicolon == std::string_view::npos) break;
        range.remove_prefix(semicolon + 1);
    }
    const bool json = type == "application/json" || type == "application/*" || type == "*/*";
    if (!as.empty()) {
        if (!has_aggregated || !json || as != "APIGroupDiscoveryList" ||
            group != "apidiscovery.k8s.io") {
            return Form::kNone;
        }
        if (version == "v2") return Form::kAggregatedV2;
        return version == "v2beta1" ? Form::kAggregatedV2beta1 : Form::kNone;
    }
    if (json) return Form::kJson;
    return type == kProtobufType ? Form::kProtobuf : Form::kNone;
}

Form choose(std::string_view accept, bool has_aggregated) {
    if (trim(accept).empty()) return Form::kJson;
    while (!accept.empty()) {
        const std::size_t comma = accept.find(',');
        const Form form = form_of(accept.substr(0, comma), has_aggregated);
        if (form != Form::kNone) return form;
        accept = comma == std::string_view::npos ? std::string_view{} : accept.substr(comma + 1);
    }
    return Form::kNone;
}

http::Response aggregated(const std::string& text, std::string_view version,
                          const http::Request& request) {
    http::Response response;
    const std::string tag = entity_tag(text);
    response.headers.emplace_back("ETag", tag);
    response.headers.emplace_back("Vary", "Accept");
    if (matches_entity_tag(request.header("if-none-match"), tag)) {
        response.status = 304;
        return response;
    }
    response.headers.emplace_back("Content-Type", fmt::format(fmt::runtime(kAggregatedType), version));
    response.body = text;
    return response;
}

}  // namespace

Discovery::Discovery(std::string server_address) : server_address_(std::move(server_address)) {}

void Discovery::set_custom(std::vector<codec::PublishedKind> kinds) {
    const std::lock_guard lock(mutex_);
    custom_ = std::move(kinds);
    documents_.reset();
}

void Discovery::set_remote(std::vector<aggregator::RemoteVersion> versions) {
    const std::lock_guard lock(mutex_);
    remote_ = std::move(versions);
    documents_.reset();
}

std::shared_ptr<const Discovery::Documents> Discovery::documents() const {
    const std::lock_guard lock(mutex_);
    if (documents_ == nullptr) documents_ = make_documents();
    return documents_;
}

std::shared_ptr<const Discovery::Documents> Discovery::make_documents() const {
    auto made = std::make_shared<Documents>();
    Documents& documents = *made;
    const std::vector<GroupVersion> all = group_versions(custom_, remote_);
    std::vector<std::vector<const GroupVersion*>> core;
    std::vector<std::vector<const GroupVersion*>> named;
    for (const auto& entry : all) {
        auto& groups = entry.group.empty() ? core : named;
        const auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& members) {
            return members.front()->group == entry.group;
        });
        if (found == groups.end()) {
            groups.push_back({&entry});
        } else {
            found->push_back(&entry);
        }
        // Its resources are the other server's to list.
        if (entry.remote != nullptr) continue;
        Document& document =
            documents[(entry.group.empty() ? "/api/" : "/apis/") + entry.name()];
        document.json = resource_list(entry);
        document.protobuf =
            as_protobuf<codec::metav1::APIResourceList>(document.json, "APIResourceList");
    }
    const std::string addresses = fmt::format(
        R"([{{"clientCIDR":"0.0.0.0/0","serverAddress":{}}}])", json_quote(server_address_));
    Document& api = documents["/api"];
    api.json = fmt::format(
        R"({{"kind":"APIVersions","versions":{},"serverAddressByClientCIDRs":{}}})",
        json_array(core.empty() ? std::vector<const GroupVersion*>{} : core.front(),
                   [](const auto* entry) { return json_quote(entry->version); }),
        addresses);
    api.protobuf = as_protobuf<codec::metav1::APIVersions>(api.json, "APIVersions");
    api.aggregated_v2 = aggregated_list(core, "v2");
    api.aggregated_v2beta1 = aggregated_list(core, "v2beta1");

    Document& apis = documents["/apis"];
    apis.json = fmt::format(R"({{"kind":"APIGroupList","apiVersion":"v1","groups":{}}})",
                            json_array(named, [](const auto& members) {
                                return "{" + group_body(members) + "}";
                            }));
    apis.protobuf = as_protobuf<codec::metav1::APIGroupList>(apis.json, "APIGroupList");
    apis.aggregated_v2 = aggregated_list(named, "v2");
    apis.aggregated_v2beta1 = aggregated_list(named, "v2beta1");
    for (const auto& members : named) {
        Document& group = documents["/apis/" + members.front()->group];
        group.json =
            fmt::format(R"({{"kind":"APIGroup","apiVersion":"v1",{}}})", group_body(members));
        group.protobuf = as_protobuf<codec::metav1::APIGroup>(group.json, "APIGroup");
    }
    return made;
}

std::optional<http::Response> Discovery::answer(std::string_view path,
                                                const http::Request& request) const {
    const auto all = documents();
    const auto found = all->find(path);
    if (found == all->end()) return std::nullopt;
    if (request.method != "GET" && request.method != "HEAD") {
        return http::status_response(405, "MethodNotAllowed",
                                     "the server does not allow this method on the requested resource");
    }
    const Document& document = found->second;
    switch (choose(request.header("accept"), !document.aggregated_v2.empty())) {
        case Form::kAggregatedV2:
            return aggregated(document.aggregated_v2, "v2", request);
        case Form::kAggregatedV2beta1:
            return aggregated(document.aggregated_v2beta1, "v2beta1", request);
        case Form::kProtobuf: {
            http::Response response;
            response.headers.emplace_back("Content-Type", kProtobufType);
            response.body = document.protobuf;
            return response;
        }
        case Form::kJson:
            return http::json_response(document.json);
        case Form::kNone:
            break;
    }
    return http::status_response(
        406, "NotAcceptable",
        "only the following media types are accepted: application/json, "
        "application/vnd.kubernetes.protobuf");
}

std::vector<std::string> Discovery::paths() const {
    std::vector<std::string> out;
    const auto all = documents();
    out.reserve(all->size());
    for (const auto& [path, document] : *all) out.push_back(path);
    return out;
}

// FNV-1a over 64 bits: the tag tells documents of one server apart, it guards nothing.
std::string entity_tag(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3U;
    }
    return fmt::format("\"{:016X}{:X}\"", hash, text.size());
}

bool matches_entity_tag(std::string_view if_none_match, std::string_view tag) {
    while (!if_none_match.empty()) {
        const std::size_t comma = if_none_match.find(',');
        std::string_view item = trim(if_none_match.substr(0, comma));
        if (item.starts_with("W/")) item.remove_prefix(2);
        if (item == tag || item == "*") return true;
        if_none_match =
            comma == std::string_view::npos ? std::string_view{} : if_none_match.substr(comma + 1);
    }
    return false;
}

}  // namespace sluice::apiserver
