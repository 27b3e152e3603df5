// The device by which frames reach the node's own stack: a tap made by DPDK, or vhost-net under virtio-user.
#include <rte_dev.h>
#include <rte_ethdev.h>

#include "dataplane/dpdk/runtime/ports.h"

namespace sluice::dpdk {
namespace {

std::string mac_text(const Mac& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

}  // namespace

Result<Port> make_exception_port(const Port& uplink, const ExceptionPath& path) {
    const bool tap = path.kind == ExceptionPath::Kind::kTap;
    const std::string device = fmt::format("{}{}", tap ? "net_tap_sluice" : "virtio_user_sluice", uplink.id);
    const std::string arguments =
        tap ? fmt::format("iface={},mac={}", path.name, mac_text(uplink.mac))
            : fmt::format("path=/dev/vhost-net,queues=1,queue_size=1024,iface={},mac={}", path.name,
                          mac_text(uplink.mac));
    if (const int answer = rte_eal_hotplug_add("vdev", device.c_str(), arguments.c_str()); answer != 0) {
        return errno_error(-answer, "exception path {} of port {}: the driver does not make it", path.name,
                           uplink.device);
    }
    std::uint16_t id = 0;
    if (rte_eth_dev_get_port_by_name(device.c_str(), &id) != 0) {
        return make_error(Code::kInternal, "exception path {} of port {}: has no port", path.name, uplink.device);
    }
    // One queue: what the stack can take is far less than a lcore can give.
    SLUICE_TRY_ASSIGN(auto port, inspect_port(id, uplink.mtu, 1));
    port.exception = true;
    port.twin = uplink.id;
    port.kernel_device = path.name;
    port.mac = uplink.mac;
    return port;
}

}  // namespace sluice::dpdk
