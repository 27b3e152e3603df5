// The engine's socket: Dpdk of api/sluice/dpdk.proto on a unix socket, for root alone.
#pragma once

#include <memory>
#include <string>

#include "api/base/result.h"
#include "dataplane/dpdk/service/control.h"

namespace sluice::dpdk {

// Watch streams open at once; one more is refused with RESOURCE_EXHAUSTED.
inline constexpr int kMaxWatchers = 16;
// Captures and drains that wait, each in a thread.
inline constexpr int kMaxLongCalls = 8;
// Of calls that name none.
inline constexpr int kDefaultCallSeconds = 30;

class ControlServer {
public:
    // Serves when it returns. The socket's folder is made when there is none (0700). A socket that nobody listens on is
    // replaced; kAlreadyExists when an engine does. control outlives the server.
    static Result<std::unique_ptr<ControlServer>> start(const std::string& socket, EngineControl& control);

    // Cancels what waits, lets other calls answer (2 s at most), ends the streams and removes the socket.
    virtual ~ControlServer() = default;

    // Watchers get the status at once. Any thread; cheap.
    virtual void changed() = 0;
};

}  // namespace sluice::dpdk
