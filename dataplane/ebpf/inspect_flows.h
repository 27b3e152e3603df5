// Reads the flow tables while packets change them, by the protocol of bpf/lib/flow.h: a record counts only if its
// slot's word is the same before and after it was copied. Nothing is written.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/abi/flow.h"
#include "api/base/result.h"
#include "dataplane/ebpf/inspect.h"
#include "dataplane/ebpf/pinned_array.h"
#include "dataplane/image/layout.h"

struct sluice_flow_view;

namespace sluice::dataplane {

// A tuple as a packet has it, for the look-up of its flow.
struct FlowKey {
    IpAddress source, destination;
    std::uint16_t source_port = 0, destination_port = 0;
    Protocol protocol = Protocol::kTcp;
};

struct FoundFlow {
    FlowView flow;
    bool answer = false;  // the key is what the backend sends
};

// Active flows (not closed, not over) by (backend index, incarnation), and of services.
struct FlowCounts {
    std::unordered_map<std::uint64_t, std::uint64_t> by_backend;  // key: incarnation << 32 | index
    std::unordered_map<std::uint32_t, std::uint64_t> by_service;
    std::vector<FlowTableUse> tables;

    [[nodiscard]] std::uint64_t of_backend(std::uint32_t index, std::uint32_t incarnation) const;
    [[nodiscard]] std::uint64_t of_service(std::uint32_t index) const;
};

// Visits each flow once, by the half that its client sends. Names are left empty. Either array may be absent.
void scan_flows(const sluice_flow_view& view, const std::function<void(const FlowView&)>& visit);
// Adds the flows that the filter takes, with their names.
void list_flows_of(const image::Tables& tables, const sluice_flow_view& view, const FlowFilter& filter, FlowList* out);
FlowCounts count_flows(const sluice_flow_view& view);
std::optional<FoundFlow> find_flow(const sluice_flow_view& view, const FlowKey& key);

// The pinned flow tables, mapped read-only.
class FlowTables {
public:
    // kNotFound when nothing is pinned there (an engine with socket hooks alone keeps no flows).
    static Result<std::unique_ptr<FlowTables>> open(const std::string& state_directory);
    // Of this moment; borrowed from this object.
    [[nodiscard]] sluice_flow_view view() const;

private:
    PinnedArray config_, flows4_, flows6_;
    PinnedArray others4_, others6_;  // empty, but while flows move from one table to another
};

}  // namespace sluice::dataplane
