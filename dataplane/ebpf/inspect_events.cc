// See inspect_events.h.
#include "dataplane/ebpf/inspect_events.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "api/abi/event.h"
#include "api/base/fd.h"
#include "dataplane/ebpf/inspect_views.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/image/drop_reasons.h"
#include "dataplane/image/frontends.h"

namespace sluice::dataplane {
namespace {

using image::address_of;

constexpr std::uint64_t kNsPerSecond = 1000000000;

std::uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond +
           static_cast<std::uint64_t>(now.tv_nsec);
}

const char* kind_name(std::uint8_t kind) {
    switch (kind) {
        case SLUICE_EVENT_OPENED: return "opened";
        case SLUICE_EVENT_REFUSED: return "refused";
        case SLUICE_EVENT_DROPPED: return "dropped";
        default: return "unknown";
    }
}

const char* place_name(std::uint8_t place) {
    constexpr const char* kPlaces[] = {"pod", "node", "egress", "to-pod"};
    if (place == SLUICE_EVENT_PLACE_SOCKET) return "socket";
    return place < std::size(kPlaces) ? kPlaces[place] : "other";
}

}  // namespace

EventView event_view(const sluice_event& event) {
    EventView out;
    out.time_ns = event.time_ns;
    out.kind = kind_name(event.kind);
    if (event.kind != SLUICE_EVENT_OPENED) out.reason = image::drop_name(event.reason);
    out.protocol = static_cast<Protocol>(event.protocol);
    out.place = place_name(event.place);
    out.client = address_of(event.client);
    out.destination = address_of(event.destination);
    out.backend = address_of(event.backend);
    out.source = address_of(event.source);
    out.client_port = ntohs(event.client_port_be);
    out.destination_port = ntohs(event.destination_port_be);
    out.backend_port = ntohs(event.backend_port_be);
    out.source_port = ntohs(event.source_port_be);
    out.has_service = (event.flags & SLUICE_EVENT_SERVICE) != 0;
    out.source_nat = (event.flags & SLUICE_EVENT_SNAT) != 0;
    out.affinity = (event.flags & SLUICE_EVENT_AFFINITY) != 0;
    out.service_index = event.service;
    out.backend_index = event.backend_index;
    if ((event.flags & SLUICE_EVENT_TUNNEL) != 0) out.forwarding = "tunnel";
    if ((event.flags & SLUICE_EVENT_OPTION) != 0) out.forwarding = "option";
    if ((event.flags & SLUICE_EVENT_LINK) != 0) out.forwarding = "link";
    return out;
}

Result<sluice_log_config> log_settings(const FollowOptions& options) {
    if (options.sample == 0) {
        return make_error(Code::kInvalidArgument, "a sample of 1 in 0 events is none");
    }
    sluice_log_config out{};
    out.below = static_cast<std::uint32_t>((std::uint64_t{1} << 32U) / options.sample - 1);
    out.kinds = (options.opened ? 1U << SLUICE_EVENT_OPENED : 0U) |
                (options.refused ? 1U << SLUICE_EVENT_REFUSED : 0U) |
                (options.dropped ? 1U << SLUICE_EVENT_DROPPED : 0U);
    return out;
}

std::uint64_t follow_until_ns() {
    return monotonic_ns() + static_cast<std::uint64_t>(kFollowLease.count()) * kNsPerSecond;
}

struct EventFollower::State {
    Fd lock;  // of the directory of pins; held as long as this lives
    Fd events;
    Fd log;
    sluice_log_config* config = nullptr;
    std::size_t length = 0;
    std::uint32_t kinds = 0;
    std::uint64_t lost_before = 0;
    ring_buffer* ring = nullptr;
    const std::function<void(const EventView&)>* visit = nullptr;

    static int received(void* self, void* data, std::size_t bytes) {
        auto* state = static_cast<State*>(self);
        if (bytes >= sizeof(sluice_event) && state->visit != nullptr) {
            (*state->visit)(event_view(*static_cast<const sluice_event*>(data)));
        }
        return 0;
    }
};

EventFollower::EventFollower(std::unique_ptr<State> state) : state_(std::move(state)) {}

EventFollower::~EventFollower() {
    if (state_->config != nullptr) {
        __atomic_store_n(&state_->config->kinds, 0U, __ATOMIC_RELEASE);
        munmap(state_->config, state_->length);
    }
    if (state_->ring != nullptr) ring_buffer__free(state_->ring);
}

Result<std::unique_ptr<EventSource>> EventFollower::open(const std::string& bpffs, const FollowOptions& options) {
    SLUICE_TRY_ASSIGN(const sluice_log_config wanted, log_settings(options));
    const PinPaths paths = PinPaths::under(bpffs);
    auto state = std::make_unique<State>();
    const auto pin = [&](const char* name, Fd* fd) -> Result<void> {
        const std::string path = paths.state + "/" + state_pin_name(name);
        const int raw = bpf_obj_get(path.c_str());
        if (raw < 0) return errno_error(-raw, "cannot open the flow log {}", path);
        *fd = Fd(raw);
        return {};
    };
    SLUICE_TRY(pin("sluice_events", &state->events));
    SLUICE_TRY(pin("sluice_log", &state->log));
    state->lock = Fd(::open(paths.state.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!state->lock) return errno_error(errno, "cannot open {}", paths.state);
    if (flock(state->lock.get(), LOCK_EX | LOCK_NB) != 0) {
        return make_error(Code::kAlreadyExists,
                          "somebody else follows the flow log of {}: it has one reader", paths.root);
    }
    state->length = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* address =
        mmap(nullptr, state->length, PROT_READ | PROT_WRITE, MAP_SHARED, state->log.get(), 0);
    if (address == MAP_FAILED) return errno_error(errno, "cannot map the flow log's settings");
    state->config = static_cast<sluice_log_config*>(address);
    State* raw = state.get();
    std::unique_ptr<EventFollower> out(new EventFollower(std::move(state)));
    raw->ring = ring_buffer__new(raw->events.get(), State::received, raw, nullptr);
    if (raw->ring == nullptr) return errno_error(errno, "cannot read the flow log's ring");
    // What an earlier follower has left unread is not of this one's asking.
    (void)ring_buffer__consume(raw->ring);
    raw->lost_before = __atomic_load_n(&raw->config->lost, __ATOMIC_RELAXED);
    raw->config->below = wanted.below;
    raw->kinds = wanted.kinds;
    out->renew();
    return std::unique_ptr<EventSource>(std::move(out));
}

void EventFollower::renew() {
    __atomic_store_n(&state_->config->until_ns, follow_until_ns(), __ATOMIC_RELEASE);
    // Taken back when a lease is over.
    __atomic_store_n(&state_->config->kinds, state_->kinds, __ATOMIC_RELEASE);
}

Result<std::size_t> EventFollower::poll(std::chrono::milliseconds timeout,
                                        const std::function<void(const EventView&)>& visit) {
    renew();
    const auto bounded = std::min(timeout, std::chrono::milliseconds(kFollowLease) / 2);
    state_->visit = &visit;
    const int count = ring_buffer__poll(state_->ring, static_cast<int>(bounded.count()));
    state_->visit = nullptr;
    if (count < 0 && count != -EINTR) return errno_error(-count, "cannot read the flow log");
    return static_cast<std::size_t>(std::max(count, 0));
}

std::uint64_t EventFollower::lost() const {
    return __atomic_load_n(&state_->config->lost, __ATOMIC_RELAXED) - state_->lost_before;
}

}  // namespace sluice::dataplane
