// Streams over real TLS connections, and shutting down.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "control/http/server.h"
#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::http {
namespace {

using testing::get;
using testing::TlsClient;

// Hands the responders of "/stream" to the test; answers everything else at once.
class Streams {
public:
    Handler handler() {
        return [this](std::shared_ptr<Request> request, std::shared_ptr<Responder> responder) {
            if (request->path != "/stream") {
                responder->send(text_response(200, request->path));
                return;
            }
            responder->begin_stream(json_response("ignored"));
            const std::lock_guard lock(mutex_);
            waiting_ = std::move(responder);
            changed_.notify_all();
        };
    }
    std::shared_ptr<Responder> next() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return waiting_ != nullptr; });
        return std::exchange(waiting_, nullptr);
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::shared_ptr<Responder> waiting_;
};

std::unique_ptr<Server> serve(Handler handler, ServerOptions options = testing::server_options()) {
    auto server = listen(options, std::move(handler));
    EXPECT_TRUE(server) << server.error().message;
    return std::move(*server);
}

TEST(Stream, ChunksArriveAndTheConnectionGoesOn) {
    Streams streams;
    const auto server = serve(streams.handler());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/stream"));
    const auto responder = streams.next();
    const auto head = client->read_head();
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.at("transfer-encoding"), "chunked");
    EXPECT_EQ(head.headers.at("content-type"), "application/json");
    EXPECT_TRUE(responder->write("one"));
    EXPECT_EQ(client->chunk(), "one");
    EXPECT_TRUE(responder->write("two"));
    EXPECT_EQ(client->chunk(), "two");
    EXPECT_EQ(server->stats().streams, 1U);
    client->send(get("/next"));  // pipelined behind the stream
    std::promise<void> closed;
    responder->on_close([&] { closed.set_value(); });
    EXPECT_TRUE(responder->write("three"));
    responder->end_stream();
    EXPECT_FALSE(responder->write("four"));
    EXPECT_EQ(client->chunk(), "three");
    EXPECT_EQ(client->chunk(), std::nullopt);
    closed.get_future().wait();
    EXPECT_EQ(client->reply().body, "/next");
    client->send(get("/again"));
    EXPECT_EQ(client->reply().body, "/again");
    EXPECT_EQ(server->stats().streams, 0U);
}

TEST(Stream, WhatIsBrokenOffDoesNotLookWhole) {
    Streams streams;
    const auto server = serve(streams.handler());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/stream"));
    const auto responder = streams.next();
    EXPECT_TRUE(responder->write("some of it"));
    responder->abort_stream();
    EXPECT_FALSE(responder->write("more"));
    const auto reply = client->reply();
    EXPECT_EQ(reply.body, "some of it");
    EXPECT_FALSE(reply.complete);
    EXPECT_TRUE(client->at_end());
}

