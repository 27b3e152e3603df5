// A WebSocket whose binary messages carry the bytes of another protocol: port-forward of newer kubectls
// (SPDY/3.1+portforward.k8s.io).
#pragma once

#include <memory>

#include "control/http/byte_stream.h"

namespace sluice::streaming {

inline constexpr const char* kTunnelPrefix = "SPDY/3.1+";
inline constexpr const char* kTunnelProtocol = "SPDY/3.1+portforward.k8s.io";
inline constexpr const char* kPortForwardProtocol = "portforward.k8s.io";

// client: after the answer to its handshake. Returns at once; both are closed in the end.
void tunnel(std::shared_ptr<http::ByteStream> client, std::shared_ptr<http::ByteStream> far);

}  // namespace sluice::streaming
