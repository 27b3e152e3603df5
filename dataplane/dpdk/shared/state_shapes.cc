#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <ctime>

#include "api/abi/affinity.h"
#include "api/base/log.h"
#include "dataplane/dpdk/shared/segment.h"
#include "dataplane/dpdk/shared/state_shapes_internal.h"

namespace sluice::dpdk {

std::uint64_t draw_seed() {
    std::uint64_t seed = 0;
    while (seed == 0) {
        SLUICE_ASSERT(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
    }
    return seed;
}

Result<void> check_size(const char* name, std::uint32_t value, std::uint32_t least, std::uint32_t most) {
    return value < least || value > most
               ? Result<void>(make_error(Code::kInvalidArgument, "{} is {}; it may be {} to {}", name, value, least,
                                         most))
               : Result<void>();
}

Result<SegmentFile> make_anew(const std::string& path, SegmentKind kind, std::uint32_t shape,
                              std::span<const PartShape> parts, std::span<const std::uint64_t> counts,
                              const Error& why) {
    if (why.code != Code::kNotFound) {
        log::warn("dpdk", "{} begins empty: {}", path, why.to_string());
        SLUICE_TRY(remove_segment(path));
    }
    return SegmentFile::create(path, kind, shape, parts, counts);
}

Result<void> remove_segment(const std::string& path) {
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
        return errno_error(errno, "cannot remove {}", path);
    }
    return {};
}

Result<void> replace_segment(const std::string& path, const std::string& larger) {
    if (rename(larger.c_str(), path.c_str()) != 0) {
        return errno_error(errno, "cannot put {} in the place of {}", larger, path);
    }
    return {};
}

Now shared_now() {
    timespec now{};
    SLUICE_ASSERT(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    const std::uint64_t ns =
        static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
    constexpr unsigned kTickShift = 30;
    return {static_cast<std::uint16_t>(ns >> kTickShift), static_cast<std::uint32_t>(ns >> SLUICE_AFFINITY_TIME_SHIFT)};
}

}  // namespace sluice::dpdk
