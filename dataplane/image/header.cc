// The header, and what a successor carries over from an image.
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include "bpf/lib/hash.h"
#include "dataplane/image/publisher.h"
#include "dataplane/image/reader.h"

namespace sluice::image {
namespace {

sluice_address mask_of(const IpPrefix& prefix) {
    const unsigned bits = prefix.bits + (prefix.family() == IpFamily::kIpv4 ? 96U : 0U);
    IpAddress mask;
    for (unsigned i = 0; i < bits && i < 128; ++i) {
        mask.bytes[i / 8] = static_cast<std::uint8_t>(mask.bytes[i / 8] | 0x80U >> i % 8);
    }
    return image_address(mask);
}

}  // namespace

bool same_header(const Node& a, const Node& b) {
    Node left = a;
    Node right = b;
    left.nodeport_addresses.clear();
    right.nodeport_addresses.clear();
    return left == right;
}

Result<void> write_header(const Tables& tables, const Capacities& capacities,
                          const HeaderFacts& facts, std::uint64_t generation) {
    const Node& node = facts.node;
    if (node.service_cidrs.size() + node.cluster_cidrs.size() > SLUICE_MAX_CIDRS) {
        return make_error(Code::kInvalidArgument,
                          "the node has {} service and {} cluster ranges; together at most {} fit",
                          node.service_cidrs.size(), node.cluster_cidrs.size(), SLUICE_MAX_CIDRS);
    }
    if (facts.snat_port_min == 0 || facts.snat_port_min > facts.snat_port_max) {
        return make_error(Code::kInvalidArgument, "source port range {}-{} is empty or starts at 0",
                          facts.snat_port_min, facts.snat_port_max);
    }
    sluice_header header{};
    header.magic = SLUICE_IMAGE_MAGIC;
    header.layout_version = SLUICE_LAYOUT_VERSION;
    header.flags = (node.masquerade_all ? SLUICE_HEADER_MASQUERADE_ALL : 0U) |
                   (node.cluster_cidrs.empty() ? 0U : SLUICE_HEADER_DETECT_LOCAL) |
                   (node.detect_by_device ? SLUICE_HEADER_DETECT_DEVICE : 0U) |
                   (node.beside_kube_proxy ? SLUICE_HEADER_BESIDE_PROXY : 0U) |
                   (facts.cpus != 0 && facts.cpus <= capacities.counter_rows ? SLUICE_HEADER_OWN_ROWS
                                                                            : 0U);
    header.generation = generation;
    header.bucket_count = capacities.buckets;
    header.frontend_capacity = capacities.frontends;
    header.service_capacity = capacities.services;
    header.set_slot_capacity = capacities.set_slots;
    header.backend_capacity = capacities.backends;
    header.name_bytes = capacities.name_bytes;
    header.ring_line_capacity = capacities.ring_lines;
    header.range_capacity = capacities.ranges;
    header.counter_rows = capacities.counter_rows;
    header.snat_port_min = facts.snat_port_min;
    header.snat_port_max = facts.snat_port_max;
    header.hash_seed = facts.hash_seed;
    const std::array<const IpAddress*, 2> masquerade = {&node.masquerade_v4, &node.masquerade_v6};
    for (std::size_t family = 0; family < masquerade.size(); ++family) {
        if (masquerade[family]->is_unspecified()) continue;
        header.node_address[family] = image_address(*masquerade[family]);
        // Answers to masqueraded clients come here, whether or not it is an address of node ports.
        const sluice_filter_bits bits =
            sluice_filter_of(header.hash_seed, &header.node_address[family]);
        header.filter[bits.word] |= bits.mask;
    }
    const auto append = [&](const std::vector<IpPrefix>& prefixes, std::uint32_t kind) {
        for (const IpPrefix& prefix : prefixes) {
            sluice_cidr& cidr = header.cidr[header.cidr_count++];
            cidr.address = image_address(prefix.address);
            cidr.mask = mask_of(prefix);
            cidr.kind = kind;
        }
    };
    append(node.service_cidrs, SLUICE_CIDR_SERVICE);
    append(node.cluster_cidrs, SLUICE_CIDR_CLUSTER);
    *tables.header = header;
    return {};
}

std::string Carried::identity(std::string_view display, std::uint8_t protocol,
                              std::uint8_t family) {
    return fmt::format("{}/{}/{}", display, protocol, family);
}

Carried Carried::from(const Tables& tables) {
    Carried out;
    const sluice_header& header = *tables.header;
    out.generation = header.generation;
    for (std::uint32_t i = 0; i < header.service_capacity; ++i) {
        const sluice_service& service = tables.services[i];
        if (service.flags & SLUICE_SERVICE_IN_USE) {
            out.services.emplace(
                identity(read_name(tables, service.name), service.protocol, service.family), i);
            out.usage.services = i + 1;
        }
    }
    // Free entries count too: a flow may still remember an incarnation that must not come again.
    for (std::uint32_t i = 0; i < header.backend_capacity; ++i) {
        if (tables.backends[i].incarnation != 0) {
            out.usage.backends = i + 1;
        }
    }
    out.backends.assign(tables.backends, tables.backends + out.usage.backends);
    return out;
}

Usage usage_of(const Node& node, std::span<const Service> services) {
    Usage usage;
    const auto rounded = [](std::size_t length) { return length / 8 * 8 + 8; };
    usage.services = services.size();
    usage.frontends = node.nodeport_addresses.size();
    usage.name_bytes = 8;
    std::unordered_set<RingMembers, RingMembersHash> rings;
    for (const Service& service : services) {
        for (const Frontend& frontend : service.frontends) {
            // An internal one owns its address as well.
            usage.frontends += frontend.external ? 1 : 2;
        }
        usage.ranges += service.sources.size();
        // The union is at most the sum; equal sets, which are the rule, are shared.
        std::vector<const BackendSet*> sets;
        for (const BackendSet* set : {&service.internal, &service.external, &service.inside}) {
            const bool shared = std::any_of(sets.begin(), sets.end(), [&](const BackendSet* other) {
                return other->backends == set->backends;
            });
            if (!shared) {
                sets.push_back(set);
                usage.backends += set->backends.size();
                usage.set_slots += set->backends.size();
                if (needs_ring(service, *set)) {
                    ++usage.set_slots;
                    RingMembers members = ring_members(*set);
                    const std::uint32_t lines = ring_lines(ring_size_word(members, service.choice));
                    usage.ring_lines += rings.insert(std::move(members)).second ? lines : 0;
                }
            }
        }
        usage.name_bytes += rounded(service.key.service.size() + service.key.port.size() + 1);
        for (const BackendSet* set : sets) {
            for (const Backend& backend : set->backends) {
                usage.name_bytes += rounded(backend.target.size());
            }
        }
    }
    return usage;
}

}  // namespace sluice::image
