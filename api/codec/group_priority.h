// Where API groups and their versions stand among each other: the order of discovery, and the priorities of the
// APIServices of what is served here. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::codec {

struct GroupPriority {
    std::int32_t group = 0;    // higher comes first
    std::int32_t version = 0;  // higher comes first within the group
};

// Those of kube-apiserver 1.32; for what it does not know, such as groups of custom resources, its lowest for built-in
// ones: {1000, 100}.
[[nodiscard]] GroupPriority group_priority(std::string_view group, std::string_view version);

}  // namespace sluice::codec
