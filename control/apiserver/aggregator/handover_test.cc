// Requests handed over to an API server on the loopback, and what comes back.
#include "control/apiserver/aggregator/handover.h"

#include <gtest/gtest.h>

#include <string>

#include "control/apiserver/relay/test_taken.h"
#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::aggregator {
namespace {

using relay::testing::Taken;

class HandedOver : public ::testing::Test {
protected:
    HandedOver() {
        server_ = std::move(*http::listen(http::testing::server_options(), [](auto request, auto responder) {
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
        hand_over(relay_, remote_, 0, what, taken);
        return taken->whole();
    }

    std::unique_ptr<http::Server> server_;
    Remote remote_;
    relay::Relay relay_;
};

TEST_F(HandedOver, AWholeRequestGoesThereAndItsAnswerComesBack) {
    const auto answer = ask(request("POST", "/apis/g/v/x?dryRun=All", R"({"a":1})"));
    EXPECT_EQ(answer.status, 201);
    EXPECT_EQ(answer.body, R"(POST /apis/g/v/x?dryRun=All bob by alice: {"a":1})");
    bool warned = false;
    for (const auto& [name, value] : answer.headers) warned = warned || (name == "Warning" && value == "299 - \"w\"");
    EXPECT_TRUE(warned);
    EXPECT_EQ(relay_.stats().relayed, 1U);
}

TEST_F(HandedOver, WhoeverIsNotThereIs503) {
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

TEST_F(HandedOver, AnotherServersCertificateIsNotTaken) {
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
