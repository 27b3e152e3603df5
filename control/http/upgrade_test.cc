// Upgraded connections at a real server, dialed connections to one, and the two joined.
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "control/http/body.h"
#include "control/http/byte_stream.h"
#include "control/http/dialer.h"
#include "control/http/server.h"
#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::http {
namespace {

using testing::get;
using testing::TlsClient;

constexpr const char* kUpgrade = "Connection: Upgrade\r\nUpgrade: test\r\n";

Response switching() {
    Response head;
    head.status = 101;
    head.headers.emplace_back("Upgrade", "test");
    return head;
}

// Gives each upgraded connection to the test.
class Upgrades {
public:
    Handler handler() {
        return [this](std::shared_ptr<Request> request, std::shared_ptr<Responder> responder) {
            if (request->header("upgrade").empty()) {
                responder->send(text_response(200, "plain " + request->path));
                return;
            }
            responder->upgrade(switching(), [this](std::shared_ptr<ByteStream> stream) {
                opened_.set_value(std::move(stream));
            });
        };
    }
    std::shared_ptr<ByteStream> stream() { return opened_.get_future().get(); }

private:
    std::promise<std::shared_ptr<ByteStream>> opened_;
};

std::unique_ptr<Server> serve(Handler handler) {
    auto server = listen(testing::server_options(), std::move(handler));
    EXPECT_TRUE(server) << server.error().message;
    return std::move(*server);
}

Result<std::string> read(ByteStream& stream) {
    std::promise<Result<std::string>> bytes;
    stream.read([&](Result<std::string> got) { bytes.set_value(std::move(got)); });
    return bytes.get_future().get();
}

std::shared_ptr<const ClientTls> client_tls() {
    const auto& c = testing::credentials();
    auto tls = ClientTls::create(c.ca.certificate_pem, c.alice.certificate_pem,
                                 c.alice.private_key_pem);
    EXPECT_TRUE(tls) << tls.error().message;
    return *tls;
}

Result<DialAnswer> dial(Dialer& dialer, DialRequest request) {
    std::promise<Result<DialAnswer>> answer;
    dialer.dial(std::move(request), [&](Result<DialAnswer> got) { answer.set_value(std::move(got)); });
    return answer.get_future().get();
}

DialRequest request_to(const Server& server) {
    DialRequest request;
    request.address = "127.0.0.1";
    request.port = server.port();
    request.tls = client_tls();
    return request;
}

TEST(Upgrade, BytesGoBothWaysAndEnd) {
    Upgrades upgrades;
    const auto server = serve(upgrades.handler());
    const auto client = TlsClient::connect(server->port());
    // What follows the request at once belongs to the stream.
    client->send(get("/x", kUpgrade) + "early");
    const auto reply = client->read_head();
    EXPECT_EQ(reply.status, 101);
    EXPECT_EQ(reply.headers.at("upgrade"), "test");
    EXPECT_EQ(reply.headers.at("connection"), "Upgrade");
    EXPECT_FALSE(reply.headers.contains("content-length"));
    const auto stream = upgrades.stream();
    EXPECT_EQ(server->stats().upgraded, 1U);
    EXPECT_EQ(*read(*stream), "early");
    client->send("more");
    EXPECT_EQ(*read(*stream), "more");
    EXPECT_TRUE(stream->write("answer"));
    EXPECT_EQ(client->receive(), "answer");
    EXPECT_TRUE(stream->write("last"));
    stream->end_writing();
    EXPECT_FALSE(stream->write("too late"));
    EXPECT_EQ(client->receive(), "last");
    EXPECT_EQ(client->receive(), "");
}

TEST(Upgrade, OtherRequestsAreAnsweredAsEver) {
    Upgrades upgrades;
    const auto server = serve(upgrades.handler());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/a"));
    EXPECT_EQ(client->reply().body, "plain /a");
    client->send(get("/b", kUpgrade));
    EXPECT_EQ(client->read_head().status, 101);
}

TEST(Upgrade, ClientsEndIsSeenAndCounted) {
    Upgrades upgrades;
    const auto server = serve(upgrades.handler());
    auto client = TlsClient::connect(server->port());
    client->send(get("/x", kUpgrade));
    client->read_head();
    auto stream = upgrades.stream();
    client.reset();
    const auto end = read(*stream);
    EXPECT_TRUE(!end || end->empty());
    stream.reset();
    while (server->stats().upgraded != 0 || server->stats().connections != 0) {
        std::this_thread::yield();
    }
    EXPECT_EQ(server->stats().upgrades, 1U);
}

TEST(Upgrade, WriterWaitsForASlowReader) {
    Upgrades upgrades;
    const auto server = serve(upgrades.handler());
    TlsClient::Options options;
    options.receive_buffer_bytes = 4'096;
    const auto client = TlsClient::connect(server->port(), options);
    client->send(get("/x", kUpgrade));
    client->read_head();
    const auto stream = upgrades.stream();
    // More than the kernel takes: the call must wait until the client has read.
    constexpr std::size_t kBytes = 12U << 20U;
    EXPECT_TRUE(stream->write(std::string(kBytes, 'x')));
    std::promise<void> writable;
    auto waiting = writable.get_future();
    stream->when_writable([&] { writable.set_value(); });
    std::size_t received = 0;
    bool early = false;
    while (received < kBytes) {
        if (received < kBytes / 4) {
            early = early || waiting.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
        }
        const std::string bytes = client->receive();
        ASSERT_FALSE(bytes.empty());
        received += bytes.size();
    }
    EXPECT_FALSE(early);
    waiting.wait();
    // One who never waits is cut off.
    while (stream->write(std::string(1U << 20U, 'y'))) {
    }
    EXPECT_FALSE(read(*stream));
}

TEST(Upgrade, ShutdownEndsStreams) {
    Upgrades upgrades;
    const auto server = serve(upgrades.handler());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/x", kUpgrade));
    client->read_head();
    const auto stream = upgrades.stream();
    server->shutdown(10'000);
    EXPECT_EQ(client->receive(), "");
    EXPECT_EQ(server->stats().connections, 0U);
    EXPECT_FALSE(stream->write("nobody"));
}

TEST(Dialer, BodiesAndStreams) {
    Upgrades upgrades;
    const auto server = serve(upgrades.handler());
    const auto dialer = Dialer::create(1);
    auto request = request_to(*server);
    request.target = "/with%20space";
    auto answer = dial(*dialer, request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(*read(*answer->stream), "plain /with space");
    EXPECT_EQ(*read(*answer->stream), "");
    request.headers = {{"Connection", "Upgrade"}, {"Upgrade", "test"}};
    answer = dial(*dialer, request);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 101);
    const auto far = upgrades.stream();
    EXPECT_TRUE(answer->stream->write("question"));
    EXPECT_EQ(*read(*far), "question");
    // Each direction ends by itself.
    far->end_writing();
    EXPECT_EQ(*read(*answer->stream), "");
}

TEST(Dialer, RefusalsSayWhy) {
    const auto dialer = Dialer::create(1);
    DialRequest request;
    request.address = "127.0.0.1";
    request.port = 1;
    auto answer = dial(*dialer, request);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kUnavailable);
    EXPECT_EQ(answer.error().message, "dial tcp 127.0.0.1:1: connect: connection refused");

    Upgrades upgrades;
    const auto server = serve(upgrades.handler());
    const auto& c = testing::credentials();
    request = request_to(*server);
    request.tls = *ClientTls::create(c.stranger.certificate_pem, "", "");
    answer = dial(*dialer, request);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kPermissionDenied) << answer.error().message;
    request.skip_verify = true;
    EXPECT_TRUE(dial(*dialer, request));
    EXPECT_FALSE(ClientTls::create("no certificate", "", ""));
}

