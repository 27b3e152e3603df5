// An IPAddress for every ClusterIP, kept by following the Services.
//
//   Services --observed--> who has which address --differs--> a write, at most kMaxAddressWrites at once
//   IPAddresses --observed--^   (one that was deleted while in use comes back)
//
// The allocator, not these objects, decides who gets an address: a Service is acknowledged without waiting for its
// IPAddress, which follows with the store's next group of writes. Objects that users make are left alone.
#pragma once

#include <cstddef>
#include <memory>

#include "api/base/result.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// Addresses whose objects are written at the same time; the others wait, each once.
inline constexpr std::size_t kMaxAddressWrites = 64;

// Thread-safe. The core outlives it; stop() is called before the core's executor ends.
class IpAddresses {
public:
    virtual ~IpAddresses() = default;
    virtual void stop() = 0;
};

// Returns once everything that is there has been looked at; the writes follow.
Result<std::unique_ptr<IpAddresses>> start_ip_addresses(Core& core);

}  // namespace sluice::registry
