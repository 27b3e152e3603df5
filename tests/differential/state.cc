#include "tests/differential/state.h"

#include <arpa/inet.h>

#include <cstring>

#include "bpf/lib/view_memory.h"
// Views come first: what follows is written against them.
#include "bpf/lib/flow_memory.h"
struct sluice_datagram_set;
static inline struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view* view, __u32 index);
#include "bpf/lib/flow.h"
#include "bpf/lib/fragment.h"
static inline struct sluice_datagram_set* sluice_datagrams_at(const struct sluice_flow_view*, __u32) {
    return nullptr;
}
#include "dataplane/image/frontends.h"

namespace sluice::differential {
namespace {

template <class Use>
void each_set(const EngineState& state, Use use) {
    for (std::uint32_t i = 0; i < state.flow_config->bucket_count4; ++i) {
        use(state.flows4[i].set);
    }
    for (std::uint32_t i = 0; i < state.flow_config->bucket_count6; ++i) {
        use(state.flows6[i].set);
    }
}

}  // namespace

void clear_flows(const EngineState& state) {
    each_set(state, [](sluice_flow_set& set) { std::memset(&set, 0, sizeof(set)); });
}

void clear_affinity(const EngineState& state) {
    for (std::uint32_t i = 0; i < state.affinity_buckets; ++i) {
        std::memset(state.affinity[i].word, 0, sizeof(state.affinity[i].word));
    }
}

void age_flows(const EngineState& state, std::uint32_t ticks) {
    each_set(state, [&](sluice_flow_set& set) {
        for (auto& seen : set.seen) {
            seen = static_cast<std::uint16_t>(seen - ticks);
        }
    });
}

void age_affinity(const EngineState& state, std::uint32_t units) {
    for (std::uint32_t i = 0; i < state.affinity_buckets; ++i) {
        for (auto& word : state.affinity[i].word) {
            if (word != 0) {
                word -= std::uint64_t{units} << SLUICE_AFFINITY_USED_SHIFT;
            }
        }
    }
}

void age_datagrams(sluice_datagram_set* sets, std::uint32_t ticks) {
    for (std::uint32_t i = 0; i < SLUICE_DATAGRAM_SETS; ++i) {
        for (auto& seen : sets[i].seen) {
            seen = static_cast<std::uint16_t>(seen - ticks);
        }
    }
}

std::size_t datagram_bytes() { return sizeof(sluice_datagram_set) * SLUICE_DATAGRAM_SETS; }

std::optional<oracle::Tuple> flow_of(const EngineState& state, const oracle::Tuple& tuple) {
    sluice_flow_view view{};
    view.seed = state.flow_config->seed;
    view.bucket_count4 = state.flow_config->bucket_count4;
    view.bucket_count6 = state.flow_config->bucket_count6;
    view.buckets4 = state.flows4;
    view.buckets6 = state.flows6;
    sluice_tuple key{};
    key.src = image::image_address(tuple.src);
    key.dst = image::image_address(tuple.dst);
    key.ports.port_be[SLUICE_SOURCE] = htons(tuple.sport);
    key.ports.port_be[SLUICE_DESTINATION] = htons(tuple.dport);
    key.protocol = tuple.protocol;
    sluice_flow_hit hit{};
    const bool found = tuple.src.is_v4()
                           ? sluice_flow_find(&view, &key, sluice_flow_hash(&view, &key, 0), &hit, 0) != 0
                           : sluice_flow_find(&view, &key, sluice_flow_hash(&view, &key, 1), &hit, 1) != 0;
    if (!found) {
        return std::nullopt;
    }
    return oracle::Tuple{image::address_of(hit.new_src), image::address_of(hit.new_dst),
                         ntohs(hit.new_ports.port_be[SLUICE_SOURCE]), ntohs(hit.new_ports.port_be[SLUICE_DESTINATION]),
                         tuple.protocol};
}

}  // namespace sluice::differential
