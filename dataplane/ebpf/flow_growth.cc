#include "dataplane/ebpf/flow_growth.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "api/abi/flow.h"
#include "api/base/log.h"
#include "dataplane/ebpf/bpf_array.h"
#include "dataplane/ebpf/flow_tick.h"
#include "dataplane/ebpf/object_maps.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/ebpf/programs.h"

namespace sluice::dataplane {
namespace {

constexpr const char* kConfig = "sluice_flow_cfg";
constexpr std::array kTables{"sluice_flows4", "sluice_flows6"};
// While pins change places the smaller table has a third name, so that it never has none.
constexpr std::string_view kWas = "_was";
constexpr std::string_view kOld = "_old";
// Passes over the smaller table before what is still in somebody's way is given up.
constexpr int kMaxPasses = 64;
// Runs of the mover in one system call, which cannot be interrupted for long.
constexpr std::uint32_t kRunsACall = 1U << 14U;

// The longest that any protocol may be silent in the state.
std::uint16_t patience(std::uint32_t state) {
    switch (state) {
        case SLUICE_FLOW_CLOSED: return SLUICE_FLOW_TIMEOUT_CLOSED;
        case SLUICE_FLOW_CLOSING: return SLUICE_FLOW_TIMEOUT_CLOSING;
        case SLUICE_FLOW_ESTABLISHED: return SLUICE_FLOW_TIMEOUT_ESTABLISHED;
        default: return SLUICE_FLOW_TIMEOUT_NEW;
    }
}

// The configuration in memory: programs read it word by word, and so it is written.
class Config {
public:
    static Result<Config> open(const std::string& path) {
        const Fd map(bpf_obj_get(path.c_str()));
        return map ? of(map) : Result<Config>(errno_error(errno, "cannot open {}", path));
    }
    static Result<Config> of(const Fd& map) {
        Config out;
        void* at = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0);
        if (at == MAP_FAILED) {
            return errno_error(errno, "cannot map the configuration of the flow tables");
        }
        out.at_.reset(static_cast<sluice_flow_config*>(at));
        return out;
    }
    sluice_flow_config* operator->() const { return at_.get(); }
    [[nodiscard]] std::uint32_t& buckets(std::size_t family) const {
        return family == 0 ? at_->bucket_count4 : at_->bucket_count6;
    }
    [[nodiscard]] std::uint32_t& other(std::size_t family) const {
        return family == 0 ? at_->other_count4 : at_->other_count6;
    }
    // After the counts: who sees the mode sees them.
    void set_mode(std::uint32_t mode) const { __atomic_store_n(&at_->mode, mode, __ATOMIC_RELEASE); }

private:
    static constexpr std::size_t kPage = 4096;
    struct Unmap {
        void operator()(sluice_flow_config* at) const { munmap(at, kPage); }
    };
    std::unique_ptr<sluice_flow_config, Unmap> at_;
};

}  // namespace

void FlowSample::open(Fd table, std::uint32_t buckets, std::uint32_t tick_shift) {
    sample_.open(std::move(table), buckets, std::max(sizeof(sluice_flow_bucket4), sizeof(sluice_flow_bucket6)));
    tick_shift_ = tick_shift;
}

void FlowSample::take() {
    const std::uint16_t now = current_tick(tick_shift_);
    sample_.take([now](const char* bucket) {
        sluice_flow_set set{};
        std::memcpy(&set, bucket, sizeof(set));
        BucketSample::Seen seen{.slots = SLUICE_FLOW_WAYS, .used = 0, .evicted = set.evicted & ~SLUICE_FLOW_SPILLED};
        for (int slot = 0; slot < SLUICE_FLOW_WAYS; ++slot) {
            const std::uint32_t state = set.word[slot] & SLUICE_FLOW_STATE_MASK;
            const auto age = static_cast<std::uint16_t>(now - set.seen[slot]);
            // A stamp of a tick or two ahead is a clock's rounding.
            seen.used += state != SLUICE_FLOW_FREE && (age <= patience(state) || age > 0xfff0);
        }
        return seen;
    });
}

