// The authorizers in force, asked one after another: the first that permits a request decides.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/apiserver/authorization/node_authorizer.h"
#include "control/apiserver/authorization/rbac.h"

namespace sluice::authorization {

enum class Mode : std::uint8_t { kNode, kRbac, kAlwaysAllow, kAlwaysDeny };
inline constexpr char kDefaultModes[] = "Node,RBAC";

// "Node,RBAC": as kube-apiserver's --authorization-mode. Empty, unknown or repeated names are refused; ABAC and Webhook
// are among the unknown ones.
Result<std::vector<Mode>> parse_modes(std::string_view text);

// What a user may do in a namespace, as far as it can be told.
struct Permitted {
    std::vector<Rule> rules;
    bool incomplete = false;
    std::string error;
};

struct AuthorizerStats {
    std::uint64_t allowed = 0;
    std::uint64_t forbidden = 0;
};

// Thread-safe. Members of system:masters may do everything in every mode, so that nobody locks himself out.
class Authorizer {
public:
    explicit Authorizer(std::vector<Mode> modes);
    Authorizer(const Authorizer&) = delete;
    Authorizer& operator=(const Authorizer&) = delete;

    [[nodiscard]] Decision authorize(const Attributes& asked) const;
    [[nodiscard]] Permitted permitted(const http::Identity& user, const std::string& name_space) const;
    [[nodiscard]] bool has(Mode mode) const;
    // For metrics.
    [[nodiscard]] AuthorizerStats stats() const;

    // What it decides by; fed by RbacFeed.
    [[nodiscard]] Rbac& rbac() { return rbac_; }
    [[nodiscard]] const Rbac& rbac() const { return rbac_; }
    [[nodiscard]] NodeGraph& graph() { return graph_; }

private:
    [[nodiscard]] Decision decide(const Attributes& asked) const;

    const std::vector<Mode> modes_;
    Rbac rbac_;
    NodeGraph graph_;
    NodeAuthorizer node_;
    mutable std::atomic<std::uint64_t> allowed_{0};
    mutable std::atomic<std::uint64_t> forbidden_{0};
};

}  // namespace sluice::authorization
