// What a person sees while a run goes on.
#include "dataplane/pktgen/display.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "dataplane/pktgen/units.h"

namespace sluice::pktgen {
namespace {

using testing::HasSubstr;
using testing::Not;

Sample second_of(double at_s) {
    Sample sample;
    sample.at_s = at_s;
    sample.interval_s = 1;
    sample.sent = 1'500'000;
    sample.sent_bytes = 1'500'000 * 64;
    sample.received = 1'499'000;
    sample.received_bytes = 1'499'000 * 64;
    sample.lost = 1000;
    sample.p50_ns = 8'300;
    sample.p99_ns = 41'000;
    PortCounts port;
    port.name = "net_ring0";
    port.sent = 3'000'000;
    port.received = 2'998'000;
    port.refused = 12'345;
    sample.ports = {port};
    return sample;
}

Seen two_seconds() {
    Seen seen;
    seen.title = "udp64";
    seen.duration_s = 10;
    seen.add(second_of(1));
    seen.add(second_of(2));
    return seen;
}

TEST(Display, AFrameHasRatesLossLatencyAndPorts) {
    EXPECT_EQ(display_frame(two_seconds(), {true, false, 80, 24}),
              "udp64  2 of 10 s\n"
              "                   rate       layer 1             packets\n"
              "  sent        1.50 Mpps   1.01 Gbit/s           3,000,000\n"
              "  received    1.50 Mpps   1.01 Gbit/s           2,998,000\n"
              "  lost        1.00 kpps                             2,000  0.0667 %\n"
              "  latency   p50 8.30 us   p99 41.0 us\n"
              "  sent     ██\n"
              "\n"
              "  port                  sent         received    refused     missed     errors\n"
              "  net_ring0        3,000,000        2,998,000     12.3 k          0          0\n");
}

TEST(Display, WhatWasNotSentIsThere) {
    Seen seen = two_seconds();
    EXPECT_THAT(display_line(seen), testing::Not(HasSubstr("behind")));
    Sample sample = second_of(3);
    sample.behind = 1'234;
    seen.add(sample);
    EXPECT_THAT(display_line(seen), HasSubstr("behind 1,234 (1,234 in all)"));
    EXPECT_THAT(display_frame(seen, {true, false, 80, 24}),
                HasSubstr("  behind       1.23 k/s                             1,234\n"));
}

std::string without_escapes(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\x1b') {
            i = text.find_first_of("mAJhl", i);
        } else {
            out += text[i];
        }
    }
    return out;
}

TEST(Display, ColoursChangeNothingButColours) {
    const auto plain = display_frame(two_seconds(), {true, false, 80, 24});
    const auto coloured = display_frame(two_seconds(), {true, true, 80, 24});
    EXPECT_THAT(plain, Not(HasSubstr("\x1b")));
    EXPECT_THAT(coloured, HasSubstr("\x1b[31m  lost"));
    EXPECT_EQ(without_escapes(coloured), plain);
}

TEST(Display, AFrameFitsTheTerminal) {
    Seen seen = two_seconds();
    seen.title = std::string(300, 'x');
    for (int i = 0; i < 100; ++i) seen.add(second_of(3 + i));
    seen.last.ports.resize(40, seen.last.ports.front());
    for (const unsigned columns : {20U, 40U, 79U, 200U}) {
        for (const unsigned rows : {3U, 10U, 24U}) {
            const auto frame = display_frame(seen, {true, false, columns, rows});
            EXPECT_LT(std::count(frame.begin(), frame.end(), '\n'), rows);
            std::size_t wide = 0;
            for (const char c : frame) {
                wide = c == '\n' ? 0
                                 : wide + ((static_cast<unsigned char>(c) & 0xc0U) != 0x80 ? 1 : 0);
                ASSERT_LE(wide, columns);
            }
        }
    }
    EXPECT_EQ(seen.sent_history.size(), Seen::kHistory);
}

