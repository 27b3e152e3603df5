#include "dataplane/ebpf/affinity_growth.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>

#include "api/abi/affinity.h"
#include "dataplane/ebpf/bpf_array.h"
#include "dataplane/ebpf/pins.h"

#include "bpf/lib/view_memory.h"
// The views come first: what follows is written against them.
#include "bpf/lib/affinity_memory.h"

// Clients are carried with what they chose, whatever an image says of it.
static inline int sluice_view_open(sluice_view* /*view*/) {
    return 0;
}

#include "bpf/lib/affinity.h"
#include "bpf/lib/affinity_move.h"

namespace sluice::dataplane {
namespace {

constexpr const char* kTable = "sluice_affinity";
constexpr const char* kConfig = "sluice_aff_cfg";
constexpr const char* kTableWas = "sluice_affinity_was";
constexpr const char* kConfigWas = "sluice_aff_cfg_was";

Fd pinned(const std::string& path) { return Fd(bpf_obj_get(path.c_str())); }

std::uint32_t now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    constexpr std::uint64_t kNsPerSecond = 1000000000;
    return static_cast<std::uint32_t>(
        (static_cast<std::uint64_t>(time.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(time.tv_nsec)) >>
        SLUICE_AFFINITY_TIME_SHIFT);
}

struct Unmap {
    std::size_t length = 0;
    void operator()(void* at) const { munmap(at, length); }
};

// A table and its configuration, mapped: written by the protocol of bpf/lib/affinity.h, as programs do.
class Mapped {
public:
    static Result<Mapped> of(const Fd& table, const Fd& config) {
        Mapped out;
        const std::uint32_t buckets = array_shape(table).entries;
        if (buckets == 0 || array_shape(config).entries == 0) {
            return make_error(Code::kFailedPrecondition, "the affinity table is not pinned");
        }
        SLUICE_TRY_ASSIGN(out.buckets_, map(table, buckets * sizeof(sluice_affinity_bucket)));
        SLUICE_TRY_ASSIGN(out.config_, map(config, sizeof(sluice_affinity_config)));
        out.view_.buckets = static_cast<sluice_affinity_bucket*>(out.buckets_.get());
        out.view_.config = static_cast<sluice_affinity_config*>(out.config_.get());
        out.view_.bucket_count = buckets;
        out.view_.seed = SLUICE_READ_ONCE(out.view_.config->seed);
        out.view_.now = now();
        return out;
    }
    [[nodiscard]] const sluice_affinity_view& view() const { return view_; }

private:
    using Memory = std::unique_ptr<void, Unmap>;

    static Result<Memory> map(const Fd& fd, std::size_t bytes) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t length = (bytes + page - 1) / page * page;
        void* at = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
        if (at == MAP_FAILED) return errno_error(errno, "cannot map the affinity table");
        return Memory(at, Unmap{length});
    }

    Memory buckets_, config_;
    sluice_affinity_view view_{};
};

}  // namespace

std::string AffinityGrowth::pin(const char* map) const { return state_ + "/" + state_pin_name(map); }

bool AffinityGrowth::pending() const { return access(pin(kTableWas).c_str(), F_OK) == 0; }

Result<void> AffinityGrowth::settle() const {
    const Fd table_was = pinned(pin(kTableWas));
    const Fd config_was = pinned(pin(kConfigWas));
    if (table_was && config_was) {
        const Fd table = pinned(pin(kTable));
        const Fd config = pinned(pin(kConfig));
        const bool one_is_new = array_shape(table).id != array_shape(table_was).id;
        const bool other_is_new = array_shape(config).id != array_shape(config_was).id;
        if (one_is_new && other_is_new) return {};
        // Nothing has been in the larger table yet that is not in the smaller.
        if (one_is_new) SLUICE_TRY(replace_pin(table_was.get(), pin(kTable)));
        if (other_is_new) SLUICE_TRY(replace_pin(config_was.get(), pin(kConfig)));
    }
    SLUICE_TRY(remove_pin(pin(kTableWas)));
    return remove_pin(pin(kConfigWas));
}

