#include "control/apiserver/registry/allocator/service_allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/allocator/claims.h"
#include "control/apiserver/registry/allocator/ip_families.h"

namespace sluice::registry {

namespace {

template <class T>
bool contains(const std::vector<T>& list, const T& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

template <class T>
std::vector<T> without(const std::vector<T>& list, const std::vector<T>& other) {
    std::vector<T> out;
    for (const T& value : list) {
        if (!contains(other, value)) out.push_back(value);
    }
    return out;
}

bool needs_node_ports(const ServiceMessage& service) {
    const auto& spec = service.spec();
    if (spec.type() == "NodePort") return true;
    return spec.type() == "LoadBalancer" && (!spec.has_allocateloadbalancernodeports() ||
                                             spec.allocateloadbalancernodeports());
}

bool needs_health_port(const ServiceMessage& service) {
    return service.spec().type() == "LoadBalancer" &&
           service.spec().externaltrafficpolicy() == "Local";
}

Refusal invalid_field(const codec::KindInfo& kind, const ServiceMessage& service,
                      std::string field, const BadValue& value, std::string_view detail) {
    FieldErrors errors;
    errors.invalid(std::move(field), value, detail);
    return refuse(invalid(kind, service.metadata().name(), errors));
}

}  // namespace

class ServiceAllocator::Txn final : public Reservation {
public:
    Txn(ServiceAllocator* allocator, std::string owner, Holding taken, Holding surplus)
        : allocator_(allocator),
          owner_(std::move(owner)),
          taken_(std::move(taken)),
          surplus_(std::move(surplus)) {}
    ~Txn() override { Txn::rollback(); }
    void commit() override {
        if (allocator_->shared_ == nullptr) return settle(surplus_);
        // What was taken can be seen in the store from now on.
        settle(taken_);
        for (store::Companion& left : left_over_) {
            allocator_->shared_->write({std::move(left.key), std::nullopt, left.expected},
                                       [](const Result<store::WriteResult>&) {});
        }
        left_over_.clear();
    }
    void rollback() override { settle(taken_); }
    [[nodiscard]] std::vector<store::Companion> claims() override {
        if (allocator_->shared_ == nullptr) return {};
        std::vector<store::Companion> out;
        for (std::string& key : claim_keys(taken_)) out.push_back({std::move(key), owner_, 0});
        left_over_.clear();
        for (store::Companion& gone : allocator_->releases(surplus_, owner_)) {
            if (out.size() < store::kMaxCompanions) {
                out.push_back(std::move(gone));
            } else if (!gone.unchanged) {
                left_over_.push_back(std::move(gone));
            }
        }
        return out;
    }

private:
    void settle(const Holding& unused) {
        const std::lock_guard lock(allocator_->mutex_);
        if (settled_) return;
        settled_ = true;
        allocator_->give_back(unused);
    }