TEST(Display, WithoutATerminalASecondIsALine) {
    EXPECT_EQ(display_line(two_seconds()),
              "udp64  2 of 10 s: sent 1.50 Mpps (1.01 Gbit/s), received 1.50 Mpps, lost 1,000 "
              "(2,000 in all), "
              "p50 8.30 us, p99 41.0 us\n");
}

TEST(Display, TheWarmUpIsSaidAndNotCounted) {
    Seen seen;
    seen.title = "udp64";
    seen.add(second_of(-1));
    EXPECT_EQ(seen.sent, 0U);
    EXPECT_THAT(display_line(seen), HasSubstr("udp64  warming up: sent 1.50 Mpps"));
}

TEST(Display, APipeGetsPlainLines) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    {
        Display display(ends[1], display_options(ends[1]));
        display.start("a", 0);
        display.show(second_of(1));
        display.say("trial 2");
        display.show(second_of(2));
    }
    close(ends[1]);
    std::string text(4096, '\0');
    text.resize(
        static_cast<std::size_t>(std::max<ssize_t>(read(ends[0], text.data(), text.size()), 0)));
    close(ends[0]);
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
    EXPECT_THAT(text, HasSubstr("\ntrial 2\n"));
}

// On a real terminal (a pseudo one): a frame goes over the last one, and the cursor comes back.
TEST(Display, ATerminalIsDrawnOver) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    ASSERT_GE(master, 0);
    ASSERT_EQ(grantpt(master), 0);
    ASSERT_EQ(unlockpt(master), 0);
    const int fd = open(ptsname(master), O_RDWR | O_NOCTTY);
    ASSERT_GE(fd, 0);
    winsize size{};
    size.ws_col = 60;
    size.ws_row = 20;
    ASSERT_EQ(ioctl(fd, TIOCSWINSZ, &size), 0);
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    const auto options = display_options(fd);
    EXPECT_TRUE(options.terminal);
    EXPECT_FALSE(options.colour);
    EXPECT_EQ(options.columns, 60U);
    EXPECT_EQ(options.rows, 20U);
    std::string text;
    {
        Display display(fd, options);
        display.start("a", 0);
        display.show(second_of(1));
        display.show(second_of(2));
    }
    char buffer[8192];
    for (ssize_t got = 0; (got = read(master, buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<std::size_t>(got));
    }
    close(fd);
    close(master);
    // Ten lines up again for the second frame.
    EXPECT_THAT(text, HasSubstr("\x1b[10A\r\x1b[J"
                                "a  2 s"));
    EXPECT_TRUE(text.ends_with("\x1b[?25h"));
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    EXPECT_FALSE(display_options(fd).terminal);
}

TEST(Units, HaveThreeDigits) {
    EXPECT_EQ(with_prefix(0), "0");
    EXPECT_EQ(with_prefix(999), "999");
    EXPECT_EQ(with_prefix(999.6), "1.00 k");
    EXPECT_EQ(with_prefix(1488095, "pps"), "1.49 Mpps");
    EXPECT_EQ(with_prefix(14.88e6), "14.9 M");
    EXPECT_EQ(with_prefix(99.96e9), "100 G");
    EXPECT_EQ(with_prefix(0.5), "0.50");
    EXPECT_EQ(time_text(999), "999 ns");
    EXPECT_EQ(time_text(1000), "1.00 us");
    EXPECT_EQ(time_text(999999), "1.00 ms");
    EXPECT_EQ(time_text(2.5e9), "2.50 s");
    EXPECT_EQ(percent_text(0), "0 %");
    EXPECT_EQ(percent_text(1e-9), "<0.00001 %");
    EXPECT_EQ(percent_text(0.00001), "0.001 %");
    EXPECT_EQ(percent_text(0.5), "50 %");
    EXPECT_EQ(percent_text(1), "100 %");
    EXPECT_EQ(percent_text(0.999999), "99.9999 %");
    EXPECT_EQ(percent_text(0.99999999), "99.9999 %");
    EXPECT_EQ(grouped(0), "0");
    EXPECT_EQ(grouped(1234567), "1,234,567");
    EXPECT_EQ(grouped(123456), "123,456");
}

}  // namespace
}  // namespace sluice::pktgen
