// A packet on its way: the flow first, then what its destination is. See oracle.h.
#include <algorithm>

#include "tests/oracle/oracle.h"
#include "tests/oracle/ring.h"

namespace sluice::oracle {
namespace {

constexpr std::uint64_t kResetsPerTick = 20000;
constexpr std::uint64_t kUnreachablesPerTick = 1000;
constexpr std::uint64_t kDatagramTimeout = 30;
constexpr std::size_t kEthernet = 14;
// Of the affinity's clock.
constexpr std::uint64_t kNsPerUnit = 1ULL << 28U;

bool is_question(std::uint8_t type, bool v6) {
    return v6 ? type == 128 : type == 8 || type == 13 || type == 15 || type == 17;
}
bool begins(const Packet& packet) { return packet.tuple.protocol != kTcp || packet.has(kSyn, kSyn | kAck); }

IcmpAnswer too_big(std::uint32_t mtu, bool v6) {
    return v6 ? IcmpAnswer{2, 0, mtu} : IcmpAnswer{3, 4, mtu};
}

bool carries_option(const Packet& packet) { return packet.tuple.protocol != kTcp || packet.has(kSyn, kSyn | kAck); }

}  // namespace

Answer Oracle::judge(Place place, View frame, const Witness& witness) {
    Job job;
    job.place = place;
    job.frame.assign(frame.begin(), frame.end());
    job.witness = &witness;
    if (frame.size() >= kEthernet) {
        job.packet = read_ip(frame, kEthernet, static_cast<std::uint16_t>(get16(frame, 12)));
    }
    to_stack(job);
    if (job.packet.shape == Shape::kNotOurs || !receive_direct(job)) {
        return job.answer;
    }
    if (job.packet.shape == Shape::kPorts || recall(job)) {
        with_ports(job);
    } else {
        portless(job);
    }
    return job.answer;
}

void Oracle::to_stack(Job& job) {
    job.answer.verdict = Verdict::kStack;
    const std::size_t from = std::min(kEthernet, job.frame.size());
    job.answer.packet.assign(job.frame.begin() + static_cast<std::ptrdiff_t>(from), job.frame.end());
}

void Oracle::drop(Job& job, sluice_drop_reason reason) {
    ++drops_[reason];
    job.answer.verdict = Verdict::kDrop;
    job.answer.packet.clear();
}

void Oracle::turn_away(Job& job, const Match& match, bool refuse, sluice_drop_reason reason) {
    if (match.service) {
        ++match.service->refused;
    }
    drop(job, reason);
    if (refuse) {
        reply(job, std::nullopt);
    }
}

// RFC 1122, 3.2.2: not to other than single hosts, not about later fragments, not about ICMP errors.
void Oracle::reply(Job& job, std::optional<IcmpAnswer> icmp) {
    const Packet& packet = job.packet;
    const std::uint8_t protocol = packet.tuple.protocol;
    const bool is_icmp = protocol == (packet.v6 ? kIcmpv6 : kIcmp);
    const bool reset = protocol == kTcp && !icmp;
    if (packet.fragment == Fragment::kLater || !is_host(packet.tuple.src) ||
        (is_icmp && !is_question(packet.icmp_type, packet.v6)) || (reset && (packet.flags & kRst) != 0)) {
        return;
    }
    if (answers_ >= (reset ? kResetsPerTick : kUnreachablesPerTick)) {
        ++drops_[SLUICE_DROP_REPLY_RATE_LIMITED];
        return;
    }
    ++answers_;
    if (!icmp) {
        const bool port = protocol == kUdp || protocol == kSctp || protocol == kIcmp;
        icmp = packet.v6 ? IcmpAnswer{1, 4, 0} : IcmpAnswer{3, static_cast<std::uint8_t>(port ? 3 : 2), 0};
    }
    job.answer.packet = reset ? reset_for(job.frame, packet) : icmp_error_for(job.frame, packet, *icmp);
    if (!job.answer.packet.empty()) {
        job.answer.verdict = Verdict::kSend;
    }
}

void Oracle::count(const Flow& flow, const Packet& packet) {
    ++flow.backend->served.packets;
    flow.backend->served.bytes += kEthernet + packet.end - packet.l3;
}

// ---- fragments

bool Oracle::recall(Job& job) {
    Packet& packet = job.packet;
    if (packet.shape != Shape::kNoPorts || packet.fragment != Fragment::kLater) {
        return false;
    }
    const auto found = datagrams_.find({packet.tuple.src, packet.tuple.dst, packet.fragment_id,
                                        packet.v6 ? std::uint8_t{0} : packet.tuple.protocol});
    if (found == datagrams_.end() || now_ - found->second.seen > kDatagramTimeout) {
        return false;
    }
    packet.tuple.sport = found->second.sport;
    packet.tuple.dport = found->second.dport;
    packet.tuple.protocol = found->second.protocol;
    packet.shape = Shape::kPorts;
    return true;
}

void Oracle::remember(const Job& job) {
    const Tuple& tuple = job.packet.tuple;
    datagrams_[{tuple.src, tuple.dst, job.packet.fragment_id, job.packet.v6 ? std::uint8_t{0} : tuple.protocol}] = {
        tuple.sport, tuple.dport, tuple.protocol, now_};
}

// ---- packets with ports

void Oracle::with_ports(Job& job) {
    const Half* half = find(job.packet.tuple);
    if (half != nullptr && !usable(*half, job.packet)) {
        forget(half->flow);
        half = nullptr;
    }
    if (half != nullptr) {
        follow(*half, job.packet);
    } else if (job.packet.fragment == Fragment::kLater) {
        // Its first fragment was translated, by a flow that has gone since.
        drop(job, SLUICE_DROP_FRAGMENT);
        return;
    } else {
        admit(job);
        half = job.answer.verdict == Verdict::kStack && job.answer.illegal.empty() ? find(job.packet.tuple) : nullptr;
        if (half == nullptr) {
            return;
        }
    }
    const Direct direct = half->flow->direct;
    if ((direct == Direct::kTunnel || direct == Direct::kOption) && !half->reverse) {
        send_direct(job, *half);
        return;
    }
    if (job.packet.fragment == Fragment::kFirst) {
        remember(job);
    }
    count(*half->flow, job.packet);
    send_on(job, Half(*half), nullptr);
}

void Oracle::admit(Job& job) {
    const Packet& packet = job.packet;
    const Tuple& tuple = packet.tuple;
    const Match match = classify(tuple.dst, tuple.dport, tuple.protocol, from_inside(job));
    if (match.kind == Match::Kind::kPass) {
        if (job.place != Place::kKernel && begins(packet) && !avoid_flow(job)) {
            drop(job, SLUICE_DROP_NO_SNAT_PORT);
        }
        return;
    }
    if (!is_host(tuple.src)) {
        turn_away(job, match, false, SLUICE_DROP_BAD_SOURCE);
    } else if (!source_allowed(match, tuple.src)) {
        turn_away(job, match, false, SLUICE_DROP_SOURCE_RANGE);
    } else if (world_.node.beside_kube_proxy && !begins(packet)) {
        // Of a connection that kube-proxy's rules began.
    } else if (match.kind != Match::Kind::kService) {
        turn_away(job, match, match.kind == Match::Kind::kRefuse, match.reason);
    } else if ((packet.flags & kRst) != 0) {
        turn_away(job, match, false, SLUICE_DROP_NO_FLOW);
    } else {
        begin_flow(job, match);
    }
}

// A connection to a backend that is no service's may be answered with a tuple that a flow claims: a flow that is over
// makes room, beside a live one it gets another source port. False: there is none.
bool Oracle::avoid_flow(Job& job) {
    const Half* there = find(job.packet.tuple.turned());
    if (there == nullptr) {
        return true;
    }
    const std::shared_ptr<Flow> other = there->flow;
    if (other->state == State::kClosed || other->state == State::kClosing || expired(*other)) {
        forget(other);
        return true;
    }
    auto flow = std::make_shared<Flow>();
    flow->forward = job.packet.tuple;
    flow->reverse = job.packet.tuple.turned();
    flow->no_service = true;
    flow->backend = other->backend;
    return insert(job, flow, Ports::kOwnOrOther);
}

bool Oracle::wants_snat(const Job& job, const Match& match, const image::Backend& backend) const {
    const image::Node& node = world_.node;
    if (job.packet.tuple.src == backend.address) {
        return true;  // hairpin
    }
    // Whose answers need not come back through this node keeps its address.
    if (match.frontend.forwarding != image::Forwarding::kNat && job.place == Place::kUplink) {
        return false;
    }
    if (match.frontend.external) {
        return match.frontend.masquerade || job.place == Place::kKernel;
    }
    if (match.frontend.masquerade || node.masquerade_all) {
        return true;
    }
    const bool detects = node.detect_by_device || !node.cluster_cidrs.empty();
    return detects && !from_pod(job);
}

std::shared_ptr<Oracle::Flow> Oracle::plan(const Job& job, const Match& match, const image::Backend& backend,
                                           bool* lacks_address) const {
    const Tuple& tuple = job.packet.tuple;
    auto flow = std::make_shared<Flow>();
    flow->forward = tuple;
    flow->reverse = {backend.address, tuple.src, backend.port, tuple.sport, tuple.protocol};
    const bool hairpin = tuple.src == backend.address;
    // Such a source is known on its own link alone: no router sends it on (RFC 4291, 2.5.6), and
    // nobody elsewhere answers it.
    const bool keeps_to_link = !tuple.src.is_v4() && tuple.src.is_link_local();
    if (match.frontend.forwarding != image::Forwarding::kNat && job.place == Place::kUplink && !backend.local &&
        !hairpin && !keeps_to_link) {
        flow->direct = match.frontend.forwarding == image::Forwarding::kTunnel   ? Direct::kTunnel
                       : match.frontend.forwarding == image::Forwarding::kOption ? Direct::kOption
                                                                                 : Direct::kLink;
    }
    // A backend on the node itself answers through its stack, which takes no packet that claims to come from the node.
    const IpAddress node = node_address(job.packet.v6);
    const bool stays =
        job.place != Place::kKernel && (keeps_to_link || route(backend.address, 0).hop == Hop::kStay);
    if (wants_snat(job, match, backend) && tuple.src != node && !stays) {
        *lacks_address = node.is_unspecified() || node == IpAddress::from_v4_be(0);
        flow->snat = true;
        flow->reverse.dst = node;
    }
    return flow;
}

bool Oracle::cannot_be(const Job& job, const Match& match, const image::Backend& backend) const {
    bool lacks_address = false;
    const auto flow = plan(job, match, backend, &lacks_address);
    const std::uint16_t port = flow->forward.sport;
    const bool may_own = !flow->snat || (port >= world_.port_min && port <= world_.port_max);
    return lacks_address ||
           (flow->direct == Direct::kNo && !(may_own && reverse_free(flow->reverse)) && exhausted(flow->reverse));
}

void Oracle::begin_flow(Job& job, const Match& match) {
    const std::shared_ptr<BackendLife> backend = choose(job, match);
    if (!backend) {
        return;
    }
    bool lacks_address = false;
    const auto flow = plan(job, match, backend->backend, &lacks_address);
    flow->backend = backend;
    if (lacks_address) {
        turn_away(job, match, false, SLUICE_DROP_NO_NODE_ADDRESS);
    } else if (insert(job, flow, Ports::kOwnOrOther)) {
        ++backend->served.connections;
    } else {
        turn_away(job, match, false, SLUICE_DROP_NO_SNAT_PORT);
    }
}

std::shared_ptr<BackendLife> Oracle::choose(Job& job, const Match& match) {
    const Tuple& tuple = job.packet.tuple;
    const image::Service& service = match.service->desired;
    const auto& set = match.set->backends;
    const auto life = [&](const image::Backend& backend) {
        return match.service->backends.at({backend.address, backend.port});
    };
    const auto in_set = [&](const IpAddress& address, std::uint16_t port) {
        return std::any_of(set.begin(), set.end(), [&](const image::Backend& backend) {
            return backend.address == address && backend.port == port;
        });
    };
    Remembered* remembered = nullptr;
    if (service.affinity_timeout_s != 0) {
        remembered = &affinity_[{tuple.src, match.service.get()}];
        const std::uint64_t timeout = service.affinity_timeout_s * 1000000000ULL / kNsPerUnit;
        const bool in_time = affinity_now_ - remembered->used <= timeout;
        remembered->service = match.service;
        remembered->used = affinity_now_;
        // An endpoint that this traffic may not use is abandoned, as one that is gone.
        if (remembered->backend && in_time && remembered->backend->serves &&
            in_set(remembered->backend->backend.address, remembered->backend->backend.port)) {
            return remembered->backend;
        }
    }
    std::shared_ptr<BackendLife> chosen;
    if (service.choice != image::Choice::kRandom) {
        auto& ring = rings_[set];
        if (ring.empty()) {
            ring = ring_of(set);
        }
        const std::uint64_t place = std::uint64_t{hash_of(tuple, service.choice)} * ring.size() >> 32U;
        chosen = life(set[ring[place]]);
    } else if (set.size() == 1) {
        chosen = life(set.front());
    } else if (const auto tells = (*job.witness)(tuple)) {
        if (!in_set(tells->dst, tells->dport)) {
            job.answer.illegal = "chose " + tells->dst.to_string() + " port " + std::to_string(tells->dport) +
                                 ", which is not in the set";
            return nullptr;
        }
        chosen = match.service->backends.at({tells->dst, tells->dport});
    } else {
        // Whichever it was, there is no way to it.
        const auto failed = std::find_if(set.begin(), set.end(), [&](const image::Backend& backend) {
            return cannot_be(job, match, backend);
        });
        if (failed == set.end()) {
            job.answer.illegal = "no flow was made for a service with endpoints";
            return nullptr;
        }
        chosen = life(*failed);
    }
    if (remembered != nullptr) {
        remembered->backend = chosen;
    }
    return chosen;
}

// ---- on its way

void Oracle::send_on(Job& job, const Half& half, const Quote* quote) {
    const Flow& flow = *half.flow;
    const Packet& packet = job.packet;
    Tuple to = half.becomes();
    if (quote != nullptr) {
        // The end itself is hidden behind the service, or behind the node; a router on the way is not.
        to.src = packet.tuple.src == quote->tuple.dst ? to.src : packet.tuple.src;
    }
    // Goes on to the frontend, by the way to the backend; an error about such a flow is for the backend itself.
    const bool by_link = flow.direct == Direct::kLink && quote == nullptr;
    const std::size_t length = packet.end - packet.l3;
    std::uint8_t ttl = packet.ttl;
    Way way;
    // An answer of the node's own stack was routed for its client already.
    if (job.place != Place::kKernel || !half.reverse) {
        if (to.src.is_v4() || !to.src.is_link_local()) {
            way = route(to.dst, length);
        }
        if (way.hop == Hop::kForward && job.place != Place::kKernel) {
            if (ttl <= 1) {
                drop(job, SLUICE_DROP_TTL_EXPIRED);
                reply(job, packet.v6 ? IcmpAnswer{3, 0, 0} : IcmpAnswer{11, 0, 0});
                return;
            }
            --ttl;
        }
        // Without DF it is the stack's to cut up, but only under its sender's own address.
        if (way.hop == Hop::kTooBig &&
            (packet.whole_only || job.place == Place::kKernel || to.src != packet.tuple.src || by_link)) {
            drop(job, SLUICE_DROP_TOO_BIG);
            reply(job, too_big(way.mtu, packet.v6));
            return;
        }
        const bool must_route = job.place == Place::kKernel ? !half.reverse : (flow.snat && !half.reverse) || by_link;
        if (way.hop != Hop::kForward && must_route) {
            drop(job, SLUICE_DROP_NO_ROUTE);
            return;
        }
    }
    if (by_link) {
        to = packet.tuple;
    }
    const bool ports_change = to.sport != packet.tuple.sport || to.dport != packet.tuple.dport;
    if (quote == nullptr && packet.tuple.protocol == kSctp && packet.fragment == Fragment::kFirst && ports_change) {
        // Its checksum covers what other fragments hold.
        drop(job, SLUICE_DROP_SCTP_PORT);
        return;
    }
    job.frame = quote == nullptr
                    ? rewritten(job.frame, packet, to, ttl)
                    : rewritten_error(job.frame, packet, *quote, half.becomes().turned(), to.src, to.dst, ttl);
    to_stack(job);
    if (way.hop == Hop::kForward) {
        job.answer.verdict = Verdict::kSend;
    }
}

// Direct return, from here on. What the client sent is what counts.
void Oracle::send_direct(Job& job, const Half& half) {
    const Flow& flow = *half.flow;
    Packet& packet = job.packet;
    const bool v6 = packet.v6;
    if (packet.fragment != Fragment::kWhole) {
        drop(job, SLUICE_DROP_FRAGMENT);
        return;
    }
    count(flow, packet);
    const Tuple to = half.becomes();
    const bool tunnel = flow.direct == Direct::kTunnel;
    const std::size_t growth = tunnel ? (v6 ? 40 : 20) : carries_option(packet) ? (v6 ? 24 : 8) : 0;
    const Way way = route(to.dst, packet.end - packet.l3 + growth);
    if (growth == 0) {
        send_on(job, half, nullptr);
        return;
    }
    const IpAddress node = node_address(v6);
    if (tunnel && (node.is_unspecified() || node == IpAddress::from_v4_be(0))) {
        drop(job, SLUICE_DROP_NO_NODE_ADDRESS);
        return;
    }
    // Both asked before the packet changes, so that the answer quotes what the client sent.
    if (way.hop == Hop::kTooBig) {
        drop(job, SLUICE_DROP_TOO_BIG);
        reply(job, too_big(static_cast<std::uint32_t>(way.mtu - growth), v6));
        return;
    }
    if (tunnel) {
        if (way.hop != Hop::kForward) {
            drop(job, SLUICE_DROP_NO_ROUTE);
            return;
        }
        job.answer.packet = in_tunnel(job.frame, packet, node, to.dst, to.dport);
        job.answer.verdict = Verdict::kSend;
        return;
    }
    if (way.hop == Hop::kForward && packet.ttl <= 1) {
        drop(job, SLUICE_DROP_TTL_EXPIRED);
        reply(job, v6 ? IcmpAnswer{3, 0, 0} : IcmpAnswer{11, 0, 0});
        return;
    }
    Bytes grown = with_option(job.frame, packet);
    if (grown.empty()) {
        drop(job, SLUICE_DROP_BAD_HEADER);
        return;
    }
    job.frame = std::move(grown);
    packet.l4 += growth;
    packet.end += growth;
    send_on(job, half, nullptr);
}

}  // namespace sluice::oracle
