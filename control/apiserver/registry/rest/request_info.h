// What a request's path and method mean: which resource, which object, which verb.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/codec/scheme.h"
#include "control/apiserver/registry/rest/status_error.h"

namespace sluice::registry {

enum class Verb { kGet, kList, kWatch, kCreate, kUpdate, kPatch, kDelete, kDeleteCollection };

// The verb's name as RBAC and logs write it: "deletecollection".
[[nodiscard]] std::string_view verb_name(Verb verb);

struct RequestInfo {
    const codec::KindInfo* kind = nullptr;
    Verb verb = Verb::kGet;
    std::string name_space;   // empty: cluster-scoped, or all namespaces
    std::string name;         // empty for collections
    std::string subresource;  // "status", "scale", ... or empty
};

// The parts of a resource path, before anything is known about the resource.
struct ResourcePath {
    std::string group;
    std::string version;
    std::string resource;
    std::string name_space;
    std::string name;
    std::string subresource;
    bool legacy_watch = false;  // /api/v1/watch/...
};

// nullopt when the path is not below a group version, or names nothing in it.
[[nodiscard]] std::optional<ResourcePath> parse_resource_path(std::string_view path);

// 404 for an unknown resource or subresource, 405 for a method that does not fit. `watch`: the query asks for it.
// custom: the kind of a resource that the scheme does not have; null when there is none. It outlives the RequestInfo.
Answer<RequestInfo> resolve_request(const ResourcePath& path, std::string_view method, bool watch,
                                    const codec::KindInfo* custom = nullptr);

}  // namespace sluice::registry
