// A request on its way to another API server: to which of its endpoints, and with who asks in headers that it believes
// because of this server's certificate.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/apiserver/aggregator/remote.h"
#include "control/apiserver/relay/relay.h"

namespace sluice::aggregator {

// Answers, now or later. turn: a number that grows with each request, for the choice of an endpoint.
void hand_over(relay::Relay& relay, const Remote& remote, std::size_t turn,
               const std::shared_ptr<const http::Request>& request, std::shared_ptr<http::Responder> responder);

// X-Remote-User and its like.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> identity_headers(const http::Identity& who);

}  // namespace sluice::aggregator
