// "ok" over plain HTTP on /healthz, for those who watch the process: no credentials, no other path.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/base/result.h"

namespace sluice::kubelet {

// One request is answered at a time; one that does not come within this is given up.
inline constexpr int kHealthzTimeoutMs = 1'000;
inline constexpr std::size_t kMaxHealthzRequestBytes = 4'096;

class Healthz {
public:
    virtual ~Healthz() = default;
    static Result<std::unique_ptr<Healthz>> start(const std::string& address, std::uint16_t port);
};

}  // namespace sluice::kubelet
