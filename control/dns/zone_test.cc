// What names mean, section by section of the specification (Kubernetes DNS-based service
// discovery 1.1.0).
#include "control/dns/zone.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "control/dns/test_util.h"

namespace sluice::dns {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Texts = std::vector<std::string>;

class Zone : public ::testing::Test {
protected:
    Zone() {
        config.domain = testing::name("cluster.local");
        config.owned = {*IpPrefix::parse("10.96.0.0/16"), *IpPrefix::parse("fd00:10:96::/112")};
        config.addresses = {ip("10.96.0.10")};
        builder.set_namespace("default", true);
        builder.set_namespace("empty", true);
    }
    void put(const corev1::Service& object) {
        builder.set_service(object.metadata().namespace_() + "/" + object.metadata().name(),
                            &object);
    }
    void put(const std::string& key, const discoveryv1::EndpointSlice& object) {
        builder.set_slice("default/" + key, &object);
    }
    Answer ask(const std::string& question, std::uint16_t question_type, std::uint32_t rotation = 0,
               std::size_t limit = 65'535) {
        if (complete) builder.set_complete();
        if (auto next = builder.publish(1'000)) snapshot = next;
        return resolve(*snapshot, config, {testing::name(question), question_type, kClassIn},
                       rotation, limit);
    }
    Texts answers(const std::string& question, std::uint16_t question_type) {
        const Answer answer = ask(question, question_type);
        EXPECT_EQ(answer.kind, Answer::Kind::kAnswer) << question;
        EXPECT_EQ(answer.rcode, rcode::kNoError) << question;
        for (const auto& record : answer.answers) EXPECT_EQ(record.ttl, 5U);
        return texts(answer.answers);
    }
    // The name exists, but not with this type: an SOA record says for how long that may be kept.
    void expect_no_data(const std::string& question, std::uint16_t question_type) {
        const Answer answer = ask(question, question_type);
        EXPECT_EQ(answer.kind, Answer::Kind::kAnswer) << question;
        EXPECT_EQ(answer.rcode, rcode::kNoError) << question;
        EXPECT_THAT(answer.answers, IsEmpty()) << question;
        ASSERT_EQ(answer.authority.size(), 1U) << question;
        EXPECT_EQ(answer.authority[0].type, type::kSoa);
    }
    void expect_no_name(const std::string& question, std::uint16_t question_type = type::kA) {
        const Answer answer = ask(question, question_type);
        EXPECT_EQ(answer.kind, Answer::Kind::kAnswer) << question;
        EXPECT_EQ(answer.rcode, rcode::kNxDomain) << question;
        EXPECT_THAT(answer.answers, IsEmpty()) << question;
        ASSERT_EQ(answer.authority.size(), 1U) << question;
        EXPECT_EQ(answer.authority[0].type, type::kSoa);
        EXPECT_EQ(soa_minimum(answer.authority[0]), 5U);
    }
    void add_web() {
        auto web = service("default", "web", {"10.96.0.20", "fd00:10:96::20"});
        add_port(&web, "http", 80);
        add_port(&web, "dns", 53, "UDP");
        add_port(&web, "", 8080);
        put(web);
    }
    void add_headless() {
        auto db = service("default", "db", {"None"});
        put(db);
        auto v4 = slice("default", "db");
        add_endpoint(&v4, "10.244.0.5", "db-0");
        add_endpoint(&v4, "10.244.0.6");
        add_endpoint(&v4, "10.244.0.7", "db-2")->mutable_conditions()->set_ready(false);
        add_port(&v4, "sql", 5432);
        put("db-v4", v4);
        auto v6 = slice("default", "db", "IPv6");
        add_endpoint(&v6, "fd00:10:244::5", "db-0");
        add_port(&v6, "sql", 5432);
        put("db-v6", v6);
    }

    ZoneConfig config;
    Builder builder{testing::name("cluster.local")};
    std::shared_ptr<const Snapshot> snapshot;
    bool complete = true;
};

// 2.2
TEST_F(Zone, SchemaVersion) {
    EXPECT_THAT(answers("dns-version.cluster.local", type::kTxt), ElementsAre("TXT 1.1.0"));
    expect_no_data("dns-version.cluster.local", type::kA);
}

// 2.3.1
TEST_F(Zone, ServiceHasItsClusterIps) {
    add_web();
    EXPECT_THAT(answers("web.default.svc.cluster.local", type::kA), ElementsAre("A 10.96.0.20"));
    EXPECT_THAT(answers("web.default.svc.cluster.local", type::kAaaa),
                ElementsAre("AAAA fd00:10:96::20"));
    EXPECT_THAT(answers("WEB.Default.SVC.cluster.LOCAL", type::kA), ElementsAre("A 10.96.0.20"));
    expect_no_data("web.default.svc.cluster.local", type::kSrv);
    expect_no_data("web.default.svc.cluster.local", type::kMx);
}

// 2.3.2
TEST_F(Zone, NamedPortsHaveSrvRecords) {
    add_web();
    const Answer answer = ask("_http._tcp.web.default.svc.cluster.local", type::kSrv);
    EXPECT_THAT(texts(answer.answers), ElementsAre("SRV 0 100 80 web.default.svc.cluster.local."));
    EXPECT_THAT(texts(answer.additional), ElementsAre("A 10.96.0.20", "AAAA fd00:10:96::20"));
    EXPECT_THAT(answers("_dns._UDP.web.default.svc.cluster.local", type::kSrv),
                ElementsAre("SRV 0 100 53 web.default.svc.cluster.local."));
    expect_no_data("_http._tcp.web.default.svc.cluster.local", type::kA);
    expect_no_data("_tcp.web.default.svc.cluster.local", type::kSrv);  // there are names below
    expect_no_name("_sctp.web.default.svc.cluster.local", type::kSrv);
    expect_no_name("_http._udp.web.default.svc.cluster.local", type::kSrv);
    expect_no_name("http._tcp.web.default.svc.cluster.local", type::kSrv);
    expect_no_name("_._tcp.web.default.svc.cluster.local", type::kSrv);
    expect_no_name("x._http._tcp.web.default.svc.cluster.local", type::kSrv);
}

// 2.3.3
TEST_F(Zone, ClusterIpsHaveNames) {
    add_web();
    EXPECT_THAT(answers("20.0.96.10.in-addr.arpa", type::kPtr),
                ElementsAre("PTR web.default.svc.cluster.local."));
    EXPECT_THAT(answers("0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa",
                        type::kPtr),
                ElementsAre("PTR web.default.svc.cluster.local."));
    expect_no_data("20.0.96.10.in-addr.arpa", type::kA);
    expect_no_name("21.0.96.10.in-addr.arpa", type::kPtr);  // of the ranges, but nobody's
    for (const auto* foreign :
         {"8.8.8.8.in-addr.arpa", "96.10.in-addr.arpa", "020.0.96.10.in-addr.arpa",
          "256.0.96.10.in-addr.arpa", "arpa", "example.com", "local", "."}) {
        EXPECT_EQ(ask(foreign, type::kPtr).kind, Answer::Kind::kForeign) << foreign;
    }
}

// 2.4.1
TEST_F(Zone, HeadlessServiceHasItsReadyEndpoints) {
    add_headless();
    EXPECT_THAT(answers("db.default.svc.cluster.local", type::kA),
                ElementsAre("A 10.244.0.5", "A 10.244.0.6"));
    EXPECT_THAT(answers("db.default.svc.cluster.local", type::kAaaa),
                ElementsAre("AAAA fd00:10:244::5"));
    EXPECT_THAT(answers("db-0.db.default.svc.cluster.local", type::kA),
                ElementsAre("A 10.244.0.5"));
    EXPECT_THAT(answers("DB-0.db.default.svc.cluster.local", type::kAaaa),
                ElementsAre("AAAA fd00:10:244::5"));
    EXPECT_THAT(answers("10-244-0-6.db.default.svc.cluster.local", type::kA),
                ElementsAre("A 10.244.0.6"));
    expect_no_data("10-244-0-6.db.default.svc.cluster.local", type::kAaaa);
    expect_no_name("db-2.db.default.svc.cluster.local");
    expect_no_name("10-244-0-5.db.default.svc.cluster.local");
}

TEST_F(Zone, HeadlessServiceWithoutReadyEndpointsDoesNotExist) {
    put(service("default", "db", {"None"}));
    expect_no_name("db.default.svc.cluster.local");
    auto endpoints = slice("default", "db");
    add_endpoint(&endpoints, "10.244.0.7")->mutable_conditions()->set_ready(false);
    put("db", endpoints);
    expect_no_name("db.default.svc.cluster.local");
    auto published = service("default", "db", {"None"});
    published.mutable_spec()->set_publishnotreadyaddresses(true);
    put(published);
    EXPECT_THAT(answers("db.default.svc.cluster.local", type::kA), ElementsAre("A 10.244.0.7"));
}

// 2.4.2
TEST_F(Zone, EachEndpointHasSrvRecords) {
    add_headless();
    const Answer answer = ask("_sql._tcp.db.default.svc.cluster.local", type::kSrv);
    EXPECT_THAT(texts(answer.answers),
                ElementsAre("SRV 0 100 5432 10-244-0-6.db.default.svc.cluster.local.",
                            "SRV 0 100 5432 db-0.db.default.svc.cluster.local."));
    EXPECT_THAT(texts(answer.additional),
                ElementsAre("A 10.244.0.5", "A 10.244.0.6", "AAAA fd00:10:244::5"));
}

// 2.4.3
TEST_F(Zone, EndpointsOfHeadlessServicesHaveNames) {
    add_headless();
    add_web();
    auto endpoints = slice("default", "web");
    add_endpoint(&endpoints, "10.244.0.99");
    put("web", endpoints);
    EXPECT_THAT(answers("5.0.244.10.in-addr.arpa", type::kPtr),
                ElementsAre("PTR db-0.db.default.svc.cluster.local."));
    EXPECT_EQ(ask("7.0.244.10.in-addr.arpa", type::kPtr).kind, Answer::Kind::kForeign);
    EXPECT_EQ(ask("99.0.244.10.in-addr.arpa", type::kPtr).kind, Answer::Kind::kForeign);
    auto second = service("default", "cache", {"None"});
    put(second);
    auto shared = slice("default", "cache");
    add_endpoint(&shared, "10.244.0.5");
    put("cache", shared);
    EXPECT_THAT(answers("5.0.244.10.in-addr.arpa", type::kPtr),
                ElementsAre("PTR 10-244-0-5.cache.default.svc.cluster.local.",
                            "PTR db-0.db.default.svc.cluster.local."));
}

corev1::Service external(const std::string& service_name, const std::string& target) {
    auto out = service("default", service_name, {""});
    out.mutable_spec()->set_type("ExternalName");
    out.mutable_spec()->set_externalname(target);
    return out;
}

// 2.5
TEST_F(Zone, ExternalNameIsAnAlias) {
    add_web();
    put(external("out", "www.example.com"));
    put(external("in", "web.default.svc.cluster.local."));
    put(external("gone", "none.default.svc.cluster.local"));
    put(external("round", "trip.default.svc.cluster.local"));
    put(external("trip", "round.default.svc.cluster.local"));
    put(external("bad", "not..aname"));
    const Answer out = ask("out.default.svc.cluster.local", type::kA);
    EXPECT_THAT(texts(out.answers), ElementsAre("CNAME www.example.com."));
    ASSERT_TRUE(out.elsewhere);
    EXPECT_EQ(out.elsewhere->to_string(), "www.example.com.");
    const Answer itself = ask("out.default.svc.cluster.local", type::kCname);
    EXPECT_THAT(texts(itself.answers), ElementsAre("CNAME www.example.com."));
    EXPECT_FALSE(itself.elsewhere);
    EXPECT_THAT(answers("in.default.svc.cluster.local", type::kA),
                ElementsAre("A 10.96.0.20", "CNAME web.default.svc.cluster.local."));
    const Answer gone = ask("gone.default.svc.cluster.local", type::kA);
    EXPECT_EQ(gone.rcode, rcode::kNxDomain);
    EXPECT_THAT(texts(gone.answers), ElementsAre("CNAME none.default.svc.cluster.local."));
    EXPECT_LE(ask("round.default.svc.cluster.local", type::kA).answers.size(), 9U);
    expect_no_name("bad.default.svc.cluster.local");
    expect_no_name("_http._tcp.out.default.svc.cluster.local", type::kSrv);
}

// 2.6
TEST_F(Zone, PodsHaveNamesMadeOfTheirAddress) {
    EXPECT_THAT(answers("10-244-1-2.default.pod.cluster.local", type::kA),
                ElementsAre("A 10.244.1.2"));
    EXPECT_THAT(answers("fd00-10--2.default.pod.cluster.local", type::kAaaa),
                ElementsAre("AAAA fd00:10::2"));
    EXPECT_THAT(answers("--1.default.pod.cluster.local", type::kAaaa), ElementsAre("AAAA ::1"));
    expect_no_data("10-244-1-2.default.pod.cluster.local", type::kAaaa);
    for (const auto* bad : {"10-244-1-256.default.pod", "10-244-1.default.pod", "a.default.pod",
                            "10-244-1-2.nowhere.pod", "x.10-244-1-2.default.pod"}) {
        expect_no_name(std::string(bad) + ".cluster.local");
    }
}

TEST_F(Zone, NamesBetweenExistAndOthersDoNot) {
    add_web();
    auto orphan = service("unlisted", "web", {"10.96.0.30"});
    put(orphan);
    for (const auto* there :
         {"cluster.local", "svc.cluster.local", "pod.cluster.local", "dns.cluster.local",
          "default.svc.cluster.local", "empty.svc.cluster.local", "empty.pod.cluster.local",
          "unlisted.svc.cluster.local"}) {
        expect_no_data(there, type::kA);
    }
    for (const auto* not_there :
         {"web.cluster.local", "default.cluster.local", "nowhere.svc.cluster.local",
          "nowhere.pod.cluster.local", "x.default.svc.cluster.local",
          "x.web.default.svc.cluster.local", "web.default.web.default.svc.cluster.local",
          "x.dns-version.cluster.local", "x.dns.cluster.local"}) {
        expect_no_name(not_there);
    }
    EXPECT_THAT(answers("cluster.local", type::kSoa), ElementsAre("SOA"));
    EXPECT_THAT(answers("cluster.local", type::kNs), ElementsAre("NS ns.dns.cluster.local."));
    EXPECT_THAT(answers("ns.dns.cluster.local", type::kA), ElementsAre("A 10.96.0.10"));
}

TEST_F(Zone, ALabelWithASeparatorInItIsNoService) {
    add_web();
    const Name odd =
        Name::from_wire(std::string("\x0b"
                                    "default/web\x03svc\x07"
                                    "cluster\x05local\x00",
                                    31));
    const auto answer = (static_cast<void>(ask("cluster.local", type::kA)),
                         resolve(*snapshot, config, {odd, type::kA, kClassIn}, 0, 512));
    EXPECT_EQ(answer.rcode, rcode::kNxDomain);
}

TEST_F(Zone, BeforeAllIsListedNothingIsSaidNotToExist) {
    complete = false;
    add_web();
    EXPECT_EQ(ask("web.default.svc.cluster.local", type::kA).kind, Answer::Kind::kUnknown);
    EXPECT_EQ(ask("21.0.96.10.in-addr.arpa", type::kPtr).kind, Answer::Kind::kUnknown);
    EXPECT_EQ(ask("example.com", type::kA).kind, Answer::Kind::kForeign);
}

TEST_F(Zone, ChangesAndDeletionsAreFollowed) {
    add_web();
    add_headless();
    EXPECT_THAT(answers("web.default.svc.cluster.local", type::kA), ElementsAre("A 10.96.0.20"));
    put(service("default", "web", {"10.96.0.21"}));
    EXPECT_THAT(answers("web.default.svc.cluster.local", type::kA), ElementsAre("A 10.96.0.21"));
    expect_no_name("20.0.96.10.in-addr.arpa", type::kPtr);
    expect_no_name("_http._tcp.web.default.svc.cluster.local", type::kSrv);
    builder.set_slice("default/db-v4", nullptr);
    expect_no_data("db.default.svc.cluster.local", type::kA);  // IPv6 is left
    EXPECT_EQ(ask("5.0.244.10.in-addr.arpa", type::kPtr).kind, Answer::Kind::kForeign);
    builder.set_service("default/web", nullptr);
    expect_no_name("web.default.svc.cluster.local");
    expect_no_name("21.0.96.10.in-addr.arpa", type::kPtr);
    builder.set_namespace("empty", false);
    expect_no_name("empty.svc.cluster.local");
}

TEST_F(Zone, SliceThatMovesToAnotherServiceLeavesTheFirst) {
    put(service("default", "a", {"None"}));
    put(service("default", "b", {"None"}));
    auto endpoints = slice("default", "a");
    add_endpoint(&endpoints, "10.244.0.1");
    put("s", endpoints);
    EXPECT_THAT(answers("a.default.svc.cluster.local", type::kA), ElementsAre("A 10.244.0.1"));
    (*endpoints.mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = "b";
    put("s", endpoints);
    expect_no_name("a.default.svc.cluster.local");
    EXPECT_THAT(answers("b.default.svc.cluster.local", type::kA), ElementsAre("A 10.244.0.1"));
    endpoints.mutable_metadata()->clear_labels();
    put("s", endpoints);
    expect_no_name("b.default.svc.cluster.local");
}

TEST_F(Zone, NothingIsPublishedWithoutAChange) {
    add_web();
    builder.set_complete();
    ASSERT_TRUE(builder.publish(1'000));
    const auto web = service("default", "other", {"10.96.0.40"});
    EXPECT_FALSE(builder.publish(1'001));
    put(web);
    const auto next = builder.publish(1'001);
    ASSERT_TRUE(next);
    put(web);
    EXPECT_FALSE(builder.publish(1'002));
    EXPECT_GE(next->serial, 1'001U);
}

TEST_F(Zone, HostileObjectsGiveNoRecords) {
    put(service("default", "has.dot", {"10.96.0.50"}));
    put(service("default", std::string(64, 'a'), {"10.96.0.51"}));
    put(service("default", "text", {"not an address"}));
    put(service("default", "db", {"None"}));
    auto endpoints = slice("default", "db");
    add_endpoint(&endpoints, "fd00::1");  // of the other family
    add_endpoint(&endpoints, "10.0.0");
    add_endpoint(&endpoints, "10.244.0.1", "bad.label");
    endpoints.add_endpoints();  // without an address
    add_port(&endpoints, "p", 70'000);
    add_port(&endpoints, std::string(63, 'p'), 80);
    add_port(&endpoints, "q", 80, "ICMP");
    put("db", endpoints);
    EXPECT_THAT(answers("db.default.svc.cluster.local", type::kA), ElementsAre("A 10.244.0.1"));
    EXPECT_THAT(answers("10-244-0-1.db.default.svc.cluster.local", type::kA),
                ElementsAre("A 10.244.0.1"));
    expect_no_name("_tcp.db.default.svc.cluster.local", type::kSrv);
    expect_no_name("text.default.svc.cluster.local");
    EXPECT_THAT(ask("50.0.96.10.in-addr.arpa", type::kPtr).answers, IsEmpty());
}

// The order is one cycle; where it begins is the caller's choice, so that clients are spread.
TEST_F(Zone, AnswersRotate) {
    put(service("default", "db", {"None"}));
    auto endpoints = slice("default", "db");
    for (int i = 1; i <= 5; ++i) add_endpoint(&endpoints, fmt::format("10.0.0.{}", i));
    put("db", endpoints);
    const auto order = [&](std::uint32_t rotation) {
        Texts out;
        for (const auto& record : ask("db.default.svc.cluster.local", type::kA, rotation).answers) {
            out.push_back(data_text(record));
        }
        return out;
    };
    EXPECT_THAT(order(0),
                ElementsAre("A 10.0.0.1", "A 10.0.0.2", "A 10.0.0.3", "A 10.0.0.4", "A 10.0.0.5"));
    EXPECT_THAT(order(8),
                ElementsAre("A 10.0.0.4", "A 10.0.0.5", "A 10.0.0.1", "A 10.0.0.2", "A 10.0.0.3"));
    EXPECT_EQ(order(0xffffffffU).size(), 5U);
    // No more are made than may fit.
    auto many = slice("default", "db");
    for (int i = 0; i < 5'000; ++i)
        add_endpoint(&many, fmt::format("10.1.{}.{}", i / 250, i % 250));
    put("db", many);
    EXPECT_LE(ask("db.default.svc.cluster.local", type::kA, 7, 1'232).answers.size(), 80U);
}

// Any walk ends in the state that its last objects alone give.
TEST_F(Zone, AnyWalkEndsLikeAFreshBuild) {
    std::mt19937 random(7);
    const auto pick = [&](unsigned n) { return static_cast<int>(random() % n); };
    for (int walk = 0; walk < 20; ++walk) {
        Builder walked(config.domain);
        std::map<std::string, corev1::Service> services;
        std::map<std::string, discoveryv1::EndpointSlice> slices;
        for (int step = 0; step < 200; ++step) {
            if (pick(2) == 0) {
                const std::string service_name = fmt::format("s{}", pick(4));
                const std::string key = "default/" + service_name;
                if (pick(4) == 0) {
                    services.erase(key);
                    walked.set_service(key, nullptr);
                } else {
                    auto object =
                        service("default", service_name,
                                {pick(2) == 0 ? "None" : fmt::format("10.96.0.{}", pick(4))});
                    add_port(&object, "p", 80 + pick(2));
                    services[key] = object;
                    walked.set_service(key, &object);
                }
            } else {
                const std::string key = fmt::format("default/e{}", pick(5));
                if (pick(4) == 0) {
                    slices.erase(key);
                    walked.set_slice(key, nullptr);
                } else {
                    auto object = slice("default", fmt::format("s{}", pick(4)));
                    for (int i = pick(3); i > 0; --i) {
                        add_endpoint(&object, fmt::format("10.244.0.{}", pick(6)),
                                     pick(2) == 0 ? fmt::format("h{}", pick(3)) : "");
                    }
                    add_port(&object, "p", 80);
                    slices[key] = object;
                    walked.set_slice(key, &object);
                }
            }
            if (pick(3) == 0) snapshot = walked.publish(1);
        }
        Builder fresh(config.domain);
        for (const auto& [key, object] : services) fresh.set_service(key, &object);
        for (const auto& [key, object] : slices) fresh.set_slice(key, &object);
        walked.set_complete();
        fresh.set_complete();
        const auto got = walked.publish(1);
        const auto wanted = fresh.publish(1);
        std::vector<Name> questions;
        for (int i = 0; i < 6; ++i) {
            for (const char* format :
                 {"s{}.default.svc.cluster.local", "{}.0.244.10.in-addr.arpa",
                  "{}.0.96.10.in-addr.arpa", "_p._tcp.s{}.default.svc.cluster.local",
                  "h0.s{}.default.svc.cluster.local"}) {
                questions.push_back(testing::name(fmt::format(fmt::runtime(format), i)));
            }
        }
        for (const auto& question : questions) {
            for (const auto asked : {type::kA, type::kSrv, type::kPtr}) {
                const auto a = resolve(*got, config, {question, asked, kClassIn}, 0, 65'535);
                const auto b = resolve(*wanted, config, {question, asked, kClassIn}, 0, 65'535);
                EXPECT_EQ(a.rcode, b.rcode) << question.to_string();
                EXPECT_EQ(a.kind, b.kind) << question.to_string();
                EXPECT_EQ(texts(a.answers), texts(b.answers)) << question.to_string();
            }
        }
    }
}

TEST(Labels, AddressesAndReverseNames) {
    for (const auto* text :
         {"10.0.0.1", "255.255.255.255", "fd00::1", "::", "2001:db8:1:2:3:4:5:6"}) {
        const IpAddress address = ip(text);
        EXPECT_EQ(parse_address_label(address_label(address)), address) << text;
        EXPECT_EQ(parse_reverse_name(reverse_name(address)), address) << text;
    }
    EXPECT_EQ(reverse_name(ip("10.1.2.3")).to_string(), "3.2.1.10.in-addr.arpa.");
    EXPECT_EQ(reverse_name(ip("2001:db8::1")).to_string(),
              "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.");
}

}  // namespace
}  // namespace sluice::dns
