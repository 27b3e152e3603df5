// Services and flows: what a destination is, and what is remembered. See oracle.h; judge.cc has the packets.
#include "tests/oracle/oracle.h"

#include <algorithm>

namespace sluice::oracle {
namespace {

// Seconds without a packet after which a flow is over.
constexpr std::uint64_t kClosedTimeout = 10;
constexpr std::uint64_t kNewTimeout = 60;
constexpr std::uint64_t kNewUdpTimeout = 30;
constexpr std::uint64_t kClosingTimeout = 120;
constexpr std::uint64_t kEstablishedTimeout = 28800;
constexpr std::uint64_t kUdpTimeout = 180;

}  // namespace

void Oracle::upsert(const image::Service& service) {
    std::shared_ptr<ServiceLife>& life = services_[service.key];
    if (!life) {
        life = std::make_shared<ServiceLife>();
    }
    std::map<std::pair<IpAddress, std::uint16_t>, image::Backend> wanted;
    for (const image::BackendSet* set : {&service.internal, &service.external, &service.inside}) {
        for (const image::Backend& backend : set->backends) {
            wanted.try_emplace({backend.address, backend.port}, backend);
        }
    }
    for (auto at = life->backends.begin(); at != life->backends.end();) {
        if (wanted.contains(at->first)) {
            ++at;
        } else {
            at->second->serves = false;
            at = life->backends.erase(at);
        }
    }
    for (const auto& [place, backend] : wanted) {
        std::shared_ptr<BackendLife>& member = life->backends[place];
        if (!member) {
            member = std::make_shared<BackendLife>();
        }
        member->backend = backend;
    }
    life->desired = service;
    rebuild();
}

void Oracle::remove(const image::ServiceKey& key) {
    const auto found = services_.find(key);
    if (found == services_.end()) {
        return;
    }
    for (const auto& [place, backend] : found->second->backends) {
        backend->serves = false;
    }
    services_.erase(found);
    rebuild();
}

// Of two services that claim a frontend the first by name has it: std::map goes in that order.
void Oracle::rebuild() {
    frontends_.clear();
    node_ports_.clear();
    owned_.clear();
    for (const auto& [key, service] : services_) {
        const auto protocol = static_cast<std::uint8_t>(key.protocol);
        for (const image::Frontend& frontend : service->desired.frontends) {
            if (frontend.scope == image::Scope::kNodePort) {
                node_ports_.try_emplace({key.family == IpFamily::kIpv6, frontend.port, protocol},
                                        Claim{service, frontend});
                continue;
            }
            frontends_.try_emplace({frontend.address, frontend.port, protocol}, Claim{service, frontend});
            // An external address may be some host's own: its other ports are not ours to refuse.
            if (!frontend.external) {
                owned_.insert(frontend.address);
            }
        }
    }
}

std::shared_ptr<ServiceLife> Oracle::service(const image::ServiceKey& key) const {
    const auto found = services_.find(key);
    return found == services_.end() ? nullptr : found->second;
}

void Oracle::pass(std::uint64_t ticks, std::uint64_t affinity_units) {
    now_ += ticks;
    affinity_now_ += affinity_units;
    if (ticks > 0) {
        answers_ = 0;
    }
}

Oracle::Match Oracle::follow_frontend(const std::shared_ptr<ServiceLife>& service, const image::Frontend& frontend,
                                      bool inside) const {
    Match match;
    match.service = service;
    match.frontend = frontend;
    const image::Service& desired = service->desired;
    // External policy Local narrows the choice of clients from outside alone.
    match.set = !frontend.external ? &desired.internal : inside ? &desired.inside : &desired.external;
    if (!match.set->backends.empty()) {
        match.kind = Match::Kind::kService;
    } else if (match.set->when_empty_drop) {
        match.kind = Match::Kind::kDrop;
        match.reason = SLUICE_DROP_NO_LOCAL_ENDPOINT;
    } else {
        match.kind = Match::Kind::kRefuse;
        match.reason = SLUICE_DROP_NO_ENDPOINT;
    }
    return match;
}

Oracle::Match Oracle::classify(const IpAddress& dst, std::uint16_t port, std::uint8_t protocol, bool inside) const {
    if (const auto exact = frontends_.find({dst, port, protocol}); exact != frontends_.end()) {
        return follow_frontend(exact->second.service, exact->second.frontend, inside);
    }
    const auto& addresses = world_.node.nodeport_addresses;
    if (std::find(addresses.begin(), addresses.end(), dst) != addresses.end() && !dst.is_loopback()) {
        // The node's own: NodePorts, and the rest is the host's.
        Match match;
        const auto found = node_ports_.find({!dst.is_v4(), port, protocol});
        if (found != node_ports_.end()) {
            match = follow_frontend(found->second.service, found->second.frontend, inside);
        }
        match.node_port = true;
        return match;
    }
    Match match;
    if (owned_.contains(dst)) {
        match.kind = Match::Kind::kRefuse;
        match.reason = SLUICE_DROP_PORT_NOT_SERVED;
        return match;
    }
    for (const IpPrefix& prefix : world_.node.service_cidrs) {
        if (prefix.family() == dst.family() && prefix.contains(dst)) {
            match.kind = Match::Kind::kDrop;
            match.reason = SLUICE_DROP_UNALLOCATED;
        }
    }
    return match;
}

bool Oracle::source_allowed(const Match& match, const IpAddress& src) const {
    if (!match.service || !match.frontend.restricted) {
        return true;
    }
    const auto& ranges = match.service->desired.sources;
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const image::AddressRange& range) { return range.first <= src && src <= range.last; });
}

