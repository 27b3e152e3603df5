// What the gRPC service asks of the engine's runtime. The runtime implements it; the service (service/server.h) calls.
//
// Threads: calls come from the server's threads, several at once. status() may come at any time, during any other call.
// attach, synchronize, drain and hand_over may overlap; the runtime orders them as it must. None runs on a lcore, and
// none may make a lcore wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "api/base/result.h"
#include "dataplane/dpdk/service/state.h"

namespace sluice::dpdk {

// How long a caller waits. A call that waits looks at both at least every 100 ms, and ends with kDeadlineExceeded or
// kCancelled.
struct Patience {
    std::chrono::steady_clock::time_point deadline;
    std::function<bool()> cancelled;  // the caller has gone, or the server stops

    // What ends the wait now, if anything does.
    [[nodiscard]] Result<void> check(const char* what) const {
        if (cancelled && cancelled()) {
            return make_error(Code::kCancelled, "{} was given up by its caller", what);
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            return make_error(Code::kDeadlineExceeded, "{} took longer than its caller waits", what);
        }
        return {};
    }
};

struct DrainOptions {
    std::uint32_t idle_seconds = 10;  // a flow that was not used for as long is over
};

// 0 and empty: any.
struct CaptureOptions {
    std::string file;  // absolute; must not exist
    std::string source;
    std::string destination;
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    std::uint8_t protocol = 0;
    std::uint32_t max_packets = 10000;
    std::uint32_t seconds = 60;
    std::uint32_t snap_length = 262144;
};

struct CaptureState {
    std::uint64_t packets = 0;
    std::uint64_t missed = 0;  // the writer was too slow
    bool finished = false;
};

class EngineControl {
public:
    virtual ~EngineControl() = default;

    // Never blocks on lcores. Cheap: about once a second for each watcher.
    [[nodiscard]] virtual EngineState status() const = 0;

    // Puts image-N of the state directory into force; that it is in force already is no error. Returns when no lcore
    // uses the one before. On error (kNotFound, kDataLoss, kFailedPrecondition) the former image stays in force.
    // kDeadlineExceeded: the new one is in force, and the one before may still be used.
    virtual Result<void> attach(std::uint32_t image, const Patience& patience) = 0;

    // Returns when every lcore has passed a quiescent state since the call.
    virtual Result<void> synchronize(const Patience& patience) = 0;

    // Refuses new flows from now on, and returns when no flow is left that was used within options.idle_seconds: 0, or
    // what was left when it ended with kDeadlineExceeded or kCancelled is named in the error. Draining stays on after
    // either, until undo_drain(). A second drain beside a first waits for the same.
    virtual Result<std::uint64_t> drain(const DrainOptions& options, const Patience& patience) = 0;
    // Takes new flows again; ends drain() calls that wait, with kCancelled. Harmless when nothing drains.
    virtual void undo_drain() = 0;

    // Stops lcores between two bursts and closes the ports; flows stay in shared memory. When it has returned, the
    // program ends: it destroys the server, which lets this call answer, releases the state directory's lock, and
    // exits.
    // On error everything goes on.
    virtual Result<void> hand_over(const Patience& patience) = 0;

    // Copies packets of matching flows until one of the limits, or until progress (called about each second, and at the
    // end with finished) returns false. kInvalidArgument names the field; kAlreadyExists the file; kResourceExhausted:
    // as many captures run as may.
    virtual Result<CaptureState> capture(const CaptureOptions& options, const Patience& patience,
                                         const std::function<bool(const CaptureState&)>& progress) = 0;
};

}  // namespace sluice::dpdk
