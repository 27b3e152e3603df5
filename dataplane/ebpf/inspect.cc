// Answers the person's questions from the pinned image; what a packet would meet is asked of
// bpf/lib itself.
#include "dataplane/ebpf/inspect.h"

#include "bpf/lib/flow_memory.h"
#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/explain.h"
#include "dataplane/ebpf/inspect_affinity.h"
#include "dataplane/ebpf/inspect_flows.h"
#include "dataplane/ebpf/inspect_views.h"
#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/netns.h"
#include "dataplane/ebpf/own_addresses.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/image/reader.h"

namespace sluice::dataplane {
namespace {

class PinnedInspector final : public Inspector {
public:
    PinnedInspector(PinPaths paths, std::unique_ptr<KernelImage> image,
                    std::unique_ptr<FlowTables> flows)
        : paths_(std::move(paths)), image_(std::move(image)), flows_(std::move(flows)) {}

    [[nodiscard]] Result<ImageStatus> status() const override;
    [[nodiscard]] Result<std::vector<ServiceView>> services() const override {
        return image::read_stable(image_->tables(),
                                  [&] { return read_services(image_->tables()); });
    }
    [[nodiscard]] Result<std::vector<DropView>> drops() const override {
        return read_drops(image_->tables());
    }
    [[nodiscard]] Result<TrafficReport> traffic() const override {
        const FlowCounts counts = counted();
        return image::read_stable(image_->tables(),
                                  [&] { return read_traffic(image_->tables(), counts); });
    }
    [[nodiscard]] Result<FlowList> flows(const FlowFilter& filter) const override;
    [[nodiscard]] Result<Explanation> explain(Question question) const override;
    [[nodiscard]] std::string service_name(std::uint32_t index) const override {
        return name_of_service(image_->tables(), index);
    }
    [[nodiscard]] std::string backend_target(std::uint32_t index) const override {
        return name_of_backend(image_->tables(), index);
    }

private:
    [[nodiscard]] FlowCounts counted() const {
        return flows_ ? count_flows(flows_->view()) : FlowCounts{};
    }

    PinPaths paths_;
    std::unique_ptr<KernelImage> image_;
    std::unique_ptr<FlowTables> flows_;  // null where the engine keeps none
};

Result<ImageStatus> PinnedInspector::status() const {
    const image::Tables& tables = image_->tables();
    ImageStatus out = image::read_stable(tables, [&] { return read_status(tables); });
    for (std::size_t i = 0; i < image::kTableCount; ++i) {
        out.kernel_bytes += map_bytes(image_->fd(static_cast<image::Table>(i)));
    }
    out.kernel_bytes += pinned_map_bytes(paths_.state);
    out.programs = describe_links(paths_.links);
    out.flow_tables = counted().tables;
    return out;
}

Result<FlowList> PinnedInspector::flows(const FlowFilter& filter) const {
    FlowList out;
    if (!flows_) {
        return make_error(Code::kNotFound,
                          "no flow tables are pinned in {}: the engine runs without packet programs",
                          paths_.state);
    }
    list_flows_of(image_->tables(), flows_->view(), filter, &out);
    return out;
}

Result<Explanation> PinnedInspector::explain(Question question) const {
    question.node_addresses = own_addresses();
    sluice_flow_view view{};
    if (flows_) view = flows_->view();
    if (const auto cookie = netns_cookie()) question.node_netns = *cookie;
    // Absent where an engine of another release keeps another shape of it: then nobody is known.
    const auto clients = AffinityTable::open(paths_.state);
    const AffinityView known = clients ? (*clients)->view() : AffinityView{};
    return image::read_stable(image_->tables(), [&] {
        return explain_packet(image_->tables(), question, flows_ ? &view : nullptr,
                              clients ? &known : nullptr);
    });
}

}  // namespace

Result<std::unique_ptr<Inspector>> Inspector::open(const std::string& bpffs) {
    const PinPaths paths = PinPaths::under(bpffs);
    // The agent may replace the image between the look at its name and the opening of its tables.
    constexpr int kAttempts = 5;
    Error error;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const auto directory = current_image(paths);
        if (!directory) {
            return make_error(Code::kNotFound,
                              "no table image is pinned in {}; start sluice-agent, or name its BPF "
                              "file system with --bpffs",
                              paths.root);
        }
        auto opened = KernelImage::open(*directory, false);
        if (opened) {
            auto flows = FlowTables::open(paths.state);
            if (!flows && flows.error().code != Code::kNotFound) return flows.error();
            return std::unique_ptr<Inspector>(std::make_unique<PinnedInspector>(
                paths, std::move(*opened), flows ? std::move(*flows) : nullptr));
        }
        error = opened.error();
        if (error.code != Code::kNotFound) {
            break;
        }
    }
    return error;
}

}  // namespace sluice::dataplane
