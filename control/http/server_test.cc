// Requests and answers over real TLS connections: what a handler sees, what a client gets, limits.
#include "control/http/server.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <atomic>
#include <boost/json/parse.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::http {
namespace {

using testing::credentials;
using testing::get;
using testing::TlsClient;

std::unique_ptr<Server> serve(Handler handler, ServerOptions options = testing::server_options()) {
    auto server = listen(options, std::move(handler));
    EXPECT_TRUE(server) << server.error().message;
    return std::move(*server);
}

// Answers with what it saw, so that tests can look at it.
void echo(const std::shared_ptr<Request>& request, const std::shared_ptr<Responder>& responder) {
    std::string text = request->method + " " + request->path + "\n";
    for (const auto& [name, value] : request->query) text += "?" + name + "=" + value + "\n";
    text += "user=" + request->identity.user + "\n";
    for (const auto& group : request->identity.groups) text += "group=" + group + "\n";
    text += "x-test=" + std::string(request->header("x-test")) + "\n";
    text += "body=" + request->body;
    responder->send(text_response(200, text));
}

TlsClient::Options as_alice() {
    TlsClient::Options options;
    options.client = &credentials().alice;
    return options;
}

TEST(Server, HandlerSeesTheRequest) {
    const auto server = serve(echo);
    const auto client = TlsClient::connect(server->port(), as_alice());
    ASSERT_TRUE(client);
    client->send("POST /a%20b?x=1&y=%2B HTTP/1.1\r\nHost: h\r\nX-Test: t\r\n"
                 "Content-Length: 4\r\n\r\nbody");
    const auto reply = client->reply();
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, "POST /a b\n?x=1\n?y=+\nuser=alice\ngroup=dev\ngroup=ops\nx-test=t\n"
                          "body=body");
    EXPECT_TRUE(reply.headers.contains("date"));
}

TEST(Server, ClientWithoutCertificateIsAnonymous) {
    const auto server = serve(echo);
    const auto client = TlsClient::connect(server->port());
    client->send(get("/"));
    EXPECT_NE(client->reply().body.find("user=\n"), std::string::npos);
}

TEST(Server, CertificateOfAnotherAuthorityIs401) {
    const auto server = serve(echo);
    TlsClient::Options options;
    options.client = &credentials().stranger;
    const auto client = TlsClient::connect(server->port(), options);
    ASSERT_TRUE(client);  // the handshake succeeds, so that the client can be told why
    client->send(get("/"));
    const auto reply = client->reply();
    EXPECT_EQ(reply.status, 401);
    EXPECT_EQ(boost::json::parse(reply.body).at("reason"), "Unauthorized");
}

TEST(Server, BearerTokens) {
    auto options = testing::server_options();
    options.authenticate_token = [](std::string_view token) -> std::optional<Identity> {
        if (token != "good") return std::nullopt;
        return Identity{"robot", {"machines"}};
    };
    const auto server = serve(echo, options);
    auto client = TlsClient::connect(server->port());
    client->send(get("/", "Authorization: Bearer good\r\n"));
    EXPECT_NE(client->reply().body.find("user=robot\ngroup=machines\n"), std::string::npos);
    client->send(get("/", "Authorization: Bearer bad\r\n"));
    EXPECT_EQ(client->reply().status, 401);
    // A certificate that verifies goes first, as with kube-apiserver.
    client = TlsClient::connect(server->port(), as_alice());
    client->send(get("/", "authorization: bearer bad\r\n"));
    EXPECT_NE(client->reply().body.find("user=alice"), std::string::npos);
}