TableStatus FlowSample::status(const std::string& name) const {
    TableStatus out;
    out.name = name;
    out.capacity = std::uint64_t{buckets()} * SLUICE_FLOW_WAYS / 2;
    out.used = static_cast<std::uint64_t>(sample_.fullness() * static_cast<double>(out.capacity));
    out.displaced = sample_.evicted();
    return out;
}

std::string FlowPins::pin(const std::string& map) const {
    // Names of a table beside another have its version.
    const std::size_t end = map.starts_with("sluice_flows") ? 13 : map.size();
    return state_ + "/" + state_pin_name(map.substr(0, end)) + map.substr(end);
}

Fd FlowPins::table(FlowFamily family) const {
    return Fd(bpf_obj_get(pin(kTables[static_cast<std::size_t>(family)]).c_str()));
}

std::uint32_t FlowPins::buckets(FlowFamily family) const { return array_shape(table(family)).entries; }

std::uint32_t FlowPins::tick_shift() const {
    const auto config = Config::open(pin(kConfig));
    const std::uint32_t shift = config ? (*config)->tick_shift : 0;
    return (shift != 0 ? shift : SLUICE_FLOW_DEFAULT_TICK_SHIFT) & 31U;
}

Result<bool> FlowPins::settle() const {
    const auto config = Config::open(pin(kConfig));
    if (!config) {
        // No flows were kept, so there is nothing beside them either.
        SLUICE_TRY(finish());
        return false;
    }
    const bool moving = (*config)->mode == SLUICE_FLOW_MOVE;
    for (std::size_t family = 0; family < kTables.size(); ++family) {
        const std::string own = pin(kTables[family]);
        const std::uint32_t buckets = config->buckets(family);
        if (array_shape(Fd(bpf_obj_get(own.c_str()))).entries == buckets || buckets == 0) {
            continue;
        }
        for (const std::string_view suffix : {kWas, kOld}) {
            const Fd other(bpf_obj_get(fmt::format("{}{}", own, suffix).c_str()));
            if (array_shape(other).entries == buckets) {
                SLUICE_TRY(replace_pin(other.get(), own));
                break;
            }
        }
    }
    if (moving) {
        log::info("ebpf", "going on with the growth of the flow tables");
        return true;
    }
    // Whoever looks into the larger table finds nobody there, whether it is told to or not.
    config->set_mode(SLUICE_FLOW_ALONE);
    SLUICE_TRY(finish());
    return false;
}

Result<void> FlowPins::begin(bool v4, bool v6) const {
    const std::array<bool, 2> wanted{v4, v6};
    for (std::size_t family = 0; family < kTables.size(); ++family) {
        if (!wanted[family]) {
            continue;
        }
        const ArrayShape now = array_shape(table(static_cast<FlowFamily>(family)));
        if (now.entries == 0) {
            return make_error(Code::kFailedPrecondition, "there is no flow table {} to grow",
                              kTables[family]);
        }
        SLUICE_TRY_ASSIGN(const Fd larger,
                          make_array(kTables[family], now.value_size, now.entries * 2));
        SLUICE_TRY(replace_pin(larger.get(), fmt::format("{}{}", pin(kTables[family]), kOld)));
    }
    return {};
}

Result<void> FlowPins::beside() const {
    SLUICE_TRY_ASSIGN(const Config config, Config::open(pin(kConfig)));
    for (std::size_t family = 0; family < kTables.size(); ++family) {
        config.other(family) =
            array_shape(Fd(bpf_obj_get(fmt::format("{}{}", pin(kTables[family]), kOld).c_str()))).entries;
    }
    config.set_mode(SLUICE_FLOW_BESIDE);
    return {};
}

