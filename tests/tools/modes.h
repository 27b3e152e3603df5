// The modes of testpeer. Each returns when its work is done; results are one JSON line on standard output.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::testpeer {

struct ServeOptions {
    std::string name;                // what it calls itself
    std::uint16_t tcp_port = 0;      // 0: none
    std::uint16_t udp_port = 0;
    bool mute = false;               // accept and read, but answer nothing (latency benchmarks)
};
// Answers each TCP connection and each datagram with "NAME CLIENT_ADDRESS CLIENT_PORT\n"; a TCP connection then echoes
// until the client closes. Prints "ready" once it listens; runs until it is killed.
Result<void> serve(const ServeOptions& options);

struct LoadOptions {
    IpAddress address;
    std::uint16_t port = 0;
    bool udp = false;
    bool unconnected = false;     // UDP by sendto on one socket per worker
    bool v4_mapped = false;
    double seconds = 1;
    std::uint64_t count = 0;      // stop after so many attempts; 0: by time
    int workers = 1;
    int timeout_ms = 1000;        // for connect and for the answer
    int pause_us = 0;             // between attempts of one worker
    bool hold = false;            // one connection kept for the whole time, echoing
};
// {"attempts":N,"ok":N,"failed":N,"errors":{"connect: Connection refused":N},"servers":{"a":N},
//  "wrong_peer":N,"clients":{"10.0.0.1":N},"p50_us":..,"p99_us":..,"max_us":..}
// wrong_peer counts sockets whose peer address (getpeername, recvfrom) was not the one asked for.
Result<void> load(const LoadOptions& options);

struct LatencyOptions {
    IpAddress address;
    std::uint16_t port = 0;
    bool udp = false;             // time of the first sendto of a new socket
    std::uint64_t count = 1000;
    std::uint64_t warmup = 100;
    // Another target, tried in turn with the first one, so that whatever the machine does meets both alike.
    std::optional<IpAddress> against;
    std::uint16_t against_port = 0;
};
// {"count":N,"failed":N,"min_us":..,"p50_us":..,"p90_us":..,"p99_us":..,"mean_us":..}: the system call alone.
// With a second target also {"against_p50_us":..}.
Result<void> latency(const LatencyOptions& options);

struct FlowsOptions {
    IpAddress address;
    std::uint16_t port = 0;
    std::size_t count = 1000;
    double seconds = 10;
    int timeout_ms = 5000;
    int pause_us = 0;  // between questions
};
// Keeps TCP connections to an echoing server and asks each in turn with a sequence number. Prints "ready" when all
// are there, and at the end {"flows":N,"lost":N,"answered":N}: lost are those that broke off or answered wrongly.
Result<void> flows(const FlowsOptions& options);

struct FloodOptions {
    IpAddress address;  // IPv4
    std::uint16_t port = 0;
    std::string device;
    std::array<std::uint8_t, 6> mac{};  // of the next hop
    bool udp = false;
    std::uint64_t count = 0;
    std::uint64_t seed = 1;
};
// {"sent":N,"seconds":S,"per_second":N}: frames from random addresses of 11.0.0.0/8 and ports, bounded by count.
Result<void> flood(const FloodOptions& options);

// Attaches a native XDP program that passes everything; it stays after the end of this process.
Result<void> pass(const std::string& device);

}  // namespace sluice::testpeer
