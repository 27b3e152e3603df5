// Frames from as many clients as there are numbers: TCP SYNs or datagrams to one address, each from another source,
// written to a device past all queues.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "tests/tools/modes.h"
#include "tests/tools/sockets.h"

namespace sluice::testpeer {
namespace {

constexpr std::size_t kBatch = 128;
constexpr std::size_t kFrame = 14 + 20 + 20;

struct Frame {
    std::array<std::uint8_t, kFrame> bytes{};
};

std::uint32_t add(std::uint32_t sum, const std::uint8_t* bytes, std::size_t length) {
    for (std::size_t i = 0; i + 1 < length; i += 2) {
        sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
    }
    return sum;
}

void put(std::uint8_t* at, std::uint32_t sum) {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    const auto value = static_cast<std::uint16_t>(~sum);
    at[0] = static_cast<std::uint8_t>(value >> 8);
    at[1] = static_cast<std::uint8_t>(value);
}

std::uint64_t next(std::uint64_t& state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

// Ethernet and the fixed parts; the sources and checksums are filled in for each frame.
Frame blank(const FloodOptions& options, const std::array<std::uint8_t, 6>& source_mac) {
    Frame frame;
    std::uint8_t* b = frame.bytes.data();
    std::memcpy(b, options.mac.data(), 6);
    std::memcpy(b + 6, source_mac.data(), 6);
    b[12] = 8;
    b[14] = 0x45;
    const std::size_t l4 = options.udp ? 8 : 20;
    b[17] = static_cast<std::uint8_t>(20 + l4);
    b[20] = 0x40;
    b[22] = 64;
    b[23] = options.udp ? IPPROTO_UDP : IPPROTO_TCP;
    std::memcpy(b + 30, options.address.bytes.data() + 12, 4);
    b[36] = static_cast<std::uint8_t>(options.port >> 8);
    b[37] = static_cast<std::uint8_t>(options.port);
    if (options.udp) {
        b[39] = 8;
    } else {
        b[46] = 0x50;
        b[47] = 0x02;
        b[48] = 0xff;
    }
    return frame;
}

void fill(Frame& frame, std::uint64_t random, bool udp) {
    std::uint8_t* b = frame.bytes.data();
    // 11.0.0.0/8: nobody's here.
    b[26] = 11;
    b[27] = static_cast<std::uint8_t>(random);
    b[28] = static_cast<std::uint8_t>(random >> 8);
    b[29] = static_cast<std::uint8_t>(random >> 16 | 1);
    b[34] = static_cast<std::uint8_t>(random >> 24 | 4);
    b[35] = static_cast<std::uint8_t>(random >> 32);
    b[24] = b[25] = 0;
    put(b + 24, add(0, b + 14, 20));
    const std::size_t l4 = udp ? 8 : 20;
    std::uint8_t* check = b + (udp ? 40 : 50);
    check[0] = check[1] = 0;
    put(check, add(add(static_cast<std::uint32_t>(l4) + b[23], b + 26, 8), b + 34, l4));
}

}  // namespace

Result<void> flood(const FloodOptions& options) {
    if (!options.address.is_v4()) {
        return make_error(Code::kInvalidArgument, "flood sends IPv4 alone");
    }
    const unsigned ifindex = if_nametoindex(options.device.c_str());
    if (ifindex == 0) return errno_error(errno, "device {}", options.device);
    Fd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!fd) return errno_error(errno, "packet socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    sockaddr_ll where{};
    where.sll_family = AF_PACKET;
    where.sll_ifindex = static_cast<int>(ifindex);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0) {  // NOLINT
        return errno_error(errno, "bind to {}", options.device);
    }
    std::array<Frame, kBatch> frames;
    frames.fill(blank(options, {2, 0, 0, 0, 0, 1}));
    std::array<iovec, kBatch> parts{};
    std::array<mmsghdr, kBatch> messages{};
    const std::size_t length = options.udp ? 14 + 28 : kFrame;
    for (std::size_t i = 0; i < kBatch; ++i) {
        parts[i] = {frames[i].bytes.data(), length};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    std::uint64_t state = 0x9e3779b97f4a7c15U ^ options.seed;
    std::uint64_t sent = 0;
    const auto begin = std::chrono::steady_clock::now();
    while (sent < options.count) {
        const auto batch = static_cast<unsigned>(std::min<std::uint64_t>(kBatch, options.count - sent));
        for (unsigned i = 0; i < batch; ++i) fill(frames[i], next(state), options.udp);
        const int done = ::sendmmsg(fd.get(), messages.data(), batch, 0);
        if (done < 0 && errno != ENOBUFS && errno != EAGAIN) return errno_error(errno, "sendmmsg");
        sent += done > 0 ? static_cast<std::uint64_t>(done) : 0;
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("{\"sent\":%llu,\"seconds\":%.3f,\"per_second\":%.0f}\n",
                static_cast<unsigned long long>(sent), seconds, static_cast<double>(sent) / seconds);
    return {};
}

}  // namespace sluice::testpeer