    ServiceAllocator* allocator_;
    std::string owner_;
    Holding taken_;    // newly taken for this write
    Holding surplus_;  // what the Service no longer uses after it
    std::vector<store::Companion> left_over_;  // claims of these, beyond what one transaction takes
    bool settled_ = false;
};

ServiceAllocator::ServiceAllocator(const std::vector<IpPrefix>& cidrs, std::uint16_t nodeport_min,
                                   std::uint16_t nodeport_max, std::uint64_t seed, store::Store* shared)
    : shared_(shared), ports_(nodeport_min, nodeport_max, seed) {
    for (const IpPrefix& cidr : cidrs) ranges_.emplace_back(cidr, ++seed);
    if (shared_ == nullptr) return;
    ports_.set_elsewhere([this](Protocol protocol, std::int64_t port) {
        return is_claimed(claim_key(protocol, port));
    });
    for (IpRange& range : ranges_) {
        range.set_elsewhere([this](const IpAddress& address) { return is_claimed(claim_key(address)); });
    }
}

bool ServiceAllocator::is_claimed(const std::string& key) const {
    const auto found = shared_->get(key);
    return found && *found;
}

std::vector<store::Companion> ServiceAllocator::releases(const Holding& surplus,
                                                         const std::string& owner) const {
    std::vector<store::Companion> out;
    for (std::string& key : claim_keys(surplus)) {
        const auto found = shared_->get(key);
        if (!found) continue;
        if (!*found) {
            // A repair may be about to make it, and would leave it behind.
            out.push_back({std::move(key), std::nullopt, 0, true});
        } else if (*(*found)->value == owner) {
            out.push_back({std::move(key), std::nullopt, (*found)->mod_revision});
        }
    }
    return out;
}

std::vector<IpFamily> ServiceAllocator::families() const {
    std::vector<IpFamily> out;
    for (const IpRange& range : ranges_) out.push_back(range.prefix().family());
    return out;
}

ServiceAllocator::Holding ServiceAllocator::holding_of(const ServiceMessage& service) {
    Holding out;
    const auto& spec = service.spec();
    if (spec.type() != "ExternalName") {
        for (const std::string& text : spec.clusterips()) {
            if (const auto address = IpAddress::parse_sloppy(text)) {
                out.addresses.push_back(*address);
            }
        }
    }
    for (const auto& port : spec.ports()) {
        if (port.nodeport() == 0) continue;
        const auto protocol = parse_protocol(port.protocol());
        if (!protocol) continue;
        const PortKey key{*protocol, port.nodeport()};
        if (!contains(out.ports, key)) out.ports.push_back(key);
    }
    if (spec.healthchecknodeport() != 0) {
        out.ports.push_back({Protocol::kTcp, spec.healthchecknodeport()});
    }
    return out;
}

IpRange* ServiceAllocator::range_of(IpFamily family) {
    for (IpRange& range : ranges_) {
        if (range.prefix().family() == family) return &range;
    }
    return nullptr;
}

void ServiceAllocator::give_back(const Holding& holding) {
    for (const IpAddress& address : holding.addresses) {
        if (IpRange* range = range_of(address.family())) range->release(address);
    }
    for (const PortKey& key : holding.ports) ports_.release(key.protocol, key.port);
}

Answer<void> ServiceAllocator::take_addresses(const codec::KindInfo& kind, ServiceMessage* service,
                                              const Holding& held, Holding* taken) {
    auto* spec = service->mutable_spec();
    if (spec->type() == "ExternalName" || spec->clusterip() == "None") return {};
    for (int i = 0; i < spec->ipfamilies_size(); ++i) {
        const IpFamily family =
            spec->ipfamilies(i) == "IPv4" ? IpFamily::kIpv4 : IpFamily::kIpv6;
        IpRange* range = range_of(family);
        if (range == nullptr) continue;  // a stored Service may outlive the cluster's second family
        if (i < spec->clusterips_size() && !spec->clusterips(i).empty()) {
            const std::string& text = spec->clusterips(i);
            const auto address = IpAddress::parse_sloppy(text);
            if (!address || contains(held.addresses, *address)) continue;
            const TakeResult result = range->take(*address);
            if (result == TakeResult::kTaken) {
                taken->addresses.push_back(*address);
                continue;
            }
            const std::vector<std::string> shown(spec->clusterips().begin(),
                                                 spec->clusterips().end());
            return invalid_field(
                kind, *service, "spec.clusterIPs", BadValue::verbatim(go_string_list(shown)),
                result == TakeResult::kAlreadyTaken
                    ? fmt::format("failed to allocate IP {}: provided IP is already allocated",
                                  text)
                    : fmt::format("failed to allocate IP {}: the provided IP ({}) is not in the "
                                  "valid range. The range of valid IPs is {}",
                                  text, text, range->prefix().to_string()));
        }
        const auto address = range->take_any();
        if (!address) {
            return refuse(internal_error(fmt::format("failed to allocate a serviceIP: the range "
                                                     "{} is full",
                                                     range->prefix().to_string())));
        }
        taken->addresses.push_back(*address);
        if (i < spec->clusterips_size()) {
            spec->set_clusterips(i, address->to_string());
        } else {
            spec->add_clusterips(address->to_string());
        }
    }
    if (spec->clusterips_size() > 0) spec->set_clusterip(spec->clusterips(0));
    return {};
}

Answer<void> ServiceAllocator::take_ports(const codec::KindInfo& kind, ServiceMessage* service,
                                          const Holding& held, Holding* taken) {
    auto* spec = service->mutable_spec();
    const auto port_error = [&](int index, std::int64_t port, TakeResult result) {
        return invalid_field(
            kind, *service, field_index("spec.ports", index) + ".nodePort", BadValue(port),
            result == TakeResult::kAlreadyTaken
                ? std::string("provided port is already allocated")
                : fmt::format("provided port is not in the valid range. The range of valid ports "
                              "is {}-{}",
                              ports_.min(), ports_.max()));
    };
    // Asked-for ports first, so that a pick never takes what a later port of the same Service asks for.
    std::map<std::int32_t, std::int32_t> node_port_of;  // service port -> node port
    for (int i = 0; i < spec->ports_size(); ++i) {
        const auto& port = spec->ports(i);
        const auto protocol = parse_protocol(port.protocol());
        if (port.nodeport() == 0 || !protocol) continue;
        node_port_of.try_emplace(port.port(), port.nodeport());
        const PortKey key{*protocol, port.nodeport()};
        if (contains(held.ports, key) || contains(taken->ports, key)) continue;
        const TakeResult result = ports_.take(*protocol, port.nodeport());
        if (result != TakeResult::kTaken) return port_error(i, port.nodeport(), result);
        taken->ports.push_back(key);
    }
    if (!needs_node_ports(*service)) return {};
    for (int i = 0; i < spec->ports_size(); ++i) {
        auto* port = spec->mutable_ports(i);
        const auto protocol = parse_protocol(port->protocol());
        if (port->nodeport() != 0 || !protocol) continue;
        // One service port in two protocols gets one node port when it can.
        const auto twin = node_port_of.find(port->port());
        if (twin != node_port_of.end() &&
            ports_.take(*protocol, twin->second) == TakeResult::kTaken) {
            port->set_nodeport(twin->second);
        } else if (const auto picked = ports_.take_any(*protocol)) {
            port->set_nodeport(*picked);
        } else {
            return refuse(internal_error(
                "failed to allocate a nodePort: range is full"));
        }
        node_port_of.try_emplace(port->port(), port->nodeport());
        taken->ports.push_back({*protocol, port->nodeport()});
    }
    return {};
}

Answer<void> ServiceAllocator::take_health_port(const codec::KindInfo& kind,
                                                ServiceMessage* service, const Holding& held,
                                                Holding* taken) {
    if (!needs_health_port(*service)) return {};
    auto* spec = service->mutable_spec();
    if (spec->healthchecknodeport() == 0) {
        const auto picked = ports_.take_any(Protocol::kTcp);
        if (!picked) {
            return refuse(internal_error(
                "failed to allocate a HealthCheck NodePort: range is full"));
        }
        spec->set_healthchecknodeport(*picked);
        taken->ports.push_back({Protocol::kTcp, *picked});
        return {};
    }
    const PortKey key{Protocol::kTcp, spec->healthchecknodeport()};
    if (contains(held.ports, key)) return {};
    const TakeResult result = ports_.take(Protocol::kTcp, key.port);
    if (result != TakeResult::kTaken) {
        return invalid_field(
            kind, *service, "spec.healthCheckNodePort", BadValue(key.port),
            result == TakeResult::kAlreadyTaken
                ? std::string("provided port is already allocated")
                : fmt::format("provided port is not in the valid range. The range of valid ports "
                              "is {}-{}",
                              ports_.min(), ports_.max()));
    }
    taken->ports.push_back(key);
    return {};
}

Answer<std::shared_ptr<Reservation>> ServiceAllocator::reserve(const codec::KindInfo& kind,
                                                               ServiceMessage* service,
                                                               const ServiceMessage* old) {
    FieldErrors errors;
    const auto offered = families();
    init_ip_families(service, old, offered, &errors);
    if (!errors.empty()) return refuse(invalid(kind, service->metadata().name(), errors));
    const Holding held = old == nullptr ? Holding{} : holding_of(*old);
    Holding taken;
    {
        const std::lock_guard lock(mutex_);
        auto done = take_addresses(kind, service, held, &taken);
        if (done) done = take_ports(kind, service, held, &taken);
        if (done) done = take_health_port(kind, service, held, &taken);
        if (!done) {
            give_back(taken);
            return refuse(std::move(done).error());
        }
    }
    if (shared_ != nullptr && taken.addresses.size() + taken.ports.size() > store::kMaxCompanions) {
        const std::lock_guard lock(mutex_);
        give_back(taken);
        return invalid_field(kind, *service, "spec.ports", BadValue(std::int64_t{service->spec().ports_size()}),
                             fmt::format("at most {} addresses and node ports can be allocated at once",
                                         store::kMaxCompanions));
    }
    const Holding now = holding_of(*service);
    Holding surplus{without(held.addresses, now.addresses), without(held.ports, now.ports)};
    return std::make_shared<Txn>(this, claim_owner(*service), std::move(taken), std::move(surplus));
}

std::shared_ptr<Reservation> ServiceAllocator::release(const ServiceMessage& old) {
    return std::make_shared<Txn>(this, claim_owner(old), Holding{}, holding_of(old));
}

Result<void> ServiceAllocator::adopt(const ServiceMessage& service) {
    const std::lock_guard lock(mutex_);
    const Holding holding = holding_of(service);
    std::string clash;
    for (const IpAddress& address : holding.addresses) {
        IpRange* range = range_of(address.family());
        if (range != nullptr && range->take(address) == TakeResult::kAlreadyTaken) {
            clash = address.to_string();
        }
    }
    for (const PortKey& key : holding.ports) {
        if (ports_.take(key.protocol, key.port) == TakeResult::kAlreadyTaken) {
            clash = fmt::format("{}/{}", key.port, protocol_name(key.protocol));
        }
    }
    if (clash.empty()) return {};
    return make_error(Code::kAlreadyExists, "service {}/{} uses {}, which another service has",
                      service.metadata().namespace_(), service.metadata().name(), clash);
}

}  // namespace sluice::registry
