// The engine's class: ebpf_engine.cc (what the agent calls), engine_images.cc (making an image and putting it into
// force), engine_loading.cc (programs, in threads), engine_devices.cc (attaching), engine_growth.cc (flow tables,
// affinity).
//
// Growth, restart, upgrade and a change of node facts are one mechanism (docs/adr/0002): a complete new image in new
// maps, the programs loaded against it, its pins made and named current, then each attachment turned to the new
// programs. Both images say the same while attachments are turned one by one, and a death at any point leaves links
// that forward, with a complete image for the next start to take over from.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/ebpf/affinity_growth.h"
#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/flow_growth.h"
#include "dataplane/ebpf/grace.h"
#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/ebpf/programs.h"
#include "dataplane/ebpf/stale_peers.h"
#include "dataplane/ebpf/xdp.h"
#include "dataplane/image/life.h"
#include "dataplane/image/publisher.h"

namespace sluice::dataplane {

// Programs of tc let everything pass while an image is dark. The first image is, until each device has its program: a
// flow that began at one device and whose answer comes in by another that has none yet would be answered by nobody.
void darken(const KernelImage& tables);
void light(const KernelImage& tables);
// Whether the image in a directory of pins, of whatever layout version, is there and not dark.
bool is_in_force(const std::string& directory);

struct Images {
    std::unique_ptr<KernelImage> tables;
    std::unique_ptr<Programs> programs;
    std::unique_ptr<Programs> xdp;  // null until a device wants it
    std::string directory;
};

using LoadedPrograms = Result<std::unique_ptr<Programs>>;

inline bool ready(const std::future<LoadedPrograms>& programs) {
    return programs.valid() && programs.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

// Programs on their way through the verifier, in a thread, against tables that have their size and need not be filled
// yet. Destroying it waits for the thread.
struct Loading {
    std::unique_ptr<KernelImage> tables;
    std::future<LoadedPrograms> programs;

    [[nodiscard]] bool active() const { return programs.valid(); }
};

// What programs are loaded against before anybody has said how many services there are.
image::Capacities expected_capacities(std::uint32_t services);

class EbpfEngine final : public Engine {
public:
    EbpfEngine(EbpfOptions options, Features features)
        : options_(std::move(options)),
          features_(features),
          paths_(PinPaths::under(options_.bpffs)),
          attachments_(paths_.links),
          xdp_(paths_.links),
          flow_pins_(paths_.state),
          affinity_(paths_.state) {}

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
    // Loading begins before the services are known, against the capacities of the image that is there or those that
    // are expected (engine_loading.cc).
    void load_ahead();
    // Tables that hold what is wanted and programs on their way; those that were begun ahead if they will do.
    Result<Loading> loading_for(const image::Capacities& wanted);
    Result<Loading> begin_loading(const image::Capacities& capacities);
    // XDP programs are loaded with the others where one is attached, for that must not see a former image; else in a
    // thread of their own once tc serves, and only if a device takes them.
    [[nodiscard]] Parts parts_now() const;
    void begin_xdp();
    void finish_xdp();
    void turn_xdp(const Images& images);
    // Those that have it, loaded or refused; null before.
    [[nodiscard]] static const Programs* xdp_of(const Images& images);
    Result<void> replace_image(image::Capacities capacities, const image::Node& node);
    // The second half: fills the tables from those in force, and puts them in their place.
    Result<void> succeed(std::unique_ptr<KernelImage> tables, std::unique_ptr<Programs> programs,
                         const image::Node& node);
    Result<Images> stage(std::unique_ptr<KernelImage> tables, std::unique_ptr<Programs> programs);
    Result<void> turn_to(const Images& images);
    Result<void> attach_devices(const Images& images);
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
    // Takes the step that the programs just loaded were loaded for.
    Result<void> go_on_growing();
    Result<void> carry_flows();
    // The table of ClientIP affinity, likewise with one exchange of programs.
    void look_at_affinity();
    Result<void> begin_affinity();
    Result<void> go_on_with_affinity();
    // Before and after programs are exchanged, if a growth of that table was begun.
    void catch_up_affinity() const;
    Result<void> carry_affinity();
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
    // What the next exchange of programs is for; they are loaded in a thread meanwhile.
    enum class Growth : std::uint8_t { kNone, kKnowBoth, kCarry, kKnowOne };
    Growth growth_ = Growth::kNone;
    bool carrying_ = false;  // a growth is past its swap and is not finished
    std::array<FlowSample, 2> flow_samples_;         // [FlowFamily]
    std::array<std::uint64_t, 2> growth_refused_{};  // at flow_entries_max, or without memory
    AffinityGrowth affinity_;
    std::uint64_t affinity_refused_ = 0;  // at affinity_entries_max, or for an error
    std::chrono::steady_clock::time_point affinity_retry_at_{};
    std::chrono::steady_clock::time_point flow_retry_at_{};
    std::unique_ptr<StalePeers> stale_peers_;  // with socket hooks only
    std::uint32_t fresh_incarnation_ = 0;  // of backends that no image before had
    bool state_was_there_ = false;         // before this agent made any
    std::vector<XdpDevice> uplinks_;       // that XDP may run on
    // Last, for their threads use what is above.
    std::future<LoadedPrograms> xdp_loading_;
    Loading ahead_;
    Loading growing_;
    Loading larger_affinity_;
};

}  // namespace sluice::dataplane
