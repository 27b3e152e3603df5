// Whole IPv4 fragments from af_packet ports.
//
// DPDK's driver asks the kernel to spread frames over its queues (PACKET_FANOUT), and always with the flag that makes
// it put fragments together first. What comes then is larger than the link's frames, and is cut off at the driver's 2
// KiB: of a datagram of 4,000 bytes nothing usable is left. The driver has no argument for it, so its call is
// answered here, where all setsockopt calls of this program and its libraries end up, without that flag. Fragments of
// one datagram are spread by their addresses, which is the same queue for all; the pipeline knows how to follow them.
#include <linux/if_packet.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

// NOLINTNEXTLINE(readability-identifier-naming): the C library's name
extern "C" int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
    std::uint32_t fanout = 0;  // group, and from bit 16 on type and flags
    if (level == SOL_PACKET && name == PACKET_FANOUT && length == sizeof(fanout)) {
        std::memcpy(&fanout, value, sizeof(fanout));
        fanout &= ~(std::uint32_t{PACKET_FANOUT_FLAG_DEFRAG} << 16U);
        value = &fanout;
    }
    return static_cast<int>(syscall(SYS_setsockopt, fd, level, name, value, length));
}