TEST(Stream, ManyWritesArriveWholeAndInOrder) {
    Streams streams;
    const auto server = serve(streams.handler());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/stream"));
    const auto responder = streams.next();
    std::string expected;
    for (int i = 0; i < 20'000; ++i) expected += "event " + std::to_string(i) + "\n";
    std::thread writer([&] {
        for (int i = 0; i < 20'000; ++i) {
            EXPECT_TRUE(responder->write("event " + std::to_string(i) + "\n"));
        }
        responder->end_stream();
    });
    const auto reply = client->reply();
    writer.join();
    EXPECT_TRUE(reply.complete);
    EXPECT_EQ(reply.body, expected);
}

TEST(Stream, MoreStreamsThanATurnOfTheLoopAllGetTheirs) {
    constexpr int kStreams = 48;
    constexpr int kEvents = 60;
    Streams streams;
    auto options = testing::server_options();
    options.threads = 1;
    const auto server = serve(streams.handler(), options);
    std::vector<std::unique_ptr<TlsClient>> clients;
    std::vector<std::shared_ptr<Responder>> responders;
    for (int i = 0; i < kStreams; ++i) {
        clients.push_back(TlsClient::connect(server->port()));
        clients.back()->send(get("/stream"));
        responders.push_back(streams.next());
    }
    const auto asking = TlsClient::connect(server->port());
    std::string expected;
    for (int event = 0; event < kEvents; ++event) {
        const std::string text = "event " + std::to_string(event) + "\n";
        expected += text;
        for (const auto& responder : responders) EXPECT_TRUE(responder->write(text));
        if (event % 20 == 0) {
            asking->send(get("/between"));
            EXPECT_EQ(asking->reply().body, "/between");
        }
    }
    for (const auto& responder : responders) responder->end_stream();
    for (const auto& client : clients) EXPECT_EQ(client->reply().body, expected);
}

TEST(Stream, LargeEventsArrive) {
    Streams streams;
    const auto server = serve(streams.handler());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/stream"));
    const auto responder = streams.next();
    // One event may be larger than what may be queued.
    const std::string large(kMaxQueuedStreamBytes + 1'000, 'x');
    EXPECT_TRUE(responder->write(large));
    responder->end_stream();
    EXPECT_EQ(client->reply().body, large);
}

TEST(Stream, OldClientsGetItUntilTheConnectionCloses) {
    Streams streams;
    const auto server = serve(streams.handler());
    const auto client = TlsClient::connect(server->port());
    client->send("GET /stream HTTP/1.0\r\n\r\n");
    const auto responder = streams.next();
    EXPECT_TRUE(responder->write("one"));
    EXPECT_TRUE(responder->write("two"));
    responder->end_stream();
    EXPECT_FALSE(client->read_head().headers.contains("transfer-encoding"));
    std::string all;
    for (std::string more; !(more = client->receive()).empty();) all += more;
    EXPECT_TRUE(std::string("onetwo").ends_with(all));
}

TEST(Stream, ClientThatLeavesIsNoticedWithoutWriting) {
    Streams streams;
    const auto server = serve(streams.handler());
    auto client = TlsClient::connect(server->port());
    client->send(get("/stream"));
    const auto responder = streams.next();
    std::promise<void> closed;
    responder->on_close([&] { closed.set_value(); });
    client.reset();
    closed.get_future().wait();
    EXPECT_FALSE(responder->write("nobody reads this"));
    bool at_once = false;
    responder->on_close([&] { at_once = true; });
    EXPECT_TRUE(at_once);
}

TEST(Stream, SlowReaderIsDisconnectedAndMemoryBounded) {
    Streams streams;
    const auto server = serve(streams.handler());
    TlsClient::Options options;
    options.receive_buffer_bytes = 4'096;
    const auto client = TlsClient::connect(server->port(), options);
    client->send(get("/stream"));
    const auto responder = streams.next();
    std::promise<void> closed;
    responder->on_close([&] { closed.set_value(); });
    const std::string event(64U << 10U, 'x');
    std::size_t taken = 0;
    while (responder->write(event)) taken += event.size();
    // What the kernel's buffers hold comes on top of the queue.
    EXPECT_LT(taken, kMaxQueuedStreamBytes + (64U << 20U));
    closed.get_future().wait();
    EXPECT_EQ(server->stats().overflowed_streams, 1U);
}

TEST(Stream, DroppedResponderEndsIt) {
    Streams streams;
    const auto server = serve(streams.handler());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/stream"));
    auto responder = streams.next();
    responder->write("only");
    responder.reset();
    const auto reply = client->reply();
    EXPECT_TRUE(reply.complete);
    EXPECT_EQ(reply.body, "only");
}

TEST(Shutdown, EndsStreamsFinishesRequestsAndClosesIdleConnections) {
    Streams streams;
    std::promise<std::shared_ptr<Responder>> pending;
    auto stream_handler = streams.handler();
    const auto server = serve([&](auto request, auto responder) {
        if (request->path == "/pending") {
            pending.set_value(std::move(responder));
        } else {
            stream_handler(std::move(request), std::move(responder));
        }
    });
    const auto idle = TlsClient::connect(server->port());
    const auto streaming = TlsClient::connect(server->port());
    streaming->send(get("/stream"));
    const auto stream = streams.next();
    stream->write("last words");
    const auto waiting = TlsClient::connect(server->port());
    waiting->send(get("/pending"));
    const auto responder = pending.get_future().get();

    std::thread stopper([&] { server->shutdown(10'000); });
    const auto reply = streaming->reply();
    EXPECT_TRUE(reply.complete);
    EXPECT_EQ(reply.body, "last words");
    EXPECT_TRUE(idle->at_end());
    EXPECT_FALSE(stream->write("too late"));
    responder->send(text_response(200, "finished"));
    const auto answer = waiting->reply();
    EXPECT_EQ(answer.body, "finished");
    EXPECT_EQ(answer.headers.at("connection"), "close");
    stopper.join();
    EXPECT_EQ(server->stats().connections, 0U);
    EXPECT_FALSE(TlsClient::connect(server->port()));
}

TEST(Shutdown, GoesOnAfterTheGraceWithoutAnswersAndLateOnesAreHarmless) {
    std::promise<std::shared_ptr<Responder>> pending;
    auto server = serve([&](auto, auto responder) { pending.set_value(std::move(responder)); });
    const auto client = TlsClient::connect(server->port());
    client->send(get("/"));
    const auto responder = pending.get_future().get();
    std::atomic<int> closed{0};
    responder->on_close([&] { ++closed; });
    server->shutdown(10);
    EXPECT_EQ(closed, 1);
    server.reset();
    responder->send(text_response(200, "late"));
    EXPECT_TRUE(client->at_end());
}

// Under ThreadSanitizer this is the test of the hand-over between threads.
TEST(Stress, WritersReadersAndLeaversTogether) {
    std::atomic<int> closed{0};
    std::atomic<int> opened{0};
    std::mutex mutex;
    std::vector<std::thread> writers;
    auto server = serve([&](auto request, auto responder) {
        if (request->path == "/plain") {
            responder->send(text_response(200, "plain"));
            return;
        }
        ++opened;
        responder->on_close([&] { ++closed; });
        responder->begin_stream({});
        const std::lock_guard lock(mutex);
        writers.emplace_back([responder] {
            for (int i = 0; i < 2'000 && responder->write("some event\n"); ++i) {
            }
        });
    });
    std::vector<std::thread> clients;
    for (int c = 0; c < 8; ++c) {
        clients.emplace_back([&, c] {
            for (int round = 0; round < 5; ++round) {
                const auto client = TlsClient::connect(server->port());
                client->send(get("/plain"));
                EXPECT_EQ(client->reply().body, "plain");
                client->send(get("/stream"));
                if (c % 2 == 0) {
                    EXPECT_EQ(client->reply().body.size(), 2'000U * 11);
                } else {
                    client->read_head();  // and leave
                }
            }
        });
    }
    for (auto& client : clients) client.join();
    server->shutdown(5'000);
    for (auto& writer : writers) writer.join();
    EXPECT_EQ(opened, 40);
    EXPECT_EQ(closed, 40);
}

}  // namespace
}  // namespace sluice::http
