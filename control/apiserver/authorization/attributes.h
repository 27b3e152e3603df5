// What a request asks to do, as authorizers see it. Pure; any path gives an answer.
#pragma once

#include <string>
#include <string_view>

#include "control/http/server.h"

namespace sluice::authorization {

struct Attributes {
    http::Identity user;
    // get, list, watch, create, update, patch, delete, deletecollection; of other paths the method in lower case.
    std::string verb;
    bool is_resource = false;
    std::string group;
    std::string version;
    std::string resource;
    std::string subresource;
    std::string namespace_name;  // empty: at the cluster scope
    // Of lists, watches and collections the name that a field selector singles out, if it does.
    std::string name;
    // Of lists, watches and collections, as it was written.
    std::string field_selector;
    std::string path;
};

// REQUIRES: the request's identity is settled, impersonation included.
[[nodiscard]] Attributes attributes_of(const http::Request& request);

// A strict "metadata.name=NAME" among the terms of a field selector; empty otherwise.
[[nodiscard]] std::string selected_name(std::string_view field_selector);

// The value that the selector demands of a field by "=" or "=="; empty when it does not.
[[nodiscard]] std::string selected_value(std::string_view field_selector, std::string_view field);

inline constexpr char kAnonymousUser[] = "system:anonymous";
inline constexpr char kUnauthenticatedGroup[] = "system:unauthenticated";
inline constexpr char kAuthenticatedGroup[] = "system:authenticated";
inline constexpr char kMastersGroup[] = "system:masters";

[[nodiscard]] bool in_group(const http::Identity& identity, std::string_view group);

// The sentence of the 403, without a reason: `pods "a" is forbidden: User "jane" cannot get resource "pods" in API
// group "" in the namespace "default"`.
[[nodiscard]] std::string refusal(const Attributes& asked);

}  // namespace sluice::authorization
