// Claims: the keys by which API servers on one store keep addresses and node ports apart.
//
//     /registry/ranges/serviceips/10.96.0.10              -> "namespace/name" of the Service
//     /registry/ranges/servicenodeports/TCP/30080         -> the same
//
// A claim is made in the transaction that writes the Service, on the condition that it does not exist, and removed in
// the one that removes the Service or what it uses. So there is no claim without its Service, and two servers that pick
// the same value cannot both succeed. Stores that were written without claims (embedded ones moved into etcd) are
// repaired at start.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "control/apiserver/registry/allocator/service_allocator.h"

namespace sluice::registry {

struct Core;

[[nodiscard]] std::string claim_key(const IpAddress& address);
[[nodiscard]] std::string claim_key(Protocol protocol, std::int64_t port);
[[nodiscard]] std::vector<std::string> claim_keys(const ServiceAllocator::Holding& holding);
// What a claim holds.
[[nodiscard]] std::string claim_owner(const ServiceMessage& service);

// Makes the claims that stored Services lack and removes those that no Service backs; both only if neither Service nor
// claim has changed meanwhile, as other servers work on. Values that two Services have stay with the older one, and are
// logged. Returns how many were changed. Blocks; not on one of the core's workers. REQUIRES: a shared store.
Result<std::uint64_t> repair_claims(Core& core);

}  // namespace sluice::registry
