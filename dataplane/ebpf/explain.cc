// See explain.h.
#include "dataplane/ebpf/explain.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "api/base/host_port.h"
#include "bpf/lib/view_memory.h"
// The views come first: the decisions are written against them.
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/case.h"
#include "bpf/lib/hook_path.h"
#include "dataplane/ebpf/inspect_affinity.h"
#include "dataplane/ebpf/inspect_flows.h"
#include "dataplane/ebpf/inspect_views.h"
#include "dataplane/image/drop_reasons.h"
#include "dataplane/image/frontends.h"

// What decide.h asks of an engine; here it is a person who asks.
namespace {
thread_local const sluice_view* asked_image = nullptr;
// What is known of the client, for the choice that decide.h asks for, and what was found of it.
struct AskedAffinity {
    const sluice::dataplane::AffinityView* table = nullptr;
    bool node = false;  // the client is a process of the node
    std::uint64_t node_netns = 0;
    std::optional<sluice::dataplane::RememberedChoice> found;
};
thread_local AskedAffinity asked_affinity;
}  // namespace

using sluice_env = const sluice::dataplane::Question*;

static inline int sluice_view_open(sluice_view* view) {
    if (asked_image == nullptr) return 0;
    *view = *asked_image;
    return 1;
}

static inline __u32 sluice_env_random() {
    return 0;
}

static inline int sluice_env_stays(sluice_env question, sluice_case* now, int /*v6*/) {
    const auto backend = sluice::image::address_of(now->selection.address);
    const auto& own = question->node_addresses;
    return std::find(own.begin(), own.end(), backend) != own.end() ? 1 : 0;
}

// As the programs do, but that nothing is remembered.
static inline int sluice_select_affine(const sluice_view* view, const sluice_match* match,
                                       const sluice_address* client, __u32 point,
                                       sluice_selection* selection) {
    using sluice::dataplane::find_affinity;
    AskedAffinity& asked = asked_affinity;
    if (asked.table != nullptr) {
        const bool hook = asked.node && sluice_hook_leaves_node(sluice_hook_path(view, match)) == 0;
        asked.found = find_affinity(
            *asked.table, hook ? sluice::dataplane::affinity_client_of(asked.node_netns) : *client,
            match->service, match->affinity_timeout_s);
    }
    if (!asked.found) return sluice_select(view, match->word, point, selection);
    const sluice_backend* backend = sluice_view_backend(view, asked.found->backend);
    if (backend == nullptr || backend->service != match->service ||
        sluice_backend_serves(view, asked.found->backend, asked.found->incarnation) == 0 ||
        sluice_set_holds(view, match->word, asked.found->backend) == 0) {
        asked.found.reset();
        return sluice_select(view, match->word, point, selection);
    }
    *selection = sluice_selection{backend->address, backend->port_be, backend->flags, asked.found->backend,
                                  asked.found->incarnation};
    return 1;
}

// Nothing is inserted here.
static inline void sluice_note_opened(const sluice_view* /*view*/, const sluice_case* /*now*/) {}

#include "bpf/lib/decide.h"