TEST(Server, KeepsConnectionsAndAnswersPipelinedRequestsInOrder) {
    const auto server = serve([](auto request, auto responder) {
        if (request->path == "/slow") {
            // From another thread, as answers that wait for the store come.
            std::thread([responder] { responder->send(text_response(200, "slow")); }).detach();
        } else {
            responder->send(text_response(200, request->path));
        }
    });
    const auto client = TlsClient::connect(server->port());
    client->send(get("/1") + get("/slow") + get("/2") + get("/slow") + get("/3").substr(0, 10));
    EXPECT_EQ(client->reply().body, "/1");
    EXPECT_EQ(client->reply().body, "slow");
    EXPECT_EQ(client->reply().body, "/2");
    EXPECT_EQ(client->reply().body, "slow");
    client->send(get("/3").substr(10));
    EXPECT_EQ(client->reply().body, "/3");
    EXPECT_EQ(server->stats().accepted, 1U);
}

TEST(Server, ClosesWhenAsked) {
    const auto server = serve(echo);
    auto client = TlsClient::connect(server->port());
    client->send(get("/", "Connection: close\r\n") + get("/never"));
    const auto reply = client->reply();
    EXPECT_EQ(reply.headers.at("connection"), "close");
    EXPECT_TRUE(client->at_end());
    client = TlsClient::connect(server->port());
    client->send("GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(client->reply().status, 200);
    EXPECT_TRUE(client->at_end());
}

TEST(Server, HeadAnd304HaveNoBody) {
    const auto server = serve([](auto request, auto responder) {
        responder->send(text_response(request->path == "/304" ? 304 : 200, "body"));
    });
    const auto client = TlsClient::connect(server->port());
    client->send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(client->reply(true).headers.at("content-length"), "4");
    client->send(get("/304"));
    const auto reply = client->reply();
    EXPECT_EQ(reply.status, 304);
    EXPECT_FALSE(reply.headers.contains("content-length"));
    client->send(get("/"));  // nothing was left over from the answers before
    EXPECT_EQ(client->reply().body, "body");
}

TEST(Server, LargeBodiesAreCompressedWhenAsked) {
    const std::string large(kMinGzipBytes + 1, 'x');
    const auto server = serve([&](auto request, auto responder) {
        responder->send(text_response(200, request->path == "/large" ? large : "small"));
    });
    const auto client = TlsClient::connect(server->port());
    client->send(get("/large"));
    EXPECT_EQ(client->reply().body, large);
    client->send(get("/large", "Accept-Encoding: gzip\r\n"));
    const auto packed = client->reply();
    EXPECT_EQ(packed.headers.at("content-encoding"), "gzip");
    EXPECT_EQ(packed.headers.at("vary"), "Accept-Encoding");
    EXPECT_LT(packed.body.size(), large.size() / 10);
    EXPECT_EQ(packed.body.substr(0, 2), "\x1f\x8b");
    client->send(get("/small", "Accept-Encoding: gzip\r\n"));
    EXPECT_EQ(client->reply().body, "small");
}

TEST(Server, ExpectContinue) {
    const auto server = serve(echo);
    const auto client = TlsClient::connect(server->port());
    client->send("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    EXPECT_EQ(client->reply().status, 100);
    client->send("abc");
    EXPECT_TRUE(client->reply().body.ends_with("body=abc"));
}

TEST(Server, AbandonedRequestIs500) {
    const auto server = serve([](auto, auto) {});
    const auto client = TlsClient::connect(server->port());
    client->send(get("/"));
    const auto reply = client->reply();
    EXPECT_EQ(reply.status, 500);
    EXPECT_EQ(boost::json::parse(reply.body).at("reason"), "InternalError");
    client->send(get("/"));  // the connection survives
    EXPECT_EQ(client->reply().status, 500);
}

TEST(Server, ThrowingHandlerIs500) {
    const auto server = serve([](auto, auto) { throw std::runtime_error("bug"); });
    const auto client = TlsClient::connect(server->port());
    client->send(get("/"));
    EXPECT_EQ(client->reply().status, 500);
}

TEST(Server, OnlyTheFirstAnswerCounts) {
    const auto server = serve([](auto, auto responder) {
        responder->send(text_response(200, "first"));
        responder->send(text_response(200, "second"));
        responder->begin_stream({});
        EXPECT_FALSE(responder->write("third"));
    });
    const auto client = TlsClient::connect(server->port());
    client->send(get("/") + get("/"));
    EXPECT_EQ(client->reply().body, "first");
    EXPECT_EQ(client->reply().body, "first");
}

TEST(Server, MalformedRequestsAre400) {
    const auto server = serve(echo);
    const std::string requests[] = {
        "GARBAGE\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nbad header\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        // Two lengths are the classic way to smuggle a request past a proxy.
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    std::uint64_t count = 0;
    for (const auto& request : requests) {
        const auto client = TlsClient::connect(server->port());
        client->send(request);
        const auto reply = client->reply();
        EXPECT_EQ(reply.status, 400) << request;
        EXPECT_EQ(reply.headers.at("connection"), "close") << request;
        EXPECT_EQ(server->stats().malformed_requests, ++count) << request;
    }
}

// What ends where only this server knows would be read as the next request, which nobody in between has seen.
TEST(Server, BodiesInAnUnknownCodingAreRefused) {
    const auto server = serve(echo);
    const std::string smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    const std::pair<std::string, int> heads[] = {
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 501},
        {"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
    };
    for (const auto& [head, status] : heads) {
        const auto client = TlsClient::connect(server->port(), as_alice());
        client->send(head + smuggled);
        const auto reply = client->reply();
        EXPECT_EQ(reply.status, status) << head;
        EXPECT_EQ(reply.headers.at("connection"), "close") << head;
        EXPECT_EQ(reply.body.find("smuggled"), std::string::npos) << head;
        EXPECT_TRUE(client->at_end()) << head;
    }
}

TEST(Server, TrailersAreNoHeaders) {
    const auto server = serve(echo);
    const auto client = TlsClient::connect(server->port(), as_alice());
    const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n";
    // At once, and with the trailer after the server has seen the rest.
    client->send(head + "\r\n3\r\nabc\r\n0\r\nX-Test: from the trailer\r\n\r\n");
    EXPECT_TRUE(client->reply().body.ends_with("x-test=\nbody=abc"));
    client->send(head + "X-Test: t\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(client->reply().status, 100);
    client->send("3\r\nabc\r\n0\r\nX-Test: from the trailer\r\n\r\n");
    EXPECT_TRUE(client->reply().body.ends_with("x-test=t\nbody=abc"));
    client->send(get("/"));  // what follows a trailer is the next request
    EXPECT_EQ(client->reply().status, 200);
}

// The end of an empty body, as it may arrive on a slow line.
TEST(Server, ChunksMayComeByteByByte) {
    const auto server = serve(echo);
    for (const std::string body : {"0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "0\r\nX-Test: t\r\n\r\n"}) {
        const auto client = TlsClient::connect(server->port());
        client->send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (const char c : body) {
            client->send(std::string(1, c));
            std::this_thread::sleep_for(std::chrono::milliseconds(5));  // so that it is read by itself
        }
        EXPECT_EQ(client->reply().status, 200) << body;
    }
}

TEST(Server, BodiesAboveTheLimitAre413) {
    const auto server = serve(echo);
    auto client = TlsClient::connect(server->port(), as_alice());
    client->send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3145729\r\n\r\n");
    // The body is sent although the answer is decided: it must not be lost to a reset.
    client->send(std::string(kMaxBodyBytes + 1, 'x'));
    auto reply = client->reply();
    EXPECT_EQ(reply.status, 413);
    const auto status = boost::json::parse(reply.body);
    EXPECT_EQ(status.at("reason"), "RequestEntityTooLarge");
    EXPECT_EQ(status.at("message"), "Request entity too large: limit is 3145728");

    client = TlsClient::connect(server->port(), as_alice());
    client->send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
    for (int i = 0; i < 49 && client->send(chunk); ++i) {
    }
    EXPECT_EQ(client->reply().status, 413);

    client = TlsClient::connect(server->port(), as_alice());
    client->send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3145728\r\n\r\n");
    client->send(std::string(kMaxBodyBytes, 'x'));
    reply = client->reply();
    EXPECT_EQ(reply.status, 200);
    EXPECT_GT(reply.body.size(), kMaxBodyBytes);
}

TEST(Server, StrangersCannotSendLargeBodies) {
    const auto server = serve(echo);
    auto client = TlsClient::connect(server->port());
    client->send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n");
    EXPECT_EQ(client->reply().status, 401);
    client = TlsClient::connect(server->port());
    client->send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "10001\r\n" + std::string(0x10001, 'x') + "\r\n0\r\n\r\n");
    EXPECT_EQ(client->reply().status, 401);
}

TEST(Server, HeadersAboveTheLimitsAre431) {
    const auto server = serve(echo);
    auto client = TlsClient::connect(server->port());
    client->send("GET / HTTP/1.1\r\nHost: h\r\nX-Test: ");
    client->send(std::string(kMaxHeaderBytes, 'x'));
    client->send("\r\n\r\n");
    EXPECT_EQ(client->reply().status, 431);
    client = TlsClient::connect(server->port());
    std::string many;
    for (std::size_t i = 0; i <= kMaxHeaderFields; ++i) many += "a: b\r\n";
    client->send(get("/", many));
    EXPECT_EQ(client->reply().status, 431);
    EXPECT_EQ(server->stats().oversized_requests, 2U);
    client = TlsClient::connect(server->port());
    client->send(get("/", "X-Test: " + std::string(70'000, 'y') + "\r\n"));
    EXPECT_EQ(client->reply().status, 431);
    client = TlsClient::connect(server->port());
    client->send(get("/" + std::string(70'000, 'y')));
    EXPECT_EQ(client->reply().status / 100, 4);
    client = TlsClient::connect(server->port());
    many.clear();
    for (int i = 0; i < 15; ++i) many += "X-Large: " + std::string(60'000, 'y') + "\r\n";
    client->send(get("/", many));
    EXPECT_EQ(client->reply().status, 200);
}

TEST(Server, ConnectionsAboveTheLimitAreClosed) {
    auto options = testing::server_options();
    options.max_connections = 2;
    const auto server = serve(echo, options);
    auto first = TlsClient::connect(server->port());
    auto second = TlsClient::connect(server->port());
    ASSERT_TRUE(first && second);
    EXPECT_FALSE(TlsClient::connect(server->port()));
    EXPECT_EQ(server->stats().refused_connections, 1U);
    first.reset();
    while (server->stats().connections == 2) std::this_thread::yield();
    EXPECT_TRUE(TlsClient::connect(server->port()));
}

TEST(Server, TlsVersionsAndAlpn) {
    const auto server = serve(echo);
    TlsClient::Options options;
    options.max_version = TLS1_1_VERSION;
    EXPECT_FALSE(TlsClient::connect(server->port(), options));
    options.max_version = TLS1_2_VERSION;
    EXPECT_TRUE(TlsClient::connect(server->port(), options));
    options = {};
    options.alpn = "\x08http/1.1";
    const auto client = TlsClient::connect(server->port(), options);
    ASSERT_TRUE(client);
    EXPECT_EQ(client->alpn(), "http/1.1");
    options.alpn = "\x06spdy/3";
    EXPECT_FALSE(TlsClient::connect(server->port(), options));
}

TEST(Server, ListenErrorsNameTheAddress) {
    const auto server = serve(echo);
    auto options = testing::server_options();
    options.port = server->port();
    const auto taken = listen(options, echo);
    ASSERT_FALSE(taken);
    EXPECT_NE(taken.error().message.find("127.0.0.1 port " + std::to_string(options.port)),
              std::string::npos)
        << taken.error().message;
    options = testing::server_options();
    options.private_key_pem = credentials().alice.private_key_pem;
    EXPECT_FALSE(listen(options, echo));
    options = testing::server_options();
    options.certificate_pem = "garbage";
    EXPECT_FALSE(listen(options, echo));
}

// Slow clients -------------------------------------------------------------------------------------

ServerOptions impatient() {
    auto options = testing::server_options();
    options.timeouts = {100, 100, 100, 100, 100, 100};
    return options;
}

// Waits for the end of a plain socket; false if it does not come.
bool plain_end(int fd) {
    char byte = 0;
    const bool end = ::read(fd, &byte, 1) == 0;
    ::close(fd);
    return end;
}

TEST(SlowClient, HandshakeIsCutOff) {
    const auto server = serve(echo, impatient());
    EXPECT_TRUE(plain_end(TlsClient::connect_plain(server->port())));
    EXPECT_EQ(server->stats().timed_out_connections, 1U);
}

TEST(SlowClient, HeadersAreCutOffHoweverTheyDrip) {
    const auto server = serve(echo, impatient());
    const auto client = TlsClient::connect(server->port());
    client->send("GET / HTTP/1.1\r\nHost: h\r\n");
    while (client->send("X-Test: a\r\n") && server->stats().connections > 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(server->stats().timed_out_connections, 1U);
}

TEST(SlowClient, BodyIsCutOff) {
    const auto server = serve(echo, impatient());
    const auto client = TlsClient::connect(server->port());
    client->send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    EXPECT_TRUE(client->at_end());
    EXPECT_EQ(server->stats().timed_out_connections, 1U);
}

TEST(SlowClient, IdleConnectionIsClosedInPeace) {
    const auto server = serve(echo, impatient());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/"));
    EXPECT_EQ(client->reply().status, 200);
    EXPECT_TRUE(client->at_end());
    EXPECT_EQ(server->stats().timed_out_connections, 0U);
}

TEST(SlowHandler, ARequestMayAskForLessTime) {
    std::mutex mutex;
    std::vector<std::shared_ptr<Responder>> held;
    std::atomic<int> asked{0};
    auto options = testing::server_options();
    options.is_untimed = [](const Request& request) { return request.path.ends_with("/proxy/"); };
    const auto server = serve(
        [&](auto, auto responder) {
            const std::lock_guard lock(mutex);
            held.push_back(responder);
            ++asked;
        },
        options);
    auto client = TlsClient::connect(server->port());
    client->send(get("/?timeout=0.01s"));
    EXPECT_EQ(client->reply().status, 504);
    client = TlsClient::connect(server->port());
    client->send(get("/api/v1/namespaces/a/pods/b/proxy/?timeout=soon"));
    for (int i = 0; i < 500 && asked < 2; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(asked, 2);
    // Timed, as this server does not know it for untimed; but its parameter is another server's.
    client = TlsClient::connect(server->port());
    client->send(get("/api/v1/namespaces/a/pods/b/proxy/ws?timeout=soon"));
    for (int i = 0; i < 500 && asked < 3; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(asked, 3);
    for (const char* bad : {"soon", "1", "s", "1x", "-1s", "1s1", "."}) {
        client = TlsClient::connect(server->port());
        client->send(get(std::string("/?timeout=") + bad));
        EXPECT_EQ(client->reply().status, 400) << bad;
    }
}

TEST(SlowHandler, RequestIsAnswered504) {
    std::shared_ptr<Responder> kept;
    std::atomic<int> closed{0};
    const auto server = serve(
        [&](auto, auto responder) {
            responder->on_close([&] { ++closed; });
            kept = std::move(responder);
        },
        impatient());
    const auto client = TlsClient::connect(server->port());
    client->send(get("/"));
    const auto reply = client->reply();
    EXPECT_EQ(reply.status, 504);
    EXPECT_EQ(boost::json::parse(reply.body).at("reason"), "Timeout");
    EXPECT_TRUE(client->at_end());
    kept->send(text_response(200, "late"));  // goes nowhere
    EXPECT_EQ(closed, 1);
    EXPECT_EQ(server->stats().timed_out_requests, 1U);
}

}  // namespace
}  // namespace sluice::http
