// The engine's class (dpdk_client.h). Images, their growth and replacement: dpdk_images.cc; what the agent calls:
// dpdk_engine.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/dpdk/client/dpdk_client.h"
#include "dataplane/dpdk/client/engine_link.h"
#include "dataplane/image/counts.h"
#include "dataplane/image/life.h"

namespace sluice::dpdk {

// Images that the engine may still be counting in: more are let go of with what they counted last.
inline constexpr std::size_t kMaxFormerImages = 4;

class DpdkEngine final : public dataplane::Engine {
public:
    explicit DpdkEngine(DpdkOptions options)
        : options_(std::move(options)), link_(options_.socket, options_.state_directory) {}

    Result<void> prepare();

    Result<void> replace_all(const image::Node& node, std::span<const image::Service> services) override;
    Result<void> apply(const image::Change& change) override;
    Result<void> set_node(const image::Node& node) override;
    // Ports are the engine's own business; what changes here is how many lcores count, when another engine came.
    Result<void> sync_devices() override;
    void reclaim() override;
    [[nodiscard]] dataplane::EngineStatus status() const override;

private:
    // An image that was in force, mapped until the engine has turned from it and its last counts are carried over.
    struct Former {
        std::unique_ptr<ImageSegment> image;
        image::Counts carried;       // what has been carried over of it
        std::vector<bool> services;  // that have the same index in the image in force
    };

    [[nodiscard]] image::HeaderFacts facts(const image::Node& node, std::uint32_t rows) const;
    // Lcores that count, as the engine says; 0 where there is none.
    [[nodiscard]] std::uint32_t lcores() const;
    Result<void> build(const image::Node& node, std::span<const image::Service> services);
    Result<void> replace_image(image::Capacities capacities, const image::Node& node);
    Result<std::unique_ptr<ImageSegment>> make_image(const image::Capacities& capacities);
    // Makes it the image in force: for the engine that runs, and for the next. On error the former still is.
    Result<void> install(const ImageSegment& next, const ImageSegment* former);
    // What no engine uses any more: carries its last counts over and removes its files.
    void settle_former();
    void remove_stale_images();
    void discard(std::unique_ptr<ImageSegment> image);
    Result<void> with_room(const std::function<Result<void>()>& step);
    bool collect();
    // Another engine came, with another number of lcores.
    Result<void> follow_engine();

    const DpdkOptions options_;
    EngineLink link_;
    image::Node node_;
    std::unique_ptr<ImageSegment> live_;
    std::uint32_t live_lcores_ = 0;  // that the image in force has rows for
    std::vector<Former> former_;
    bool attached_ = false;  // the engine that runs said that it uses live_
    std::unique_ptr<image::Publisher> publisher_;
    image::Retired waiting_;
    std::uint32_t fresh_incarnation_ = 0;
};

}  // namespace sluice::dpdk
