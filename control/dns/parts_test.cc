// The parts that need no sockets: addresses from flags and files, the cache, judging responses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/dns/cache.h"
#include "control/dns/endpoint.h"
#include "control/dns/response.h"
#include "control/dns/server.h"
#include "control/dns/test_util.h"

namespace sluice::dns {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Endpoints, Flags) {
    EXPECT_EQ(parse_endpoint("--f", "10.0.0.1:53")->to_string(), "10.0.0.1:53");
    EXPECT_EQ(parse_endpoint("--f", "[fd00::1]:5353")->to_string(), "[fd00::1]:5353");
    EXPECT_EQ(parse_endpoint("--f", "10.0.0.1", 53)->to_string(), "10.0.0.1:53");
    EXPECT_EQ(parse_endpoint("--f", "fd00::1", 53)->to_string(), "[fd00::1]:53");
    EXPECT_EQ(parse_endpoint("--f", "[fe80::1%eth0]:53")->zone, "eth0");
    for (const auto* bad :
         {"", "10.0.0.1", "name:53", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:5x", "[10.0.0.1]:53",
          "[::1", "[::1]53", "::1", "224.0.0.1:53", "10.0.0.1%e:53"}) {
        const auto refused = parse_endpoint("--f", bad);
        ASSERT_FALSE(refused) << bad;
        EXPECT_THAT(refused.error().message, HasSubstr("--f"));
    }
    EXPECT_EQ(parse_endpoints("--f", "127.0.0.1:0,127.0.0.1:0", 8)->size(), 2U);
    EXPECT_FALSE(parse_endpoints("--f", "127.0.0.1:53,127.0.0.1:53", 8));
    EXPECT_FALSE(parse_endpoints("--f", "127.0.0.1:53,", 8));
    EXPECT_FALSE(parse_endpoints("--f", "127.0.0.1:1,127.0.0.1:2", 1));
}

TEST(Endpoints, ResolvConf) {
    const auto servers = parse_resolv_conf(
        "# nameserver 1.1.1.1\nsearch a b\nnameserver 10.0.0.1\n  nameserver\t10.0.0.2  \r\n"
        "nameserver bad\nnameservers 10.0.0.9\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n"
        "nameserver 10.0.0.4");
    std::vector<std::string> text;
    for (const auto& server : servers) text.push_back(server.to_string());
    EXPECT_THAT(text, ElementsAre("10.0.0.1:53", "10.0.0.2:53", "[fe80::1%eth0]:53"));
    EXPECT_THAT(parse_resolv_conf(""), IsEmpty());
}

TEST(Endpoints, ItselfIsLeftOut) {
    const auto at = [](const char* text) { return *parse_endpoint("", text); };
    const std::vector<IpAddress> local = {ip("192.0.2.5"), ip("fd00::5")};
    EXPECT_THAT(without_self({at("127.0.0.1:53"), at("9.9.9.9:53")}, {at("127.0.0.1:53")}, local),
                ElementsAre(at("9.9.9.9:53")));
    EXPECT_EQ(without_self({at("127.0.0.1:54")}, {at("127.0.0.1:53")}, local).size(), 1U);
    EXPECT_THAT(without_self({at("192.0.2.5:53"), at("127.0.0.53:53")}, {at("0.0.0.0:53")}, local),
                IsEmpty());
    EXPECT_EQ(without_self({at("[fd00::5]:53")}, {at("0.0.0.0:53")}, local).size(), 1U);
    EXPECT_THAT(without_self({at("[fd00::5]:53")}, {at("[::]:53")}, local), IsEmpty());
}

std::shared_ptr<UpstreamAnswer> answer(std::uint32_t ttl, std::uint64_t received_s,
                                       std::size_t size = 4) {
    auto out = std::make_shared<UpstreamAnswer>();
    out->answers = {{testing::name("a.example"), type::kA, kClassIn, ttl, std::string(size, 'x')}};
    out->received_s = received_s;
    return out;
}

