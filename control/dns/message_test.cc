// Messages against bytes written out by hand, against ldns, and against themselves with random
// content.
#include "control/dns/message.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <memory>

// Last: it may define true and false, as C needs them.
#include <ldns/ldns.h>
#undef true
#undef false

namespace sluice::dns {
namespace {

using namespace std::string_literals;
using Bytes = std::vector<std::uint8_t>;

Bytes bytes_of(const std::string& text) {
    return {text.begin(), text.end()};
}
Name name(std::string_view text) {
    return *Name::parse(text);
}

// A query for example.com, type A: RFC 1035's layout by hand.
const std::string kQuery =
    "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"s
    "\x07"
    "example\x03"
    "com\x00\x00\x01\x00\x01"s;

TEST(Name, ParsesAndPrints) {
    EXPECT_EQ(name("a.Bc.d").wire(), "\1a\2Bc\1d\0"s);
    EXPECT_EQ(name("a.Bc.d.").to_string(), "a.Bc.d.");
    EXPECT_EQ(name(".").wire(), "\0"s);
    EXPECT_TRUE(name("A.b").equals(name("a.B")));
    EXPECT_TRUE(name("x.CLUSTER.local").is_within(name("cluster.local")));
    EXPECT_TRUE(name("cluster.local").is_within(name("cluster.local")));
    EXPECT_FALSE(name("xcluster.local").is_within(name("cluster.local")));
    EXPECT_FALSE(name("local").is_within(name("cluster.local")));
    EXPECT_EQ(Name::from_wire("\3a.b\0"s).to_string(), "a\\046b.");
    for (const auto* bad : {"", "a..b", ".a", "a.b..", ".."}) {
        EXPECT_FALSE(Name::parse(bad)) << bad;
    }
    EXPECT_TRUE(Name::parse(std::string(63, 'a')));
    EXPECT_FALSE(Name::parse(std::string(64, 'a')));
    std::string longest;
    for (int i = 0; i < 126; ++i) longest += "a.";
    EXPECT_TRUE(Name::parse(longest + "a"));  // 127 labels: 255 bytes
    EXPECT_FALSE(Name::parse(longest + "ab"));
}

TEST(Message, ReadsAQuery) {
    const auto message = parse_message(bytes_of(kQuery));
    ASSERT_TRUE(message);
    EXPECT_EQ(message->id, 0x1234);
    EXPECT_TRUE(message->flags.recursion_desired);
    EXPECT_FALSE(message->flags.response);
    ASSERT_EQ(message->questions.size(), 1U);
    EXPECT_EQ(message->questions[0].name.to_string(), "example.com.");
    EXPECT_EQ(message->questions[0].type, type::kA);
    EXPECT_FALSE(message->edns);
}

TEST(Message, EveryCutOfAQueryIsRefused) {
    for (std::size_t size = 0; size < kQuery.size(); ++size) {
        EXPECT_FALSE(parse_message(bytes_of(kQuery.substr(0, size)))) << size;
    }
    EXPECT_FALSE(parse_message(bytes_of(kQuery + "x")));
}

TEST(Message, MalformedNamesAndRecordsAreRefused) {
    const std::string head = "\0\0\0\0\0\1\0\0\0\0\0\0"s;
    const std::string tail = "\0\1\0\1"s;
    const std::vector<std::pair<const char*, std::string>> cases = {
        {"pointer to itself", head + "\xc0\x0c"s + tail},
        {"pointer forwards", head + "\xc0\x0e"s + tail + "\1a\0"s},
        {"pointer into the header", head + "\xc0\x00"s + tail},
        {"two names pointing at each other's middle", head + "\1a\xc0\x0c"s + tail},
        {"reserved label type 01", head +
                                       "\x41"
                                       "a\0"s +
                                       tail},
        {"reserved label type 10", head +
                                       "\x81"
                                       "a\0"s +
                                       tail},
        {"more questions than bytes", "\0\0\0\0\xff\xff\0\0\0\0\0\0"s + "\0"s + tail},
        {"too many records", "\0\0\0\0\0\0\xff\xff\0\0\0\0"s},
    };
    for (const auto& [what, text] : cases) EXPECT_FALSE(parse_message(bytes_of(text))) << what;

    const std::string answer = "\0\0\x80\0\0\0\0\1\0\0\0\0"s;
    const auto record = [&](const std::string& number, const std::string& data) {
        std::string text = answer + "\0"s + number + "\0\1\0\0\0\5"s;
        text.push_back(static_cast<char>(data.size() >> 8U));
        text.push_back(static_cast<char>(data.size()));
        return bytes_of(text + data);
    };
    EXPECT_TRUE(parse_message(record("\0\1"s, "abcd")));
    EXPECT_FALSE(parse_message(record("\0\1"s, "abc")));
    EXPECT_FALSE(parse_message(record("\0\1"s, "abcde")));
    EXPECT_FALSE(parse_message(record("\0\x1c"s, "abcd")));
    EXPECT_TRUE(parse_message(record("\0\5"s, "\1a\0"s)));
    EXPECT_FALSE(parse_message(record("\0\5"s, "\1a\0x"s)));
    EXPECT_FALSE(parse_message(record("\0\5"s, "\1a"s)));
    EXPECT_FALSE(parse_message(record("\0\6"s,
                                      "\0\0"
                                      "0123456789012345678"s)));
    EXPECT_FALSE(parse_message(record("\0\x29"s, "")));  // OPT among the answers
}

TEST(Message, OptIsReadOnceFromAdditionalOnly) {
    std::string text = kQuery;
    text[11] = 1;
    const std::string opt = "\0\0\x29\x10\x00\0\0\x80\0\0\0"s;
    const auto message = parse_message(bytes_of(text + opt));
    ASSERT_TRUE(message && message->edns);
    EXPECT_EQ(message->edns->udp_bytes, 4096);
    EXPECT_TRUE(message->edns->dnssec_ok);
    EXPECT_TRUE(message->additional.empty());
    text[11] = 2;
    EXPECT_FALSE(parse_message(bytes_of(text + opt + opt)));
    text[11] = 1;
    EXPECT_FALSE(parse_message(bytes_of(text + "\1a"s + opt)));  // not at the root
    const std::string cut =
        "\0\0\x29\x10\x00\0\0\0\0\0\5\0\1\0\2x"s;  // an option longer than the data
    EXPECT_FALSE(parse_message(bytes_of(text + cut)));
}

// The longest chain of pointers that 64 KiB can hold ends in a name that is too long, not in a
// hang.
TEST(Message, LongChainsOfPointersEnd) {
    std::string text = "\0\0\0\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"s;
    text[5] = 100;
    for (int i = 0; i < 99; ++i) {
        const std::size_t previous = i == 0 ? 12 : text.size() - 8;
        text += "\1a"s;
        text.push_back(static_cast<char>(0xc0U | (previous >> 8U)));
        text.push_back(static_cast<char>(previous & 0xffU));
        text += "\0\1\0\1"s;
    }
    const auto message = parse_message(bytes_of(text));
    ASSERT_TRUE(message);
    EXPECT_EQ(message->questions.back().name.labels().size(), 100U);
}

TEST(Encode, CompressesAndKeepsTheCaseOfTheQuestion) {
    const Question question{name("WeB.example.COM"), type::kA, kClassIn};
    const std::vector<Record> answers = {
        address_record(name("web.EXAMPLE.com"), *IpAddress::parse("192.0.2.1"), 5)};
    Reply reply;
    reply.id = 0xabcd;
    reply.flags.response = true;
    reply.question = &question;
    reply.answers = answers;
    Bytes out;
    encode(reply, 512, &out);
    const std::string expected =
        "\xab\xcd\x80\x00\0\1\0\1\0\0\0\0"s
        "\3WeB\7example\3COM\0\0\1\0\1"s
        "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\x00\x02\x01"s;
    EXPECT_EQ(std::string(out.begin(), out.end()), expected);
}

TEST(Encode, TruncatesAtTheLimitAndSaysSo) {
    const Question question{name("many.example"), type::kA, kClassIn};
    std::vector<Record> answers;
    for (int i = 0; i < 100; ++i) {
        answers.push_back(address_record(question.name, *IpAddress::parse("10.0.0.1"), 5));
    }
    Reply reply;
    reply.question = &question;
    reply.answers = answers;
    for (const bool edns : {false, true}) {
        reply.edns = edns;
        Bytes out;
        encode(reply, 512, &out);
        EXPECT_LE(out.size(), 512U);
        EXPECT_GT(out.size(), 512U - 16 - 11);
        const auto message = parse_message(out);
        ASSERT_TRUE(message);
        EXPECT_TRUE(message->flags.truncated);
        EXPECT_EQ(message->edns.has_value(), edns);
        encode(reply, 4096, &out);
        EXPECT_FALSE(parse_message(out)->flags.truncated);
    }
    // Additional records are left out without a word.
    reply.edns = false;
    reply.answers = {};
    reply.additional = answers;
    Bytes out;
    encode(reply, 512, &out);
    EXPECT_FALSE(parse_message(out)->flags.truncated);
}

struct PacketFree {
    void operator()(ldns_pkt* packet) const { ldns_pkt_free(packet); }
};
using Packet = std::unique_ptr<ldns_pkt, PacketFree>;

Packet ldns_read(const Bytes& bytes) {
    ldns_pkt* packet = nullptr;
    if (ldns_wire2pkt(&packet, bytes.data(), bytes.size()) != LDNS_STATUS_OK) return nullptr;
    return Packet(packet);
}

std::string text_of(const ldns_rr_list* list) {
    char* text = ldns_rr_list2str(list);
    std::string out(text == nullptr ? "" : text);
    std::free(text);  // NOLINT: ldns gives memory of malloc
    return out;
}

TEST(Ldns, ReadsWhatWeWrite) {
    const Question question{name("_http._tcp.web.default.svc.cluster.local"), type::kSrv, kClassIn};
    const Name web = name("web.default.svc.cluster.local");
    Soa soa{
        name("ns.dns.cluster.local"), name("hostmaster.cluster.local"), 42, 7200, 1800, 86400, 5};
    const std::vector<Record> answers = {srv_record(question.name, 0, 100, 80, web, 5),
                                         name_record(web, type::kCname, name("x.y.example"), 6),
                                         txt_record(name("dns-version.cluster.local"), "1.1.0", 7)};
    const std::vector<Record> authority = {soa_record(name("cluster.local"), soa, 5)};
    const std::vector<Record> additional = {address_record(web, *IpAddress::parse("10.96.0.10"), 5),
                                            address_record(web, *IpAddress::parse("fd00::a"), 5)};
    Reply reply;
    reply.flags.response = reply.flags.authoritative = true;
    reply.question = &question;
    reply.answers = answers;
    reply.authority = authority;
    reply.additional = additional;
    reply.edns = true;
    Bytes out;
    encode(reply, 1232, &out);
    const Packet packet = ldns_read(out);
    ASSERT_TRUE(packet);
    EXPECT_TRUE(ldns_pkt_aa(packet.get()));
    EXPECT_EQ(ldns_pkt_edns_udp_size(packet.get()), 1232);
    EXPECT_EQ(text_of(ldns_pkt_answer(packet.get())),
              "_http._tcp.web.default.svc.cluster.local.\t5\tIN\tSRV\t0 100 80 "
              "web.default.svc.cluster.local.\n"
              "web.default.svc.cluster.local.\t6\tIN\tCNAME\tx.y.example.\n"
              "dns-version.cluster.local.\t7\tIN\tTXT\t\"1.1.0\"\n");
    EXPECT_EQ(text_of(ldns_pkt_authority(packet.get())),
              "cluster.local.\t5\tIN\tSOA\tns.dns.cluster.local. hostmaster.cluster.local. 42 7200 "
              "1800 86400 5\n");
    EXPECT_EQ(text_of(ldns_pkt_additional(packet.get())),
              "web.default.svc.cluster.local.\t5\tIN\tA\t10.96.0.10\n"
              "web.default.svc.cluster.local.\t5\tIN\tAAAA\tfd00::a\n");
}

// Names in record data that ldns compresses or not, each type that holds names.
TEST(Ldns, WhatItWritesWeReadAndItReadsAgain) {
    const std::vector<std::string> lines = {
        "a.example. 60 IN CNAME b.example.",
        "a.example. 60 IN MX 10 mail.a.example.",
        "a.example. 60 IN NS ns.a.example.",
        "a.example. 60 IN PTR p.a.example.",
        "a.example. 60 IN SRV 1 2 3 t.a.example.",
        "a.example. 60 IN DNAME other.example.",
        "a.example. 60 IN RP m.a.example. t.a.example.",
        "a.example. 60 IN AFSDB 1 db.a.example.",
        "a.example. 60 IN A 192.0.2.7",
        "a.example. 60 IN AAAA 2001:db8::7",
        "a.example. 60 IN TXT \"one\" \"two\"",
        "a.example. 60 IN CAA 0 issue \"ca.example\"",
        "a.example. 60 IN SOA ns.a.example. m.a.example. 1 2 3 4 5"};
    ldns_pkt* raw = ldns_pkt_query_new(ldns_dname_new_frm_str("a.example."), LDNS_RR_TYPE_ANY,
                                       LDNS_RR_CLASS_IN, LDNS_RD);
    const Packet packet(raw);
    for (const auto& line : lines) {
        ldns_rr* record = nullptr;
        ASSERT_EQ(ldns_rr_new_frm_str(&record, line.c_str(), 0, nullptr, nullptr), LDNS_STATUS_OK)
            << line;
        ldns_pkt_push_rr(raw, LDNS_SECTION_ANSWER, record);
    }
    std::uint8_t* wire = nullptr;
    std::size_t size = 0;
    ASSERT_EQ(ldns_pkt2wire(&wire, raw, &size), LDNS_STATUS_OK);
    const Bytes written(wire, wire + size);
    std::free(wire);  // NOLINT: ldns gives memory of malloc
    const auto message = parse_message(written);
    ASSERT_TRUE(message);
    ASSERT_EQ(message->answers.size(), lines.size());
    Reply reply;
    reply.question = &message->questions.front();
    reply.answers = message->answers;
    Bytes out;
    encode(reply, 4096, &out);
    const Packet again = ldns_read(out);
    ASSERT_TRUE(again);
    EXPECT_EQ(text_of(ldns_pkt_answer(again.get())), text_of(ldns_pkt_answer(raw)));
}

rc::Gen<Name> any_name() {
    return rc::gen::map(
        rc::gen::resize(6, rc::gen::container<std::vector<std::string>>(
                               rc::gen::resize(8, rc::gen::nonEmpty(rc::gen::container<std::string>(
                                                      rc::gen::arbitrary<char>()))))),
        [](const std::vector<std::string>& labels) {
            std::string wire;
            for (const auto& label : labels) {
                wire.push_back(static_cast<char>(label.size()));
                wire += label;
            }
            wire.push_back('\0');
            return Name::from_wire(wire);
        });
}

RC_GTEST_PROP(Property, WhatIsWrittenIsReadAsTheSame, ()) {
    const Question question{*any_name(), *rc::gen::arbitrary<std::uint16_t>(), kClassIn};
    std::vector<Record> records;
    const auto count = *rc::gen::inRange(0, 20);
    for (int i = 0; i < count; ++i) {
        const Name owner = *any_name();
        const auto ttl = *rc::gen::inRange<std::uint32_t>(0, 0x7fffffff);
        switch (*rc::gen::inRange(0, 4)) {
            case 0: records.push_back(name_record(owner, type::kCname, *any_name(), ttl)); break;
            case 1: records.push_back(srv_record(owner, 1, 2, 3, *any_name(), ttl)); break;
            case 2:
                records.push_back(
                    soa_record(owner, {*any_name(), *any_name(), 1, 2, 3, 4, 5}, ttl));
                break;
            default:
                records.push_back(
                    {owner, 65'280, kClassIn, ttl, *rc::gen::arbitrary<std::string>()});
        }
    }
    Reply reply;
    reply.id = *rc::gen::arbitrary<std::uint16_t>();
    reply.question = &question;
    reply.answers = records;
    reply.edns = *rc::gen::arbitrary<bool>();
    Bytes out;
    encode(reply, kMaxMessageBytes, &out);
    const auto message = parse_message(out);
    RC_ASSERT(message.has_value());
    RC_ASSERT(message->id == reply.id);
    RC_ASSERT(message->questions.at(0).name.wire() == question.name.wire());
    RC_ASSERT(message->edns.has_value() == reply.edns);
    RC_ASSERT(message->answers.size() == records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
        const Record& got = message->answers[i];
        RC_ASSERT(got.name.equals(records[i].name));
        RC_ASSERT(got.type == records[i].type);
        RC_ASSERT(got.ttl == records[i].ttl);
        // Compressed names take the case of what they point to.
        RC_ASSERT(equal_ignoring_case(got.rdata, records[i].rdata));
    }
}

RC_GTEST_PROP(Property, RandomBytesNeverDoMoreThanFail, (std::vector<std::uint8_t> noise)) {
    Bytes bytes = bytes_of(kQuery);
    for (const auto byte : noise) {
        bytes[*rc::gen::inRange<std::size_t>(0, bytes.size())] = byte;
    }
    const auto message = parse_message(bytes);
    if (message) RC_ASSERT(message->questions.size() <= 4U);
}

}  // namespace
}  // namespace sluice::dns
