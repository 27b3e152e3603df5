// The agent's and the person's end of the engine's socket: one call, one answer. gRPC stays behind it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "api/base/result.h"
#include "dataplane/dpdk/service/control.h"
#include "dataplane/dpdk/service/state.h"

namespace sluice::dpdk {

inline constexpr std::chrono::milliseconds kShortCall{2000};
// Until lcores have passed a quiescent state, on a machine that is busy.
inline constexpr std::chrono::milliseconds kQuiescentCall{10000};

// Any thread; calls may overlap. Each call that gets no answer in time ends with kDeadlineExceeded; one that finds
// nobody at the socket, or loses the engine on its way, with kUnavailable at once.
class EngineCalls {
public:
    // Connects at the first call.
    static std::unique_ptr<EngineCalls> to(const std::string& socket);
    virtual ~EngineCalls() = default;

    virtual Result<EngineState> status(std::chrono::milliseconds wait = kShortCall) = 0;
    virtual Result<void> attach(std::uint32_t image, std::chrono::milliseconds wait = kQuiescentCall) = 0;
    virtual Result<void> synchronize(std::chrono::milliseconds wait = kQuiescentCall) = 0;
    // Visits each message until the stream ends, which is how an engine's death is told, or `visit` returns false.
    // Waits without end.
    virtual Result<void> watch(const std::function<bool(const EngineState&)>& visit) = 0;
    virtual Result<std::uint64_t> drain(std::uint32_t idle_seconds, std::chrono::milliseconds wait) = 0;
    virtual Result<void> undo_drain() = 0;
    virtual Result<void> hand_over(std::chrono::milliseconds wait = kQuiescentCall) = 0;
    // progress: as EngineControl::capture has it.
    virtual Result<CaptureState> capture(const CaptureOptions& options,
                                         const std::function<bool(const CaptureState&)>& progress) = 0;

    // Ends all calls that run, and each one to come, with kCancelled.
    virtual void cancel() = 0;
};

}  // namespace sluice::dpdk