bool Oracle::in_cluster(const IpAddress& address) const {
    const auto& prefixes = world_.node.cluster_cidrs;
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const IpPrefix& prefix) {
        return prefix.family() == address.family() && prefix.contains(address);
    });
}

bool Oracle::from_pod(const Job& job) const {
    return world_.node.detect_by_device ? job.place == Place::kPod : in_cluster(job.packet.tuple.src);
}

bool Oracle::from_inside(const Job& job) const { return job.place != Place::kUplink || from_pod(job); }

IpAddress Oracle::node_address(bool v6) const { return v6 ? world_.node.masquerade_v6 : world_.node.masquerade_v4; }

// Longest prefix. Where there is no route the stack says so.
Oracle::Way Oracle::route(const IpAddress& dst, std::size_t length) const {
    const Route* best = nullptr;
    for (const Route& candidate : world_.routes) {
        if (candidate.prefix.family() == dst.family() && candidate.prefix.contains(dst) &&
            (best == nullptr || candidate.prefix.bits > best->prefix.bits)) {
            best = &candidate;
        }
    }
    if (best == nullptr || best->kind != Route::Kind::kForward) {
        return {Hop::kStay, 0};
    }
    return {length > best->mtu ? Hop::kTooBig : Hop::kForward, best->mtu};
}

const Oracle::Half* Oracle::find(const Tuple& tuple) const {
    const auto found = halves_.find(tuple);
    return found == halves_.end() ? nullptr : &found->second;
}

std::uint64_t Oracle::timeout(const Flow& flow) const {
    const bool udp = flow.forward.protocol == kUdp;
    switch (flow.state) {
        case State::kClosed: return kClosedTimeout;
        case State::kClosing: return kClosingTimeout;
        case State::kEstablished: return udp ? kUdpTimeout : kEstablishedTimeout;
        default: return udp ? kNewUdpTimeout : kNewTimeout;
    }
}

bool Oracle::expired(const Flow& flow) const { return now_ - flow.seen > timeout(flow); }

void Oracle::forget(const std::shared_ptr<Flow>& flow) {
    const std::shared_ptr<Flow> kept = flow;
    for (const Tuple* key : {&kept->forward, &kept->reverse}) {
        const auto found = halves_.find(*key);
        if (found != halves_.end() && found->second.flow == kept) {
            halves_.erase(found);
        }
    }
}

