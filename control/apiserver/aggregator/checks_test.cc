// What is known of a server on the loopback that does not always answer.
#include "control/apiserver/aggregator/checks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::aggregator {
namespace {

constexpr std::chrono::seconds kPatience{30};
constexpr char kIndex[] = R"({"paths":{"apis/g.io/v1":{"serverRelativeURL":"/openapi/v3/apis/g.io/v1?hash=AB"}}})";

class Checked : public ::testing::Test {
protected:
    Checked()
        : checks_([](const auto&, const auto&) {},
                  [this](std::vector<RemoteVersion> all) { seen(std::move(all)); }) {
        server_ = std::move(*http::listen(http::testing::server_options(), [this](auto request, auto responder) {
            if (request->path == "/openapi/v3") {
                return responder->send(http::text_response(index_status_, kIndex));
            }
            if (request->path != "/apis/g.io/v1") return responder->send(http::text_response(404, ""));
            const std::string name = "r" + std::to_string(resource_);
            responder->send(http::text_response(200, R"({"resources":[{"name":")" + name + "\"}]}"));
        }));
        checks_.start();
    }
    ~Checked() override { checks_.stop(); }

    // What is published of a server that was looked at from now on.
    RemoteVersion look() {
        const auto& known = http::testing::credentials();
        Remote remote;
        remote.name = "v1.g.io";
        remote.group = "g.io";
        remote.version = "v1";
        remote.places = {{"127.0.0.1", server_->port()}};
        remote.tls = *http::ClientTls::create(known.ca.certificate_pem, known.alice.certificate_pem,
                                              known.alice.private_key_pem);
        // One of another server's resources tells the looks apart.
        const std::string wanted = "\"r" + std::to_string(++resource_) + "\"";
        remote.fingerprint = wanted;
        auto all = std::make_shared<RemoteMap>();
        all->emplace("g.io/v1", std::make_shared<const Remote>(std::move(remote)));
        checks_.set(std::move(all));
        std::unique_lock lock(mutex_);
        EXPECT_TRUE(changed_.wait_for(
            lock, kPatience, [&] { return !last_.stale && last_.resources.find(wanted) != std::string::npos; }))
            << last_.resources;
        return last_;
    }

    std::atomic<int> index_status_{200};

private:
    void seen(std::vector<RemoteVersion> all) {
        const std::lock_guard lock(mutex_);
        if (!all.empty()) last_ = std::move(all[0]);
        changed_.notify_all();
    }

    std::atomic<int> resource_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
    RemoteVersion last_;
    std::unique_ptr<http::Server> server_;
    Checks checks_;
};

TEST_F(Checked, TheDocumentStaysWhileItsIndexCannotBeRead) {
    EXPECT_EQ(look().openapi_hash, "AB");
    index_status_ = 500;
    EXPECT_EQ(look().openapi_hash, "AB");
    index_status_ = 404;
    EXPECT_EQ(look().openapi_hash, "");
}

}  // namespace
}  // namespace sluice::aggregator
