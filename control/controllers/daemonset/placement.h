// Which nodes a daemon's pods are meant for, and how such a pod is tied to its node. Pure.
//
// The rules are those of the scheduler, which binds the pods; they are asked here without its model
// of the cluster, because resources and ports never decide whether a node is meant.
#pragma once

#include <string>

#include "control/controllers/pod_status.h"

namespace k8s::io::api::core::v1 {
class Node;
class NodeSelector;
class PodSpec;
}  // namespace k8s::io::api::core::v1

namespace sluice::controllers {

using Node = ::k8s::io::api::core::v1::Node;
using PodSpec = ::k8s::io::api::core::v1::PodSpec;

// What a node is to a DaemonSet.
struct Eligibility {
    bool should_run = false;   // a pod is made where there is none
    bool should_stay = false;  // a pod that is there is left alone
    bool operator==(const Eligibility&) const = default;
};

// Daemons stay on nodes that are in trouble, for they are often what ends it: tolerations of
// not-ready, unreachable, pressure and cordoned nodes, and of nodes without network for pods on the
// host's network.
void add_daemon_tolerations(PodSpec* spec);

// spec: of the template, with the tolerations of daemons.
[[nodiscard]] Eligibility eligibility(const PodSpec& spec, const Node& node);

// One of the terms holds; none do when there are no terms.
[[nodiscard]] bool node_matches(const ::k8s::io::api::core::v1::NodeSelector& selector,
                                const Node& node);

// Makes the node the only one that the scheduler may choose. What the template requires of nodes is
// replaced: it has been asked already.
void pin_to_node(const std::string& node, PodSpec* spec);
// The node that a pod is bound to, or else pinned to; empty when neither.
[[nodiscard]] std::string target_node(const Pod& pod);

}  // namespace sluice::controllers
