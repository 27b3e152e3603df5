// Requests handed on to a server on the loopback, and what comes back.
#include "control/apiserver/relay/relay.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "control/apiserver/relay/test_taken.h"
#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::relay {
namespace {

using testing::Taken;

class Relayed : public ::testing::Test {
protected:
    Relayed() {
        server_ = std::move(*http::listen(http::testing::server_options(), [this](auto request, auto responder) {
            const std::lock_guard lock(mutex_);
            if (request->path == "/stream" || request->path == "/silent") {
                if (request->path == "/stream") responder->begin_stream(http::json_response(""));
                stream_ = responder;
                changed_.notify_all();
                return;
            }
            if (request->path == "/large") {
                http::Response large = http::text_response(418, std::string(100'000, 'x'));
                large.headers.emplace_back("X-Own", "1");
                return responder->send(std::move(large));
            }
            std::string text = request->method + " " + request->target + "\n";
            for (const auto& [name, value] : request->headers) {
                if (name.starts_with("x-")) text += name + "=" + value + "\n";
            }
            http::Response out = http::text_response(201, text + request->body);
            out.headers.emplace_back("X-Own", "1");
            responder->send(std::move(out));
        }));
        const auto& known = http::testing::credentials();
        tls_ = *http::ClientTls::create(known.ca.certificate_pem, known.alice.certificate_pem,
                                        known.alice.private_key_pem);
        port_ = server_->port();
    }
    static std::shared_ptr<http::Request> request(const std::string& method, const std::string& body = "") {
        auto out = std::make_shared<http::Request>();
        out->method = method;
        out->target = "/api/v1/what/the/client/asked";
        out->body = body;
        out->remote = "192.0.2.7:40000";
        out->headers = {{"x-asked", "yes"}, {"x-remote-user", "root"}};
        return out;
    }
    std::shared_ptr<Taken> start(const std::shared_ptr<http::Request>& what, const std::string& target) {
        http::DialRequest dial;
        dial.address = "127.0.0.1";
        dial.port = port_;
        dial.tls = tls_;
        dial.target = target;
        dial.headers = {{"X-Forwarded-Proto", "https"}};
        dial.waits_for_answer = true;
        auto taken = std::make_shared<Taken>();
        relay_.forward(std::move(dial), what, taken);
        return taken;
    }

    // The server's answer of the request that is under way.
    std::shared_ptr<http::Responder> far() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stream_ != nullptr; });
        return stream_;
    }
    void wait_until_over(http::Responder& responder) {
        std::unique_lock lock(mutex_);
        bool over = false;
        lock.unlock();
        responder.on_close([&] {
            const std::lock_guard held(mutex_);
            over = true;
            changed_.notify_all();
        });
        lock.lock();
        changed_.wait(lock, [&] { return over; });
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::shared_ptr<http::Responder> stream_;
    std::unique_ptr<http::Server> server_;
    std::shared_ptr<const http::ClientTls> tls_;
    std::uint16_t port_ = 0;
    Relay relay_;
};

TEST_F(Relayed, AWholeRequestGoesWhereTheDialSaysAndItsAnswerComesBack) {
    const auto answer = start(request("POST", "body"), "/x?y=1")->whole();
    EXPECT_EQ(answer.status, 201);
    EXPECT_EQ(answer.body,
              "POST /x?y=1\nx-forwarded-proto=https\nx-asked=yes\nx-forwarded-for=192.0.2.7\nbody");
    bool own = false;
    for (const auto& [name, value] : answer.headers) own = own || (name == "X-Own" && value == "1");
    EXPECT_TRUE(own);
}

TEST_F(Relayed, MetricsTellWhatBecameOfRequests) {
    EXPECT_EQ(start(request("GET"), "/x")->whole().status, 201);
    server_.reset();
    EXPECT_EQ(start(request("GET"), "/x")->whole().status, 503);
    while (relay_.stats().under_way > 0) std::this_thread::yield();
    EXPECT_EQ(relay_.metrics("sluice_proxy", "pods"),
              "# HELP sluice_proxy_requests Requests that pods are answering.\n"
              "# TYPE sluice_proxy_requests gauge\n"
              "sluice_proxy_requests 0\n"
              "# HELP sluice_proxy_requests_total Requests handed on to pods.\n"
              "# TYPE sluice_proxy_requests_total counter\n"
              "sluice_proxy_requests_total 2\n"
              "# HELP sluice_proxy_failed_requests_total Requests that pods could not be asked.\n"
              "# TYPE sluice_proxy_failed_requests_total counter\n"
              "sluice_proxy_failed_requests_total 1\n"
              "# HELP sluice_proxy_refused_requests_total Requests not handed on, as too many were under way.\n"
              "# TYPE sluice_proxy_refused_requests_total counter\n"
              "sluice_proxy_refused_requests_total 0\n");
}

TEST_F(Relayed, StreamsComePieceByPieceAndEndWithTheClient) {
    const auto taken = start(request("GET"), "/stream");
    const auto stream = far();
    ASSERT_TRUE(stream->write("one"));
    taken->wait_for("one");
    EXPECT_TRUE(taken->streamed());
    EXPECT_EQ(relay_.stats().under_way, 1U);
    taken->hang_up();
    wait_until_over(*stream);
}

// Whoever asks for what never comes, and goes, takes no place of others.
TEST_F(Relayed, WhatIsAwaitedEndsWithTheClient) {
    auto taken = start(request("GET"), "/silent");
    const auto silent = far();
    taken->hang_up();
    while (relay_.stats().under_way > 0) std::this_thread::yield();
    EXPECT_EQ(relay_.stats().failed, 0U);
    silent->send({});
}

TEST_F(Relayed, WhatBreaksOffIsBrokenOff) {
    const auto taken = start(request("GET"), "/stream");
    const auto stream = far();
    ASSERT_TRUE(stream->write("one"));
    taken->wait_for("one");
    stream->abort_stream();
    EXPECT_EQ(taken->whole().body, "one");
    EXPECT_TRUE(taken->broken());
}

// It is an answer like others: with its headers, and whole.
TEST_F(Relayed, AnUpgradeMayBeAnsweredOtherwise) {
    auto asked = request("GET");
    asked->headers.emplace_back("connection", "Upgrade");
    asked->headers.emplace_back("upgrade", "websocket");
    const auto answer = start(asked, "/large")->whole();
    EXPECT_EQ(answer.status, 418);
    EXPECT_EQ(answer.body.size(), 100'000U);
    bool own = false;
    for (const auto& [name, value] : answer.headers) own = own || (name == "X-Own" && value == "1");
    EXPECT_TRUE(own);
}

TEST_F(Relayed, AHeadKeepsTheLengthOfItsBody) {
    const auto taken = start(request("HEAD"), "/large");
    EXPECT_EQ(taken->whole().length, 100'000U);
    const auto unknown = start(request("HEAD"), "/stream");
    far()->end_stream();
    EXPECT_EQ(unknown->whole().length, std::nullopt);
    EXPECT_TRUE(unknown->streamed());
}

TEST_F(Relayed, WhatTheDialSaysIsNotTheClientsToSay) {
    auto asked = request("GET");
    asked->headers.emplace_back("x-forwarded-proto", "gopher");
    EXPECT_EQ(start(asked, "/x")->whole().body,
              "GET /x\nx-forwarded-proto=https\nx-asked=yes\nx-forwarded-for=192.0.2.7\n");
}

}  // namespace
}  // namespace sluice::relay
