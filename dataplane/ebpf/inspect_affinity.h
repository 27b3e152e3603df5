// Reads which endpoint a client of a service with ClientIP affinity keeps, by the protocol of bpf/lib/affinity.h, while
// packets change it. Nothing is written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "api/abi/affinity.h"
#include "api/base/result.h"
#include "dataplane/ebpf/pinned_array.h"

namespace sluice::dataplane {

// A table in memory, at one moment.
struct AffinityView {
    const sluice_affinity_bucket* buckets = nullptr;  // [bucket_count]
    std::uint32_t bucket_count = 0;
    std::uint32_t now = 0;  // in units of the table: ns of the monotonic clock >> SLUICE_AFFINITY_TIME_SHIFT
    std::uint64_t seed = 0;
};

struct RememberedChoice {
    std::uint32_t backend = 0, incarnation = 0;  // of the image; whether it still serves is the caller's to ask
    std::uint32_t idle_s = 0;                    // since the client's last new connection
};

// None if the client has not come within the service's timeout.
std::optional<RememberedChoice> find_affinity(const AffinityView& view, const sluice_address& client,
                                              std::uint32_t service, std::uint32_t timeout_s);
// As whom the socket hooks know the processes of a network namespace.
sluice_address affinity_client_of(std::uint64_t netns_cookie);

// The pinned table, mapped read-only.
class AffinityTable {
public:
    static Result<std::unique_ptr<AffinityTable>> open(const std::string& state_directory);
    // Of this moment; borrowed from this object.
    [[nodiscard]] AffinityView view() const;

private:
    PinnedArray config_, buckets_;
};

}  // namespace sluice::dataplane
