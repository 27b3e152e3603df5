#include "dataplane/ebpf/explain.h"

#include <arpa/inet.h>

#include <algorithm>
#include <bit>
#include <map>
#include <tuple>

#include "api/abi/drop_reasons.h"
#include "bpf/lib/view_memory.h"
// The view comes first: the look-up is written against it.
#include "bpf/lib/lookup.h"
#include "dataplane/image/frontends.h"
#include "dataplane/image/reader.h"

namespace sluice::dataplane {
namespace {

using image::address_of;
using image::Tables;

struct Reason {
    const char* name;
    const char* text;
};
#define SLUICE_DROP_REASON_ENTRY(enumerator, name, text) {name, text},
constexpr Reason kReasons[] = {SLUICE_DROP_REASONS(SLUICE_DROP_REASON_ENTRY)};
#undef SLUICE_DROP_REASON_ENTRY

BackendView view_backend(const Tables& tables, const sluice_backend& backend) {
    return BackendView{address_of(backend.address), ntohs(backend.port_be),
                       (backend.flags & SLUICE_BACKEND_LOCAL) != 0,
                       (backend.flags & SLUICE_BACKEND_TERMINATING) != 0,
                       image::read_name(tables, backend.name)};
}

std::vector<BackendView> view_set(const Tables& tables, std::uint64_t word) {
    std::vector<BackendView> out;
    for (const sluice_backend& backend : image::read_set(tables, word)) {
        out.push_back(view_backend(tables, backend));
    }
    return out;
}

bool drops_when_empty(std::uint64_t word) {
    return sluice_word_count(word) == 0 && sluice_word_first(word) == SLUICE_EMPTY_DROP;
}

FrontendView view_frontend(const sluice_frontend& frontend) {
    FrontendView out;
    out.port = ntohs(frontend.key.port_be);
    out.nodeport = frontend.key.scope == SLUICE_SCOPE_NODEPORT;
    out.address = out.nodeport ? IpAddress{} : address_of(frontend.key.address);
    out.external = (frontend.flags & SLUICE_FRONTEND_EXTERNAL) != 0;
    out.masquerade = (frontend.flags & SLUICE_FRONTEND_MASQUERADE) != 0;
    return out;
}

ServiceView view_service(const Tables& tables, std::uint32_t index,
                         const sluice_service_counters& counters) {
    const sluice_service& service = tables.services[index];
    const std::uint64_t internal = SLUICE_READ_ONCE(service.word[SLUICE_TRAFFIC_INTERNAL]);
    const std::uint64_t external = SLUICE_READ_ONCE(service.word[SLUICE_TRAFFIC_EXTERNAL]);
    ServiceView out;
    out.name = image::read_name(tables, service.name);
    out.protocol = static_cast<Protocol>(service.protocol);
    out.family = service.family == 6 ? IpFamily::kIpv6 : IpFamily::kIpv4;
    out.port = ntohs(service.port_be);
    out.internal = view_set(tables, internal);
    out.external = view_set(tables, external);
    out.internal_drop_when_empty = drops_when_empty(internal);
    out.external_drop_when_empty = drops_when_empty(external);
    out.connections = counters.connections;
    out.packets = counters.packets;
    out.bytes = counters.bytes;
    out.refused = counters.refused;
    return out;
}

// Visits every published frontend record.
template <class Visit>
void for_each_frontend(const Tables& tables, Visit visit) {
    const sluice_view view = view_of(tables);
    for (std::uint32_t i = 0; i < tables.header->bucket_count; ++i) {
        for (const auto& slot : tables.buckets[i].slot) {
            const std::uint64_t value = SLUICE_READ_ONCE(slot);
            const sluice_frontend* frontend =
                value == 0 ? nullptr
                           : sluice_view_frontend(&view, static_cast<std::uint32_t>(value >> 32U));
            if (frontend != nullptr) {
                visit(*frontend);
            }
        }
    }
}

std::string place(const IpAddress& address, std::uint16_t port) {
    return address.is_v4() ? fmt::format("{}:{}", address.to_string(), port)
                           : fmt::format("[{}]:{}", address.to_string(), port);
}

std::string range_text(const sluice_cidr& cidr) {
    int bits = 0;
    for (const std::uint32_t word : cidr.mask.word_be) {
        bits += std::popcount(word);
    }
    const IpAddress address = address_of(cidr.address);
    return fmt::format("{}/{}", address.to_string(), address.is_v4() ? bits - 96 : bits);
}

const char* outcome(bool found) {
    return found ? "found" : "no entry";
}

// The look-ups that sluice_classify makes, one by one and in its order.
std::vector<std::string> steps_of(const sluice_view& view, const Question& question) {
    std::vector<std::string> steps;
    sluice_frontend_key key{image::image_address(question.destination),
                            htons(question.destination_port),
                            static_cast<std::uint8_t>(question.protocol), SLUICE_SCOPE_ADDRESS};
    std::uint32_t index = 0;
    const bool exact = sluice_find_frontend(&view, &key, &index) != nullptr;
    steps.push_back(fmt::format("frontend {}/{}: {}",
                                place(question.destination, question.destination_port),
                                protocol_name(question.protocol), outcome(exact)));
    if (exact) {
        return steps;
    }
    key.port_be = 0;
    key.protocol = 0;
    const sluice_frontend* whole = sluice_find_frontend(&view, &key, &index);
    if (whole == nullptr) {
        steps.push_back(fmt::format("address {}: no service has it, and it is no node address",
                                    question.destination.to_string()));
        const bool in_range = sluice_in_any_cidr(&view, &key.address, SLUICE_CIDR_SERVICE) != 0;
        steps.push_back(fmt::format("service ranges: {}", in_range ? "inside" : "outside"));
        return steps;
    }
    if ((whole->flags & SLUICE_FRONTEND_NODE) == 0) {
        steps.push_back(fmt::format("address {}: owned by a service, refuses other ports",
                                    question.destination.to_string()));
        return steps;
    }
    steps.push_back(fmt::format("address {}: this node's", question.destination.to_string()));
    key.address =
        image::image_address(question.destination.is_v4() ? IpAddress::from_v4_be(0) : IpAddress{});
    key.port_be = htons(question.destination_port);
    key.protocol = static_cast<std::uint8_t>(question.protocol);
    key.scope = SLUICE_SCOPE_NODEPORT;
    steps.push_back(fmt::format("node port {}/{}: {}", question.destination_port,
                                protocol_name(question.protocol),
                                outcome(sluice_find_frontend(&view, &key, &index) != nullptr)));
    return steps;
}

// Whether tc would give the packet the node's source address, and why.
std::string masquerade_reason(const sluice_view& view, const Question& question,
                              const FrontendView& frontend) {
    const std::uint32_t flags = view.header->flags;
    const sluice_address source = image::image_address(question.source);
    if (frontend.external) {
        return frontend.masquerade ? "external traffic with policy Cluster" : "";
    }
    if (flags & SLUICE_HEADER_MASQUERADE_ALL) {
        return "all traffic to cluster addresses is masqueraded";
    }
    if ((flags & SLUICE_HEADER_DETECT_LOCAL) &&
        !sluice_in_any_cidr(&view, &source, SLUICE_CIDR_CLUSTER)) {
        return "the source is not a pod (outside the cluster ranges)";
    }
    return "";
}

}  // namespace

ImageStatus read_status(const Tables& tables) {
    ImageStatus out;
    const sluice_header& header = *tables.header;
    out.generation = header.generation;
    out.layout_version = header.layout_version;
    for (std::uint32_t i = 0; i < header.service_capacity; ++i) {
        out.services += (tables.services[i].flags & SLUICE_SERVICE_IN_USE) != 0 ? 1U : 0U;
    }
    for (std::uint32_t i = 0; i < header.backend_capacity; ++i) {
        out.backends += tables.backends[i].incarnation % 2;
    }
    for_each_frontend(tables, [&](const sluice_frontend& frontend) {
        if (frontend.key.port_be != 0) {
            ++out.frontends;
        } else if (frontend.flags & SLUICE_FRONTEND_NODE) {
            out.node_addresses.push_back(address_of(frontend.key.address));
        }
    });
    std::sort(out.node_addresses.begin(), out.node_addresses.end());
    for (std::uint32_t i = 0; i < std::min<std::uint32_t>(header.cidr_count, SLUICE_MAX_CIDRS);
         ++i) {
        if (header.cidr[i].kind == SLUICE_CIDR_SERVICE) {
            out.service_cidrs.push_back(range_text(header.cidr[i]));
        }
    }
    return out;
}

std::vector<ServiceView> read_services(const Tables& tables) {
    std::map<std::uint32_t, std::vector<FrontendView>> frontends;
    for_each_frontend(tables, [&](const sluice_frontend& frontend) {
        if (frontend.key.port_be != 0) {
            frontends[frontend.service].push_back(view_frontend(frontend));
        }
    });
    std::vector<ServiceView> out;
    const auto counters = count_services(tables);
    for (std::uint32_t i = 0; i < tables.header->service_capacity; ++i) {
        if ((tables.services[i].flags & SLUICE_SERVICE_IN_USE) == 0) {
            continue;
        }
        ServiceView service = view_service(tables, i, counters[i]);
        if (const auto found = frontends.find(i); found != frontends.end()) {
            service.frontends = std::move(found->second);
            std::sort(service.frontends.begin(), service.frontends.end(),
                      [](const FrontendView& a, const FrontendView& b) {
                          return std::tie(a.external, a.nodeport, a.address, a.port) <
                                 std::tie(b.external, b.nodeport, b.address, b.port);
                      });
        }
        out.push_back(std::move(service));
    }
    std::sort(out.begin(), out.end(), [](const ServiceView& a, const ServiceView& b) {
        return std::tie(a.name, a.protocol, a.family) < std::tie(b.name, b.protocol, b.family);
    });
    return out;
}

std::vector<DropView> read_drops(const Tables& tables) {
    std::vector<DropView> out;
    for (std::uint32_t reason = 1; reason < SLUICE_DROP_REASON_COUNT; ++reason) {
        out.push_back(DropView{kReasons[reason].name, sum_drops(tables, reason)});
    }
    return out;
}

Explanation explain_packet(const Tables& tables, const Question& question) {
    const sluice_view view = view_of(tables);
    sluice_frontend_key key{image::image_address(question.destination),
                            htons(question.destination_port),
                            static_cast<std::uint8_t>(question.protocol), SLUICE_SCOPE_ADDRESS};
    sluice_match match{};
    Explanation out;
    out.steps = steps_of(view, question);
    sluice_classify(&view, &key, 0, &match);
    if (match.has_service) {
        out.service = view_service(tables, match.service, count_services(tables)[match.service]);
        out.frontend = view_frontend(tables.frontends[match.frontend]);
        out.service->frontends = {*out.frontend};
    }
    switch (match.verdict) {
        case SLUICE_VERDICT_TRANSLATE: {
            out.verdict = "translate";
            out.candidates = view_set(tables, match.word);
            out.steps.push_back(fmt::format(
                "set at slot {}, {} backends, generation {}", sluice_word_first(match.word),
                sluice_word_count(match.word), match.word >> SLUICE_WORD_GENERATION_SHIFT));
            out.reason = fmt::format("{} takes it; {} backends serve {} traffic", out.service->name,
                                     out.candidates.size(),
                                     out.frontend->external ? "external" : "internal");
            const std::string masquerade = masquerade_reason(view, question, *out.frontend);
            if (!masquerade.empty()) {
                const sluice_address& node =
                    view.header->node_address[question.destination.is_v4() ? 0 : 1];
                out.masquerade = true;
                out.steps.push_back("source address: the node's, for " + masquerade);
                if (const IpAddress address = address_of(node); !address.is_unspecified()) {
                    out.masquerade_address = address;
                }
            } else {
                out.steps.emplace_back("source address: kept, unless the source is the backend");
            }
            if (!question.from_outside) {
                out.steps.emplace_back(
                    "a process under the socket hooks is translated when it connects or sends, and "
                    "then has the source that routing gives it");
            }
            break;
        }
        case SLUICE_VERDICT_REFUSE:
            out.verdict = "refuse";
            out.reason = kReasons[match.reason].text;
            break;
        case SLUICE_VERDICT_DROP:
            out.verdict = "drop";
            out.reason = kReasons[match.reason].text;
            break;
        default:
            out.verdict = "pass";
            out.reason = "no service has this destination; routing and the host decide";
            break;
    }
    return out;
}

}  // namespace sluice::dataplane
