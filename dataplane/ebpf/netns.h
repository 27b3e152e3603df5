// The network namespace that this process is in, as the kernel numbers them: what bpf_get_netns_cookie() says of its
// sockets. A number is never given twice between two boots.
#pragma once

#include <cstdint>

#include "api/base/result.h"

namespace sluice::dataplane {

// Of the calling thread. Linux 5.14.
Result<std::uint64_t> netns_cookie();

}  // namespace sluice::dataplane
