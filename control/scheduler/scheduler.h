// The component "scheduler": gives every pending pod the node that suits it best, and says why when none does.
// The one header that the program includes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "api/base/result.h"
#include "api/client/kubeconfig.h"

namespace sluice::scheduler {

inline constexpr const char* kSchedulerName = "default-scheduler";

struct SchedulerOptions {
    // Decides between equally good nodes; taken from the system's randomness unless given.
    std::optional<std::uint64_t> seed;
};

class Scheduler {
public:
    virtual ~Scheduler() = default;
    // Runs until destroyed. Returns before it has heard from the server; while that is away, it waits.
    static Result<std::unique_ptr<Scheduler>> start(const client::ClientConfig& api_server,
                                                    const SchedulerOptions& options = {});
};

}  // namespace sluice::scheduler