Result<void> AffinityGrowth::begin() const {
    const Fd smaller = pinned(pin(kTable));
    const Fd smaller_config = pinned(pin(kConfig));
    SLUICE_TRY_ASSIGN(const Mapped from, Mapped::of(smaller, smaller_config));
    const std::uint32_t buckets = from.view().bucket_count * 2;
    SLUICE_TRY_ASSIGN(const Fd larger, make_array(kTable, sizeof(sluice_affinity_bucket), buckets));
    SLUICE_TRY_ASSIGN(const Fd config, make_array(kConfig, sizeof(sluice_affinity_config), 1));
    sluice_affinity_config facts{};
    facts.bucket_count = buckets;
    facts.displaced = SLUICE_READ_ONCE(from.view().config->displaced);
    // By the same seed the clients of one bucket become those of two, so that none is without room.
    facts.seed = from.view().seed;
    while (facts.seed == 0) {
        SLUICE_ASSERT(getrandom(&facts.seed, sizeof(facts.seed), 0) == sizeof(facts.seed));
    }
    const std::uint32_t zero = 0;
    if (const int error = bpf_map_update_elem(config.get(), &zero, &facts, BPF_ANY); error != 0) {
        return errno_error(-error, "cannot write the size of the affinity table");
    }
    SLUICE_TRY_ASSIGN(const Mapped to, Mapped::of(larger, config));
    // Without a seed nothing was ever asked of the smaller table.
    if (from.view().seed != 0) sluice_affinity_carry(&from.view(), &to.view());
    auto done = exchange_pins(larger.get(), config.get());
    if (!done) {
        // Programs must not be loaded with one of them of each.
        if (auto back = settle(); !back) return back.error().with_context(done.error().to_string());
    }
    return done;
}

Result<void> AffinityGrowth::exchange_pins(int larger, int config) const {
    SLUICE_TRY(replace_pin(pinned(pin(kConfig)).get(), pin(kConfigWas)));
    SLUICE_TRY(replace_pin(pinned(pin(kTable)).get(), pin(kTableWas)));
    SLUICE_TRY(replace_pin(larger, pin(kTable)));
    return replace_pin(config, pin(kConfig));
}

Result<std::uint64_t> AffinityGrowth::catch_up() const {
    const Fd smaller = pinned(pin(kTableWas)), smaller_config = pinned(pin(kConfigWas));
    const Fd larger = pinned(pin(kTable)), config = pinned(pin(kConfig));
    SLUICE_TRY_ASSIGN(const Mapped from, Mapped::of(smaller, smaller_config));
    SLUICE_TRY_ASSIGN(const Mapped to, Mapped::of(larger, config));
    std::uint64_t carried = 0;
    if (from.view().seed != 0 && to.view().seed != 0) {
        carried = sluice_affinity_carry(&from.view(), &to.view());
        // Those that came during that, which takes a while.
        sluice_affinity_view later = from.view();
        later.now = now();
        carried += sluice_affinity_carry_since(&later, &to.view(), from.view().now);
    }
    const std::uint64_t before = SLUICE_READ_ONCE(from.view().config->displaced);
    auto& displaced = to.view().config->displaced;
    if (before > SLUICE_READ_ONCE(displaced)) {
        __atomic_fetch_add(&displaced, before - SLUICE_READ_ONCE(displaced), __ATOMIC_RELAXED);
    }
    return carried;
}

Result<std::uint64_t> AffinityGrowth::finish() const {
    SLUICE_TRY_ASSIGN(const std::uint64_t carried, catch_up());
    SLUICE_TRY(remove_pin(pin(kTableWas)));
    SLUICE_TRY(remove_pin(pin(kConfigWas)));
    return carried;
}

void AffinityGrowth::watch() {
    Fd table = pinned(pin(kTable));
    const std::uint32_t buckets = array_shape(table).entries;
    sample_.open(std::move(table), buckets, sizeof(sluice_affinity_bucket));
    config_ = pinned(pin(kConfig));
}

void AffinityGrowth::look() {
    sluice_affinity_view clock{};
    clock.now = now();
    sample_.take([&clock](const char* bytes) {
        sluice_affinity_bucket bucket{};
        std::memcpy(&bucket, bytes, sizeof(bucket));
        BucketSample::Seen seen{.slots = SLUICE_AFFINITY_WAYS, .used = 0, .evicted = 0};
        for (std::uint32_t slot = 0; slot < SLUICE_AFFINITY_WAYS; ++slot) {
            seen.used += (bucket.word[slot] & SLUICE_AFFINITY_STATE_MASK) == SLUICE_AFFINITY_LIVE &&
                         sluice_affinity_age(&clock, bucket.word[slot]) <= bucket.entry[slot].timeout;
        }
        return seen;
    });
}

bool AffinityGrowth::full() {
    if (!sample_.full()) return false;
    sample_.forget();
    return true;
}

std::uint64_t AffinityGrowth::entries() const { return std::uint64_t{sample_.buckets()} * SLUICE_AFFINITY_WAYS; }

TableStatus AffinityGrowth::status() const {
    TableStatus out;
    out.name = "affinity";
    out.capacity = entries();
    out.used = static_cast<std::uint64_t>(sample_.fullness() * static_cast<double>(out.capacity));
    sluice_affinity_config config{};
    const std::uint32_t zero = 0;
    if (config_ && bpf_map_lookup_elem(config_.get(), &zero, &config) == 0) out.displaced = config.displaced;
    return out;
}

}  // namespace sluice::dataplane
