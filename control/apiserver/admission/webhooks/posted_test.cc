// What is posted, answered and not stored is shown to webhooks as well, as by a Kubernetes 1.32 API server: reviews as
// creations of their own kinds, requests for tokens as creations of serviceaccounts/token.
#include <ctime>
#include <memory>
#include <string>

#include "control/apiserver/admission/webhooks/test_hook.h"
#include "control/apiserver/reviews/reviews.h"
#include "control/apiserver/service_accounts/authority.h"
#include "control/apiserver/service_accounts/requests.h"
#include "control/pki/certificate.h"

namespace sluice::admission::testing {
namespace {

class Posted : public Asked {
protected:
    Posted()
        : authority_(options(), *service_accounts::KeyRing::make(*pki::make_private_key(), {})),
          tokens_(authority_, [](std::string_view) { return std::nullopt; }) {
        reader_ = [this](const codec::KindInfo& kind, const std::string& name_space, const std::string& name) {
            return cluster_.api().read(kind, name_space, name);
        };
        authority_.set_reader(&reader_);
        EXPECT_EQ(cluster_.call("POST", "/api/v1/namespaces/default/serviceaccounts", R"({"metadata":{"name":"robot"}})")
                      .status,
                  201);
    }

    static service_accounts::Options options() {
        service_accounts::Options out;
        out.audiences = {"api"};
        return out;
    }
    Reply post(const std::string& path, const std::string& body, const std::string& dry_run = "") {
        auto request = std::make_shared<http::Request>();
        request->method = "POST";
        request->path = path;
        request->body = body;
        request->headers = {{"content-type", "application/json"}};
        request->identity = {"jane", {"dev"}};
        if (!dry_run.empty()) request->query = {{"dryRun", dry_run}};
        const auto recorder = std::make_shared<registry::testing::Recorder>();
        if (tokens_.handles(*request)) {
            tokens_.handle(&cluster_.api(), request, recorder);
        } else {
            EXPECT_TRUE(reviews::handles(path));
            reviews::handle(authorizer_, &cluster_.api(), request, recorder);
        }
        auto answer = recorder->wait();
        return {answer.status, answer.body, answer.headers};
    }

    service_accounts::Authority authority_;
    service_accounts::TokenRequests tokens_;
    service_accounts::Reader reader_;
};

constexpr char kAccess[] = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
constexpr char kToken[] = "/api/v1/namespaces/default/serviceaccounts/robot/token";
constexpr char kQuestion[] = R"({"spec":{"user":"joe","resourceAttributes":{"verb":"get","resource":"pods"}}})";

TEST_F(Posted, ReviewsAreShownWhereRulesNameThem) {
    hook_.on("/no", R"("allowed":false,"status":{"message":"ask nobody"})");
    configure(false, "a", hook_json("a.example.com", "/no", rules(R"(["pods"])")));
    EXPECT_EQ(post(kAccess, kQuestion).at("/status/allowed"), "true");
    EXPECT_EQ(hook_.seen().size(), 0U);
    configure(false, "b",
              hook_json("b.example.com", "/no",
                        rules(R"(["*"])", R"(["CREATE"])", R"(["authentication.k8s.io","authorization.k8s.io"])")));
    const Reply denied = post(kAccess, kQuestion, "All");
    EXPECT_EQ(denied.status, 400) << denied.body;
    EXPECT_EQ(denied.at("/message"), "admission webhook \"b.example.com\" denied the request: ask nobody");
    ASSERT_EQ(hook_.seen().size(), 1U);
    const auto seen = hook_.seen()[0];
    const std::string kind = R"({"group":"authorization.k8s.io","version":"v1","kind":"SubjectAccessReview"})";
    EXPECT_EQ(text(seen, "/kind"), kind);
    EXPECT_EQ(text(seen, "/requestKind"), kind);
    EXPECT_EQ(text(seen, "/resource"),
              R"({"group":"authorization.k8s.io","version":"v1","resource":"subjectaccessreviews"})");
    EXPECT_EQ(text(seen, "/operation"), "CREATE");
    EXPECT_EQ(text(seen, "/name"), "absent");
    EXPECT_EQ(text(seen, "/namespace"), "absent");
    EXPECT_EQ(text(seen, "/userInfo/username"), "jane");
    EXPECT_EQ(text(seen, "/object/spec/user"), "joe");
    EXPECT_EQ(text(seen, "/oldObject"), "null");
    EXPECT_EQ(text(seen, "/dryRun"), "true");
    EXPECT_EQ(text(seen, "/options"), R"({"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","dryRun":["All"]})");
    const std::string group = "/apis/authorization.k8s.io/v1/";
    EXPECT_EQ(post(group + "selfsubjectaccessreviews", kQuestion).status, 400);
    EXPECT_EQ(post(group + "selfsubjectrulesreviews", R"({"spec":{"namespace":"default"}})").status, 400);
    EXPECT_EQ(post("/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}").status, 400);
    EXPECT_EQ(post("/apis/authentication.k8s.io/v1/tokenreviews", R"({"spec":{"token":"t"}})").status, 400);
    EXPECT_EQ(post(group + "namespaces/default/localsubjectaccessreviews",
                   R"({"spec":{"user":"joe","resourceAttributes":{"namespace":"default","verb":"get"}}})")
                  .status,
              400);
    ASSERT_EQ(hook_.seen().size(), 6U);
    EXPECT_EQ(text(hook_.seen()[5], "/namespace"), "default");
    // What is refused anyway is not shown.
    EXPECT_EQ(post(kAccess, "{}").status, 422);
    EXPECT_EQ(post("/apis/authentication.k8s.io/v1/tokenreviews", "{}").status, 400);
    EXPECT_EQ(hook_.seen().size(), 6U);
}

TEST_F(Posted, ReviewsAreChangedBeforeTheyAreChecked) {
    hook_.on("/m", patch(R"([{"op":"add","path":"/spec/user","value":"ann"}])") + R"(,"warnings":["it is ann"])");
    configure(true, "a",
              hook_json("a.example.com", "/m", rules(R"(["*"])", R"(["*"])", R"(["authorization.k8s.io"])")));
    const Reply reply = post(kAccess, R"({"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}})");
    EXPECT_EQ(reply.status, 201) << reply.body;
    EXPECT_EQ(reply.at("/spec/user"), "ann");
    EXPECT_EQ(reply.at("/status/allowed"), "true");
    EXPECT_EQ(reply.header("Warning"), R"(299 - "it is ann")");
}

