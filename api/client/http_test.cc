// HttpClient against a server of plain sockets that can be slow, break off, or lie.
#include "api/client/http.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <thread>

namespace sluice::client {
namespace {

using testing::HasSubstr;

// Accepts connections one after another and gives each to the next of the scripts.
class Server {
public:
    explicit Server(std::vector<std::function<void(int fd)>> scripts) {
        fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(fd_, 8), 0);
        socklen_t size = sizeof address;
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
        config_.tls = false;
        config_.host = "127.0.0.1";
        config_.port = ntohs(address.sin_port);
        thread_ = std::thread([this, scripts = std::move(scripts)] {
            for (const auto& script : scripts) {
                const int connection = ::accept(fd_, nullptr, nullptr);
                if (connection < 0) return;
                script(connection);
                ::close(connection);
            }
        });
    }
    ~Server() {
        ::shutdown(fd_, SHUT_RDWR);
        thread_.join();
        ::close(fd_);
    }
    ClientConfig config_;

private:
    int fd_ = -1;
    std::thread thread_;
};

// Reads a request's head.
std::string receive(int fd) {
    std::string out;
    char c = 0;
    while (out.find("\r\n\r\n") == std::string::npos && ::recv(fd, &c, 1, 0) == 1) out.push_back(c);
    return out;
}

void give(int fd, const std::string& text) { (void)::send(fd, text.data(), text.size(), MSG_NOSIGNAL); }

const char* const kHello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

TEST(HttpClient, KeepsAConnectionAndReplacesOneThatTheServerGaveUp) {
    std::vector<std::string> heads;
    Server server({[&](int fd) {
                       heads.push_back(receive(fd));
                       give(fd, kHello);
                       heads.push_back(receive(fd));
                       give(fd, kHello);
                   },
                   [&](int fd) {
                       heads.push_back(receive(fd));
                       give(fd, kHello);
                   }});
    server.config_.token = "secret";
    server.config_.path_prefix = "/p";
    auto client = HttpClient::create(server.config_, "test/1");
    ASSERT_TRUE(client);
    for (int i = 0; i < 3; ++i) {
        const auto response = (*client)->request({"GET", "/x", {{"Accept", "a/b"}}, ""}, {});
        ASSERT_TRUE(response) << response.error().message;
        EXPECT_EQ(response->body, "hello");
    }
    EXPECT_THAT(heads.at(0), HasSubstr("GET /p/x HTTP/1.1\r\n"));
    EXPECT_THAT(heads.at(0), HasSubstr("Authorization: Bearer secret\r\n"));
    EXPECT_THAT(heads.at(0), HasSubstr("Accept: a/b\r\n"));
    EXPECT_EQ(heads.at(0).find("Accept-Encoding"), std::string::npos);
}

TEST(HttpClient, AStreamGivesBytesAsTheyComeAndReportsABreak) {
    Server server({[](int fd) {
        receive(fd);
        give(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        receive(fd);  // until the client has closed or this side is shut down
    }});
    auto client = HttpClient::create(server.config_, "test/1");
    auto stream = (*client)->stream({"GET", "/", {}, ""}, {});
    ASSERT_TRUE(stream) << stream.error().message;
    std::array<char, 16> buffer{};
    const auto first = (*stream)->read(buffer.data(), buffer.size(), 5000);
    ASSERT_TRUE(first);
    EXPECT_EQ(std::string(buffer.data(), *first), "abc");
    const auto late = (*stream)->read(buffer.data(), buffer.size(), 20);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kDeadlineExceeded);
    EXPECT_FALSE((*stream)->read(buffer.data(), buffer.size(), 20));
}

TEST(HttpClient, AnEmptyChunkedBodyMayComeByteByByte) {
    Server server({[](int fd) {
        receive(fd);
        give(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (const char byte : std::string("0\r\n\r\n")) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            give(fd, std::string(1, byte));
        }
    }});
    auto client = HttpClient::create(server.config_, "test/1");
    const auto response = (*client)->request({"GET", "/", {}, ""}, {});
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->body, "");
}

TEST(HttpClient, ABodyThatEndsTooEarlyIsAnError) {
    Server server({[](int fd) {
        receive(fd);
        give(fd, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
    }});
    auto client = HttpClient::create(server.config_, "test/1");
    const auto response = (*client)->request({"GET", "/", {}, ""}, {});
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::kUnavailable);
}

TEST(HttpClient, GarbageIsAnError) {
    Server server({[](int fd) {
        receive(fd);
        give(fd, "SSH-2.0-nonsense\r\n\r\n");
    }});
    auto client = HttpClient::create(server.config_, "test/1");
    EXPECT_FALSE((*client)->request({"GET", "/", {}, ""}, {}));
}

TEST(HttpClient, AStopEndsAWaitingCall) {
    Server server({[](int fd) {
        receive(fd);
        receive(fd);
    }});
    auto client = HttpClient::create(server.config_, "test/1");
    std::stop_source stop;
    std::thread stopper([&] { stop.request_stop(); });
    const auto response = (*client)->request({"GET", "/", {}, ""}, stop.get_token());
    stopper.join();
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::kCancelled);
}

TEST(HttpClient, AServerThatSpeaksNoTlsIsRefused) {
    Server server({[](int fd) { give(fd, kHello); }});
    server.config_.tls = true;
    server.config_.insecure_skip_tls_verify = true;
    auto client = HttpClient::create(server.config_, "test/1");
    ASSERT_TRUE(client);
    const auto response = (*client)->request({"GET", "/", {}, ""}, {});
    ASSERT_FALSE(response);
    EXPECT_THAT(response.error().message, HasSubstr("TLS handshake"));
}

TEST(HttpClient, CertificatesAreCheckedBeforeAnythingIsSent) {
    ClientConfig config;
    config.host = "127.0.0.1";
    config.ca_pem = "CA";
    const auto bad_ca = HttpClient::create(config, "test/1");
    ASSERT_FALSE(bad_ca);
    EXPECT_THAT(bad_ca.error().message, HasSubstr("certificate authority"));
}

}  // namespace
}  // namespace sluice::client
