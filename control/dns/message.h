// DNS messages (RFC 1035, 4; EDNS: RFC 6891): reading them from bytes that may be hostile, and
// writing them within a size. Pure functions; nothing here knows sockets or records of Kubernetes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "control/dns/name.h"
#include "control/dns/types.h"

namespace sluice::dns {

struct Question {
    Name name;
    std::uint16_t type = 0;
    std::uint16_t klass = kClassIn;
};

struct Record {
    Name name;
    std::uint16_t type = 0;
    std::uint16_t klass = kClassIn;
    std::uint32_t ttl = 0;
    std::string rdata;  // as on the wire, with names uncompressed
};

// What an OPT record says.
struct Edns {
    std::uint16_t udp_bytes = 0;  // what its sender takes
    std::uint8_t extended_rcode = 0;
    std::uint8_t version = 0;
    bool dnssec_ok = false;
};

struct Flags {
    bool response = false;             // QR
    std::uint8_t opcode = 0;           // 4 bits
    bool authoritative = false;        // AA
    bool truncated = false;            // TC
    bool recursion_desired = false;    // RD
    bool recursion_available = false;  // RA
    bool authentic = false;            // AD
    bool checking_disabled = false;    // CD
    std::uint8_t rcode = 0;            // 4 bits; see Edns::extended_rcode for the rest
};

struct Message {
    std::uint16_t id = 0;
    Flags flags;
    std::vector<Question> questions;
    std::vector<Record> answers;
    std::vector<Record> authority;
    std::vector<Record> additional;  // without OPT
    std::optional<Edns> edns;
};

// The first 12 bytes alone, for telling the sender of something unreadable so.
struct Header {
    std::uint16_t id = 0;
    Flags flags;
    std::uint16_t questions = 0, answers = 0, authority = 0, additional = 0;
};
[[nodiscard]] std::optional<Header> parse_header(std::span<const std::uint8_t> bytes);

// The whole message. Nothing for whatever is malformed: cut short, bytes left over, bad or circular
// compression (a pointer must lead to before the name it is part of), record data of the wrong
// length, two OPT records or one elsewhere than among the additional ones, more than kMaxRecords
// records. Cost: linear in the size, times the 127 labels of a name.
[[nodiscard]] std::optional<Message> parse_message(std::span<const std::uint8_t> bytes);

// A message to write. The spans are read, not kept.
struct Reply {
    std::uint16_t id = 0;
    Flags flags;
    std::uint16_t rcode = 0;  // 12 bits; those above 15 need edns
    const Question* question = nullptr;
    // Two runs, as a chain of aliases may precede what another server answered.
    std::span<const Record> first_answers, answers, authority, additional;
    std::uint32_t age_s = 0;  // taken off the TTLs of all but first_answers
    bool edns = false;
    bool dnssec_ok = false;
};

// Writes at most limit bytes into out (whose content goes) with names compressed. Answers or
// authority that do not fit set the flag TC and end the message; additional records are left out
// silently. REQUIRES: limit >= kPlainUdpBytes.
void encode(const Reply& reply, std::size_t limit, std::vector<std::uint8_t>* out);

// Record data.
[[nodiscard]] Record address_record(const Name& name, const IpAddress& address, std::uint32_t ttl);
[[nodiscard]] Record name_record(const Name& name, std::uint16_t type, const Name& target,
                                 std::uint32_t ttl);
[[nodiscard]] Record srv_record(const Name& name, std::uint16_t priority, std::uint16_t weight,
                                std::uint16_t port, const Name& target, std::uint32_t ttl);
[[nodiscard]] Record txt_record(const Name& name, std::string_view text, std::uint32_t ttl);
struct Soa {
    Name primary, mailbox;
    std::uint32_t serial = 0, refresh = 0, retry = 0, expire = 0, minimum = 0;
};
[[nodiscard]] Record soa_record(const Name& name, const Soa& soa, std::uint32_t ttl);
// The last field of an SOA record, which bounds how long "no such name" is kept.
[[nodiscard]] std::optional<std::uint32_t> soa_minimum(const Record& record);
// The name that a CNAME, NS, PTR or DNAME record points to. REQUIRES: of such a type, and read by
// parse_message.
[[nodiscard]] Name target_of(const Record& record);

}  // namespace sluice::dns
