// Keeps the status of ResourceQuotas true: what is in force, and what is used of it.
//
//   quotas, and the kinds they count --observations--> namespaces to look at --thread--> list, sum, compare-and-swap
//
// Admission charges writes before they are done (admission/quota.cc); this counts again after deletions and changes of
// quotas, when pods end, and now and then. A count that falls between a charge and its write gives the charge back
// until the write has been seen: a quota may be exceeded by writes that run beside deletions, as in Kubernetes. So what
// was charged is counted only when its write has had time to be done, or to fail.
#pragma once

#include <chrono>
#include <memory>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// Changes of this long are counted together.
inline constexpr std::chrono::milliseconds kQuotaGather{50};
// How long a charge is believed before it is counted.
inline constexpr std::chrono::seconds kQuotaSettle{5};
// How often namespaces with quotas are counted that nothing was heard of.
inline constexpr std::chrono::seconds kQuotaResync{60};
// The same for quotas that count custom objects, which are not observed.
inline constexpr std::chrono::seconds kQuotaCustomResync{1};

// Thread-safe. The core outlives it.
class QuotaKeeper {
public:
    virtual ~QuotaKeeper() = default;
    // Waits for a count that is under way.
    virtual void stop() = 0;
};

Result<std::unique_ptr<QuotaKeeper>> start_quotas(Core& core);

// The status that a quota should have, from what is stored now.
[[nodiscard]] std::unique_ptr<Message> counted_quota(Core& core, const StoredObject& quota);

// Writes an object that was read, unless it was changed since, and waits until that is durable. True: written; false:
// it was changed. REQUIRES: not called on the store's thread.
Answer<bool> write_and_wait(Core& core, const Strategy& strategy, const StoredObject& read, const Message& wanted);

}  // namespace sluice::registry
