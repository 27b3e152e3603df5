// A frame that the control thread wants sent.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice::dpdk {

struct OutFrame {
    std::uint16_t interface = 0;
    std::vector<std::uint8_t> bytes;  // from the Ethernet header on, tag included
};

}  // namespace sluice::dpdk
