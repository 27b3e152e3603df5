#include "api/base/host_port.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(HostAndPort, BracketsAreForIpv6) {
    EXPECT_EQ(host_and_port("node-1", 443), "node-1:443");
    EXPECT_EQ(host_and_port("10.0.0.1", 0), "10.0.0.1:0");
    EXPECT_EQ(host_and_port("fd00::1", 65'535), "[fd00::1]:65535");
    EXPECT_EQ(host_and_port("fe80::1%eth0", 53), "[fe80::1%eth0]:53");
    EXPECT_EQ(host_and_port("[::]", 80), "[::]:80");
    EXPECT_EQ(host_and_port("", 80), ":80");
    EXPECT_EQ(host_and_port(*IpAddress::parse("10.0.0.1"), 53), "10.0.0.1:53");
    EXPECT_EQ(host_and_port(*IpAddress::parse("fd00::0:1"), 53), "[fd00::1]:53");
    // An IPv4 address is one, however it is kept.
    EXPECT_EQ(host_and_port(*IpAddress::parse("::ffff:10.0.0.1"), 53), "10.0.0.1:53");
}

}  // namespace
}  // namespace sluice
