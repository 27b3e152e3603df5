// Reads an image that someone else writes. Nothing in it is trusted: indices are checked against
// the tables, lengths are bounded, so that a torn or corrupt image gives wrong words but never a
// wrong read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/image/layout.h"

namespace sluice::image {

// Longest name read back: "namespace/name:port", or "namespace/pod".
inline constexpr std::size_t kMaxNameLength = 512;

// kFailedPrecondition unless the header is of this layout and its capacities are what the tables
// have.
Result<void> check_header(const sluice_header& header, const Capacities& actual);

std::string read_name(const Tables& tables, std::uint32_t offset);

// The backends of a service's set, in set order; bounded by the set table.
std::vector<sluice_backend> read_set(const Tables& tables, std::uint64_t word);

// Runs `read` until no publication was under way during it, at most `attempts` times; then the last
// outcome stands, which is well-formed in any case.
template <class Read>
auto read_stable(const Tables& tables, Read read, int attempts = 16) {
    for (;;) {
        const std::uint64_t before = __atomic_load_n(&tables.header->generation, __ATOMIC_ACQUIRE);
        auto result = read();
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        const std::uint64_t after = __atomic_load_n(&tables.header->generation, __ATOMIC_ACQUIRE);
        if ((before == after && before % 2 == 0) || --attempts <= 0) {
            return result;
        }
    }
}

}  // namespace sluice::image