namespace sluice::dataplane {
namespace {

using image::address_of;
using image::image_address;
using image::Tables;

const char* outcome(bool found) {
    return found ? "found" : "no entry";
}

const char* origin_name(Origin origin) {
    switch (origin) {
        case Origin::kPod: return "pod";
        case Origin::kNode: return "node";
        default: return "outside";
    }
}

std::uint32_t place_of(Origin origin) {
    switch (origin) {
        case Origin::kPod: return SLUICE_PLACE_POD_INGRESS;
        case Origin::kNode: return SLUICE_PLACE_NODE_EGRESS;
        default: return SLUICE_PLACE_NODE_INGRESS;
    }
}

bool is_local_backend(const Tables& tables, const IpAddress& address) {
    const sluice_address wanted = image_address(address);
    for (std::uint32_t i = 0; i < tables.header->backend_capacity; ++i) {
        const sluice_backend& backend = tables.backends[i];
        if (backend.incarnation % 2 == 1 && (backend.flags & SLUICE_BACKEND_LOCAL) != 0 &&
            sluice_address_equal(&backend.address, &wanted) != 0) {
            return true;
        }
    }
    return false;
}

// Where the packet is taken to come from, and the step that says so.
Origin find_origin(const Tables& tables, const sluice_view& view, const Question& question,
                   std::vector<std::string>* steps) {
    const auto say = [&](Origin origin, const char* why) {
        steps->push_back(fmt::format("from {}: {}", origin_name(origin), why));
        return origin;
    };
    if (question.origin != Origin::kGuess) return say(question.origin, "as asked");
    const auto& own = question.node_addresses;
    if (std::find(own.begin(), own.end(), question.source) != own.end()) {
        return say(Origin::kNode, "the source is an address of this node");
    }
    const sluice_address source = image_address(question.source);
    if (sluice_in_any_cidr(&view, &source, SLUICE_CIDR_CLUSTER) != 0) {
        return say(Origin::kPod, "the source is in the pods' ranges");
    }
    if (is_local_backend(tables, question.source)) {
        return say(Origin::kPod, "the source is an endpoint on this node");
    }
    if ((view.header->flags & SLUICE_HEADER_DETECT_LOCAL) != 0) {
        return say(Origin::kOutside, "the source is outside of the pods' ranges");
    }
    return say(Origin::kPod, "assumed, for no ranges of pods are known; --from says otherwise");
}

// The look-ups that sluice_classify makes, one by one and in its order.
void describe_lookups(const sluice_view& view, const Question& question,
                      std::vector<std::string>* steps) {
    sluice_frontend_key key{image_address(question.destination), htons(question.destination_port),
                            static_cast<std::uint8_t>(question.protocol), SLUICE_SCOPE_ADDRESS};
    std::uint32_t index = 0;
    const bool exact = sluice_find_frontend(&view, &key, &index) != nullptr;
    steps->push_back(fmt::format("frontend {}/{}: {}",
                                 host_and_port(question.destination, question.destination_port),
                                 protocol_name(question.protocol), outcome(exact)));
    if (exact) return;
    key.port_be = 0;
    key.protocol = 0;
    const sluice_frontend* whole = sluice_find_frontend(&view, &key, &index);
    if (whole == nullptr) {
        steps->push_back(fmt::format("address {}: no service has it, and it is no node address",
                                     question.destination.to_string()));
        const bool in_range = sluice_in_any_cidr(&view, &key.address, SLUICE_CIDR_SERVICE) != 0;
        steps->push_back(fmt::format("service ranges: {}", in_range ? "inside" : "outside"));
        return;
    }
    if ((whole->flags & SLUICE_FRONTEND_NODE) == 0) {
        steps->push_back(fmt::format("address {}: owned by a service, refuses other ports",
                                     question.destination.to_string()));
        return;
    }
    steps->push_back(fmt::format("address {}: this node's", question.destination.to_string()));
    key.address =
        image_address(question.destination.is_v4() ? IpAddress::from_v4_be(0) : IpAddress{});
    key.port_be = htons(question.destination_port);
    key.protocol = static_cast<std::uint8_t>(question.protocol);
    key.scope = SLUICE_SCOPE_NODEPORT;
    steps->push_back(fmt::format("node port {}/{}: {}", question.destination_port,
                                 protocol_name(question.protocol),
                                 outcome(sluice_find_frontend(&view, &key, &index) != nullptr)));
}

// Why the backend sees the node, or the client; goes with sluice_wants_snat and sluice_plan_flow.
std::string source_reason(const sluice_case& now, const sluice_view& view, bool hidden) {
    const std::uint32_t frontend = now.match.frontend_flags;
    const std::uint32_t flags = view.header->flags;
    const bool external = (frontend & SLUICE_FRONTEND_EXTERNAL) != 0;
    if (!hidden) {
        if (sluice_wants_snat(&now, &view) != 0) {
            return "kept: it is the node's already, or the endpoint is on the node's own address";
        }
        if (external) {
            return (frontend & SLUICE_FRONTEND_DSR) != 0
                       ? "kept: direct return needs no way back through here"
                       : "kept: external traffic with policy Local";
        }
        if ((flags & (SLUICE_HEADER_DETECT_LOCAL | SLUICE_HEADER_DETECT_DEVICE)) == 0) {
            return "kept: cluster addresses are not masqueraded without detectLocal";
        }
        return "kept: the source is a pod";
    }
    if ((frontend & SLUICE_FRONTEND_MASQUERADE) != 0) {
        return "the node's, for external traffic with policy Cluster";
    }
    if (external) return "the node's, for its own traffic to an external address";
    if ((flags & SLUICE_HEADER_MASQUERADE_ALL) != 0) {
        return "the node's, for all traffic to cluster addresses is masqueraded";
    }
    return (flags & SLUICE_HEADER_DETECT_DEVICE) != 0
               ? "the node's, for the packet did not come from a pod's device"
               : "the node's, for the source is not a pod (outside the cluster ranges)";
}

const char* forwarding_of(std::uint32_t flow_flags) {
    if ((flow_flags & SLUICE_FLOW_TUNNEL) != 0) return "tunnel";
    if ((flow_flags & SLUICE_FLOW_LINK) != 0) return "link";
    return (flow_flags & SLUICE_FLOW_OPTION) != 0 ? "option" : "nat";
}

void name_set(const sluice_case& now, bool inside, Explanation* out) {
    if ((now.match.frontend_flags & SLUICE_FRONTEND_EXTERNAL) == 0) {
        out->set = "internal";
        out->steps.emplace_back("set: internal, for the frontend is a cluster address");
    } else if (inside) {
        out->set = "inside";
        out->steps.emplace_back(
            "set: inside, for the client is a pod or this node: external policy Local does not bind "
            "it");
    } else {
        out->set = "external";
        out->steps.emplace_back("set: external, for the client comes from outside");
    }
}

// Fills the candidates, each with what would be done to the packet.
void list_candidates(const Tables& tables, const sluice_view& view, const Question& question,
                     sluice_case* now, Explanation* out) {
    const int v6 = question.destination.is_v4() ? 0 : 1;
    const std::uint32_t kind = sluice_hash_kind(&view, now->match.word);
    const bool by_client = (kind & SLUICE_RING_CLIENT) != 0;
    const bool hashed = (kind & SLUICE_RING_RANDOM) == 0;
    const auto& remembered = asked_affinity.found;
    const bool certain = remembered || (hashed && (by_client || question.source_port != 0));
    const std::uint32_t chosen = now->selection.backend;
    bool first = true;
    // What a client keeps need not be in the set that it would choose from.
    const auto choices = remembered ? std::vector<BackendView>{view_backend(tables, chosen)}
                                    : view_set(tables, now->match.word);
    for (const BackendView& backend : choices) {
        if (certain && backend.index != chosen) continue;
        const sluice_backend& record = tables.backends[backend.index];
        now->selection = sluice_selection{record.address, record.port_be, record.flags,
                                          backend.index, record.incarnation};
        Candidate candidate;
        candidate.backend = backend;
        if (certain) candidate.backend.share = 1;
        const std::uint32_t failure = sluice_plan_flow(&question, now, &view, v6);
        candidate.source_nat = failure == SLUICE_DROP_NONE && now->pair.snat != 0;
        candidate.forwarding = forwarding_of(now->pair.flags);
        const bool hairpin = backend.address == question.source;
        if (first && !hairpin) {
            first = false;
            out->steps.push_back("source address: " +
                                 source_reason(*now, view, candidate.source_nat));
        }
        if (hairpin && candidate.source_nat) {
            out->steps.push_back(fmt::format("source address for {}: the node's, for the source is the "
                                             "endpoint itself", backend.address.to_string()));
        }
        out->masquerade = out->masquerade || (candidate.source_nat && !hairpin) ||
                          (candidate.source_nat && out->candidates.empty() && certain);
        out->candidates.push_back(std::move(candidate));
    }
    if (remembered) {
        out->steps.push_back(fmt::format("affinity: the client came {} s ago and keeps its endpoint, {}",
                                         remembered->idle_s,
                                         host_and_port(choices[0].address, choices[0].port)));
    } else if (hashed) {
        out->steps.push_back(
            certain ? fmt::format("choice: consistent hash of the {}, the same on every node",
                                  by_client ? "client's address" : "addresses, ports and protocol")
                    : "choice: consistent hash of addresses, ports and protocol; name a source port "
                      "to learn which");
    } else if ((now->match.word & SLUICE_WORD_RING) != 0) {
        out->steps.emplace_back("choice: at random, by weight");
    } else {
        out->steps.emplace_back("choice: at random, each equally likely");
    }
    if (now->match.affinity_timeout_s != 0 && !remembered) {
        out->steps.push_back(fmt::format("affinity: {}, and keeps what is chosen until it has not come for {} s",
                                         asked_affinity.table != nullptr ? "the client is not known"
                                                                         : "no table of clients is there",
                                         now->match.affinity_timeout_s));
    }
    for (const Candidate& candidate : out->candidates) {
        if (candidate.forwarding == "nat") continue;
        out->steps.push_back(fmt::format(
            "direct return: the packet goes on {}, and the endpoint's node answers the client itself",
            candidate.forwarding == "tunnel" ? "in an IP tunnel"
            : candidate.forwarding == "link" ? "as it is to the endpoint's node, by its MAC address"
                                             : "with an IP option"));
        break;
    }
    if (out->masquerade) {
        const auto address = address_of(view.header->node_address[v6]);
        if (!address.is_unspecified()) out->masquerade_address = address;
    }
}

// Returns true if the packet is part of a live flow, which decides.
bool explain_flow(const Tables& tables, const Question& question, const sluice_flow_view* flows,
                  Explanation* out) {
    if (question.source_port == 0 || flows == nullptr) return false;
    const auto found =
        find_flow(*flows, FlowKey{question.source, question.destination, question.source_port,
                                  question.destination_port, question.protocol});
    if (!found) {
        out->steps.emplace_back("flow table: no flow has these addresses and ports");
        return false;
    }
    FlowView flow = found->flow;
    flow.service = name_of_service(tables, flow.service_index);
    flow.target = name_of_backend(tables, flow.backend_index);
    flow.serving = backend_serves(tables, flow.backend_index, flow.incarnation);
    out->flow = flow;
    out->answer = found->answer;
    out->steps.push_back(fmt::format("flow table: {}, {} of {} s idle{}", flow.state, flow.idle_s,
                                     flow.timeout_s,
                                     flow.serving ? "" : ", its endpoint no longer serves"));
    const bool over = flow.state == "closed" || flow.idle_s > flow.timeout_s;
    const bool leaves = !flow.serving && flow.protocol != Protocol::kTcp && !flow.plain;
    if (!found->answer && (over || leaves)) {
        out->steps.emplace_back(over ? "the flow is over: the packet is taken as the first of a new one"
                                     : "a datagram leaves an endpoint that no longer serves");
        return false;
    }
    out->verdict = "translate";
    if (found->answer) {
        out->reason = fmt::format("an answer of {}: it leaves as {} to {}",
                                  host_and_port(flow.backend, flow.backend_port),
                                  host_and_port(flow.destination, flow.destination_port),
                                  host_and_port(flow.client, flow.client_port));
        return true;
    }
    out->reason = fmt::format("part of a flow{}: it goes to {} as from {}",
                              flow.plain ? "" : " of " + flow.service,
                              host_and_port(flow.backend, flow.backend_port),
                              host_and_port(flow.source, flow.source_port));
    out->masquerade = flow.source_nat;
    if (flow.source_nat) out->masquerade_address = flow.source;
    if (!flow.plain) {
        Candidate candidate;
        candidate.backend = view_backend(tables, flow.backend_index);
        candidate.backend.address = flow.backend;
        candidate.backend.port = flow.backend_port;
        candidate.backend.share = 1;
        candidate.source_nat = flow.source_nat;
        candidate.forwarding = flow.forwarding;
        out->candidates.push_back(std::move(candidate));
    }
    return true;
}

void fill_case(const Question& question, Origin origin, sluice_case* now) {
    sluice_tuple& tuple = now->packet.tuple;
    tuple.src = image_address(question.source);
    tuple.dst = image_address(question.destination);
    tuple.ports.port_be[SLUICE_SOURCE] = htons(question.source_port);
    tuple.ports.port_be[SLUICE_DESTINATION] = htons(question.destination_port);
    tuple.protocol = static_cast<__u8>(question.protocol);
    now->packet.family = question.destination.is_v4() ? 4 : 6;
    now->packet.tcp_flags = SLUICE_TCP_SYN;
    now->place = place_of(origin);
    // now->flows stays empty: with no bucket in it, nothing is found and nothing changed.
}

// Who of the two translates what a process here sends, and why.
std::string way_of(const sluice_case& now, const sluice_view& view, const Question& question, bool node) {
    if (question.protocol == Protocol::kSctp) {
        return "way: the packet path, for SCTP sockets have no hook";
    }
    const std::uint32_t path = sluice_hook_path(&view, &now.match);
    if (path == SLUICE_HOOK_TAKES || (node && sluice_hook_leaves_node(path) == 0)) {
        return "way: a process under the socket hooks is translated when it connects or sends, and then has the "
               "source that routing gives it";
    }
    const char* why = "a consistent hash is of the client's address";
    if (path == SLUICE_HOOK_LEAVES_SOURCES) why = "source ranges are of the client's address";
    if (path == SLUICE_HOOK_LEAVES_MASQUERADE) why = "the endpoint is to see the node, not the pod";
    if (path == SLUICE_HOOK_LEAVES_AFFINITY) why = "affinity is by the pod's address";
    return fmt::format("way: the packet path, also for a process under the socket hooks: {}", why);
}

}  // namespace

Explanation explain_packet(const Tables& tables, const Question& question,
                           const sluice_flow_view* flows, const AffinityView* affinity) {
    const sluice_view view = view_of(tables);
    Explanation out;
    const Origin origin = find_origin(tables, view, question, &out.steps);
    out.origin = origin_name(origin);
    if (explain_flow(tables, question, flows, &out)) return out;

    describe_lookups(view, question, &out.steps);
    sluice_case now{};
    fill_case(question, origin, &now);
    asked_image = &view;
    asked_affinity = {affinity, origin == Origin::kNode, question.node_netns, std::nullopt};
    const int v6 = question.destination.is_v4() ? 0 : 1;
    const int decision = sluice_admit(&question, &now, v6);
    const bool inside = sluice_from_inside(&now, &view) != 0;
    if (now.match.has_service) {
        out.service = view_service(tables, now.match.service);
        out.frontend = view_frontend(tables.frontends[now.match.frontend]);
        out.service->frontends = {*out.frontend};
        if (now.match.sources != 0) {
            out.steps.push_back(fmt::format(
                "source ranges: {}", sluice_in_sources(&now) != 0 ? "the client is in one"
                                                                  : "the client is in none"));
        }
        name_set(now, inside, &out);
    }
    if (decision == SLUICE_DECIDE_ESTABLISH || (decision == SLUICE_DECIDE_DROP &&
                                                now.reason == SLUICE_DROP_NO_NODE_ADDRESS)) {
        out.steps.push_back(fmt::format("set at slot {}, {} endpoints, generation {}",
                                        sluice_word_first(now.match.word),
                                        sluice_word_count(now.match.word),
                                        now.match.word >> SLUICE_WORD_GENERATION_SHIFT));
        list_candidates(tables, view, question, &now, &out);
    }
    asked_image = nullptr;
    asked_affinity = {};
    switch (decision) {
        case SLUICE_DECIDE_ESTABLISH:
            out.verdict = "translate";
            out.reason = fmt::format("{} takes it; {} endpoints serve {} traffic", out.service->name,
                                     sluice_word_count(now.match.word), out.set);
            if (origin != Origin::kOutside) {
                out.steps.push_back(way_of(now, view, question, origin == Origin::kNode));
            }
            break;
        case SLUICE_DECIDE_REFUSE:
            out.verdict = "refuse";
            out.reason = image::drop_text(now.reason);
            break;
        case SLUICE_DECIDE_DROP:
            out.verdict = "drop";
            out.reason = image::drop_text(now.reason);
            break;
        default:
            out.verdict = "pass";
            out.reason = "no service has this destination; routing and the host decide";
            break;
    }
    return out;
}

}  // namespace sluice::dataplane
