// The CRC32c of SCTP after a change of ports, against one that is computed bit by bit over the whole packet.
#include "bpf/lib/sctp.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace sluice {
namespace {

// RFC 9260, appendix A, the slow way.
std::uint32_t plain_crc32c(const std::vector<std::uint8_t>& bytes) {
    std::uint32_t crc = ~0U;
    for (const std::uint8_t byte : bytes) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1U) != 0 ? crc >> 1U ^ 0x82f63b78U : crc >> 1U;
        }
    }
    return ~crc;
}

void seal(std::vector<std::uint8_t>& packet) {
    std::memset(&packet[8], 0, 4);
    const std::uint32_t crc = plain_crc32c(packet);
    for (std::size_t i = 0; i < 4; ++i) {
        packet[8 + i] = static_cast<std::uint8_t>(crc >> (8 * i));
    }
}

TEST(Sctp, PlainCrcIsTheKnownOne) {
    const std::string text = "123456789";  // the check value of CRC-32C
    EXPECT_EQ(plain_crc32c({text.begin(), text.end()}), 0xe3069283U);
}

TEST(Sctp, CrcAfterAChangeOfPortsIsThatOfThePacket) {
    std::mt19937 random(1);  // NOLINT: reproducible
    for (int round = 0; round < 3000; ++round) {
        const std::size_t length = round < 200 ? 12U + static_cast<std::size_t>(round)
                                               : 12U + random() % (round % 50 == 0 ? 65524U : 3000U);
        std::vector<std::uint8_t> packet(length);
        for (auto& byte : packet) {
            byte = static_cast<std::uint8_t>(random());
        }
        seal(packet);
        std::uint32_t old_ports = 0;
        std::uint32_t field = 0;
        std::memcpy(&old_ports, packet.data(), 4);
        std::memcpy(&field, &packet[8], 4);
        const auto new_ports = static_cast<std::uint32_t>(random());
        const std::uint32_t changed =
            sluice_sctp_crc(field, old_ports, new_ports, static_cast<__u32>(length));
        std::memcpy(packet.data(), &new_ports, 4);
        seal(packet);
        std::uint32_t expected = 0;
        std::memcpy(&expected, &packet[8], 4);
        ASSERT_EQ(changed, expected) << "length " << length;
    }
}

TEST(Sctp, CrcThatIsStillToBeMadeStaysZero) { EXPECT_EQ(sluice_sctp_crc(0, 1, 2, 100), 0U); }

TEST(Sctp, SamePortsChangeNothing) {
    EXPECT_EQ(sluice_sctp_crc(0x12345678, 77, 77, 1500), 0x12345678U);
}

}  // namespace
}  // namespace sluice