TEST(CacheTest, KeepsForTheTtlAndWithinItsBounds) {
    Cache cache(3, 1U << 20U);
    cache.put("a", answer(10, 100));
    EXPECT_TRUE(cache.find("a", 109));
    EXPECT_FALSE(cache.find("a", 110));
    EXPECT_EQ(cache.size(), 0U);
    cache.put("zero", answer(0, 100));
    EXPECT_FALSE(cache.find("zero", 100));
    cache.put("long", answer(1'000'000, 100));
    EXPECT_TRUE(cache.find("long", 100 + kMaxCacheSeconds - 1));
    EXPECT_FALSE(cache.find("long", 100 + kMaxCacheSeconds));
    for (const char* key : {"1", "2", "3"}) cache.put(key, answer(10, 100));
    EXPECT_TRUE(cache.find("1", 100));
    cache.put("4", answer(10, 100));
    EXPECT_EQ(cache.size(), 3U);
    EXPECT_TRUE(cache.find("1", 100));
    EXPECT_FALSE(cache.find("2", 100));  // the least recently used

    Cache small(1'000, 100'000);
    small.put("huge", answer(10, 100, 50'000));
    EXPECT_EQ(small.size(), 0U);
    for (int i = 0; i < 1'000; ++i) small.put(std::to_string(i), answer(10, 100, 1'000));
    EXPECT_LT(small.size(), 100U);
    EXPECT_GT(small.size(), 40U);
}

TEST(CacheTest, NegativeAnswersLiveAsTheSoaSays) {
    UpstreamAnswer negative;
    negative.rcode = rcode::kNxDomain;
    EXPECT_EQ(negative.lifetime_s(), 0U);
    Soa soa{testing::name("n.example"), testing::name("m.example"), 1, 2, 3, 4, 7};
    negative.authority = {soa_record(testing::name("example"), soa, 900)};
    EXPECT_EQ(negative.lifetime_s(), 7U);
    soa.minimum = 100'000;
    negative.authority = {soa_record(testing::name("example"), soa, 100'000)};
    EXPECT_EQ(negative.lifetime_s(), kMaxNegativeCacheSeconds);
    negative.rcode = rcode::kServFail;
    EXPECT_EQ(negative.lifetime_s(), 0U);
}

class Judging : public ::testing::Test {
protected:
    Judging() {
        response.id = 7;
        response.flags.response = true;
        response.questions = {question};
        response.edns = Edns{};
    }
    Verdict judge(bool edns = true, bool tcp = false) {
        return judge_response(response, 7, question, edns, tcp, &out);
    }
    const Question question{testing::name("a.example"), type::kA, kClassIn};
    Message response;
    UpstreamAnswer out;
};

TEST_F(Judging, Verdicts) {
    EXPECT_EQ(judge(), Verdict::kAccepted);
    response.questions[0].name = testing::name("A.EXAMPLE");
    EXPECT_EQ(judge(), Verdict::kAccepted);
    response.flags.truncated = true;
    EXPECT_EQ(judge(), Verdict::kTruncated);
    EXPECT_EQ(judge(true, true), Verdict::kFailed);
    response.flags.truncated = false;
    for (const auto code : {rcode::kServFail, rcode::kRefused, rcode::kNotImp, rcode::kFormErr}) {
        response.flags.rcode = static_cast<std::uint8_t>(code);
        EXPECT_EQ(judge(), Verdict::kFailed) << code;
    }
    response.edns.reset();
    EXPECT_EQ(judge(), Verdict::kNoEdns);
    EXPECT_EQ(judge(false), Verdict::kFailed);
    response.questions.clear();
    EXPECT_EQ(judge(), Verdict::kNoEdns);
    response.flags.rcode = 0;
    EXPECT_EQ(judge(), Verdict::kBogus);
    response.questions = {question, question};
    EXPECT_EQ(judge(), Verdict::kBogus);
    response.questions = {question};
    response.flags.opcode = 5;
    EXPECT_EQ(judge(), Verdict::kBogus);
    response.flags.opcode = 0;
    response.id = 8;
    EXPECT_EQ(judge(), Verdict::kBogus);
}

TEST_F(Judging, OnlyTheChainIsKept) {
    const Name b = testing::name("b.other");
    const Name c = testing::name("c.other");
    response.answers = {address_record(c, ip("192.0.2.1"), 5), name_record(b, type::kCname, c, 5),
                        name_record(testing::name("A.example"), type::kCname, b, 5),
                        address_record(testing::name("d.other"), ip("6.6.6.6"), 5),
                        txt_record(c, "text", 5)};
    response.authority = {name_record(testing::name("example"), type::kNs, b, 5)};
    ASSERT_EQ(judge(), Verdict::kAccepted);
    EXPECT_THAT(texts(out.answers), ElementsAre("A 192.0.2.1", "CNAME b.other.", "CNAME c.other."));
    EXPECT_THAT(out.authority, IsEmpty());
    // A ring of aliases ends too.
    response.answers = {name_record(question.name, type::kCname, b, 5),
                        name_record(b, type::kCname, question.name, 5)};
    EXPECT_EQ(judge(), Verdict::kAccepted);
}

TEST_F(Judging, AbsenceIsProvedByTheZoneOfTheName) {
    const Soa soa{testing::name("n.example"), testing::name("m.example"), 1, 2, 3, 4, 7};
    response.flags.rcode = 3;
    response.authority = {soa_record(testing::name("example"), soa, 5),
                          soa_record(testing::name("elsewhere"), soa, 5)};
    ASSERT_EQ(judge(), Verdict::kAccepted);
    EXPECT_EQ(out.rcode, rcode::kNxDomain);
    ASSERT_EQ(out.authority.size(), 1U);
    EXPECT_EQ(out.authority[0].name.to_string(), "example.");
}

}  // namespace
}  // namespace sluice::dns
