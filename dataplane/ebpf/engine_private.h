// The engine's class, in three files: ebpf_engine.cc (what the agent calls), engine_images.cc (making an image and
// putting it into force), engine_devices.cc (attaching).
//
// Growth, restart, upgrade and a change of node facts are one mechanism (docs/adr/0002): a complete new image in new
// maps, the programs loaded against it, its pins made and named current, then each attachment turned to the new
// programs. Both images say the same while attachments are turned one by one, and a death at any point leaves links
// that forward, with a complete image for the next start to take over from.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/flow_growth.h"
#include "dataplane/ebpf/grace.h"
#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/ebpf/programs.h"
#include "dataplane/ebpf/stale_peers.h"
#include "dataplane/ebpf/xdp.h"
#include "dataplane/image/publisher.h"

namespace sluice::dataplane {

// Doublings of one table or another before an image that will not fit is given up.
inline constexpr int kMaxGrowths = 64;
// More retired pieces than this are worth waiting for before an image grows.
inline constexpr std::size_t kRetiredWorthWaiting = 64;

struct Images {
    std::unique_ptr<KernelImage> tables;
    std::unique_ptr<Programs> programs;
    std::string directory;
};

class EbpfEngine final : public Engine {
public:
    EbpfEngine(EbpfOptions options, Features features)
        : options_(std::move(options)),
          features_(features),
          paths_(PinPaths::under(options_.bpffs)),
          attachments_(paths_.links),
          xdp_(paths_.links),
          flow_pins_(paths_.state) {}

    Result<void> prepare();

    Result<void> replace_all(const image::Node& node,
                             std::span<const image::Service> services) override;
    Result<void> apply(const image::Change& change) override;
    Result<void> set_node(const image::Node& node) override;
    Result<void> sync_devices() override;
    void reclaim() override;
    [[nodiscard]] EngineStatus status() const override;

private:
    [[nodiscard]] image::HeaderFacts facts(const image::Node& node) const;
    Result<void> build(const image::Node& node, std::span<const image::Service> services);
    Result<std::unique_ptr<image::Publisher>> fill(const KernelImage& tables, const image::Node& node,
                                            std::span<const image::Service> services,
                                            const image::Carried& carried, image::Capacities& wanted);
    Result<void> replace_image(image::Capacities capacities, const image::Node& node);
    [[nodiscard]] Result<std::unique_ptr<Programs>> load(const KernelImage& tables) const;
    Result<Images> stage(std::unique_ptr<KernelImage> tables, std::unique_ptr<Programs> programs);
    Result<void> turn_to(const Programs& programs);
    Result<void> attach_devices(const Programs& programs);
    // Makes the staged image the one in force. On error the former one still is.
    // `before`: the node's facts then. REQUIRES: node_ holds those that are to be.
    Result<void> install(Images next, const image::Node& before);
    // Images, state and attachments that nothing uses any more, of whatever version.
    void remove_former();
    // Runs a step of publishing; when a table is full, takes back what was retired, else grows the image, and tries
    // again.
    Result<void> with_room(const std::function<Result<void>()>& step);
    bool collect();
    // Flow tables, when packets go through tc (engine_growth.cc).
    void watch_flows();
    void look_at_flows();
    Result<void> grow_flows(bool v4, bool v6);
    Result<void> carry_flows();
    // As with_room, for a change of one service; sockets of UDP backends that leave it by that are ended.
    Result<void> change(const image::ServiceKey& key, const std::function<Result<void>()>& step);

    EbpfOptions options_;
    Features features_;
    PinPaths paths_;
    Attachments attachments_;
    XdpAttachments xdp_;
    GraceWaiter grace_;
    image::Node node_;
    Images live_;
    std::unique_ptr<image::Publisher> publisher_;
    image::Retired waiting_;
    FlowPins flow_pins_;
    bool carrying_ = false;  // a growth is past its swap and was not finished: an error came between
    std::array<FlowSample, 2> flow_samples_;         // [FlowFamily]
    std::array<std::uint64_t, 2> growth_refused_{};  // at flow_entries_max, or without memory
    std::unique_ptr<StalePeers> stale_peers_;  // with socket hooks only
    std::uint32_t fresh_incarnation_ = 0;  // of backends that no image before had
};

}  // namespace sluice::dataplane
