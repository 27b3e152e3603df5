// exec and attach of WebSocket clients (v5.channel.k8s.io) over the SPDY/3.1 that kubelets speak.
//
//   WebSocket message: channel byte, then bytes        SPDY stream with header streamtype
//     0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize     stdin, stdout, stderr, error, resize
//     255, channel: that channel is closed               data with FIN
//
// The status on the error stream (v4: a Status as JSON) is passed on as it is.
#pragma once

#include <memory>

#include "control/http/byte_stream.h"

namespace sluice::streaming {

inline constexpr const char* kSpdyProtocol = "SPDY/3.1";
inline constexpr const char* kExecProtocolV4 = "v4.channel.k8s.io";
inline constexpr const char* kExecProtocolV5 = "v5.channel.k8s.io";
inline constexpr std::size_t kMaxExecStatusBytes = 1U << 20U;  // on the error stream; the rest is dropped

struct ExecStreams {
    bool in = false;
    bool out = false;
    bool err = false;
    bool tty = false;
};

// client: after the answer to its handshake; kubelet: after the answer 101 with v4.channel.k8s.io. Returns at once;
// both are closed in the end.
void translate_exec(std::shared_ptr<http::ByteStream> client,
                    std::shared_ptr<http::ByteStream> kubelet, const ExecStreams& streams);

}  // namespace sluice::streaming