TEST_F(Posted, RequestsForTokensAreCreationsOfASubresource) {
    hook_.on("/m", patch(R"([{"op":"add","path":"/spec/audiences","value":["vault"]}])"));
    hook_.on("/v", [](const json::object& request) -> std::string {
        if (text(request, "/object/spec/expirationSeconds") != "601") return R"("allowed":true)";
        return R"("allowed":false,"status":{"message":"too odd"})";
    });
    // A rule about the accounts themselves is none about their tokens.
    configure(false, "a", hook_json("a.example.com", "/v", rules(R"(["serviceaccounts"])")));
    EXPECT_EQ(post(kToken, R"({"spec":{"expirationSeconds":601}})").status, 201);
    EXPECT_EQ(hook_.seen().size(), 0U);
    configure(true, "m", hook_json("m.example.com", "/m", rules(R"(["serviceaccounts/token"])")));
    configure(false, "v", hook_json("v.example.com", "/v", rules(R"(["serviceaccounts/*"])")));
    const Reply given = post(kToken, R"({"spec":{"audiences":[],"expirationSeconds":600}})");
    ASSERT_EQ(given.status, 201) << given.body;
    EXPECT_EQ(given.at("/spec/audiences"), R"(["vault"])");
    const auto known = authority_.authenticate(given.at("/status/token"), {"vault"}, std::time(nullptr));
    ASSERT_TRUE(known) << known.error().message;
    EXPECT_EQ(known->identity.user, "system:serviceaccount:default:robot");
    ASSERT_EQ(hook_.seen().size(), 2U);
    const auto seen = hook_.seen()[1];
    EXPECT_EQ(text(seen, "/kind"), R"({"group":"authentication.k8s.io","version":"v1","kind":"TokenRequest"})");
    EXPECT_EQ(text(seen, "/resource"), R"({"group":"","version":"v1","resource":"serviceaccounts"})");
    EXPECT_EQ(text(seen, "/subResource"), "token");
    EXPECT_EQ(text(seen, "/operation"), "CREATE");
    EXPECT_EQ(text(seen, "/name"), "robot");
    EXPECT_EQ(text(seen, "/namespace"), "default");
    EXPECT_EQ(text(seen, "/object/metadata/name"), "robot");
    EXPECT_EQ(text(seen, "/object/spec/audiences"), R"(["vault"])");
    const Reply denied = post(kToken, R"({"spec":{"expirationSeconds":601}})");
    EXPECT_EQ(denied.status, 400);
    EXPECT_EQ(denied.at("/message"), "admission webhook \"v.example.com\" denied the request: too odd");
    EXPECT_EQ(denied.at("/status/token"), "");
}

}  // namespace
}  // namespace sluice::admission::testing
