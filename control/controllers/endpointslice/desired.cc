#include "control/controllers/endpointslice/desired.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

#include "api/kubernetes/core/v1/types.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"

namespace sluice::controllers::endpoints {
namespace {

constexpr std::int64_t kIsString = 1;  // IntOrString.type

std::string protocol_of(const std::string& protocol) { return protocol.empty() ? "TCP" : protocol; }

// The number that a Service's port has in one pod: a named target port is looked up in the pod's
// containers.
std::optional<std::int32_t> target_port(const corev1::Pod& pod, const corev1::ServicePort& port) {
    const auto& target = port.targetport();
    if (target.type() != kIsString) return target.intval() != 0 ? target.intval() : port.port();
    const auto find = [&](const corev1::Container& container) -> std::optional<std::int32_t> {
        for (const auto& candidate : container.ports()) {
            if (candidate.name() == target.strval() &&
                protocol_of(candidate.protocol()) == protocol_of(port.protocol())) {
                return candidate.containerport();
            }
        }
        return std::nullopt;
    };
    for (const auto& container : pod.spec().containers()) {
        if (const auto found = find(container)) return found;
    }
    // A sidecar runs as long as the pod does, so that its ports count as well.
    for (const auto& container : pod.spec().initcontainers()) {
        if (container.restartpolicy() != "Always") continue;
        if (const auto found = find(container)) return found;
    }
    return std::nullopt;
}

std::vector<std::string> addresses_of(const corev1::Pod& pod) {
    std::vector<std::string> out;
    for (const auto& item : pod.status().podips()) out.push_back(item.ip());
    if (out.empty() && !pod.status().podip().empty()) out.push_back(pod.status().podip());
    return out;
}

bool is_of_type(const std::string& address, const std::string& address_type) {
    const auto parsed = IpAddress::parse(address);
    return parsed && parsed->is_v4() == (address_type == "IPv4");
}

std::optional<std::string> address_of(const corev1::Pod& pod, const std::string& address_type) {
    for (const auto& address : addresses_of(pod)) {
        if (is_of_type(address, address_type)) return address;
    }
    return std::nullopt;
}

void refer_to(const corev1::Pod& pod, corev1::ObjectReference* reference) {
    reference->set_kind("Pod");
    reference->set_namespace_(pod.metadata().namespace_());
    reference->set_name(pod.metadata().name());
    reference->set_uid(pod.metadata().uid());
}

// A pod has a DNS name of its own below the Service that its subdomain names.
bool has_name_in(const corev1::Pod& pod, const corev1::Service& service) {
    return !pod.spec().hostname().empty() && pod.spec().subdomain() == service.metadata().name();
}

std::vector<discoveryv1::EndpointPort> ports_in(const corev1::Service& service,
                                                const corev1::Pod& pod) {
    std::vector<discoveryv1::EndpointPort> ports;
    for (const auto& port : service.spec().ports()) {
        const auto number = target_port(pod, port);
        if (!number) continue;
        discoveryv1::EndpointPort out;
        out.set_name(port.name());
        out.set_protocol(protocol_of(port.protocol()));
        out.set_port(*number);
        if (port.has_appprotocol()) out.set_appprotocol(port.appprotocol());
        ports.push_back(std::move(out));
    }
    return ports;
}

discoveryv1::Endpoint endpoint_of(const corev1::Service& service, const corev1::Pod& pod,
                                  const std::string& address, const corev1::Node* node) {
    discoveryv1::Endpoint out;
    out.add_addresses(address);
    const bool serving = is_ready(pod);
    const bool terminating = pod.metadata().has_deletiontimestamp();
    auto* conditions = out.mutable_conditions();
    conditions->set_ready(service.spec().publishnotreadyaddresses() || (serving && !terminating));
    conditions->set_serving(serving);
    conditions->set_terminating(terminating);
    if (has_name_in(pod, service)) out.set_hostname(pod.spec().hostname());
    refer_to(pod, out.mutable_targetref());
    if (!pod.spec().nodename().empty()) out.set_nodename(pod.spec().nodename());
    if (node != nullptr) {
        const auto& labels = node->metadata().labels();
        const auto zone = labels.find(kZoneLabel);
        if (zone != labels.end() && !zone->second.empty()) out.set_zone(zone->second);
    }
    return out;
}

using PortTuple = std::tuple<std::string, std::int32_t, std::string, std::string>;

PortTuple tuple_of(const corev1::EndpointPort& port) {
    return {port.name(), port.port(), port.protocol(), port.appprotocol()};
}

// Addresses that have the same ports come together in one subset, in the order of addresses, as
// clients of Endpoints know it.
class Repacker {
public:
    void add(const corev1::EndpointAddress& address, bool ready,
             const std::vector<corev1::EndpointPort>& ports) {
        auto& entry = entries_[{address.ip(), address.targetref().uid()}];
        entry.address = address;
        entry.ready = ready;
        for (const auto& port : ports) entry.ports.emplace(tuple_of(port), port);
    }

