// Which lcore a frame belongs to.
#include "dataplane/dpdk/pipeline/dispatch.h"

namespace sluice::dpdk {

PortShare share_of_ports(std::uint16_t first, std::uint16_t last, std::uint32_t lcore, std::uint32_t lcores) {
    const std::uint32_t ports = std::uint32_t{last} - first + 1;
    const std::uint32_t share = ports / lcores;
    PortShare out;
    out.first = static_cast<std::uint16_t>(first + lcore * share);
    out.last = lcore + 1 == lcores ? last : static_cast<std::uint16_t>(out.first + share - 1);
    return out;
}

}  // namespace sluice::dpdk
