// Answers the person's questions from shared memory, with the same readers as those of the pinned tables: they work on
// plain memory. What is different: each lcore has flow tables of its own.
#include "dataplane/dpdk/client/inspect.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "dataplane/dpdk/pipeline/flow_view.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/ebpf/explain.h"
#include "dataplane/ebpf/inspect_affinity.h"
#include "dataplane/ebpf/inspect_flows.h"
#include "dataplane/ebpf/inspect_views.h"
#include "dataplane/ebpf/netns.h"
#include "dataplane/ebpf/own_addresses.h"
#include "dataplane/image/reader.h"

namespace sluice::dpdk {
namespace {

using dataplane::FlowCounts;
using dataplane::FlowView;

// Of this moment.
sluice_flow_view flows_in(const FlowSegment& segment) {
    return view_of(segment.memory(), shared_now().tick);
}

class SharedInspector final : public dataplane::Inspector {
public:
    SharedInspector(std::string directory, std::unique_ptr<ImageSegment> image,
                    std::vector<std::unique_ptr<FlowSegment>> flows)
        : directory_(std::move(directory)), image_(std::move(image)), flows_(std::move(flows)) {}

    [[nodiscard]] Result<dataplane::ImageStatus> status() const override;
    [[nodiscard]] Result<std::vector<dataplane::ServiceView>> services() const override {
        return image::read_stable(tables(), [&] { return dataplane::read_services(tables()); });
    }
    [[nodiscard]] Result<std::vector<dataplane::DropView>> drops() const override {
        return dataplane::read_drops(tables());
    }
    [[nodiscard]] Result<dataplane::TrafficReport> traffic() const override {
        const FlowCounts counts = counted();
        return image::read_stable(tables(), [&] { return dataplane::read_traffic(tables(), counts); });
    }
    [[nodiscard]] Result<dataplane::FlowList> flows(const dataplane::FlowFilter& filter) const override {
        dataplane::FlowList out;
        for (const auto& segment : flows_) {
            dataplane::list_flows_of(tables(), flows_in(*segment), filter, &out);
        }
        return out;
    }
    [[nodiscard]] Result<dataplane::Explanation> explain(dataplane::Question question) const override;
    [[nodiscard]] std::string service_name(std::uint32_t index) const override {
        return dataplane::name_of_service(tables(), index);
    }
    [[nodiscard]] std::string backend_target(std::uint32_t index) const override {
        return dataplane::name_of_backend(tables(), index);
    }

private:
    [[nodiscard]] const image::Tables& tables() const { return image_->tables(); }
    [[nodiscard]] FlowCounts counted() const;
    // The tables of the lcore that knows the packet's flow; of the first one else.
    [[nodiscard]] sluice_flow_view flows_for(const dataplane::Question& question) const;

    std::string directory_;
    std::unique_ptr<ImageSegment> image_;
    std::vector<std::unique_ptr<FlowSegment>> flows_;  // by lcore
};

FlowCounts SharedInspector::counted() const {
    FlowCounts out;
    for (const auto& segment : flows_) {
        FlowCounts one = dataplane::count_flows(flows_in(*segment));
        for (const auto& [key, count] : one.by_backend) out.by_backend[key] += count;
        for (const auto& [key, count] : one.by_service) out.by_service[key] += count;
        if (out.tables.empty()) {
            out.tables = std::move(one.tables);
            continue;
        }
        for (std::size_t family = 0; family < out.tables.size(); ++family) {
            out.tables[family].capacity += one.tables[family].capacity;
            out.tables[family].flows += one.tables[family].flows;
            out.tables[family].lingering += one.tables[family].lingering;
            out.tables[family].displaced += one.tables[family].displaced;
        }
    }
    return out;
}

Result<dataplane::ImageStatus> SharedInspector::status() const {
    auto out = image::read_stable(tables(), [&] { return dataplane::read_status(tables()); });
    out.flow_tables = counted().tables;
    out.kernel_bytes = state_directory_bytes(directory_);
    return out;
}

sluice_flow_view SharedInspector::flows_for(const dataplane::Question& question) const {
    const dataplane::FlowKey key{question.source, question.destination, question.source_port,
                                 question.destination_port, question.protocol};
    for (const auto& segment : flows_) {
        const sluice_flow_view view = flows_in(*segment);
        if (find_flow(view, key)) return view;
    }
    return flows_in(*flows_.front());
}

Result<dataplane::Explanation> SharedInspector::explain(dataplane::Question question) const {
    question.node_addresses = dataplane::own_addresses();
    if (const auto cookie = dataplane::netns_cookie()) question.node_netns = *cookie;
    sluice_flow_view view{};
    if (!flows_.empty()) view = flows_for(question);
    dataplane::AffinityView known;
    const auto shared = SharedSegment::open_to_read(directory_);
    if (shared) {
        const SharedMemory memory = (*shared)->memory();
        known = {memory.affinity, memory.affinity_config->bucket_count, shared_now().affinity_time,
                 memory.affinity_config->seed};
    }
    return image::read_stable(tables(), [&] {
        return explain_packet(tables(), question, flows_.empty() ? nullptr : &view, shared ? &known : nullptr);
    });
}

}  // namespace

Result<std::unique_ptr<dataplane::Inspector>> open_shared_inspector(const std::string& state_directory) {
    // The agent may replace the image between the look at its name and the opening of its files.
    constexpr int kAttempts = 5;
    Error error;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const auto number = current_image(state_directory);
        if (!number) {
            return number.error().code == Code::kNotFound
                       ? make_error(Code::kNotFound,
                                    "no table image is in {}; start sluice-agent with --engine=dpdk, or name its "
                                    "directory with --dpdk-state-dir",
                                    state_directory)
                       : number.error();
        }
        auto opened = ImageSegment::open_to_read(state_directory, *number);
        if (opened) {
            std::vector<std::unique_ptr<FlowSegment>> flows;
            for (const std::uint32_t lcore : list_flows(state_directory)) {
                // One that an engine is replacing has no flows to show.
                if (auto segment = FlowSegment::open_to_read(state_directory, lcore)) {
                    flows.push_back(std::move(*segment));
                }
            }
            return std::unique_ptr<dataplane::Inspector>(
                std::make_unique<SharedInspector>(state_directory, std::move(*opened), std::move(flows)));
        }
        error = opened.error();
        if (error.code != Code::kNotFound) break;
    }
    return error;
}

}  // namespace sluice::dpdk
