// The server as clients and upstream servers meet it: real packets over loopback, with an upstream
// server of plain sockets.
#include "control/dns/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

#include "control/dns/test_util.h"

namespace sluice::dns {
namespace {

using namespace std::string_literals;
using namespace testing;
using ::testing::ElementsAre;

using Bytes = std::vector<std::uint8_t>;
constexpr int kPatienceMs = 8'000;

Fd connected(const Endpoint& endpoint, int kind) {
    const auto address = *to_socket_address(endpoint);
    Fd fd(::socket(address.storage.ss_family, kind | SOCK_CLOEXEC, 0));
    EXPECT_EQ(
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size), 0);
    return fd;
}

Bytes receive(int fd, int patience_ms = kPatienceMs) {
    pollfd waiting{fd, POLLIN, 0};
    if (::poll(&waiting, 1, patience_ms) != 1) return {};
    Bytes out(65'535);
    const ssize_t size = ::recv(fd, out.data(), out.size(), 0);
    out.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return out;
}

// One whole message of a TCP connection.
Bytes receive_framed(int fd) {
    Bytes out;
    std::size_t wanted = 2;
    while (out.size() < wanted) {
        Bytes part(wanted - out.size());
        pollfd waiting{fd, POLLIN, 0};
        if (::poll(&waiting, 1, kPatienceMs) != 1) return {};
        const ssize_t size = ::recv(fd, part.data(), part.size(), 0);
        if (size <= 0) return {};
        out.insert(out.end(), part.begin(), part.begin() + size);
        if (out.size() >= 2) wanted = 2U + ((std::size_t{out[0]} << 8U) | out[1]);
    }
    return {out.begin() + 2, out.end()};
}

Bytes framed(const Bytes& message) {
    Bytes out{static_cast<std::uint8_t>(message.size() >> 8U),
              static_cast<std::uint8_t>(message.size())};
    out.insert(out.end(), message.begin(), message.end());
    return out;
}

struct Asked {
    std::uint16_t id = 0x4242;
    bool recursion = true;
    bool edns = false;
};

Bytes query(const std::string& question_name, std::uint16_t question_type, Asked asked = {}) {
    const Question question{testing::name(question_name), question_type, kClassIn};
    Reply out;
    out.id = asked.id;
    out.flags.recursion_desired = asked.recursion;
    out.question = &question;
    out.edns = asked.edns;
    Bytes bytes;
    encode(out, 512, &bytes);
    return bytes;
}

// An upstream server on a port of loopback, UDP and TCP. Its script makes the answers to a query.
class Upstream {
public:
    using Script = std::function<std::vector<Bytes>(const Message& query, bool tcp)>;
    explicit Upstream(Script script) : script_(std::move(script)) {
        sockaddr_in any{};
        any.sin_family = AF_INET;
        any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const auto* address = reinterpret_cast<const sockaddr*>(&any);
        while (true) {
            any.sin_port = 0;
            tcp_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            udp_ = Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
            EXPECT_EQ(::bind(tcp_.get(), address, sizeof any), 0);
            socklen_t size = sizeof any;
            ::getsockname(tcp_.get(), reinterpret_cast<sockaddr*>(&any), &size);
            if (::bind(udp_.get(), address, sizeof any) == 0) break;
        }
        ::listen(tcp_.get(), 16);
        endpoint = {ip("127.0.0.1"), ntohs(any.sin_port), ""};
        thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    }

    Endpoint endpoint;
    std::atomic<int> queries{0};  // without probes

private:
    void run(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            std::array<pollfd, 2> waiting{{{udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}}};
            if (::poll(waiting.data(), 2, 20) <= 0) continue;
            if (waiting[0].revents != 0) {
                Bytes bytes(4'096);
                sockaddr_storage from{};
                socklen_t size = sizeof from;
                const ssize_t n = ::recvfrom(udp_.get(), bytes.data(), bytes.size(), 0,
                                             reinterpret_cast<sockaddr*>(&from), &size);
                bytes.resize(static_cast<std::size_t>(n));
                for (const auto& answer : answers(bytes, false)) {
                    ::sendto(udp_.get(), answer.data(), answer.size(), 0,
                             reinterpret_cast<sockaddr*>(&from), size);
                }
            }
            if (waiting[1].revents != 0) {
                const Fd peer(::accept(tcp_.get(), nullptr, nullptr));
                for (const auto& answer : answers(receive_framed(peer.get()), true)) {
                    const Bytes out = framed(answer);
                    ::send(peer.get(), out.data(), out.size(), MSG_NOSIGNAL);
                }
            }
        }
    }
    std::vector<Bytes> answers(const Bytes& bytes, bool tcp) {
        const auto message = parse_message(bytes);
        if (!message || message->questions.size() != 1) return {};
        if (!message->questions[0].name.is_within(testing::name("invalid"))) ++queries;
        return script_(*message, tcp);
    }

    Script script_;
    Fd udp_, tcp_;
    std::jthread thread_;
};

Bytes answer_to(const Message& message, std::vector<Record> answers, std::uint16_t code = 0,
                std::vector<Record> additional = {}) {
    Reply out;
    out.id = message.id;
    out.flags.response = out.flags.recursion_available = true;
    out.rcode = code;
    out.question = &message.questions.front();
    out.answers = answers;
    out.additional = additional;
    out.edns = message.edns.has_value();
    Bytes bytes;
    encode(out, 65'535, &bytes);
    return bytes;
}

Record address_of(const Message& message, const char* address, std::uint32_t ttl = 60) {
    return address_record(message.questions[0].name, ip(address), ttl);
}

class Serving : public ::testing::Test {
protected:
    Serving() : builder_(testing::name("cluster.local")) {
        const auto web = service("default", "web", {"10.96.0.20"});
        builder_.set_service("default/web", &web);
        auto out = service("default", "out", {""});
        out.mutable_spec()->set_type("ExternalName");
        out.mutable_spec()->set_externalname("www.example.com");
        builder_.set_service("default/out", &out);
        const auto many = service("default", "many", {"None"});
        builder_.set_service("default/many", &many);
        auto endpoints = slice("default", "many");
        for (int i = 0; i < 200; ++i) add_endpoint(&endpoints, fmt::format("10.0.1.{}", i));
        builder_.set_slice("default/many", &endpoints);
        builder_.set_namespace("default", true);
        builder_.set_complete();
        zone.publish(builder_.publish(1'000));
    }
    void start(std::vector<Endpoint> upstreams = {}) {
        ServerOptions options;
        options.listen = {{ip("127.0.0.1"), 0, ""}, {ip("::1"), 0, ""}};
        options.upstreams = std::move(upstreams);
        options.domain = testing::name("cluster.local");
        options.workers = 2;
        auto started = Server::start(options, zone);
        ASSERT_TRUE(started) << started.error().to_string();
        server = std::move(*started);
    }
    // The answer to this datagram, by the server's first address unless told otherwise.
    std::optional<Message> exchange(const Bytes& bytes, std::size_t address = 0) {
        const Fd fd = connected(server->endpoints()[address], SOCK_DGRAM);
        ::send(fd.get(), bytes.data(), bytes.size(), 0);
        return parse_message(receive(fd.get()));
    }
    std::optional<Message> exchange_tcp(const Bytes& bytes, std::size_t address = 0) {
        const Fd fd = connected(server->endpoints()[address], SOCK_STREAM);
        const Bytes out = framed(bytes);
        ::send(fd.get(), out.data(), out.size(), MSG_NOSIGNAL);
        return parse_message(receive_framed(fd.get()));
    }
    std::uint16_t code_of(const Bytes& bytes) {
        const auto message = exchange(bytes);
        if (!message) return 0xffff;
        const unsigned high = message->edns ? message->edns->extended_rcode : 0U;
        return static_cast<std::uint16_t>(message->flags.rcode | (high << 4U));
    }

    Builder builder_;
    Published zone;
    std::unique_ptr<Server> server;
};

TEST_F(Serving, BothFamiliesAndTransports) {
    start();
    for (const std::size_t address : {0U, 1U}) {
        for (const bool tcp : {false, true}) {
            const Bytes bytes = query("wEb.default.svc.cluster.local", type::kA);
            const auto message = tcp ? exchange_tcp(bytes, address) : exchange(bytes, address);
            ASSERT_TRUE(message);
            EXPECT_EQ(message->id, 0x4242);
            EXPECT_TRUE(message->flags.response && message->flags.authoritative);
            EXPECT_TRUE(message->flags.recursion_desired);
            EXPECT_FALSE(message->edns);
            EXPECT_THAT(texts(message->answers), ElementsAre("A 10.96.0.20"));
            EXPECT_EQ(message->questions[0].name.to_string(), "wEb.default.svc.cluster.local.");
            EXPECT_EQ(message->answers[0].name.to_string(), "wEb.default.svc.cluster.local.");
        }
    }
}

TEST_F(Serving, ChangesShowAtOnce) {
    start();
    EXPECT_EQ(code_of(query("new.default.svc.cluster.local", type::kA)), rcode::kNxDomain);
    const auto fresh = service("default", "new", {"10.96.0.77"});
    builder_.set_service("default/new", &fresh);
    zone.publish(builder_.publish(1'001));
    const auto message = exchange(query("new.default.svc.cluster.local", type::kA));
    ASSERT_TRUE(message);
    EXPECT_THAT(texts(message->answers), ElementsAre("A 10.96.0.77"));
}

TEST_F(Serving, WhatIsMalformedOrNotServedIsRefused) {
    start();
    const Bytes good = query("web.default.svc.cluster.local", type::kA, {.edns = true});
    const auto changed = [&](std::size_t at, std::uint8_t value) {
        Bytes out = good;
        out[at] = value;
        return out;
    };
    EXPECT_EQ(code_of(good), rcode::kNoError);
    EXPECT_EQ(code_of(changed(2, 0x11)), rcode::kNotImp);   // status
    EXPECT_EQ(code_of(changed(2, 0x21)), rcode::kNotImp);   // notify
    EXPECT_EQ(code_of(changed(2, 0x29)), rcode::kNotImp);   // update
    EXPECT_EQ(code_of(changed(2, 0x03)), rcode::kFormErr);  // TC
    EXPECT_EQ(code_of(changed(5, 0)), rcode::kFormErr);
    EXPECT_EQ(code_of(changed(5, 2)), rcode::kFormErr);
    EXPECT_EQ(code_of(changed(7, 1)), rcode::kFormErr);
    EXPECT_EQ(code_of(changed(12, 0xc0)), rcode::kFormErr);
    EXPECT_EQ(code_of(Bytes(good.begin(), good.end() - 1)), rcode::kFormErr);
    Bytes longer = good;
    longer.push_back(0);
    EXPECT_EQ(code_of(longer), rcode::kFormErr);
    EXPECT_EQ(code_of(Bytes(5'000, 0)), rcode::kFormErr);
    const std::size_t klass = good.size() - 11 - 1;
    EXPECT_EQ(code_of(changed(klass, 3)), rcode::kRefused);  // CH
    EXPECT_EQ(code_of(changed(klass, 255)), rcode::kRefused);
    EXPECT_EQ(code_of(changed(good.size() - 5, 1)), rcode::kBadVers);
    for (const int meta : {0, 41, 249, 250, 251, 252, 253, 254}) {
        EXPECT_EQ(code_of(query("cluster.local", static_cast<std::uint16_t>(meta))),
                  rcode::kRefused)
            << meta;
    }
    EXPECT_EQ(exchange_tcp(query("cluster.local", 252))->flags.rcode, rcode::kRefused);
    EXPECT_EQ(code_of(query("example.com", type::kA)), rcode::kRefused);  // no upstream
    const auto any = exchange(query("web.default.svc.cluster.local", type::kAny));
    ASSERT_TRUE(any && any->answers.size() == 1);
    EXPECT_EQ(any->answers[0].type, type::kHinfo);
}

TEST_F(Serving, ShortOnesAndResponsesGetNoAnswer) {
    start();
    const Fd fd = connected(server->endpoints()[0], SOCK_DGRAM);
    Bytes response = query("web.default.svc.cluster.local", type::kA, {.id = 1});
    response[2] |= 0x80U;
    for (const auto& silent : {Bytes(11, 0), Bytes(1, 0), Bytes(), response}) {
        ::send(fd.get(), silent.data(), silent.size(), 0);
    }
    const Bytes good = query("web.default.svc.cluster.local", type::kA, {.id = 2});
    ::send(fd.get(), good.data(), good.size(), 0);
    // The only answer, as one worker serves this socket's datagrams in order.
    EXPECT_EQ(parse_message(receive(fd.get()))->id, 2);
    EXPECT_EQ(server->counters().dropped.load(), 4U);
}

TEST_F(Serving, AnswersKeepWithinTheClientsSize) {
    start();
    const std::string many = "many.default.svc.cluster.local";
    Fd fd = connected(server->endpoints()[0], SOCK_DGRAM);
    const auto ask = [&](bool edns, std::uint16_t size) {
        Bytes bytes = query(many, type::kA, {.edns = edns});
        if (edns) {
            bytes[bytes.size() - 8] = static_cast<std::uint8_t>(size >> 8U);
            bytes[bytes.size() - 7] = static_cast<std::uint8_t>(size);
        }
        ::send(fd.get(), bytes.data(), bytes.size(), 0);
        return receive(fd.get());
    };
    for (const auto& [edns, size, limit] : {std::tuple(false, 0, 512U),
                                            {true, 100, 512U},
                                            {true, 900, 900U},
                                            {true, 4'096, 1'232U}}) {
        const Bytes bytes = ask(edns, static_cast<std::uint16_t>(size));
        EXPECT_LE(bytes.size(), limit);
        EXPECT_GT(bytes.size(), limit - 40);
        EXPECT_TRUE(parse_message(bytes)->flags.truncated);
    }
    const auto whole = exchange_tcp(query(many, type::kA));
    ASSERT_TRUE(whole);
    EXPECT_FALSE(whole->flags.truncated);
    EXPECT_EQ(whole->answers.size(), 200U);
}

TEST_F(Serving, TcpTakesManyQuestionsInAnyPieces) {
    start();
    const Fd fd = connected(server->endpoints()[0], SOCK_STREAM);
    Bytes stream;
    for (std::uint16_t id = 1; id <= 100; ++id) {
        const Bytes one = framed(query("web.default.svc.cluster.local", type::kA, {.id = id}));
        stream.insert(stream.end(), one.begin(), one.end());
    }
    for (std::size_t at = 0; at < stream.size(); at += 7) {
        ::send(fd.get(), stream.data() + at, std::min<std::size_t>(7, stream.size() - at),
               MSG_NOSIGNAL);
    }
    for (std::uint16_t id = 1; id <= 100; ++id) {
        const auto message = parse_message(receive_framed(fd.get()));
        ASSERT_TRUE(message);
        EXPECT_EQ(message->id, id);
    }
    // Rubbish ends the connection.
    const Bytes rubbish = framed(Bytes(5, 0));
    ::send(fd.get(), rubbish.data(), rubbish.size(), MSG_NOSIGNAL);
    EXPECT_TRUE(receive_framed(fd.get()).empty());
}

TEST_F(Serving, OtherNamesAreAskedUpstreamAndKept) {
    Upstream upstream([](const Message& message, bool) {
        return std::vector<Bytes>{
            answer_to(message, {address_of(message, "192.0.2.1")}, 0,
                      {address_record(testing::name("evil.example"), ip("6.6.6.6"), 60)})};
    });
    start({upstream.endpoint});
    for (int i = 0; i < 3; ++i) {
        const auto message = exchange(query("WWW.example.com", type::kA));
        ASSERT_TRUE(message);
        EXPECT_THAT(texts(message->answers), ElementsAre("A 192.0.2.1"));
        EXPECT_TRUE(message->additional.empty());
        EXPECT_TRUE(message->flags.recursion_available);
        EXPECT_FALSE(message->flags.authoritative);
        EXPECT_EQ(message->answers[0].name.to_string(), "WWW.example.com.");
    }
    EXPECT_EQ(exchange_tcp(query("www.EXAMPLE.com", type::kA))->answers.size(), 1U);
    EXPECT_EQ(upstream.queries.load(), 1);
    EXPECT_EQ(code_of(query("www.example.com", type::kA, {.recursion = false})), rcode::kRefused);
}

TEST_F(Serving, ResponsesToOtherQuestionsAreNotBelieved) {
    Upstream upstream([](const Message& message, bool) {
        Message wrong_id = message;
        ++wrong_id.id;
        Message wrong_name = message;
        wrong_name.questions[0].name = testing::name("other.example");
        Message wrong_type = message;
        wrong_type.questions[0].type = type::kAaaa;
        Bytes not_a_response = answer_to(message, {address_of(message, "6.6.6.6")});
        not_a_response[2] &= 0x7fU;
        const auto forged = [](const Message& to) {
            return answer_to(to, {address_of(to, "6.6.6.6")});
        };
        return std::vector<Bytes>{
            forged(wrong_id),
            forged(wrong_name),
            forged(wrong_type),
            not_a_response,
            Bytes(3, 0),
            answer_to(message,
                      {address_of(message, "192.0.2.1"),
                       address_record(testing::name("victim.example"), ip("6.6.6.6"), 60)})};
    });
    start({upstream.endpoint});
    const auto message = exchange(query("www.example.com", type::kA));
    ASSERT_TRUE(message);
    EXPECT_THAT(texts(message->answers), ElementsAre("A 192.0.2.1"));
}

TEST_F(Serving, TruncatedAnswersAreAskedForOverTcp) {
    Upstream upstream([](const Message& message, bool tcp) {
        std::vector<Record> answers;
        for (int i = 0; i < 300 && tcp; ++i) {
            answers.push_back(address_of(message, fmt::format("192.0.2.{}", i % 250).c_str()));
        }
        Bytes bytes = answer_to(message, answers);
        if (!tcp) bytes[2] |= 0x02U;
        return std::vector<Bytes>{bytes};
    });
    start({upstream.endpoint});
    EXPECT_EQ(exchange_tcp(query("big.example.com", type::kA))->answers.size(), 300U);
    EXPECT_EQ(upstream.queries.load(), 2);
}

TEST_F(Serving, AServerWithoutEdnsIsAskedWithout) {
    Upstream upstream([](const Message& message, bool) {
        if (!message.edns)
            return std::vector<Bytes>{answer_to(message, {address_of(message, "192.0.2.1")})};
        Message plain = message;
        plain.edns.reset();
        return std::vector<Bytes>{answer_to(plain, {}, rcode::kFormErr)};
    });
    start({upstream.endpoint});
    EXPECT_EQ(exchange(query("old.example.com", type::kA))->answers.size(), 1U);
}

TEST_F(Serving, AnotherServerIsAskedWhenOneFails) {
    Upstream broken([](const Message& message, bool) {
        return std::vector<Bytes>{answer_to(message, {}, rcode::kServFail)};
    });
    Upstream silent([](const Message&, bool) { return std::vector<Bytes>(); });
    Upstream good([](const Message& message, bool) {
        return std::vector<Bytes>{answer_to(message, {address_of(message, "192.0.2.1")})};
    });
    start({broken.endpoint, silent.endpoint, good.endpoint});
    EXPECT_EQ(exchange(query("www.example.com", type::kA))->answers.size(), 1U);
}

TEST_F(Serving, NoServerIsServfail) {
    Endpoint closed;
    {
        const Upstream gone([](const Message&, bool) { return std::vector<Bytes>(); });
        closed = gone.endpoint;
    }
    start({closed});
    EXPECT_EQ(code_of(query("www.example.com", type::kA)), rcode::kServFail);
    EXPECT_EQ(code_of(query("web.default.svc.cluster.local", type::kA)), rcode::kNoError);
    EXPECT_EQ(server->counters().forward_failed.load(), 1U);
}

TEST_F(Serving, AliasesOutOfTheClusterAreFollowed) {
    Upstream upstream([](const Message& message, bool) {
        const Name real = testing::name("real.example.net");
        return std::vector<Bytes>{
            answer_to(message, {name_record(message.questions[0].name, type::kCname, real, 60),
                                address_record(real, ip("192.0.2.9"), 60)})};
    });
    start({upstream.endpoint});
    const auto message = exchange(query("out.default.svc.cluster.local", type::kA));
    ASSERT_TRUE(message);
    ASSERT_EQ(message->answers.size(), 3U);
    EXPECT_EQ(data_text(message->answers[0]), "CNAME www.example.com.");
    EXPECT_EQ(data_text(message->answers[1]), "CNAME real.example.net.");
    EXPECT_EQ(data_text(message->answers[2]), "A 192.0.2.9");
    EXPECT_EQ(message->answers[0].name.to_string(), "out.default.svc.cluster.local.");
}

TEST_F(Serving, EqualQuestionsWaitForOneAnswer) {
    std::mutex gate;
    gate.lock();
    Upstream upstream([&](const Message& message, bool) {
        if (!message.questions[0].name.is_within(testing::name("invalid"))) {
            const std::lock_guard wait(gate);
        }
        return std::vector<Bytes>{answer_to(message, {address_of(message, "192.0.2.1")})};
    });
    start({upstream.endpoint});
    std::vector<Fd> clients;
    for (int i = 0; i < 20; ++i) {
        clients.push_back(connected(server->endpoints()[0], SOCK_DGRAM));
        const Bytes bytes = query("same.example.com", type::kA);
        ::send(clients.back().get(), bytes.data(), bytes.size(), 0);
    }
    while (server->counters().forwarded.load() < 20) std::this_thread::yield();
    gate.unlock();
    for (const auto& client : clients) {
        const auto message = parse_message(receive(client.get()));
        ASSERT_TRUE(message);
        EXPECT_EQ(message->answers.size(), 1U);
    }
    EXPECT_EQ(upstream.queries.load(), 1);
}

TEST_F(Serving, AnUpstreamThatAsksThisServerIsFound) {
    std::atomic<bool> have_server{false};
    Endpoint own;
    Upstream mirror([&](const Message& message, bool) -> std::vector<Bytes> {
        while (!have_server) std::this_thread::yield();
        // Passes the question on, as a forwarder does.
        const Fd fd = connected(own, SOCK_DGRAM);
        Reply out;
        out.id = message.id;
        out.flags.recursion_desired = true;
        out.question = &message.questions.front();
        Bytes bytes;
        encode(out, 512, &bytes);
        ::send(fd.get(), bytes.data(), bytes.size(), 0);
        return {receive(fd.get(), 500)};
    });
    start({mirror.endpoint});
    own = server->endpoints()[0];
    have_server = true;
    for (int i = 0; i < 1'000 && server->counters().loops.load() == 0; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(server->counters().loops.load(), 1U);
    const int before = mirror.queries.load();
    EXPECT_EQ(code_of(query("www.example.com", type::kA)), rcode::kServFail);
    EXPECT_EQ(mirror.queries.load(), before);
}

TEST_F(Serving, APortThatIsTakenIsSaidSo) {
    start();
    ServerOptions options;
    options.listen = {server->endpoints()[0]};
    options.domain = testing::name("cluster.local");
    const auto second = Server::start(options, zone);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kAlreadyExists);
    EXPECT_THAT(second.error().message, ::testing::HasSubstr(server->endpoints()[0].to_string()));
}

}  // namespace
}  // namespace sluice::dns
