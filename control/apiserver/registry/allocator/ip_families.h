// Which IP families a Service has: filled in from the policy, the addresses asked for and what the cluster offers.
#pragma once

#include <span>

#include "api/base/ip_address.h"
#include "control/apiserver/registry/allocator/service_allocator.h"

namespace sluice::registry {

// "IPv4" or "IPv6".
[[nodiscard]] std::string family_name(IpFamily family);

// Sets ipFamilies and ipFamilyPolicy. offered: the cluster's families, the default first. old: null at creation.
void init_ip_families(ServiceMessage* service, const ServiceMessage* old,
                      std::span<const IpFamily> offered, FieldErrors* errors);

}  // namespace sluice::registry
