// What a kubelet may do: all that the role system:node says, but of Secrets, ConfigMaps, claims, volumes and tokens
// only those that Pods on its node use, and of Nodes, Leases, CSINodes and Pods only its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/apiserver/authorization/node_graph.h"
#include "control/apiserver/authorization/rbac.h"

namespace sluice::authorization {

inline constexpr char kNodeUserPrefix[] = "system:node:";
inline constexpr char kNodesGroup[] = "system:nodes";

// The name of the node that the user is the kubelet of; empty name: of an unknown one. nullopt: no kubelet.
[[nodiscard]] std::optional<std::string> node_of(const http::Identity& user);

// Thread-safe. The graph outlives it.
class NodeAuthorizer {
public:
    explicit NodeAuthorizer(const NodeGraph& graph);
    // Not allowed with a reason: a kubelet, but not its business. Not allowed without: no opinion.
    [[nodiscard]] Decision authorize(const Attributes& asked) const;

private:
    [[nodiscard]] Decision related(const std::string& node, const Attributes& asked, Referred kind) const;
    [[nodiscard]] Decision get_one(const std::string& node, const Attributes& asked, Referred kind) const;
    [[nodiscard]] Decision read_some(const std::string& node, const Attributes& asked, Referred kind) const;
    [[nodiscard]] Decision claim_status(const std::string& node, const Attributes& asked) const;
    [[nodiscard]] Decision token(const std::string& node, const Attributes& asked) const;
    [[nodiscard]] Decision pod(const std::string& node, const Attributes& asked) const;

    const NodeGraph& graph_;
    std::vector<Rule> rules_;  // of the role system:node
};

}  // namespace sluice::authorization
