#include "dataplane/dpdk/runtime/engine.h"

#include <sys/random.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <thread>

#include "api/base/log.h"
#include "dataplane/dpdk/client/calls.h"
#include "dataplane/dpdk/runtime/engine_internal.h"

namespace sluice::dpdk {
namespace {

constexpr char kComponent[] = "dpdk";
constexpr auto kLockLook = std::chrono::milliseconds(2);

std::uint64_t random_seed() {
    std::uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) != static_cast<ssize_t>(sizeof(seed))) {
        seed = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    }
    return seed | 1U;
}

// An engine that has handed over ends soon after its answer.
Result<Fd> lock_after_predecessor(const std::string& directory) {
    const auto deadline = std::chrono::steady_clock::now() + kHandOverPatience;
    for (;;) {
        auto lock = lock_state_directory(directory);
        if (lock || std::chrono::steady_clock::now() > deadline) return lock;
        std::this_thread::sleep_for(kLockLook);
    }
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::make(const Options& options) {
    return RealEngine::make(options);
}

Result<std::unique_ptr<Engine>> RealEngine::make(const Options& options) {
    std::unique_ptr<RealEngine> out(new RealEngine(options));
    SLUICE_TRY(make_state_directory(options.state_directory));
    SLUICE_TRY(out->start_environment());
    SLUICE_TRY(out->open_ports());
    SLUICE_TRY(out->open_tables());
    SLUICE_TRY(out->start_lcores());
    SLUICE_TRY(out->attach_current());
    out->say_what_is_there();
    return std::unique_ptr<Engine>(std::move(out));
}

RealEngine::~RealEngine() {
    telemetry_.reset();
    growth_.reset();
    control_.reset();
    close_ports();
    lcores_.reset();
}

// EAL first and the ports' devices last, so that the predecessor forwards while this engine gets ready. Devices of the
// hardware are EAL's to open at its start, so with those the predecessor ends before it.
Result<void> RealEngine::start_environment() {
    EalArguments arguments;
    arguments.now = options_.eal;
    if (options_.take_over) {
        arguments = split_devices(options_.eal);
        if (!arguments.all_later) {
            log::warn(kComponent, "--take-over without --no-pci after `--`: the running engine ends before EAL starts");
            SLUICE_TRY(take_state());
        } else if (!has_own_prefix(arguments.now)) {
            return make_error(Code::kInvalidArgument,
                              "--take-over: EAL needs a --file-prefix of its own after `--`, for the running engine "
                              "still has the other one");
        }
    } else {
        SLUICE_TRY(take_state());
    }
    SLUICE_TRY_ASSIGN(eal_, Eal::start(arguments.now));
    if (!state_lock_) SLUICE_TRY(take_state());
    for (const auto& device : arguments.devices) SLUICE_TRY(eal_->probe(device));
    return {};
}

Result<void> RealEngine::take_state() {
    if (!options_.take_over) {
        auto lock = lock_state_directory(options_.state_directory);
        if (!lock) return lock.error().with_context("--state-dir");
        state_lock_ = std::move(*lock);
        return {};
    }
    handed_over_ = std::chrono::steady_clock::now();
    auto calls = EngineCalls::to(options_.socket);
    const auto asked = calls->hand_over(kHandOverPatience);
    if (!asked && asked.error().code != Code::kUnavailable) return asked.error().with_context("--take-over");
    if (!asked) {
        log::warn(kComponent, "--take-over: no engine runs at {}; beginning with what one left", options_.socket);
    }
    auto lock = lock_after_predecessor(options_.state_directory);
    if (!lock) return lock.error().with_context("--take-over");
    state_lock_ = std::move(*lock);
    return {};
}

Result<void> RealEngine::open_ports() {
    const std::size_t lcores = eal_->lcores().size();
    std::map<std::uint16_t, std::uint16_t> mtu;  // the largest of a port's interfaces
    std::vector<std::uint16_t> ids;
    for (const auto& option : options_.ports) {
        SLUICE_TRY_ASSIGN(const auto id, find_port(option.device));
        ids.push_back(id);
        mtu[id] = std::max(mtu[id], option.mtu);
    }
    for (const auto& [id, bytes] : mtu) {
        SLUICE_TRY_ASSIGN(auto port, inspect_port(id, bytes, lcores));
        ports_.push_back(std::move(port));
    }
    const auto port_of = [this](std::uint16_t id) -> Port& {
        return *std::find_if(ports_.begin(), ports_.end(), [&](const Port& port) { return port.id == id; });
    };
    for (std::size_t i = 0; i < options_.ports.size(); ++i) {
        const auto& option = options_.ports[i];
        const Port& port = port_of(ids[i]);
        Interface interface;
        interface.name = option.interface;
        interface.port = port.id;
        interface.vlan = option.vlan;
        interface.place = option.place;
        interface.mac = port.mac;
        interface.mtu = option.mtu != 0 ? option.mtu : port.mtu;
        interface.addresses = option.addresses;
        interface.announce = option.announce;
        const bool taken = std::any_of(interfaces_.begin(), interfaces_.end(), [&](const Interface& other) {
            return other.port == interface.port && other.vlan == interface.vlan;
        });
        if (taken) {
            return make_error(Code::kInvalidArgument, "--port {}: port {} has an interface for VLAN {} already",
                              option.device, port.device, option.vlan);
        }
        interfaces_.push_back(std::move(interface));
    }
    SLUICE_TRY(open_exception_ports());
    SLUICE_TRY_ASSIGN(pool_, make_pool(plan_pool(ports_, lcores, frames_in_rings(lcores))));
    const std::lock_guard lock(ports_mutex_);
    ports_open_ = true;
    for (auto& port : ports_) SLUICE_TRY(open_port(&port, pool_));
    return {};
}

Result<void> RealEngine::open_exception_ports() {
    exception_of_.assign(interfaces_.size(), kNoPort);
    for (std::size_t i = 0; i < interfaces_.size(); ++i) {
        const auto& path = options_.ports[i].exception;
        if (path.kind == ExceptionPath::Kind::kNone) continue;
        const auto uplink = std::find_if(ports_.begin(), ports_.end(),
                                         [&](const Port& port) { return port.id == interfaces_[i].port; });
        SLUICE_TRY_ASSIGN(auto port, make_exception_port(*uplink, path));
        uplink->twin = port.id;
        for (std::size_t j = 0; j < interfaces_.size(); ++j) {
            if (interfaces_[j].port == uplink->id) exception_of_[j] = port.id;
        }
        twins_.push_back({static_cast<std::uint16_t>(i), path.name});
        ports_.push_back(std::move(port));
    }
    return {};
}

Result<void> RealEngine::open_tables() {
    const auto lcores = static_cast<std::uint32_t>(eal_->lcores().size());
    const std::uint32_t flows = flows_of(options_, lcores);
    const std::uint32_t most = most_flows();
    // First: whose the flows are goes by what lcores share.
    SLUICE_TRY_ASSIGN(shared_, SharedSegment::open_or_create(options_.state_directory, options_.affinity_entries,
                                                             lcores, options_.affinity_entries_max));
    std::size_t taken_over = 0;
    for (std::uint32_t lcore = 0; lcore < lcores; ++lcore) {
        SLUICE_TRY_ASSIGN(auto segment,
                          FlowSegment::open_or_create(options_.state_directory, lcore, flows, flows, lcores, most));
        taken_over += segment->taken_over() ? 1 : 0;
        flows_.push_back(std::move(segment));
    }
    for (const auto lcore : list_flows(options_.state_directory)) {
        if (lcore < lcores) continue;
        log::warn(kComponent, "an engine with more lcores was here; the flows of lcore {} are forgotten", lcore);
        SLUICE_TRY(remove_flows(options_.state_directory, lcore));
    }
    if (taken_over != 0) log::info(kComponent, "took over the flow tables of {} lcores", taken_over);
    SLUICE_TRY_ASSIGN(events_, EventSegment::open_or_create(options_.state_directory, lcores));
    return {};
}

// Of a lcore and family.
std::uint32_t RealEngine::most_flows() const {
    return most_flows_of(options_, static_cast<std::uint32_t>(eal_->lcores().size()));
}

Result<void> RealEngine::start_lcores() {
    LcoreSetup setup;
    setup.lcores = eal_->lcores();
    setup.ports = ports_;
    setup.interfaces = interfaces_;
    setup.pool = pool_;
    for (const auto& segment : flows_) setup.flows.push_back(segment->memory());
    setup.shared = shared_->memory();
    for (std::uint32_t i = 0; i < events_->lcores(); ++i) setup.events.push_back(events_->memory(i));
    setup.cycles_per_second = eal_->cycles_per_second();
    setup.idle_sleep_us = options_.idle_sleep_us;
    setup.random_seed = random_seed();
    SLUICE_TRY_ASSIGN(lcores_, Lcores::make(setup));
    std::vector<std::uint16_t> port_of;
    for (const auto& interface : interfaces_) port_of.push_back(interface.port);
    ControllerOptions routing{interfaces_, twins_, options_.routes, options_.neighbours};
    SLUICE_TRY_ASSIGN(control_, ControlLoop::start({*eal_, *lcores_, std::move(routing), std::move(port_of),
                                                    exception_of_,
                                                    [this](int signal) {
                                                        log::info(kComponent, "stopping on signal {}", signal);
                                                        lcores_->stop();
                                                    },
                                                    {SIGTERM, SIGINT}}));
    growth_ = TableGrowth::start({*lcores_, flows_, *shared_, mapped_mutex_, most_flows(),
                                  options_.affinity_entries_max});
    telemetry_ = Telemetry::start([this] { return status(); }, [this] { return drops(); });
    return {};
}

// Forwarding begins with what is there; without an image everything is the kernel's.
Result<void> RealEngine::attach_current() {
    const auto number = current_image(options_.state_directory);
    if (!number) {
        log::info(kComponent, "no image yet ({}): all frames are the kernel's until an agent attaches one",
                  number.error().message);
        return {};
    }
    const auto attached =
        attach(*number, {std::chrono::steady_clock::now() + std::chrono::seconds(5), nullptr});
    if (!attached) log::warn(kComponent, "image {}: {}", *number, attached.error().to_string());
    return {};
}

void RealEngine::say_what_is_there() const {
    log::info(kComponent, "memory: {}", eal_->memory());
    for (const Port& port : ports_) {
        std::string lacking;
        for (const auto& name : port.lacking) lacking += (lacking.empty() ? "" : ", ") + name;
        log::info(kComponent, "port {} ({}): {} queues of {} and {} descriptors, MTU {}{}{}", port.device, port.driver,
                  port.rx_queues, port.rx_descriptors, port.tx_descriptors, port.mtu,
                  lacking.empty() ? "" : "; done in software: ", lacking);
    }
}

Result<void> RealEngine::run() {
    if (options_.take_over) {
        const auto gap = std::chrono::steady_clock::now() - handed_over_;
        log::info(kComponent, "taken over; frames waited at most {} ms",
                  std::chrono::duration_cast<std::chrono::milliseconds>(gap).count());
    }
    log::info(kComponent, "forwarding on {} lcores", lcores_->size());
    auto ran = lcores_->run();
    close_ports();
    {
        const std::lock_guard lock(end_mutex_);
        ports_closed_ = true;
    }
    end_.notify_all();
    return ran;
}

void RealEngine::close_ports() {
    const std::lock_guard lock(ports_mutex_);
    if (!ports_open_) return;
    ports_open_ = false;
    for (const Port& port : ports_) close_port(port);
}

}  // namespace sluice::dpdk
