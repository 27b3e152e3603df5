// Packets without ports of their own, and what other nodes send for direct return. See oracle.h.
#include <algorithm>

#include "tests/oracle/oracle.h"

namespace sluice::oracle {
namespace {

constexpr std::size_t kEthernet = 14;

bool is_error(std::uint8_t type, bool v6) {
    return v6 ? type >= 1 && type <= 4 : type == 3 || type == 11 || type == 12;
}
// What is asked of somebody, and may therefore be refused.
bool is_question(std::uint8_t type, bool v6) {
    return v6 ? type == 128 : type == 8 || type == 13 || type == 15 || type == 17;
}
// Multicast listeners, neighbours, routers.
bool is_of_the_link(std::uint8_t type, bool v6) { return v6 && type >= 130 && type <= 143; }

}  // namespace

// To a service's address such a packet is refused (other protocols, pings), or dropped: broken headers, fragments, and
// ICMP errors and answers that belong to no flow.
void Oracle::portless(Job& job) {
    const Packet& packet = job.packet;
    const bool broken = packet.shape == Shape::kBadL4;
    const bool icmp = packet.tuple.protocol == (packet.v6 ? kIcmpv6 : kIcmp) && !broken &&
                      packet.fragment == Fragment::kWhole;
    if (icmp && is_of_the_link(packet.icmp_type, packet.v6)) {
        return;
    }
    if (icmp && is_error(packet.icmp_type, packet.v6) && turn_error(job)) {
        return;
    }
    // No frontend has this protocol: only what is said of whole addresses counts.
    const Match match = classify(packet.tuple.dst, 0, 255, false);
    if (match.kind == Match::Kind::kPass) {
        return;
    }
    if (match.kind == Match::Kind::kRefuse) {
        sluice_drop_reason reason = packet.reason;
        if (!broken && packet.fragment != Fragment::kWhole) {
            reason = SLUICE_DROP_FRAGMENT;
        } else if (!broken && icmp && !is_question(packet.icmp_type, packet.v6)) {
            reason = SLUICE_DROP_NO_FLOW;
        } else if (!broken && !is_host(packet.tuple.src)) {
            reason = SLUICE_DROP_BAD_SOURCE;
        }
        if (reason != SLUICE_DROP_NONE) {
            drop(job, reason);
            return;
        }
    }
    turn_away(job, match, match.kind == Match::Kind::kRefuse, match.reason);
}

// Whether it is an ICMP error about a flow: the quoted packet turned round is what would come back, so the error is
// treated as that would be. It is told to who sent the packet in question, and by one host, or it is not honest.
bool Oracle::turn_error(Job& job) {
    const Quote quote = read_quote(job.frame, job.packet);
    if (!quote.usable || job.packet.tuple.dst != quote.tuple.src || !is_host(job.packet.tuple.src)) {
        return false;
    }
    const Half* half = find(quote.tuple.turned());
    if (half == nullptr) {
        return false;
    }
    count(*half->flow, job.packet);
    send_on(job, Half(*half), &quote);
    return true;
}

// ---- the backend's node of direct return

bool Oracle::receive_direct(Job& job) {
    const Packet& packet = job.packet;
    const bool v6 = packet.v6;
    if (job.place != Place::kUplink || packet.fragment != Fragment::kWhole) {
        return true;
    }
    Packet inner;
    IpAddress pod = packet.tuple.dst;
    std::uint16_t port = 0;
    bool option = false;
    const std::size_t header = v6 ? 40 : 20;
    if (packet.shape == Shape::kNoPorts && packet.tuple.protocol == (v6 ? kIpv6 : kIpip) &&
        packet.l4 == packet.l3 + header) {
        inner = read_ip(job.frame, packet.l4, v6 ? kEtherIpv6 : kEtherIpv4);
        if (inner.shape != Shape::kPorts || inner.fragment != Fragment::kWhole) {
            return true;
        }
        port = static_cast<std::uint16_t>(get16(job.frame, packet.l3 + (v6 ? 2 : 4)));
    } else if (packet.shape == Shape::kPorts && packet.l4 == packet.l3 + header + (v6 ? 24 : 8)) {
        const std::size_t at = packet.l3 + header;
        const Bytes& frame = job.frame;
        const bool ours = v6 ? frame[packet.l3 + 6] == 60 && frame[at + 1] == 2 && frame[at + 2] == 0x1e &&
                                   frame[at + 3] == 20
                             : frame[at] == 0x9e && frame[at + 1] == 8;
        if (!ours) {
            return true;
        }
        inner = packet;
        port = packet.tuple.dport;
        inner.tuple.dst = IpAddress{};
        if (v6) {
            std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(at + 4), 16, inner.tuple.dst.bytes.begin());
            inner.tuple.dport = static_cast<std::uint16_t>(get16(frame, at + 20));
        } else {
            inner.tuple.dst = IpAddress::from_v4_be(0);
            std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(at + 4), 4, inner.tuple.dst.bytes.begin() + 12);
            inner.tuple.dport = static_cast<std::uint16_t>(get16(frame, at + 2));
        }
        option = true;
    } else {
        return true;
    }
    switch (accept(job, inner, pod, port, option)) {
        case Accepted::kPass: return true;
        case Accepted::kDrop: return false;
        case Accepted::kAccept: break;
    }
    if (option) {
        strip_option(job, inner, pod);
    } else {
        job.frame.erase(job.frame.begin() + static_cast<std::ptrdiff_t>(packet.l3),
                        job.frame.begin() + static_cast<std::ptrdiff_t>(packet.l4));
    }
    job.packet = read_ip(job.frame, kEthernet, v6 ? kEtherIpv6 : kEtherIpv4);
    to_stack(job);
    return true;
}

