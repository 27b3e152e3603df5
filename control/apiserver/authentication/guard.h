// What those may do who are not yet anybody: strangers, and machines that hold nothing but a
// bootstrap token. Until there are roles, everybody else may do everything. Pure and thread-safe.
#pragma once

#include <optional>

#include "control/http/server.h"

namespace sluice::authentication {

// True for a request that a stranger may make: the published facts of the cluster (ConfigMap
// kube-public/cluster-info).
[[nodiscard]] bool is_open_to_strangers(const http::Request& request);

// The refusal, a Status 403 in Kubernetes' words; nullopt: the request may go on.
// REQUIRES: the identity is settled, impersonation included; anonymous requests have an empty user.
[[nodiscard]] std::optional<http::Response> guard(const http::Request& request);

}  // namespace sluice::authentication
