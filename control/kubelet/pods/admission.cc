#include "control/kubelet/pods/admission.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <tuple>

#include "api/kubernetes/core/v1/node.pb.h"
#include "control/kubelet/pods/resources.h"

namespace sluice::kubelet {

namespace {

using Port = std::tuple<std::string, std::string, std::int32_t>;  // protocol, address, port

std::vector<Port> host_ports(const corev1::Pod& pod) {
    std::vector<Port> ports;
    const auto add = [&](const corev1::Container& container) {
        for (const auto& port : container.ports()) {
            if (port.hostport() == 0) continue;
            ports.emplace_back(port.protocol().empty() ? "TCP" : port.protocol(),
                               port.hostip() == "0.0.0.0" || port.hostip() == "::" ? ""
                                                                                   : port.hostip(),
                               port.hostport());
        }
    };
    for (const auto& container : pod.spec().containers()) add(container);
    for (const auto& container : pod.spec().initcontainers()) {
        if (container.restartpolicy() == "Always") add(container);
    }
    return ports;
}

bool conflict(const Port& left, const Port& right) {
    const auto& [left_protocol, left_ip, left_port] = left;
    const auto& [right_protocol, right_ip, right_port] = right;
    return left_protocol == right_protocol && left_port == right_port &&
           (left_ip == right_ip || left_ip.empty() || right_ip.empty());
}

std::optional<std::int64_t> number(const std::string& text) {
    std::int64_t value = 0;
    const auto end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || at != end) return std::nullopt;
    return value;
}

bool matches(const corev1::NodeSelectorRequirement& requirement, const std::string* value) {
    const auto& values = requirement.values();
    const auto& operation = requirement.operator_();
    if (operation == "Exists") return value != nullptr;
    if (operation == "DoesNotExist") return value == nullptr;
    const bool in = value != nullptr && std::find(values.begin(), values.end(), *value) != values.end();
    if (operation == "In") return in;
    if (operation == "NotIn") return !in;
    if (value == nullptr || values.size() != 1) return false;
    const auto left = number(*value);
    const auto right = number(values[0]);
    if (!left || !right) return false;
    return operation == "Gt" ? *left > *right : operation == "Lt" && *left < *right;
}

bool node_matches(const corev1::Pod& pod, const corev1::Node& node) {
    const auto& labels = node.metadata().labels();
    const auto label = [&](const std::string& key) {
        const auto found = labels.find(key);
        return found == labels.end() ? nullptr : &found->second;
    };
    for (const auto& [key, value] : pod.spec().nodeselector()) {
        const auto* own = label(key);
        if (own == nullptr || *own != value) return false;
    }
    const auto& affinity = pod.spec().affinity().nodeaffinity();
    if (!affinity.has_requiredduringschedulingignoredduringexecution()) return true;
    const auto& terms =
        affinity.requiredduringschedulingignoredduringexecution().nodeselectorterms();
    return std::any_of(terms.begin(), terms.end(), [&](const corev1::NodeSelectorTerm& term) {
        if (term.matchexpressions().empty() && term.matchfields().empty()) return false;
        const auto& name = node.metadata().name();
        return std::all_of(term.matchexpressions().begin(), term.matchexpressions().end(),
                           [&](const auto& each) { return matches(each, label(each.key())); }) &&
               std::all_of(term.matchfields().begin(), term.matchfields().end(),
                           [&](const auto& each) {
                               return each.key() == "metadata.name" && matches(each, &name);
                           });
    });
}

bool tolerates(const corev1::Pod& pod, const corev1::Taint& taint) {
    const auto& tolerations = pod.spec().tolerations();
    return std::any_of(tolerations.begin(), tolerations.end(), [&](const auto& toleration) {
        if (!toleration.effect().empty() && toleration.effect() != taint.effect()) return false;
        const bool exists = toleration.operator_() == "Exists";
        if (toleration.key().empty()) return exists;
        return toleration.key() == taint.key() &&
               (exists || toleration.value() == taint.value());
    });
}

Parts::Refusal out_of(const char* resource, std::int64_t requested, std::int64_t used,
                      std::int64_t capacity) {
    return {std::string("OutOf") + resource,
            fmt::format("Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}",
                        resource, requested, used, capacity)};
}

}  // namespace

std::optional<Parts::Refusal> admit_pod(const corev1::Pod& pod,
                                        const std::vector<PodPointer>& others, const NodeRoom& room,
                                        const corev1::Node* node) {
    const auto wanted = amounts_of(pod).requests;
    Amounts used;
    std::int64_t count = 0;
    bool ports_taken = false;
    const auto ports = host_ports(pod);
    for (const auto& other : others) {
        if (other->metadata().uid() == pod.metadata().uid()) continue;
        const auto theirs = amounts_of(*other).requests;
        used.cpu_milli += theirs.cpu_milli;
        used.memory_bytes += theirs.memory_bytes;
        ++count;
        if (ports.empty()) continue;
        for (const auto& taken : host_ports(*other)) {
            ports_taken = ports_taken || std::any_of(ports.begin(), ports.end(), [&](const Port& port) {
                return conflict(port, taken);
            });
        }
    }
    if (count + 1 > room.pods) return out_of("pods", 1, count, room.pods);
    if (wanted.cpu_milli > 0 && used.cpu_milli + wanted.cpu_milli > room.cpu_milli) {
        return out_of("cpu", wanted.cpu_milli, used.cpu_milli, room.cpu_milli);
    }
    if (wanted.memory_bytes > 0 && used.memory_bytes + wanted.memory_bytes > room.memory_bytes) {
        return out_of("memory", wanted.memory_bytes, used.memory_bytes, room.memory_bytes);
    }
    if (node != nullptr && !node_matches(pod, *node)) {
        return Parts::Refusal{"NodeAffinity",
                              "Predicate NodeAffinity failed: node(s) didn't match Pod's node "
                              "affinity/selector"};
    }
    if (ports_taken) {
        return Parts::Refusal{"NodePorts",
                              "Predicate NodePorts failed: node(s) didn't have free ports for the "
                              "requested pod ports"};
    }
    if (node != nullptr) {
        for (const auto& taint : node->spec().taints()) {
            if (taint.effect() == "NoExecute" && !tolerates(pod, taint)) {
                return Parts::Refusal{"TaintToleration",
                                      "Predicate TaintToleration failed: node(s) had taints that "
                                      "the pod didn't tolerate"};
            }
        }
    }
    return std::nullopt;
}

}  // namespace sluice::kubelet
