// `sluice-control token create`: a bootstrap token in the running cluster, and the command that
// joins a machine with it.
#pragma once

#include <cstdint>
#include <string>

#include "api/base/result.h"

namespace sluice::control {

// "24h", "90m", "0" for a token that does not expire; at most a year.
Result<std::int64_t> parse_token_ttl(const std::string& text);

// Creates the token by the admin.kubeconfig of the data directory, and returns "sluice join SERVER
// --token ... ". server: HOST:PORT as nodes reach it; empty: that of the cluster-info the cluster
// publishes.
Result<std::string> create_token(const std::string& data_dir, std::int64_t ttl_s,
                                 const std::string& server);

}  // namespace sluice::control
