// What to send: flows, sizes, rate and life cycles, as the user asked for it. Values only;
// profile.cc checks them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::pktgen {

inline constexpr std::uint64_t kMaxFlows = 1ULL << 26U;

// Both ends included; walked in order, or drawn by `choice`.
struct AddressRange {
    IpAddress first;
    IpAddress last;
};
struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
};

enum class Choice : std::uint8_t { kRoundRobin, kUniform, kZipf };
enum class L4 : std::uint8_t { kUdp, kTcp };

struct SizeShare {
    std::uint32_t frame_bytes = 64;  // with the checksum of the link, as RFC 2544 counts
    std::uint32_t weight = 1;
};

// Of TCP: how a connection goes. Stateless profiles send segments of established connections only.
// SYNs carry no payload and so no probe: they are known again by the upper half of their sequence
// number, which is the run's.
enum class LifeCycle : std::uint8_t {
    kNone,       // packets of flows, without beginning or end
    kSynOnly,    // a flood: SYNs and nothing else
    kScripted,   // SYN, data_packets segments, FIN, sent blindly (the other end may be a middlebox)
    kStateful,   // client and server halves answer each other across the device under test
};

struct Profile {
    std::string name = "profile";
    // How many flows: combinations of the ranges, the destination port moving fastest, then the
    // destination, the source port, the source, until there are as many. 0: all combinations.
    std::uint64_t flows = 1;
    AddressRange source, destination;
    PortRange source_port{1024, 1024}, destination_port{80, 80};
    L4 l4 = L4::kUdp;
    Choice choice = Choice::kRoundRobin;
    double zipf_exponent = 1.0;
    std::vector<SizeShare> sizes{{64, 1}};  // IMIX is {64,7},{594,4},{1518,1}
    LifeCycle life_cycle = LifeCycle::kNone;
    std::uint32_t data_packets = 1;    // each way, of kScripted and kStateful
    std::uint16_t vlan = 0;            // 0: none
    std::uint8_t ttl = 64;
    std::uint8_t dscp = 0;
    std::string source_mac, destination_mac;  // empty: the port's own; asked for by ARP or ND
    IpAddress next_hop;  // whose link address is asked for; "::": the first destination's
    // Addresses that the ports answer ARP and ND for, besides those they send from (and, where they
    // only receive, those that are sent to): of servers behind a load balancer.
    std::vector<AddressRange> answer_for;
    // A capture to send instead of flows, again and again until the run ends; ranges, sizes, vlan, ttl
    // and probe are not used then, and the frames go as they are, but for the MACs that are given.
    std::string pcap;
    bool pcap_timing = false;          // at the capture's own times; else at the rate
    // The rate of all ports together; at most one of the three is given, none: as much as goes.
    double packets_per_second = 0;      // not of kStateful
    double bits_per_second = 0;         // of layer 1 (20 bytes a frame more); not of kStateful
    double connections_per_second = 0;  // opened, of kScripted and kStateful
    double duration_s = 10;
    std::uint64_t count = 0;           // packets to send; 0: by duration
    double warmup_s = 0;               // sent, not counted
    double drain_s = 0.5;              // received after the last was sent
    bool probe = true;                 // sequence number and time in the payload of each packet
    std::uint32_t seed = 1;
};

// kInvalidArgument names the field and what is wrong with it; kResourceExhausted a limit.
Result<void> check(const Profile& profile);

// The smallest frame that this profile's headers, and its probe if it has one, fit into.
std::uint32_t min_frame_bytes(const Profile& profile);

}  // namespace sluice::pktgen
