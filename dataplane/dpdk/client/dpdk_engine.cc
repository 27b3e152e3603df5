// What the agent calls.
#include <fmt/ranges.h>

#include <utility>

#include "api/base/log.h"
#include "dataplane/dpdk/client/dpdk_engine_private.h"

namespace sluice::dpdk {

namespace {
constexpr std::chrono::milliseconds kFirstLook{1000};
}  // namespace

Result<void> DpdkEngine::prepare() {
    if (options_.snat_port_min == 0 || options_.snat_port_min > options_.snat_port_max) {
        return make_error(Code::kInvalidArgument, "the source port range {}-{} is empty or starts at 0",
                          options_.snat_port_min, options_.snat_port_max);
    }
    SLUICE_TRY(make_state_directory(options_.state_directory));
    link_.settle(kFirstLook);
    if (const LinkState state = link_.state(); !state.engine) {
        log::warn("dpdk", "{}; the tables are published in {} for when it comes", state.trouble,
                  options_.state_directory);
    }
    return {};
}

Result<void> DpdkEngine::with_room(const std::function<Result<void>()>& step) {
    // Where one table is full the others soon will be: make room in all at once.
    return image::with_room(step, [this] { return collect(); }, [this] {
        return replace_image(capacities_for(publisher_->usage(), publisher_->wanted()), node_);
    });
}

// Waits for what is retired to become free. False if that is too little to be worth it.
bool DpdkEngine::collect() {
    if (waiting_.pieces() + publisher_->retired_count() < image::kRetiredWorthWaiting) {
        return false;
    }
    bool freed = false;
    if (!waiting_.empty() && link_.wait_grace()) {
        publisher_->release(std::exchange(waiting_, {}));
        freed = true;
    }
    if (!waiting_.empty() || publisher_->retired_count() == 0 || !link_.idle()) {
        return freed;
    }
    waiting_ = publisher_->take_retired();
    link_.start_grace();
    if (!link_.wait_grace()) {
        // The lcores stand still; reclaim() goes on when they do not.
        return freed;
    }
    publisher_->release(std::exchange(waiting_, {}));
    return true;
}

Result<void> DpdkEngine::replace_all(const image::Node& node, std::span<const image::Service> services) {
    if (!publisher_) {
        return build(node, services);
    }
    SLUICE_TRY(set_node(node));
    return publish_all(*publisher_, services,
                       [this](const image::ServiceKey&, const image::Step& step) { return with_room(step); });
}

Result<void> DpdkEngine::apply(const image::Change& change) {
    SLUICE_ASSERT(publisher_);
    return publish_change(*publisher_, change,
                          [this](const image::ServiceKey&, const image::Step& step) { return with_room(step); });
}

Result<void> DpdkEngine::set_node(const image::Node& node) {
    SLUICE_ASSERT(publisher_);
    if (!same_header(node_, node)) {
        SLUICE_TRY(replace_image(live_->capacities(), node));
    }
    SLUICE_TRY(with_room([&] { return publisher_->set_node_addresses(node.nodeport_addresses); }));
    node_ = node;
    return {};
}

Result<void> DpdkEngine::sync_devices() {
    return follow_engine();
}

void DpdkEngine::reclaim() {
    if (!publisher_) {
        return;
    }
    if (auto followed = follow_engine(); !followed) {
        log::warn("dpdk", "{}", followed.error().to_string());
    }
    settle_former();
    if (!link_.idle()) {
        return;
    }
    if (!waiting_.empty()) {
        publisher_->release(std::exchange(waiting_, {}));
    }
    waiting_ = publisher_->take_retired();
    if (!waiting_.empty()) {
        link_.start_grace();
    }
}

dataplane::EngineStatus DpdkEngine::status() const {
    dataplane::EngineStatus out;
    out.name = "dpdk";
    const LinkState link = link_.state();
    out.engine_losses = link.losses;
    if (link.engine) {
        const EngineState& engine = *link.engine;
        for (const PortState& port : engine.ports) {
            out.attached.push_back(fmt::format("{} ({}, {}), {} queues, MTU {}, {}{}", port.interface, port.name,
                                               port.driver, port.queues, port.mtu, port.link_up ? "up" : "down",
                                               port.offloads.empty()
                                                   ? std::string()
                                                   : fmt::format(", offloads {}", fmt::join(port.offloads, " "))));
        }
        out.missing = engine.missing;
        out.tables = engine.tables;
        out.ports = engine.ports;
        out.lcores = engine.lcores;
        out.cycles_per_second = engine.cycles_per_second;
        out.draining = engine.draining;
        if (engine.draining) {
            out.missing.emplace_back("draining: new flows are refused until `sluice drain --undo`");
        }
        if (link.silent) {
            out.missing.push_back(
                fmt::format("process {} has said nothing for seconds: it may stand still", engine.pid));
        }
        if (live_ && link.trouble.empty() && engine.image != live_->number() && attached_) {
            out.missing.push_back(fmt::format("the engine uses image-{}, not image-{}", engine.image, live_->number()));
        }
    } else {
        out.missing.emplace_back("the engine: no packet is forwarded that an engine does not forward");
    }
    if (!link.trouble.empty()) {
        out.missing.push_back(link.trouble);
    }
    if (publisher_) {
        const image::Usage usage = publisher_->usage();
        out.generation = live_->tables().header->generation;
        out.services = usage.services;
        out.frontends = usage.frontends;
        out.backends = usage.backends;
    }
    return out;
}

Result<std::unique_ptr<dataplane::Engine>> open_dpdk_engine(const DpdkOptions& options) {
    auto engine = std::make_unique<DpdkEngine>(options);
    SLUICE_TRY(engine->prepare());
    return std::unique_ptr<dataplane::Engine>(std::move(engine));
}

Result<std::vector<std::string>> cleanup_dpdk(const DpdkOptions& options) {
    return remove_state_directory(options.state_directory);
}

}  // namespace sluice::dpdk
