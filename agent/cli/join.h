// `sluice join`: makes this machine a node of a cluster, from nothing but the server's address, a
// bootstrap token and the authority's pin; and renews what joining made.
//
//   cluster-info over unverified TLS -> pin and signature -> again over verified TLS -> key, request with the token,
//   certificate -> DIR/kubelet.kubeconfig -> as the node: request for the serving certificate -> DIR/kubelet-serving.*
#pragma once

#include <cstdint>
#include <string>

#include "api/base/result.h"

namespace sluice::cli {

// What waits at most for a certificate to be approved and signed.
inline constexpr std::uint32_t kCertificateTimeoutMs = 120'000;
// A certificate with less than this share of its life left is renewed.
inline constexpr int kRenewPercent = 30;

struct JoinOptions {
    std::string server;  // "10.0.0.1:6443"
    std::string token;
    std::string pin;        // "sha256:..."
    std::string node_name;  // empty: the host's name
    std::string node_ip;    // empty: the address that reaches the server
    std::string data_dir = "/var/lib/sluice/node";
    bool start = true;  // run the node's script afterwards
    bool renew = false;
};

// The report for people. May be repeated: what is there and good stays. kInvalidArgument: wrong
// usage.
Result<std::string> join(const JoinOptions& options);

// Replaces this process by scripts/up --join-data DIR, found beside the program. Returns only to
// say why not.
Error start_node(const JoinOptions& options);

}  // namespace sluice::cli
