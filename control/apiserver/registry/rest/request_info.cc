#include "control/apiserver/registry/rest/request_info.h"

#include <algorithm>
#include <vector>

#include "control/http/uri.h"

namespace sluice::registry {

namespace {

// Longer paths name nothing we serve.
constexpr std::size_t kMaxSegments = 12;

// Bindings may also be posted to a collection of their own, with the Pod's name in the body.
bool is_bindings(const ResourcePath& path) {
    return path.group.empty() && path.version == "v1" && path.resource == "bindings";
}

Answer<RequestInfo> resolve_bindings(const ResourcePath& path, std::string_view method) {
    if (path.name_space.empty() || !path.name.empty() || method != "POST" || path.legacy_watch) {
        return refuse(path.name.empty() ? method_not_allowed() : resource_not_found());
    }
    RequestInfo info;
    info.kind = codec::find_resource("", "v1", "pods");
    info.verb = Verb::kCreate;
    info.name_space = path.name_space;
    info.subresource = "binding";
    return info;
}

// Subresources that are parts of stored objects. The others (log, exec, ...) are connections to a kubelet and are
// served before a request comes here.
bool is_object_part(std::string_view subresource) {
    constexpr std::string_view kParts[] = {"status",   "scale",    "binding",
                                           "approval", "finalize", "eviction",
                                           "ephemeralcontainers"};
    return std::find(std::begin(kParts), std::end(kParts), subresource) != std::end(kParts);
}

}  // namespace

std::string_view verb_name(Verb verb) {
    switch (verb) {
        case Verb::kGet: return "get";
        case Verb::kList: return "list";
        case Verb::kWatch: return "watch";
        case Verb::kCreate: return "create";
        case Verb::kUpdate: return "update";
        case Verb::kPatch: return "patch";
        case Verb::kDelete: return "delete";
        case Verb::kDeleteCollection: return "deletecollection";
    }
    return "";
}

std::optional<ResourcePath> parse_resource_path(std::string_view path) {
    const auto segments = http::path_segments(path, kMaxSegments);
    if (segments.empty() || segments.size() > kMaxSegments) return std::nullopt;
    ResourcePath out;
    std::size_t at = 0;
    if (segments[0] == "api" && segments.size() >= 3) {
        out.version = segments[1];
        at = 2;
    } else if (segments[0] == "apis" && segments.size() >= 4) {
        out.group = segments[1];
        out.version = segments[2];
        at = 3;
    } else {
        return std::nullopt;
    }
    if (segments[at] == "watch") {
        out.legacy_watch = true;
        ++at;
        if (at == segments.size()) return std::nullopt;
    }
    const std::size_t left = segments.size() - at;
    // /namespaces/NAME, /namespaces/NAME/status and /namespaces/NAME/finalize are about the namespace itself;
    // anything else below a namespace is a resource inside it.
    if (segments[at] == "namespaces" && left >= 3 && segments[at + 2] != "status" &&
        segments[at + 2] != "finalize") {
        out.name_space = segments[at + 1];
        at += 2;
    }
    out.resource = segments[at++];
    if (at < segments.size()) out.name = segments[at++];
    if (at < segments.size()) out.subresource = segments[at++];
    if (at < segments.size()) return std::nullopt;
    return out;
}

Answer<RequestInfo> resolve_request(const ResourcePath& path, std::string_view method,
                                    bool watch, const codec::KindInfo* custom) {
    RequestInfo info;
    if (is_bindings(path)) return resolve_bindings(path, method);
    info.kind = custom != nullptr
                    ? custom
                    : codec::find_resource(path.group, path.version, path.resource);
    if (info.kind == nullptr) return refuse(resource_not_found());
    info.name_space = path.name_space;
    info.name = path.name;
    info.subresource = path.subresource;
    if (!info.kind->namespaced && !info.name_space.empty()) return refuse(resource_not_found());
    const codec::Subresource* part = nullptr;
    if (!info.subresource.empty()) {
        part = info.kind->find_subresource(info.subresource);
        if (part == nullptr || !is_object_part(info.subresource)) {
            return refuse(resource_not_found());
        }
    }
    // An object of a namespaced kind is only reached through its namespace.
    if (info.kind->namespaced && !info.name.empty() && info.name_space.empty()) {
        return refuse(resource_not_found());
    }
    const bool collection = info.name.empty();
    if (path.legacy_watch) {
        if (method != "GET") return refuse(method_not_allowed());
        info.verb = Verb::kWatch;
        return info;
    }
    if (method == "GET" || method == "HEAD") {
        info.verb = collection ? (watch ? Verb::kWatch : Verb::kList) : Verb::kGet;
        // Old clients watch one object by its own path.
        if (!collection && watch && info.subresource.empty()) info.verb = Verb::kWatch;
    } else if (method == "POST") {
        if ((!collection && part == nullptr) ||
            (info.kind->namespaced && info.name_space.empty())) {
            return refuse(method_not_allowed());
        }
        info.verb = Verb::kCreate;
    } else if (method == "PUT") {
        if (collection) return refuse(method_not_allowed());
        info.verb = Verb::kUpdate;
    } else if (method == "PATCH") {
        if (collection) return refuse(method_not_allowed());
        info.verb = Verb::kPatch;
    } else if (method == "DELETE") {
        if (!info.subresource.empty() ||
            (collection && info.kind->namespaced && info.name_space.empty())) {
            return refuse(method_not_allowed());
        }
        info.verb = collection ? Verb::kDeleteCollection : Verb::kDelete;
    } else {
        return refuse(method_not_allowed());
    }
    if (part != nullptr && std::find(part->verbs.begin(), part->verbs.end(),
                                     verb_name(info.verb)) == part->verbs.end()) {
        return refuse(method_not_allowed());
    }
    return info;
}

}  // namespace sluice::registry
