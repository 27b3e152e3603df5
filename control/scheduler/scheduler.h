// The component "scheduler": gives every pending pod the node that suits it best, and says why when none does.
// The one header that the program includes.
#pragma once

#include <memory>

#include "api/base/result.h"
#include "api/client/kubeconfig.h"

namespace sluice::scheduler {

inline constexpr const char* kSchedulerName = "default-scheduler";

class Scheduler {
public:
    virtual ~Scheduler() = default;
    static Result<std::unique_ptr<Scheduler>> start(const client::ClientConfig& api_server);
};

}  // namespace sluice::scheduler
