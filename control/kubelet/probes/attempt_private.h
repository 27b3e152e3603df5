// One attempt of a TCP or HTTP probe: a state machine on a non-blocking socket, driven by whoever
// waits for the socket.
//
//   connecting -> [TLS handshake] -> writing -> reading the head -> reading the body -> finished
//                                                   \ redirect to the same host: connecting again
#pragma once

#include <memory>
#include <string>

#include "control/kubelet/probes/target_private.h"

namespace sluice::kubelet {

inline constexpr std::size_t kMaxProbeHeadBytes = 64U << 10U;
inline constexpr std::size_t kMaxProbeBodyBytes = 10U << 10U;  // what is read of an answer; then it is closed
inline constexpr int kMaxProbeRedirects = 10;

struct AttemptResult {
    enum class Status : std::uint8_t { kSuccess, kFailure, kUnknown } status = Status::kFailure;
    std::string message;  // of a failure, in Kubernetes' words
    int http_status = 0;
};

// One thread. Destroying it closes its socket.
class Attempt {
public:
    virtual ~Attempt() = default;
    // -1 when there is none any more. Another one after each redirect.
    [[nodiscard]] virtual int fd() const = 0;
    // POLLIN or POLLOUT.
    [[nodiscard]] virtual short wanted() const = 0;
    // Goes on as far as the socket lets it.
    virtual void advance() = 0;
    // The time is over: finishes with the message that says so.
    virtual void expire() = 0;
    [[nodiscard]] virtual bool finished() const = 0;
    // REQUIRES: finished().
    [[nodiscard]] virtual const AttemptResult& result() const = 0;
};

// address: target.host, or what it resolves to. user_agent: "kube-probe/1.32". The connection is
// under way on return.
[[nodiscard]] std::unique_ptr<Attempt> start_attempt(const ProbeTarget& target,
                                                     const std::string& address,
                                                     const std::string& user_agent);

// The first address of a host name; IP addresses are their own. Blocks on the resolver.
Result<std::string> resolve_host(const std::string& host);

}  // namespace sluice::kubelet
