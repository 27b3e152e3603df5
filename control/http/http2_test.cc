// HTTP/2 over real TLS connections: the same answers as by HTTP/1.1, streams side by side, and what abusers get.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "control/http/status_body.h"
#include "control/http/test_http2_client.h"

namespace sluice::http {
namespace {

using testing::credentials;
using testing::Http2Client;

std::unique_ptr<Server> serve(Handler handler, ServerOptions options = testing::server_options()) {
    auto server = listen(options, std::move(handler));
    EXPECT_TRUE(server) << server.error().message;
    return std::move(*server);
}

void echo(const std::shared_ptr<Request>& request, const std::shared_ptr<Responder>& responder) {
    std::string out = request->method + " " + request->path + "\n";
    for (const auto& [name, value] : request->query) out += "?" + name + "=" + value + "\n";
    out += "user=" + request->identity.user + "\nhost=" + std::string(request->header("host")) +
           "\nbody=" + request->body;
    responder->send(text_response(200, out));
}

Http2Client::Options as_alice() {
    Http2Client::Options options;
    options.tls.client = &credentials().alice;
    return options;
}

// A handler that keeps its responders, for tests that answer when they like.
struct Held {
    std::mutex mutex;
    std::vector<std::shared_ptr<Responder>> responders;
    Handler handler() {
        return [this](auto, auto responder) {
            const std::lock_guard lock(mutex);
            responders.push_back(responder);
        };
    }
    std::size_t count() {
        const std::lock_guard lock(mutex);
        return responders.size();
    }
    void wait_for(std::size_t wanted) {
        for (int i = 0; i < 1'000 && count() < wanted; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        ASSERT_GE(count(), wanted);
    }
};

// A request that the handler has; its stream's number.
std::int32_t begin(Http2Client& client, Held& held) {
    const auto id = client.request("GET", "/");
    client.flush();
    held.wait_for(1);
    return id;
}

template <class Condition>
void eventually(Condition condition) {
    for (int i = 0; i < 1'000 && !condition(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_TRUE(condition());
}

TEST(Http2, HandlerSeesTheRequest) {
    const auto server = serve(echo);
    const auto client = Http2Client::connect(server->port(), as_alice());
    ASSERT_TRUE(client);
    const auto id = client->request("POST", "/a%20b?x=1&y=%2B", {}, "body");
    const auto& reply = client->wait(id).reply;
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, "POST /a b\n?x=1\n?y=+\nuser=alice\nhost=h\nbody=body");
    EXPECT_EQ(reply.headers.at("content-length"), std::to_string(reply.body.size()));
    EXPECT_TRUE(reply.headers.contains("date"));
    EXPECT_EQ(client->peer_setting(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), 100U);
    EXPECT_EQ(server->stats().http2_connections, 1U);
    EXPECT_EQ(server->stats().http2_requests, 1U);
}

TEST(Http2, AnotherProtocolIsChosenByAlpn) {
    auto options = testing::server_options();
    testing::TlsClient::Options both;
    both.alpn = std::string("\x08http/1.1\x02h2");
    auto server = serve(echo, options);
    EXPECT_EQ(testing::TlsClient::connect(server->port(), both)->alpn(), "h2");
    options.http2 = false;
    server = serve(echo, options);
    EXPECT_EQ(testing::TlsClient::connect(server->port(), both)->alpn(), "http/1.1");
}

TEST(Http2, LargeBodiesPassInBothDirections) {
    const auto server = serve(echo);
    const auto client = Http2Client::connect(server->port(), as_alice());
    const std::string large(kMaxBodyBytes, 'x');
    const auto id = client->request("PUT", "/", {}, large);
    const auto& reply = client->wait(id).reply;
    EXPECT_EQ(reply.status, 200);
    EXPECT_TRUE(reply.body.ends_with("body=" + large));
}

TEST(Http2, LargeAnswersAreCompressedWhenAsked) {
    const std::string large(kMinGzipBytes + 1, 'x');
    const auto server = serve([&](auto, auto r) { r->send(text_response(200, large)); });
    const auto client = Http2Client::connect(server->port());
    const auto packed = client->request("GET", "/", {{"accept-encoding", "gzip"}});
    EXPECT_EQ(client->wait(packed).reply.headers.at("content-encoding"), "gzip");
    EXPECT_LT(client->stream(packed).reply.body.size(), large.size() / 10);
    const auto plain = client->request("GET", "/");
    EXPECT_EQ(client->wait(plain).reply.body, large);
}

TEST(Http2, HeadAnd304HaveNoBody) {
    const auto server = serve([](auto request, auto responder) {
        responder->send(text_response(request->path == "/304" ? 304 : 200, "body"));
    });
    const auto client = Http2Client::connect(server->port());
    const auto head = client->request("HEAD", "/");
    EXPECT_EQ(client->wait(head).reply.headers.at("content-length"), "4");
    EXPECT_EQ(client->stream(head).reply.body, "");
    const auto none = client->request("GET", "/304");
    EXPECT_EQ(client->wait(none).reply.status, 304);
    EXPECT_FALSE(client->stream(none).reply.headers.contains("content-length"));
}

TEST(Http2, AHeadMayTellALengthThatWasLearnedElsewhere) {
    const auto server = serve([](auto, auto responder) {
        Response head;
        head.length = 12'345;
        responder->send(std::move(head));
    });
    const auto client = Http2Client::connect(server->port());
    EXPECT_EQ(client->wait(client->request("HEAD", "/")).reply.headers.at("content-length"), "12345");
    const auto other = testing::TlsClient::connect(server->port());
    other->send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(other->reply(true).headers.at("content-length"), "12345");
}

TEST(Http2, AStreamThatIsBrokenOffIsReset) {
    Held held;
    const auto server = serve(held.handler());
    const auto client = Http2Client::connect(server->port());
    const auto id = begin(*client, held);
    held.responders[0]->begin_stream(text_response(200, ""));
    EXPECT_TRUE(held.responders[0]->write("some of it"));
    ASSERT_TRUE(client->pump_until([&] { return client->stream(id).reply.body == "some of it"; }));
    held.responders[0]->abort_stream();
    EXPECT_FALSE(client->wait(id).reply.complete);
    EXPECT_EQ(client->stream(id).error, static_cast<std::uint32_t>(NGHTTP2_INTERNAL_ERROR));
    EXPECT_EQ(server->stats().overflowed_streams, 0U);
}

TEST(Http2, RequestsOfOneConnectionAreAnsweredInAnyOrder) {
    Held held;
    const auto server = serve(held.handler());
    const auto client = Http2Client::connect(server->port());
    const auto first = client->request("GET", "/1");
    const auto second = client->request("GET", "/2");
    client->flush();
    held.wait_for(2);
    held.responders[1]->send(text_response(200, "two"));
    EXPECT_EQ(client->wait(second).reply.body, "two");
    EXPECT_FALSE(client->stream(first).reply.complete);
    held.responders[0]->send(text_response(200, "one"));
    EXPECT_EQ(client->wait(first).reply.body, "one");
}

TEST(Http2, StreamsCarryWritesAsTheyCome) {
    Held held;
    const auto server = serve(held.handler());
    const auto client = Http2Client::connect(server->port());
    const auto id = begin(*client, held);
    auto responder = held.responders[0];
    responder->begin_stream({200, {{"Content-Type", "application/json"}}, {}});
    EXPECT_TRUE(responder->write("first"));
    EXPECT_TRUE(client->pump_until([&] { return client->stream(id).reply.body == "first"; }));
    EXPECT_EQ(client->stream(id).reply.headers.at("content-type"), "application/json");
    EXPECT_EQ(server->stats().streams, 1U);
    EXPECT_TRUE(responder->write("second"));
    responder->end_stream();
    EXPECT_EQ(client->wait(id).reply.body, "firstsecond");
    eventually([&] { return server->stats().streams == 0; });
}

TEST(Http2, AStreamThatTheClientGivesUpIsOverForItsHandler) {
    Held held;
    const auto server = serve(held.handler());
    const auto client = Http2Client::connect(server->port());
    const auto id = begin(*client, held);
    std::atomic<bool> over{false};
    held.responders[0]->begin_stream({});
    held.responders[0]->on_close([&] { over = true; });
    client->reset(id);
    client->flush();
    eventually([&] { return over.load(); });
    EXPECT_FALSE(held.responders[0]->write("late"));
}

// One reader that stops reading must not hold up its neighbours on the same connection.
TEST(Http2, ASlowStreamIsResetAndTheOthersGoOn) {
    Held held;
    const auto server = serve(held.handler());
    auto options = as_alice();
    options.window = 1'000;
    const auto client = Http2Client::connect(server->port(), options);
    const auto slow = client->request("GET", "/slow");
    client->flush();
    held.wait_for(1);
    const auto other = client->request("GET", "/other");
    client->flush();
    held.wait_for(2);
    held.responders[0]->begin_stream({});
    // Without the client's reading, nothing tells the server that the window is open again.
    const std::string block(1U << 20U, 'x');
    bool taken = true;
    for (std::size_t sent = 0; sent <= kMaxQueuedStreamBytes + 2 * block.size() && taken;
         sent += block.size()) {
        taken = held.responders[0]->write(block);
    }
    EXPECT_FALSE(taken);
    held.responders[1]->send(text_response(200, "fine"));
    EXPECT_EQ(client->wait(other).reply.body, "fine");
    EXPECT_EQ(client->wait(slow).error, static_cast<std::uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
    EXPECT_EQ(server->stats().overflowed_streams, 1U);
    EXPECT_FALSE(client->goaway());
}

TEST(Http2, WritersWaitForTheReader) {
    Held held;
    const auto server = serve(held.handler());
    const auto client = Http2Client::connect(server->port());
    const auto id = begin(*client, held);
    held.responders[0]->begin_stream({});
    EXPECT_TRUE(held.responders[0]->write(std::string(2 * kLowQueuedStreamBytes, 'x')));
    std::atomic<bool> writable{false};
    held.responders[0]->when_writable([&] { writable = true; });
    EXPECT_FALSE(writable.load());
    EXPECT_TRUE(client->pump_until(
        [&] { return client->stream(id).reply.body.size() == 2 * kLowQueuedStreamBytes; }));
    eventually([&] { return writable.load(); });
}

TEST(Http2, CredentialsAreChecked) {
    const auto server = serve(echo);
    Http2Client::Options options;
    options.tls.client = &credentials().stranger;
    auto client = Http2Client::connect(server->port(), options);
    EXPECT_EQ(client->wait(client->request("GET", "/")).reply.status, 401);
    client = Http2Client::connect(server->port());
    EXPECT_EQ(client->wait(client->request("GET", "/", {{"authorization", "Bearer x"}})).reply.status,
              401);
    const std::string body(kMaxAnonymousBodyBytes + 1, 'x');
    EXPECT_EQ(client->wait(client->request("POST", "/", {}, body)).reply.status, 401);
    EXPECT_EQ(client->wait(client->request("GET", "/")).reply.status, 200);
}

TEST(Http2, TooLargeRequestsAreRefusedAndTheConnectionGoesOn) {
    const auto server = serve(echo);
    const auto client = Http2Client::connect(server->port(), as_alice());
    const std::string body(kMaxBodyBytes + 1, 'x');
    const auto declared = client->request(
        "POST", "/", {{"content-length", std::to_string(body.size())}}, body);
    EXPECT_EQ(client->wait(declared).reply.status, 413);
    EXPECT_EQ(client->wait(client->request("POST", "/", {}, body)).reply.status, 413);
    Http2Client::Headers many;
    for (std::size_t i = 0; i <= kMaxHeaderFields; ++i) many.emplace_back("x", "y");
    EXPECT_EQ(client->wait(client->request("GET", "/", many)).reply.status, 431);
    EXPECT_EQ(server->stats().oversized_requests, 3U);
    EXPECT_EQ(client->wait(client->request("GET", "/%zz")).reply.status, 400);
    EXPECT_EQ(client->wait(client->request("GET", "/fine")).reply.status, 200);
}

TEST(Http2, ASilentHandlerIs504) {
    Held held;
    auto options = testing::server_options();
    options.timeouts.request_ms = 100;
    const auto server = serve(held.handler(), options);
    const auto client = Http2Client::connect(server->port());
    EXPECT_EQ(client->wait(client->request("GET", "/")).reply.status, 504);
    EXPECT_EQ(server->stats().timed_out_requests, 1U);
}

// By either protocol: it outlives the limit of others, and ends with its client.
TEST(Http2, SomeRequestsAreNotTimed) {
    Held held;
    auto options = testing::server_options();
    options.timeouts.request_ms = 50;
    options.is_untimed = [](const Request& request) { return request.path == "/long"; };
    const auto server = serve(held.handler(), options);
    const auto client = Http2Client::connect(server->port());
    const auto id = client->request("GET", "/long?timeout=soon");
    client->flush();
    auto other = testing::TlsClient::connect(server->port());
    other->send(testing::get("/long?timeout=1ms"));
    held.wait_for(2);
    const auto timed = client->request("GET", "/short");
    EXPECT_EQ(client->wait(timed).reply.status, 504);
    held.responders[0]->send(text_response(200, "late"));
    held.responders[1]->send(text_response(200, "late"));
    EXPECT_EQ(client->wait(id).reply.body, "late");
    EXPECT_EQ(other->reply().body, "late");
    // The connection goes on.
    other->send(testing::get("/long"));
    held.wait_for(4);
    std::promise<void> closed;
    held.responders[3]->on_close([&] { closed.set_value(); });
    other.reset();
    closed.get_future().wait();
}

TEST(Http2, ARequestMayAskForLessTime) {
    Held held;
    const auto server = serve(held.handler());
    const auto client = Http2Client::connect(server->port());
    EXPECT_EQ(client->wait(client->request("GET", "/?timeout=10ms")).reply.status, 504);
    const auto bad = client->request("GET", "/?timeout=soon");
    EXPECT_EQ(client->wait(bad).reply.status, 400);
    EXPECT_NE(client->stream(bad).reply.body.find("invalid timeout specified in the request URL - "
                                                  "time: invalid duration \\\"soon\\\""),
              std::string::npos)
        << client->stream(bad).reply.body;
}

TEST(Http2, SlowRequestsAreEnded) {
    auto options = testing::server_options();
    options.timeouts.body_ms = 100;
    options.timeouts.header_ms = 100;
    const auto server = serve(echo, options);
    auto client = Http2Client::connect(server->port());
    // A body that never ends: the stream is reset, the connection stays.
    const auto id = client->request("POST", "/", {}, "half", false);
    EXPECT_EQ(client->wait(id).error, static_cast<std::uint32_t>(NGHTTP2_CANCEL));
    EXPECT_EQ(server->stats().slow_streams, 1U);
    EXPECT_EQ(client->wait(client->request("GET", "/")).reply.status, 200);
    // A header without its end, and no preface at all: the connection is closed.
    client->raw().send(std::string("\0\0\4\1\0\0\0\0\5", 9) + "\x82\x86\x84\x41");
    EXPECT_FALSE(client->pump_until([] { return false; }));
    Http2Client::Options silent;
    silent.greets = false;
    client = Http2Client::connect(server->port(), silent);
    EXPECT_TRUE(client->raw().at_end() || !client->pump_until([] { return false; }));
    eventually([&] { return server->stats().timed_out_connections == 2; });
}

TEST(Http2, IdleConnectionsAreClosedWithGoaway) {
    auto options = testing::server_options();
    options.timeouts.idle_ms = 100;
    const auto server = serve(echo, options);
    const auto client = Http2Client::connect(server->port());
    client->wait(client->request("GET", "/"));
    client->pump_until([] { return false; });
    EXPECT_EQ(client->goaway(), static_cast<std::uint32_t>(NGHTTP2_NO_ERROR));
    EXPECT_EQ(server->stats().timed_out_connections, 0U);
}

TEST(Http2, ShutdownLetsRequestsFinishAndEndsStreams) {
    Held held;
    auto server = serve(held.handler());
    const auto client = Http2Client::connect(server->port());
    const auto request = client->request("GET", "/request");
    client->flush();
    held.wait_for(1);
    const auto stream = client->request("GET", "/stream");
    client->flush();
    held.wait_for(2);
    held.responders[1]->begin_stream({});
    std::thread stopping([&] { server->shutdown(10'000); });
    EXPECT_TRUE(client->wait(stream).reply.complete);
    EXPECT_EQ(client->goaway(), static_cast<std::uint32_t>(NGHTTP2_NO_ERROR));
    held.responders[0]->send(text_response(200, "finished"));
    EXPECT_EQ(client->wait(request).reply.body, "finished");
    stopping.join();
}

TEST(Http2, GoawayChanceMovesClientsOn) {
    auto options = testing::server_options();
    options.goaway_chance = 1;
    const auto server = serve(echo, options);
    const auto client = Http2Client::connect(server->port());
    EXPECT_EQ(client->wait(client->request("GET", "/")).reply.status, 200);
    client->pump_until([] { return false; });
    EXPECT_EQ(client->goaway(), static_cast<std::uint32_t>(NGHTTP2_NO_ERROR));
    EXPECT_EQ(server->stats().goaways, 1U);
}

TEST(Http2, MoreStreamsThanAllowedAreRefused) {
    Held held;
    auto options = testing::server_options();
    options.max_concurrent_streams = 3;
    const auto server = serve(held.handler(), options);
    const auto client = Http2Client::connect(server->port());
    // Sent before the server's SETTINGS can be known, so that nothing holds the client back.
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 5; ++i) ids.push_back(client->request("GET", "/"));
    client->flush();
    held.wait_for(3);
    client->pump_until([&] { return client->stream(ids[3]).closed && client->stream(ids[4]).closed; });
    EXPECT_EQ(client->stream(ids[4]).error, static_cast<std::uint32_t>(NGHTTP2_REFUSED_STREAM));
    EXPECT_EQ(held.count(), 3U);
}

// CVE-2023-44487: requests given up as soon as they are sent.
TEST(Http2, RapidResetsEndTheConnection) {
    const auto server = serve(echo);
    const auto client = Http2Client::connect(server->port());
    client->wait(client->request("GET", "/"));
    for (std::uint32_t i = 0; i < 2 * kResetBurst && !client->goaway() && !client->ended(); ++i) {
        const auto id = client->request("GET", "/");
        client->flush();
        client->reset(id);
        client->flush();
    }
    client->pump_until([] { return false; });
    EXPECT_TRUE(client->ended());
    EXPECT_EQ(server->stats().flooded_connections, 1U);
    eventually([&] { return server->stats().connections == 0; });
}

// The same more slowly: each request that was given up is still being worked on.
TEST(Http2, GivenUpRequestsThatStillRunAreBounded) {
    Held held;
    auto options = testing::server_options();
    options.max_concurrent_streams = 10;
    const auto server = serve(held.handler(), options);
    const auto client = Http2Client::connect(server->port());
    for (int i = 0; i < 80; ++i) {
        const auto id = client->request("GET", "/");
        client->flush();
        client->reset(id);
        client->flush();
    }
    client->pump_until([] { return false; });
    EXPECT_EQ(client->goaway(), static_cast<std::uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM));
    EXPECT_LE(held.count(), 10U * (1 + kMaxOrphansPerStream));
    EXPECT_EQ(server->stats().flooded_connections, 1U);
}

TEST(Http2, FloodsOfControlFramesEndTheConnection) {
    const auto server = serve(echo);
    const std::string frames[] = {
        std::string("\0\0\x08\6\0\0\0\0\0", 9) + "12345678",         // PING
        std::string("\0\0\0\4\0\0\0\0\0", 9),                         // SETTINGS
        std::string("\0\0\5\2\0\0\0\0\7\0\0\0\0\0", 14),              // PRIORITY
    };
    std::uint64_t ended = 0;
    for (const auto& frame : frames) {
        const auto client = Http2Client::connect(server->port());
        client->wait(client->request("GET", "/"));
        std::string many;
        for (std::uint32_t i = 0; i < 2 * kControlFrameBurst; ++i) many += frame;
        client->raw().send(many);
        client->pump_until([] { return false; });
        EXPECT_TRUE(client->ended());
        EXPECT_EQ(server->stats().flooded_connections, ++ended);
    }
}

// CVE-2024-28182: a header that goes on for ever.
TEST(Http2, FloodsOfContinuationsEndTheConnection) {
    const auto server = serve(echo);
    const auto client = Http2Client::connect(server->port());
    client->wait(client->request("GET", "/"));
    std::string frames("\0\0\1\1\0\0\0\0\3\x82", 10);
    for (std::uint32_t i = 0; i < 2 * kMaxContinuations; ++i) {
        frames += std::string("\0\0\1\x09\0\0\0\0\3\x86", 10);
    }
    client->raw().send(frames);
    client->pump_until([] { return false; });
    EXPECT_TRUE(client->ended());
    EXPECT_EQ(server->stats().broken_connections, 1U);
    eventually([&] { return server->stats().connections == 0; });
}

TEST(Http2, GarbageEndsTheConnection) {
    const auto server = serve(echo);
    Http2Client::Options silent;
    silent.greets = false;
    const auto client = Http2Client::connect(server->port(), silent);
    client->raw().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_FALSE(client->pump_until([] { return false; }));
    EXPECT_EQ(server->stats().broken_connections, 1U);
}

// A thousand streams on ten connections, each with every event, as many watches of a client are.
TEST(Http2, ManyStreamsOnFewConnections) {
    constexpr int kConnections = 10;
    constexpr int kStreams = 100;
    constexpr int kEvents = 50;
    Held held;
    const auto server = serve(held.handler());
    std::vector<std::unique_ptr<Http2Client>> clients;
    std::vector<std::vector<std::int32_t>> ids(kConnections);
    for (auto& list : ids) {
        clients.push_back(Http2Client::connect(server->port()));
        // The first answer brings SETTINGS, without which a client opens no more than a hundred.
        for (int i = 0; i < kStreams; ++i) list.push_back(clients.back()->request("GET", "/"));
        clients.back()->flush();
    }
    held.wait_for(kConnections * kStreams);
    for (const auto& responder : held.responders) responder->begin_stream({});
    for (int event = 0; event < kEvents; ++event) {
        for (const auto& responder : held.responders) EXPECT_TRUE(responder->write("event;"));
    }
    for (const auto& responder : held.responders) responder->end_stream();
    for (std::size_t i = 0; i < clients.size(); ++i) {
        for (const auto id : ids[i]) {
            EXPECT_EQ(clients[i]->wait(id).reply.body.size(), 6U * kEvents);
        }
    }
    EXPECT_EQ(server->stats().overflowed_streams, 0U);
}

}  // namespace
}  // namespace sluice::http
