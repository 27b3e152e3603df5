// The tables of flows, affinity and datagrams of an engine under test, wherever they lie: emptied, aged, looked into.
#pragma once

#include <cstdint>
#include <optional>

#include "api/abi/affinity.h"
#include "api/abi/flow.h"
#include "tests/oracle/packet.h"

struct sluice_datagram_set;

namespace sluice::differential {

struct EngineState {
    sluice_flow_config* flow_config = nullptr;
    sluice_flow_bucket4* flows4 = nullptr;
    sluice_flow_bucket6* flows6 = nullptr;
    sluice_affinity_config* affinity_config = nullptr;
    sluice_affinity_bucket* affinity = nullptr;
    std::uint32_t affinity_buckets = 0;
};

void clear_flows(const EngineState& state);
void clear_affinity(const EngineState& state);
// As if so much time had passed: what was seen was seen earlier. For engines whose clock cannot be set.
void age_flows(const EngineState& state, std::uint32_t ticks);
void age_affinity(const EngineState& state, std::uint32_t units);
void age_datagrams(sluice_datagram_set* sets, std::uint32_t ticks);

std::size_t datagram_bytes();  // of all sets

// What a packet of the tuple becomes by the flow that the engine has for it.
std::optional<oracle::Tuple> flow_of(const EngineState& state, const oracle::Tuple& tuple);

}  // namespace sluice::differential