    void write(corev1::Endpoints* out) const {
        using Key = std::vector<PortTuple>;
        std::map<Key, corev1::EndpointSubset> subsets;
        for (const auto& [identity, entry] : entries_) {
            Key key;
            for (const auto& [tuple, port] : entry.ports) key.push_back(tuple);
            auto [subset, fresh] = subsets.try_emplace(key);
            if (fresh) {
                for (const auto& [tuple, port] : entry.ports) *subset->second.add_ports() = port;
            }
            *(entry.ready ? subset->second.add_addresses()
                          : subset->second.add_notreadyaddresses()) = entry.address;
        }
        for (auto& [key, subset] : subsets) *out->add_subsets() = std::move(subset);
    }

private:
    struct Entry {
        corev1::EndpointAddress address;
        bool ready = false;
        std::map<PortTuple, corev1::EndpointPort> ports;
    };
    std::map<std::pair<std::string, std::string>, Entry> entries_;
};

// Cuts an Endpoints object to the limit; addresses that are ready go last.
bool truncate(corev1::Endpoints* endpoints) {
    int ready = 0;
    int unready = 0;
    for (const auto& subset : endpoints->subsets()) {
        ready += subset.addresses_size();
        unready += subset.notreadyaddresses_size();
    }
    if (ready + unready <= kMaxEndpointsAddresses) return false;
    int ready_left = std::min(ready, kMaxEndpointsAddresses);
    int unready_left = kMaxEndpointsAddresses - ready_left;
    const auto cut = [](auto* addresses, int* left) {
        const int keep = std::min(addresses->size(), *left);
        addresses->DeleteSubrange(keep, addresses->size() - keep);
        *left -= keep;
    };
    for (auto& subset : *endpoints->mutable_subsets()) {
        cut(subset.mutable_addresses(), &ready_left);
        cut(subset.mutable_notreadyaddresses(), &unready_left);
    }
    auto* subsets = endpoints->mutable_subsets();
    for (int i = subsets->size(); i > 0; --i) {
        const auto& subset = subsets->Get(i - 1);
        if (subset.addresses_size() + subset.notreadyaddresses_size() == 0) {
            subsets->DeleteSubrange(i - 1, 1);
        }
    }
    return true;
}

}  // namespace

std::string port_key(const std::vector<discoveryv1::EndpointPort>& ports) {
    std::vector<std::string> texts;
    texts.reserve(ports.size());
    for (const auto& port : ports) {
        // No part of a port can hold a NUL, which therefore separates them without doubt.
        std::string text = port.name();
        text.push_back('\0');
        text += protocol_of(port.protocol());
        text.push_back('\0');
        text += port.has_port() ? std::to_string(port.port()) : "any";
        text.push_back('\0');
        text += port.appprotocol();
        texts.push_back(std::move(text));
    }
    std::sort(texts.begin(), texts.end());
    std::string key;
    for (const auto& text : texts) {
        key += text;
        key.append(2, '\0');
    }
    return key;
}

bool is_headless(const corev1::Service& service) { return service.spec().clusterip() == "None"; }

bool is_ready(const corev1::Pod& pod) {
    const auto& conditions = pod.status().conditions();
    return std::any_of(conditions.begin(), conditions.end(), [](const auto& condition) {
        return condition.type() == "Ready" && condition.status() == "True";
    });
}

bool is_endpoint(const corev1::Pod& pod, bool terminating_too) {
    const auto& phase = pod.status().phase();
    if (phase == "Failed" || phase == "Succeeded") return false;
    if (addresses_of(pod).empty()) return false;
    return terminating_too || !pod.metadata().has_deletiontimestamp();
}

bool differ(const corev1::Pod& before, const corev1::Pod& after) {
    const auto ended = [](const corev1::Pod& pod) {
        return pod.status().phase() == "Failed" || pod.status().phase() == "Succeeded";
    };
    const auto& a = before.metadata();
    const auto& b = after.metadata();
    if (a.uid() != b.uid() || a.has_deletiontimestamp() != b.has_deletiontimestamp()) return true;
    if (ended(before) != ended(after) || is_ready(before) != is_ready(after)) return true;
    if (before.spec().nodename() != after.spec().nodename() ||
        before.spec().hostname() != after.spec().hostname() ||
        before.spec().subdomain() != after.spec().subdomain()) {
        return true;
    }
    if (addresses_of(before) != addresses_of(after)) return true;
    if (a.labels_size() != b.labels_size()) return true;
    return std::any_of(a.labels().begin(), a.labels().end(), [&](const auto& label) {
        const auto found = b.labels().find(label.first);
        return found == b.labels().end() || found->second != label.second;
    });
}

std::vector<std::string> address_types(const corev1::Service& service) {
    std::vector<std::string> out;
    for (const auto& family : service.spec().ipfamilies()) {
        if (std::find(out.begin(), out.end(), family) == out.end()) out.push_back(family);
    }
    if (!out.empty()) return out;
    // A Service from before families were recorded: its address tells; a headless one has endpoints
    // of either.
    const auto address = IpAddress::parse(service.spec().clusterip());
    if (address) return {address->is_v4() ? "IPv4" : "IPv6"};
    return {"IPv4", "IPv6"};
}

Groups desired_groups(const corev1::Service& service, const std::string& address_type,
                      const std::vector<PodPtr>& pods, const NodeLookup& node,
                      bool* unknown_node) {
    Groups groups;
    for (const auto& pod : pods) {
        if (!is_endpoint(*pod, true)) continue;
        const auto address = address_of(*pod, address_type);
        if (!address) continue;
        const NodePtr on = pod->spec().nodename().empty() ? nullptr : node(pod->spec().nodename());
        if (on == nullptr && !service.spec().publishnotreadyaddresses()) {
            *unknown_node = true;
            continue;
        }
        auto ports = ports_in(service, *pod);
        Group& group = groups[port_key(ports)];
        group.ports = std::move(ports);
        group.endpoints.push_back(endpoint_of(service, *pod, *address, on.get()));
    }
    return groups;
}

corev1::Endpoints desired_endpoints(const corev1::Service& service,
                                    const std::vector<PodPtr>& pods) {
    corev1::Endpoints out;
    auto* meta = out.mutable_metadata();
    meta->set_namespace_(service.metadata().namespace_());
    meta->set_name(service.metadata().name());
    for (const auto& [key, value] : service.metadata().labels()) {
        (*meta->mutable_labels())[key] = value;
    }
    meta->mutable_labels()->erase(kHeadlessLabel);
    if (is_headless(service)) (*meta->mutable_labels())[kHeadlessLabel] = "";
    (*meta->mutable_labels())["endpoints.kubernetes.io/managed-by"] = "endpoint-controller";

    const bool publish = service.spec().publishnotreadyaddresses();
    const std::string type = address_types(service).front();
    Repacker repacker;
    for (const auto& pod : pods) {
        if (!is_endpoint(*pod, publish)) continue;
        const auto ip = address_of(*pod, type);
        if (!ip) continue;
        corev1::EndpointAddress address;
        address.set_ip(*ip);
        if (!pod->spec().nodename().empty()) address.set_nodename(pod->spec().nodename());
        if (has_name_in(*pod, service)) address.set_hostname(pod->spec().hostname());
        refer_to(*pod, address.mutable_targetref());
        std::vector<corev1::EndpointPort> ports;
        for (const auto& port : ports_in(service, *pod)) {
            corev1::EndpointPort legacy;
            if (!port.name().empty()) legacy.set_name(port.name());
            legacy.set_port(port.port());
            legacy.set_protocol(port.protocol());
            if (port.has_appprotocol()) legacy.set_appprotocol(port.appprotocol());
            ports.push_back(std::move(legacy));
        }
        // Of a Service with ports, a pod that has none of them is no endpoint; a headless Service
        // needs none.
        if (ports.empty() && !(service.spec().ports().empty() && is_headless(service))) continue;
        repacker.add(address, publish || is_ready(*pod), ports);
    }
    repacker.write(&out);
    if (truncate(&out)) (*meta->mutable_annotations())[kOverCapacity] = "truncated";
    return out;
}

Groups mirrored_groups(const corev1::Endpoints& endpoints, const std::string& address_type) {
    Groups groups;
    for (const auto& subset : endpoints.subsets()) {
        std::vector<discoveryv1::EndpointPort> ports;
        for (const auto& port : subset.ports()) {
            discoveryv1::EndpointPort out;
            out.set_name(port.name());
            out.set_protocol(protocol_of(port.protocol()));
            out.set_port(port.port());
            if (port.has_appprotocol()) out.set_appprotocol(port.appprotocol());
            ports.push_back(std::move(out));
        }
        std::vector<discoveryv1::Endpoint> found;
        int left = kMaxEndpointsAddresses;
        const auto take = [&](const auto& addresses, bool ready) {
            for (const auto& address : addresses) {
                if (left == 0) return;
                --left;
                if (!is_of_type(address.ip(), address_type)) continue;
                discoveryv1::Endpoint out;
                out.add_addresses(address.ip());
                out.mutable_conditions()->set_ready(ready);
                if (!address.hostname().empty()) out.set_hostname(address.hostname());
                if (address.has_nodename()) out.set_nodename(address.nodename());
                if (address.has_targetref()) *out.mutable_targetref() = address.targetref();
                found.push_back(std::move(out));
            }
        };
        take(subset.addresses(), true);
        take(subset.notreadyaddresses(), false);
        if (found.empty()) continue;
        Group& group = groups[port_key(ports)];
        group.ports = std::move(ports);
        group.endpoints.insert(group.endpoints.end(), std::make_move_iterator(found.begin()),
                               std::make_move_iterator(found.end()));
    }
    return groups;
}

}  // namespace sluice::controllers::endpoints