Result<void> FlowPins::swap() const {
    SLUICE_TRY_ASSIGN(const Config before, Config::open(pin(kConfig)));
    SLUICE_TRY_ASSIGN(const Fd map, make_array(kConfig, sizeof(sluice_flow_config), 1));
    SLUICE_TRY_ASSIGN(const Config next, Config::of(map));
    next->seed = before->seed;
    next->tick_shift = before->tick_shift;
    for (std::size_t family = 0; family < kTables.size(); ++family) {
        const std::string own = pin(kTables[family]);
        const Fd smaller(bpf_obj_get(own.c_str()));
        const Fd larger(bpf_obj_get(fmt::format("{}{}", own, kOld).c_str()));
        next.buckets(family) = before.buckets(family);
        if (!larger) {
            continue;
        }
        next.buckets(family) = array_shape(larger).entries;
        next.other(family) = array_shape(smaller).entries;
        SLUICE_TRY(replace_pin(smaller.get(), fmt::format("{}{}", own, kWas)));
        SLUICE_TRY(replace_pin(larger.get(), own));
        SLUICE_TRY(replace_pin(smaller.get(), fmt::format("{}{}", own, kOld)));
    }
    next.set_mode(SLUICE_FLOW_MOVE);
    SLUICE_TRY(replace_pin(map.get(), pin(kConfig)));
    return {};
}

Result<FlowMoveCounts> FlowPins::carry(const std::string& object) const {
    quiet_libbpf();
    const std::unique_ptr<bpf_object, decltype(&bpf_object__close)> loaded(
        bpf_object__open_file(object.c_str(), nullptr), bpf_object__close);
    if (!loaded) {
        return errno_error(errno, "cannot open the BPF object {}", object);
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, loaded.get()) {
        bpf_program__set_type(program, BPF_PROG_TYPE_SCHED_CLS);
    }
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, loaded.get()) {
        const std::string name(map_name(map));
        const Fd pinned(bpf_obj_get(pin(name).c_str()));
        if (pinned && bpf_map__reuse_fd(map, pinned.get()) != 0) {
            return errno_error(errno, "cannot hand the map {} to the mover", name);
        }
    }
    if (const int error = bpf_object__load(loaded.get()); error != 0) {
        return errno_error(-error, "the kernel refused the program of {}", object);
    }
    program = bpf_object__next_program(loaded.get(), nullptr);
    const int place = bpf_object__find_map_fd_by_name(loaded.get(), "sluice_move");
    const std::uint32_t zero = 0;
    FlowMoveCounts out;
    std::array<char, 64> frame{};
    for (int pass = 0; pass < kMaxPasses; ++pass) {
        sluice_flow_mover mover{};
        if (const int error = bpf_map_update_elem(place, &zero, &mover, BPF_ANY); error != 0) {
            return errno_error(-error, "cannot begin a pass over the flow table");
        }
        for (bool more = true; more;) {
            LIBBPF_OPTS(bpf_test_run_opts, run);
            run.data_in = frame.data();
            run.data_size_in = frame.size();
            run.repeat = kRunsACall;
            const int error = bpf_prog_test_run_opts(bpf_program__fd(program), &run);
            if (error != 0) {
                return errno_error(-error, "cannot carry flows to the larger table");
            }
            more = run.retval == 1;
        }
        if (const int error = bpf_map_lookup_elem(place, &zero, &mover); error != 0) {
            return errno_error(-error, "cannot read what became of the flows");
        }
        out.moved += mover.count[SLUICE_FLOW_CARRIED_MOVED];
        out.expired += mover.count[SLUICE_FLOW_CARRIED_OVER];
        // Those that cannot be carried are met again in each pass.
        out.lost = mover.count[SLUICE_FLOW_CARRIED_EXISTS] + mover.count[SLUICE_FLOW_CARRIED_FULL] +
                   mover.count[SLUICE_FLOW_CARRIED_AGAIN];
        if (mover.count[SLUICE_FLOW_CARRIED_AGAIN] == 0) {
            break;
        }
    }
    return out;
}

Result<void> FlowPins::finish() const {
    if (const auto config = Config::open(pin(kConfig))) {
        config->set_mode(SLUICE_FLOW_ALONE);
    }
    for (const char* table : kTables) {
        for (const std::string_view suffix : {kWas, kOld}) {
            SLUICE_TRY(remove_pin(fmt::format("{}{}", pin(table), suffix)));
        }
    }
    return {};
}

void FlowPins::give_up() const {
    if (auto done = settle(); !done) {
        log::warn("ebpf", "{}", done.error().to_string());
    }
}

}  // namespace sluice::dataplane
