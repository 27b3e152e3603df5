// Requests handed on to a server on the loopback, and what comes back.
#include "control/apiserver/aggregator/relay.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <string>

#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::aggregator {
namespace {

// Takes one answer.
class Taken final : public http::Responder {
public:
    void send(http::Response response) override {
        const std::lock_guard lock(mutex_);
        head_ = std::move(response);
        text_ = head_.body;
        over_ = true;
        changed_.notify_all();
    }
    void begin_stream(http::Response head) override {
        const std::lock_guard lock(mutex_);
        head_ = std::move(head);
        streamed_ = true;
    }
    bool write(std::string chunk) override {
        const std::lock_guard lock(mutex_);
        text_ += chunk;
        changed_.notify_all();
        return !gone_;
    }
    void end_stream() override {
        const std::lock_guard lock(mutex_);
        over_ = true;
        changed_.notify_all();
    }
    void on_close(std::function<void()> callback) override {
        const std::lock_guard lock(mutex_);
        on_close_ = std::move(callback);
    }

    // Waits for the end.
    http::Response whole() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return over_; });
        head_.body = text_;
        return head_;
    }
    void wait_for(const std::string& text) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return text_ == text; });
    }
    void hang_up() {
        std::function<void()> callback;
        {
            const std::lock_guard lock(mutex_);
            gone_ = true;
            callback = on_close_;
        }
        if (callback) callback();
    }
    [[nodiscard]] bool streamed() const { return streamed_; }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    http::Response head_;
    std::string text_;
    bool over_ = false;
    bool gone_ = false;
    bool streamed_ = false;
    std::function<void()> on_close_;
};

class Relayed : public ::testing::Test {
protected:
    Relayed() {
        server_ = std::move(*http::listen(http::testing::server_options(), [this](auto request, auto responder) {
            const std::lock_guard lock(mutex_);
            if (request->path == "/apis/g/v/stream") {
                responder->begin_stream(http::json_response(""));
                stream_ = responder;
                changed_.notify_all();
                return;
            }
            http::Response out = http::text_response(201, request->method + " " + request->target + " " +
                                                              std::string(request->header("x-remote-user")) + " by " +
                                                              request->identity.user + ": " + request->body);
            out.headers.emplace_back("Warning", "299 - \"w\"");
            responder->send(std::move(out));
        }));
        remote_.available = true;
        remote_.places = {{"127.0.0.1", server_->port()}};
        const auto& known = http::testing::credentials();
        remote_.tls = *http::ClientTls::create(known.ca.certificate_pem, known.alice.certificate_pem,
                                               known.alice.private_key_pem);
    }
    static std::shared_ptr<http::Request> request(const std::string& method, const std::string& target,
                                                  const std::string& body = "") {
        auto out = std::make_shared<http::Request>();
        out->method = method;
        out->target = target;
        out->body = body;
        out->identity.user = "bob";
        return out;
    }
    http::Response ask(const std::shared_ptr<http::Request>& what) {
        const auto taken = std::make_shared<Taken>();
        relay_.pass(remote_, what, taken);
        return taken->whole();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::shared_ptr<http::Responder> stream_;
    std::unique_ptr<http::Server> server_;
    Remote remote_;
    Relay relay_;
};

TEST_F(Relayed, AWholeRequestGoesThereAndItsAnswerComesBack) {
    const auto answer = ask(request("POST", "/apis/g/v/x?dryRun=All", R"({"a":1})"));
    EXPECT_EQ(answer.status, 201);
    EXPECT_EQ(answer.body, R"(POST /apis/g/v/x?dryRun=All bob by alice: {"a":1})");
    bool warned = false;
    for (const auto& [name, value] : answer.headers) warned = warned || (name == "Warning" && value == "299 - \"w\"");
    EXPECT_TRUE(warned);
    EXPECT_EQ(relay_.stats().relayed, 1U);
}

TEST_F(Relayed, StreamsComePieceByPieceAndEndWithTheClient) {
    const auto taken = std::make_shared<Taken>();
    relay_.pass(remote_, request("GET", "/apis/g/v/stream"), taken);
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stream_ != nullptr; });
    }
    ASSERT_TRUE(stream_->write("one"));
    taken->wait_for("one");
    EXPECT_TRUE(taken->streamed());
    EXPECT_EQ(relay_.stats().under_way, 1U);
    std::mutex mutex;
    std::condition_variable closed;
    bool over = false;
    stream_->on_close([&] {
        const std::lock_guard lock(mutex);
        over = true;
        closed.notify_all();
    });
    taken->hang_up();
    std::unique_lock lock(mutex);
    closed.wait(lock, [&] { return over; });
}

TEST_F(Relayed, WhoeverIsNotThereIs503) {
    remote_.available = false;
    EXPECT_EQ(ask(request("GET", "/apis/g/v/x")).body, "service unavailable\n");
    remote_.available = true;
    server_.reset();
    const auto refused = ask(request("GET", "/apis/g/v/x"));
    EXPECT_EQ(refused.status, 503);
    EXPECT_TRUE(refused.body.starts_with("error trying to reach service: dial tcp 127.0.0.1:")) << refused.body;
    EXPECT_EQ(relay_.stats().failed, 1U);
    remote_.places.clear();
    EXPECT_EQ(ask(request("GET", "/apis/g/v/x")).status, 503);
    remote_.places = {{"127.0.0.1", 1}};
    remote_.tls = nullptr;
    remote_.tls_error = "no certificate";
    EXPECT_EQ(ask(request("GET", "/apis/g/v/x")).status, 500);
}

TEST_F(Relayed, AnotherServersCertificateIsNotTaken) {
    remote_.tls = *http::ClientTls::create(http::testing::credentials().stranger.certificate_pem, "", "");
    EXPECT_NE(ask(request("GET", "/apis/g/v/x")).body.find("tls: failed to verify certificate"), std::string::npos);
    remote_.skip_verify = true;
    EXPECT_EQ(ask(request("GET", "/apis/g/v/x")).status, 201);
    remote_.skip_verify = false;
    remote_.tls = *http::ClientTls::create(http::testing::credentials().ca.certificate_pem, "", "");
    remote_.server_name = "other.default.svc";
    EXPECT_NE(ask(request("GET", "/apis/g/v/x")).body.find("not valid for other.default.svc"), std::string::npos);
}

}  // namespace
}  // namespace sluice::aggregator