// The server never answers: the dial lasts longer than its time to connect, and ends when it is ended.
TEST(Dialer, MayWaitForAnAnswerUntilItIsEnded) {
    std::promise<std::shared_ptr<Responder>> asked;
    const auto server = serve([&](auto, auto responder) { asked.set_value(responder); });
    const auto dialer = Dialer::create(1);
    auto request = request_to(*server);
    request.timeout_ms = 2'000;
    request.waits_for_answer = true;
    std::promise<Result<DialAnswer>> answer;
    const auto end = dialer->dial(request, [&](Result<DialAnswer> got) { answer.set_value(std::move(got)); });
    const auto responder = asked.get_future().get();
    auto future = answer.get_future();
    EXPECT_EQ(future.wait_for(std::chrono::milliseconds(2'500)), std::future_status::timeout);
    end();
    EXPECT_EQ(future.get().error().code, Code::kCancelled);
    while (dialer->connections() > 0) std::this_thread::yield();
}

TEST(Dialer, WhatWasBroughtEndsWithTheDial) {
    std::promise<std::shared_ptr<Responder>> asked;
    const auto server = serve([&](auto, auto responder) {
        responder->begin_stream(text_response(200, ""));
        asked.set_value(responder);
    });
    auto dialer = Dialer::create(1);
    std::promise<Result<DialAnswer>> answer;
    const auto end =
        dialer->dial(request_to(*server), [&](Result<DialAnswer> got) { answer.set_value(std::move(got)); });
    const auto got = answer.get_future().get();
    ASSERT_TRUE(got) << got.error().message;
    std::promise<void> closed;
    const auto responder = asked.get_future().get();
    responder->on_close([&] { closed.set_value(); });
    end();
    EXPECT_FALSE(read(*got->stream));
    closed.get_future().wait();
    dialer.reset();
    end();  // nothing is left to be ended
}

TEST(Dialer, CertificateMustNameTheServer) {
    Upgrades upgrades;
    auto options = testing::server_options();
    options.certificate_pem = testing::credentials().alice.certificate_pem;
    options.private_key_pem = testing::credentials().alice.private_key_pem;
    auto server = listen(options, upgrades.handler());
    ASSERT_TRUE(server);
    const auto dialer = Dialer::create(1);
    const auto answer = dial(*dialer, request_to(**server));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kPermissionDenied);
}

TEST(Pump, JoinsAClientToAFarServer) {
    Upgrades upgrades;
    const auto far_server = serve(upgrades.handler());
    const auto dialer = Dialer::create(1);
    const auto near_server =
        serve([&](std::shared_ptr<Request>, std::shared_ptr<Responder> responder) {
            auto request = request_to(*far_server);
            request.headers = {{"Connection", "Upgrade"}, {"Upgrade", "test"}};
            dialer->dial(request, [responder](Result<DialAnswer> answer) {
                ASSERT_TRUE(answer);
                responder->upgrade(switching(), [far = answer->stream](auto stream) {
                    if (stream) pump(std::move(stream), far);
                });
            });
        });
    const auto client = TlsClient::connect(near_server->port());
    client->send(get("/x", kUpgrade));
    EXPECT_EQ(client->read_head().status, 101);
    const auto far = upgrades.stream();
    client->send("ping");
    EXPECT_EQ(*read(*far), "ping");
    std::string expected;
    for (int i = 0; i < 200'000; ++i) expected += std::to_string(i);
    EXPECT_TRUE(far->write(expected));
    far->end_writing();
    std::string got;
    for (std::string more; !(more = client->receive()).empty();) got += more;
    EXPECT_TRUE(got == expected) << got.size();
}

TEST(Body, ChunksInAnyPieces) {
    const std::string wire = "5;x=y\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n";
    for (std::size_t piece = 1; piece <= wire.size(); ++piece) {
        BodyDecoder decoder(BodyDecoder::Framing::kChunked, 0);
        std::string body;
        for (std::size_t at = 0; at < wire.size(); at += piece) {
            EXPECT_FALSE(decoder.done());
            EXPECT_TRUE(decoder.feed(std::string_view(wire).substr(at, piece), &body));
        }
        EXPECT_TRUE(decoder.done());
        EXPECT_EQ(body, "hello0123456789abcdef");
    }
    BodyDecoder bad(BodyDecoder::Framing::kChunked, 0);
    std::string body;
    EXPECT_FALSE(bad.feed("xyz\r\n", &body));
    BodyDecoder longer(BodyDecoder::Framing::kChunked, 0);
    EXPECT_FALSE(longer.feed("2\r\nabc\r\n", &body));
}

}  // namespace
}  // namespace sluice::http