// The other node's choice replaces what this node knows of the tuple, so that two nodes cannot send a packet to and
// fro.
Oracle::Accepted Oracle::accept(Job& job, const Packet& inner, const IpAddress& pod, std::uint16_t port, bool option) {
    const Tuple& tuple = inner.tuple;
    const bool tcp = tuple.protocol == kTcp;
    const auto refuse = [&](sluice_drop_reason reason) {
        drop(job, reason);
        return Accepted::kDrop;
    };
    const Half* known = find(tuple);
    if (known != nullptr) {
        const Flow& flow = *known->flow;
        const bool over = flow.state == State::kClosed || flow.state == State::kClosing;
        if (!known->reverse && flow.direct == Direct::kNo && !flow.snat && flow.reverse.src == pod &&
            !expired(flow) && !(tcp && inner.has(kSyn, kSyn | kAck) && over)) {
            return Accepted::kAccept;
        }
    }
    Match match = classify(tuple.dst, tuple.dport, tuple.protocol, false);
    if (match.kind == Match::Kind::kPass) {
        // A NodePort of the other node's address: all nodes have the same. Never of an address that a pod may have.
        match = {};
        if (!in_cluster(tuple.dst)) {
            Match own = classify(node_address(inner.v6), tuple.dport, tuple.protocol, false);
            const image::Forwarding way = own.frontend.forwarding;
            if (own.node_port && own.service &&
                (way == image::Forwarding::kTunnel || way == image::Forwarding::kOption)) {
                match = own;
            }
        }
    }
    if (!match.service || !match.frontend.external) {
        return Accepted::kPass;
    }
    const image::Service& service = match.service->desired;
    const image::Backend* backend = nullptr;
    // The other node chose by what it knows of where the client is: either set may hold the pod.
    for (const image::BackendSet* set : {&service.external, &service.inside}) {
        for (const image::Backend& candidate : set->backends) {
            if (backend == nullptr && candidate.address == pod && candidate.port == port) {
                backend = &candidate;
            }
        }
    }
    if (backend == nullptr) {
        return refuse(SLUICE_DROP_BAD_TUNNEL);
    }
    if (!backend->local) {
        return Accepted::kPass;  // for another node's pod: this one is merely on the way
    }
    if (!is_host(tuple.src)) {
        return refuse(SLUICE_DROP_BAD_SOURCE);
    }
    if (!source_allowed(match, tuple.src)) {
        return refuse(SLUICE_DROP_SOURCE_RANGE);
    }
    if (tcp && (inner.flags & kRst) != 0) {
        return refuse(SLUICE_DROP_NO_FLOW);
    }
    if (known != nullptr) {
        forget(known->flow);
    }
    auto flow = std::make_shared<Flow>();
    flow->forward = tuple;
    flow->reverse = {pod, tuple.src, port, tuple.sport, tuple.protocol};
    // Of a connection by option only the SYN names the frontend: what follows names the pod and the client's own port.
    flow->returns = option && tcp;
    flow->backend = match.service->backends.at({pod, port});
    // One that came from this port by another frontend, and is over as far as is seen here, makes room.
    const Half* before = flow->returns && inner.has(kSyn, kSyn | kAck) ? find(flow->reverse) : nullptr;
    if (before != nullptr &&
        (before->flow->state == State::kClosed || before->flow->state == State::kClosing || expired(*before->flow))) {
        forget(before->flow);
    }
    if (!insert(job, flow, flow->returns ? Ports::kFixed : Ports::kOwnOrOther)) {
        return refuse(SLUICE_DROP_NO_SNAT_PORT);
    }
    ++flow->backend->served.connections;
    return Accepted::kAccept;
}

// Takes the option off, and gives the packet the frontend's address and port again.
void Oracle::strip_option(Job& job, const Packet& inner, const IpAddress& pod) {
    const bool v6 = inner.v6;
    const std::size_t header = v6 ? 40 : 20;
    const std::size_t size = v6 ? 24 : 8;
    Bytes& frame = job.frame;
    if (v6) {
        frame[inner.l3 + 6] = frame[inner.l3 + header];
        put16(frame, inner.l3 + 4, get16(frame, inner.l3 + 4) - static_cast<std::uint32_t>(size));
    } else {
        frame[inner.l3] = 0x45;
        put16(frame, inner.l3 + 2, get16(frame, inner.l3 + 2) - static_cast<std::uint32_t>(size));
    }
    const auto option = frame.begin() + static_cast<std::ptrdiff_t>(inner.l3 + header);
    frame.erase(option, option + static_cast<std::ptrdiff_t>(size));
    Packet plain = inner;
    plain.l4 -= size;
    plain.end -= size;
    plain.tuple.dst = pod;
    plain.tuple.dport = job.packet.tuple.dport;
    frame = rewritten(frame, plain, inner.tuple, inner.ttl);
}

}  // namespace sluice::oracle
