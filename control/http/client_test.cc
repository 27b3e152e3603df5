// Requests of the pooling client against the real server over TLS.
#include "control/http/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::http {
namespace {

using testing::credentials;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{20};

std::unique_ptr<Server> serve(Handler handler, std::uint16_t port = 0) {
    auto options = testing::server_options();
    options.port = port;
    auto server = listen(options, std::move(handler));
    EXPECT_TRUE(server) << server.error().message;
    return std::move(*server);
}

void echo(const std::shared_ptr<Request>& request, const std::shared_ptr<Responder>& responder) {
    responder->send(text_response(200, request->method + " " + request->target + " " +
                                           std::string(request->header("host")) + " " + request->body));
}

class Pooling : public ::testing::Test {
protected:
    DialRequest to(const Server& server) {
        DialRequest out;
        out.address = "127.0.0.1";
        out.port = server.port();
        out.tls = tls_;
        out.server_name = "127.0.0.1";
        out.method = "POST";
        out.target = "/hook?timeout=1s";
        return out;
    }
    Result<ClientAnswer> ask(DialRequest request, std::string body = "hello",
                             std::chrono::milliseconds patience = kPatience) {
        const auto call = client_->start(std::move(request), "hook.default.svc:443", std::move(body));
        return call->wait(Clock::now() + patience);
    }

    const std::shared_ptr<const ClientTls> tls_ = *ClientTls::create(credentials().ca.certificate_pem, "", "");
    const std::unique_ptr<Client> client_ = Client::create(1);
};

TEST_F(Pooling, AnswersComeWholeOverOneConnection) {
    const auto server = serve(echo);
    for (int i = 0; i < 3; ++i) {
        const auto answer = ask(to(*server), "body " + std::to_string(i));
        ASSERT_TRUE(answer) << answer.error().message;
        EXPECT_EQ(answer->status, 200);
        EXPECT_EQ(answer->body, "POST /hook?timeout=1s hook.default.svc:443 body " + std::to_string(i));
    }
    EXPECT_EQ(server->stats().accepted, 1U);
    EXPECT_EQ(client_->stats().reused, 2U);
    EXPECT_EQ(client_->stats().idle_connections, 1U);
    EXPECT_EQ(client_->stats().under_way, 0U);
}

TEST_F(Pooling, LargeBodiesBothWays) {
    const auto server = serve([](const auto& request, const auto& responder) {
        std::string out;
        for (int i = 0; i < 40; ++i) out += request->body;
        responder->send(text_response(200, std::move(out)));
    });
    // Strangers may send no more.
    const std::string body(kMaxAnonymousBodyBytes - 1, 'x');
    const auto answer = ask(to(*server), body);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, std::string(40 * body.size(), 'x'));
}

TEST_F(Pooling, ChunkedAnswers) {
    const auto server = serve([](const auto&, const auto& responder) {
        responder->begin_stream(Response{201, {}, ""});
        for (int i = 0; i < 3; ++i) responder->write("part");
        responder->end_stream();
    });
    const auto answer = ask(to(*server));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 201);
    EXPECT_EQ(answer->body, "partpartpart");
}

TEST_F(Pooling, KeptConnectionThatTheServerClosedIsNoError) {
    auto server = serve(echo);
    const auto request = to(*server);
    ASSERT_TRUE(ask(request));
    ASSERT_EQ(client_->stats().idle_connections, 1U);
    server->shutdown(0);
    server.reset();
    const auto again = serve(echo, request.port);
    const auto answer = ask(request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(client_->stats().dialed, 2U);
}

TEST_F(Pooling, ManyAtOnceKeepFewConnections) {
    const auto server = serve(echo);
    std::vector<std::unique_ptr<Client::Call>> calls;
    for (int i = 0; i < 30; ++i) calls.push_back(client_->start(to(*server), "h", std::to_string(i)));
    for (int i = 0; i < 30; ++i) {
        const auto answer = calls[static_cast<std::size_t>(i)]->wait(Clock::now() + kPatience);
        ASSERT_TRUE(answer) << answer.error().message;
        EXPECT_TRUE(answer->body.ends_with(" " + std::to_string(i)));
    }
    EXPECT_LE(client_->stats().idle_connections, kMaxIdlePerServer);
}

TEST_F(Pooling, DeadlineEndsAWait) {
    std::vector<std::shared_ptr<Responder>> held;
    std::mutex mutex;
    const auto server = serve([&](const auto&, const auto& responder) {
        const std::lock_guard lock(mutex);
        held.push_back(responder);
    });
    const auto answer = ask(to(*server), "x", std::chrono::milliseconds(50));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kDeadlineExceeded);
    EXPECT_EQ(answer.error().message, "context deadline exceeded");
    EXPECT_EQ(client_->stats().idle_connections, 0U);
    const std::lock_guard lock(mutex);
    held.clear();
}

TEST_F(Pooling, OversizedAnswerIsRefused) {
    const auto server = serve([](const auto&, const auto& responder) {
        responder->send(text_response(200, std::string(kMaxClientBodyBytes + 1, 'x')));
    });
    const auto answer = ask(to(*server));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kResourceExhausted);
}

TEST_F(Pooling, OnlyTheNamedServerIsBelieved) {
    const auto server = serve(echo);
    auto request = to(*server);
    request.server_name = "hook.default.svc";
    const auto wrong = ask(request);
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, Code::kPermissionDenied);
    EXPECT_EQ(wrong.error().message,
              "tls: failed to verify certificate: x509: certificate is not valid for hook.default.svc");
    request = to(*server);
    request.tls = *ClientTls::create_with_system_roots();
    const auto unknown = ask(request);
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().message,
              "tls: failed to verify certificate: x509: certificate signed by unknown authority");
}

TEST_F(Pooling, NamesAreLookedUpAndRefusalsNamed) {
    auto server = serve(echo);
    auto request = to(*server);
    request.address.clear();
    request.host = "localhost";
    request.server_name = "127.0.0.1";
    const auto answer = ask(request);
    ASSERT_TRUE(answer) << answer.error().message;
    request = to(*server);
    server->shutdown(0);
    server.reset();
    const auto refused = Client::create(1)->start(request, "h", "")->wait(Clock::now() + kPatience);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message,
              "dial tcp 127.0.0.1:" + std::to_string(request.port) + ": connect: connection refused");
}

}  // namespace
}  // namespace sluice::http
