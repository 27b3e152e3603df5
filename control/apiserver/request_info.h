// What a request is about, as far as routing, authentication and metrics need it. The resource API reads paths
// for itself (registry/); this one is total: any path gives an answer, and labels made from it are bounded.
#pragma once


#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/codec/scheme.h"
#include "control/http/server.h"

namespace sluice::apiserver {

enum class Verb : std::uint8_t {
    kGet,
    kList,
    kWatch,
    kCreate,
    kUpdate,
    kPatch,
    kDelete,
    kDeleteCollection,
    kOther,
};
inline constexpr std::size_t kVerbs = 9;

// As the label `verb` of apiserver_request_total: "GET", "DELETECOLLECTION".
[[nodiscard]] std::string_view verb_name(Verb verb);
[[nodiscard]] bool is_mutating(Verb verb);

// What of a resource is asked for, as the label `scope` says it: one object, those of a namespace, or all. A creation
// counts as one object.
enum class Scope : std::uint8_t { kNone, kResource, kNamespace, kCluster };
inline constexpr std::size_t kScopes = 4;
[[nodiscard]] std::string_view scope_name(Scope scope);

struct RequestInfo {
    Verb verb = Verb::kOther;
    const codec::KindInfo* kind = nullptr;  // null: not a resource, or none that is served
    bool is_status = false;                 // the subresource status
    Scope scope = Scope::kNone;
};

[[nodiscard]] RequestInfo request_info(const http::Request& request);

}  // namespace sluice::apiserver
