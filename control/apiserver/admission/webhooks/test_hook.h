// A webhook over TLS for tests, and a cluster that asks it.
#pragma once

#include <gtest/gtest.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/apiserver/admission/admission.h"
#include "control/apiserver/admission/webhooks/webhooks.h"
#include "control/apiserver/registry/test_util.h"
#include "control/http/server.h"
#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::admission::testing {

namespace json = boost::json;

inline std::string base64(std::string_view bytes) {
    static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t bits = 0;
        for (std::size_t j = 0; j < 3; ++j) {
            bits = bits << 8U | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
        }
        for (std::size_t j = 0; j < 4; ++j) out += i + j <= bytes.size() ? kDigits[bits >> (18 - 6 * j) & 63U] : '=';
    }
    return out;
}

// What a JSON pointer names, strings without their quotes; "absent" for nothing.
inline std::string text(const json::object& from, std::string_view pointer) {
    boost::system::error_code error;
    const json::value whole(from);
    const auto* found = whole.find_pointer(pointer, error);
    if (found == nullptr) return "absent";
    return found->is_string() ? std::string(found->get_string()) : json::serialize(*found);
}

// What a path answers: the members of the response besides its uid, as JSON without braces.
using Answering = std::function<std::string(const json::object& request)>;

inline std::string patch(const std::string& operations) {
    return R"("allowed":true,"patchType":"JSONPatch","patch":")" + base64(operations) + "\"";
}

// Listens on 127.0.0.1; the certificate names localhost and hook.default.svc, too.
class HookServer {
public:
    HookServer() {
        auto options = http::testing::server_options();
        pki::CertificateSpec spec;
        spec.common_name = "hook";
        spec.addresses = {*IpAddress::parse("127.0.0.1")};
        spec.dns_names = {"localhost", "hook.default.svc"};
        spec.usage = pki::CertificateSpec::Usage::kServer;
        spec.lifetime_s = 3'600;
        const auto pair = *pki::issue(http::testing::credentials().ca, spec, std::time(nullptr));
        options.certificate_pem = pair.certificate_pem;
        options.private_key_pem = pair.private_key_pem;
        server_ =
            std::move(*http::listen(options, [this](auto request, auto responder) { serve(*request, responder); }));
    }
    void on(const std::string& path, Answering answering) {
        const std::lock_guard lock(mutex_);
        answers_[path] = std::move(answering);
    }
    void on(const std::string& path, const std::string& answer) {
        on(path, [answer](const json::object&) { return answer; });
    }
    // A whole body in place of a review.
    void raw(const std::string& path, int status, const std::string& body) {
        const std::lock_guard lock(mutex_);
        raw_[path] = {status, body};
    }
    // Never answers.
    void hold(const std::string& path) { raw(path, 0, ""); }
    // Of what was held: its answers are 500.
    void let_go() {
        const std::lock_guard lock(mutex_);
        held_.clear();
    }
    // Answers no review before so many have come.
    void answer_together(std::size_t count) {
        const std::lock_guard lock(mutex_);
        together_ = count;
    }
    // The requests of the reviews that came, oldest first.
    std::vector<json::object> seen() {
        const std::lock_guard lock(mutex_);
        return seen_;
    }
    void forget() {
        const std::lock_guard lock(mutex_);
        seen_.clear();
    }
    [[nodiscard]] std::string url(const std::string& path) const {
        return "https://127.0.0.1:" + std::to_string(server_->port()) + path;
    }
    [[nodiscard]] std::uint16_t port() const { return server_->port(); }
    static std::string ca_bundle() { return base64(http::testing::credentials().ca.certificate_pem); }

private:
    void serve(const http::Request& request, const std::shared_ptr<http::Responder>& responder) {
        const auto review = json::parse(request.body).as_object();
        Answering answering;
        {
            const std::lock_guard lock(mutex_);
            seen_.push_back(review.at("request").as_object());
            if (const auto found = raw_.find(request.path); found != raw_.end()) {
                if (found->second.first == 0) return held_.push_back(responder);
                http::Response out;
                out.status = found->second.first;
                out.body = found->second.second;
                return responder->send(std::move(out));
            }
            answering = answers_.at(request.path);
        }
        const auto& asked = review.at("request").as_object();
        auto answer = http::json_response(
            R"({"kind":"AdmissionReview","apiVersion":")" + std::string(review.at("apiVersion").as_string()) +
            R"(","response":{"uid":")" + std::string(asked.at("uid").as_string()) + "\"," + answering(asked) + "}}");
        std::vector<std::pair<std::shared_ptr<http::Responder>, http::Response>> ready;
        {
            const std::lock_guard lock(mutex_);
            waiting_.emplace_back(responder, std::move(answer));
            if (waiting_.size() < together_) return;
            ready.swap(waiting_);
        }
        for (auto& [to, what] : ready) to->send(std::move(what));
    }