// A connection keeps its backend, also one that no longer serves; what starts anew chooses anew; datagrams leave a
// backend that no longer serves at once.
bool Oracle::usable(const Half& half, const Packet& packet) const {
    const Flow& flow = *half.flow;
    if (half.reverse) {
        return true;
    }
    if (packet.tuple.protocol != kUdp) {
        if (!packet.has(kSyn, kSyn | kAck | kRst)) {
            return true;
        }
        if (flow.state == State::kClosed || flow.state == State::kClosing) {
            return false;
        }
    }
    return !expired(flow) && (flow.no_service || flow.backend->serves);
}

void Oracle::follow(const Half& half, const Packet& packet) {
    Flow& flow = *half.flow;
    const bool one_way = flow.direct != Direct::kNo;
    flow.seen = now_;
    if (packet.tuple.protocol == kUdp) {
        if (half.reverse || one_way) {
            flow.state = State::kEstablished;
        }
    } else if ((packet.flags & kRst) != 0) {
        flow.state = State::kClosed;
    } else if ((packet.flags & kFin) != 0) {
        if (flow.state == State::kClosing && !flow.fin[half.reverse ? 1 : 0]) {
            flow.state = State::kClosed;
        } else if (flow.state != State::kClosed) {
            flow.state = State::kClosing;
        }
        flow.fin[half.reverse ? 1 : 0] = true;
    } else if (half.reverse) {
        if (flow.returns && (packet.flags & kSyn) == 0 &&
            (flow.state == State::kNew || flow.state == State::kAnswered)) {
            flow.state = State::kEstablished;
        } else if (flow.state == State::kNew) {
            flow.state = State::kAnswered;
        }
    } else if ((packet.flags & kSyn) == 0 &&
               (flow.state == State::kAnswered || (flow.state == State::kNew && one_way))) {
        flow.state = State::kEstablished;
    }
}

bool Oracle::reverse_free(const Tuple& reverse) const {
    const Half* there = find(reverse);
    return there == nullptr || expired(*there->flow);
}

bool Oracle::exhausted(const Tuple& reverse) const {
    constexpr std::size_t kSearched = 2048;
    const std::size_t span = world_.port_max - world_.port_min + std::size_t{1};
    const std::size_t few = span <= kSearched ? 0 : span / 100;
    std::size_t free = 0;
    Tuple one = reverse;
    for (std::uint32_t port = world_.port_min; free <= few && port <= world_.port_max; ++port) {
        one.dport = static_cast<std::uint16_t>(port);
        free += reverse_free(one) ? 1 : 0;
    }
    return free <= few;
}

bool Oracle::insert(Job& job, std::shared_ptr<Flow> flow, Ports ports) {
    flow->seen = now_;
    if (flow->direct != Direct::kNo) {
        // One half: no answer comes back through here.
        halves_[flow->forward] = {flow, false};
        return true;
    }
    const bool in_range = flow->forward.sport >= world_.port_min && flow->forward.sport <= world_.port_max;
    Tuple own = flow->reverse;
    own.dport = flow->forward.sport;
    const bool may_own = ports != Ports::kOwnOrOther || !flow->snat || in_range;
    const std::optional<Tuple> chosen = (*job.witness)(flow->forward);
    if (may_own && reverse_free(own)) {
        flow->reverse = own;
    } else if (!chosen) {
        if (ports != Ports::kFixed && !exhausted(own)) {
            job.answer.illegal = "no flow, though source ports are free";
        }
        return false;
    } else {
        const std::uint16_t port = chosen->sport;
        flow->reverse.dport = port;
        if (ports == Ports::kFixed || port < world_.port_min || port > world_.port_max) {
            job.answer.illegal = "source port " + std::to_string(port) + " is not one to choose";
        } else if (!reverse_free(flow->reverse)) {
            job.answer.illegal = "source port " + std::to_string(port) + " is another flow's";
        }
    }
    if (const Half* former = find(flow->reverse)) {
        forget(former->flow);
    }
    halves_[flow->forward] = {flow, false};
    halves_[flow->reverse] = {flow, true};
    return true;
}

}  // namespace sluice::oracle
