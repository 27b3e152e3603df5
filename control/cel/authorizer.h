// The variables authorizer and authorizer.requestResource: expressions that ask what a user may do.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/cel/type.h"
#include "control/cel/value.h"

namespace sluice::cel {

// What is asked of an authorizer.
struct AuthorizationCheck {
    // Who: the user of the request, or the service account that the expression named.
    struct ServiceAccount {
        std::string namespace_name;
        std::string name;
    };
    std::optional<ServiceAccount> service_account;

    std::string verb;
    // Of a request that is not for a resource, and then nothing below is set.
    std::string path;
    std::string group;
    std::string version = "*";
    std::string resource;
    std::string subresource;
    std::string namespace_name;
    std::string name;
    // As the expression gave them, empty: none. Who answers parses them; one that cannot be parsed restricts nothing.
    std::string field_selector;
    std::string label_selector;
};

struct AuthorizationAnswer {
    bool allowed = false;
    std::string reason;
    // What went wrong while deciding; empty: nothing did.
    std::string error;
};

// Implemented by who embeds the language, one for a request: it knows the request's user. Called by the thread that
// evaluates.
class AuthorizerBackend {
public:
    virtual ~AuthorizerBackend() = default;
    [[nodiscard]] virtual AuthorizationAnswer check(const AuthorizationCheck& what) = 0;
};

// Types of variables: authorizer, authorizer.requestResource.
[[nodiscard]] Type authorizer_type();
[[nodiscard]] Type resource_check_type();

[[nodiscard]] Value authorizer_value(std::shared_ptr<AuthorizerBackend> backend);
// resource: group, resource, subresource, namespace and name of the request; the expression adds the verb.
[[nodiscard]] Value resource_check_value(std::shared_ptr<AuthorizerBackend> backend,
                                         AuthorizationCheck resource);

}  // namespace sluice::cel