    std::mutex mutex_;
    std::map<std::string, Answering> answers_;
    std::map<std::string, std::pair<int, std::string>> raw_;
    std::vector<json::object> seen_;
    std::vector<std::shared_ptr<http::Responder>> held_;
    std::size_t together_ = 1;
    std::vector<std::pair<std::shared_ptr<http::Responder>, http::Response>> waiting_;
    std::unique_ptr<http::Server> server_;
};

// A registry whose requests all plugins and webhooks see.
class Asked : public ::testing::Test {
protected:
    using Reply = registry::testing::Reply;

    Asked()
        : authorizer_({authorization::Mode::kAlwaysAllow}),
          plugins_(authorizer_, PluginSet::all().without(Plugin::kServiceAccount), &webhooks_) {
        EXPECT_TRUE(webhooks_.start(cluster_.api()));
        cluster_.api().set_admission(&plugins_);
    }
    ~Asked() override { webhooks_.stop(); }

    // rest: members of the webhook besides name and clientConfig, beginning with a comma.
    std::string hook_json(const std::string& name, const std::string& path, const std::string& rest) {
        return R"({"name":")" + name +
               R"(","sideEffects":"None","admissionReviewVersions":["v1"],"clientConfig":{"url":")" +
               hook_.url(path) + R"(","caBundle":")" + HookServer::ca_bundle() + "\"}" + rest + "}";
    }
    static std::string rules(const std::string& resources, const std::string& operations = R"(["*"])",
                             const std::string& groups = R"([""])", const std::string& versions = R"(["v1"])",
                             const std::string& scope = "*") {
        return R"(,"rules":[{"operations":)" + operations + R"(,"apiGroups":)" + groups + R"(,"apiVersions":)" +
               versions + R"(,"resources":)" + resources + R"(,"scope":")" + scope + "\"}]";
    }
    void configure(bool mutating, const std::string& name, const std::string& hooks) {
        const Reply reply = cluster_.call("POST", path_of(mutating),
                                          R"({"metadata":{"name":")" + name + R"("},"webhooks":[)" + hooks + "]}");
        ASSERT_EQ(reply.status, 201) << reply.body;
    }
    static std::string path_of(bool mutating) {
        return std::string("/apis/admissionregistration.k8s.io/v1/") +
               (mutating ? "mutatingwebhookconfigurations" : "validatingwebhookconfigurations");
    }
    Reply make(const std::string& name, const std::string& more = "", const std::string& query = "") {
        return cluster_.call("POST", "/api/v1/namespaces/default/configmaps" + query,
                             R"({"metadata":{"name":")" + name + "\"" + more + "}}");
    }

    Reply connect(const std::string& path, std::vector<std::pair<std::string, std::string>> query = {}) {
        auto request = std::make_shared<http::Request>();
        request->method = "POST";
        request->path = path;
        request->query = std::move(query);
        const auto recorder = std::make_shared<registry::testing::Recorder>();
        cluster_.api().admit_connection(request, recorder, [recorder] { recorder->send({200, {}, "{}"}); });
        const auto answer = recorder->wait();
        return {answer.status, answer.body, answer.headers};
    }

    HookServer hook_;
    authorization::Authorizer authorizer_;
    Webhooks webhooks_{authorizer_, true, true};
    Plugins plugins_;
    registry::testing::Cluster cluster_;
};

}  // namespace sluice::admission::testing
