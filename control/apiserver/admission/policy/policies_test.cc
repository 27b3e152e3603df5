// ValidatingAdmissionPolicies over a real store. Expectations are those of https://kubernetes.io/docs/reference/
// access-authn-authz/validating-admission-policy/ and of upstream's plugin, in its words.
#include "control/apiserver/admission/policy/policies.h"

#include <gtest/gtest.h>

#include <thread>

#include "api/kubernetes/authentication/v1/authentication.pb.h"
#include "api/kubernetes/authorization/v1/authorization.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/rest/posting.h"
#include "control/apiserver/registry/rest/unstored_kind.h"
#include "control/apiserver/registry/test_util.h"
#include "control/http/forwarding_responder.h"

namespace sluice::admission::testing {
namespace {

using registry::testing::kMerge;
using Reply = registry::testing::Reply;

const std::string kGroup = "/apis/admissionregistration.k8s.io/v1/";
const std::string kMaps = "/api/v1/namespaces/default/configmaps";

// Keeps what goes to the audit log.
class Noting final : public http::ForwardingResponder {
public:
    using ForwardingResponder::ForwardingResponder;
    void annotate(const std::string& key, const std::string& value) override { notes[key] = value; }
    std::map<std::string, std::string> notes;
};

class Checked : public ::testing::Test {
protected:
    Checked() : authorizer_({authorization::Mode::kAlwaysAllow}), policies_(authorizer_),
                plugins_(authorizer_, PluginSet::all().without(Plugin::kServiceAccount), nullptr, &policies_) {
        EXPECT_TRUE(policies_.start(cluster_.api()));
        cluster_.api().set_admission(&plugins_);
    }
    ~Checked() override { policies_.stop(); }

    // spec: members of the policy's spec besides matchConstraints, which is about ConfigMaps.
    void policy(const std::string& name, const std::string& spec,
                const std::string& resources = R"("apiGroups":[""],"resources":["configmaps"])") {
        const Reply reply = cluster_.call(
            "POST", kGroup + "validatingadmissionpolicies",
            R"({"metadata":{"name":")" + name + R"("},"spec":{"matchConstraints":{"resourceRules":[{"operations":["*"],)" +
                R"("apiVersions":["*"],)" + resources + "}]}," + spec + "}}");
        ASSERT_EQ(reply.status, 201) << reply.body;
    }
    void bind(const std::string& name, const std::string& policy, const std::string& more = "",
              const std::string& actions = R"("Deny")") {
        const Reply reply =
            cluster_.call("POST", kGroup + "validatingadmissionpolicybindings",
                          R"({"metadata":{"name":")" + name + R"("},"spec":{"policyName":")" + policy +
                              R"(","validationActions":[)" + actions + "]" + more + "}}");
        ASSERT_EQ(reply.status, 201) << reply.body;
    }
    Reply make(const std::string& name, const std::string& data, const std::string& query = "") {
        return cluster_.call("POST", kMaps + query,
                             R"({"metadata":{"name":")" + name + R"("},"data":)" + data + "}");
    }

    authorization::Authorizer authorizer_;
    Policies policies_;
    Plugins plugins_;
    registry::testing::Cluster cluster_;
};

TEST_F(Checked, ADenialNamesPolicyBindingAndExpression) {
    policy("p", R"J("validations":[{"expression":"object == null || int(object.data.n) <= 5"}])J");
    EXPECT_EQ(make("a", R"({"n":"9"})").status, 201);  // Not bound.
    bind("b", "p");
    EXPECT_EQ(make("b", R"({"n":"5"})").status, 201);
    const Reply denied = make("c", R"({"n":"6"})");
    EXPECT_EQ(denied.status, 422);
    EXPECT_EQ(denied.at("/reason"), "Invalid");
    const std::string why =
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object == null || "
        "int(object.data.n) <= 5";
    EXPECT_EQ(denied.at("/message"), R"(configmaps "c" is forbidden: )" + why);
    EXPECT_EQ(denied.at("/details/causes"), R"([{"message":")" + why + R"("}])");
    // An update is one, too, and so is a deletion.
    EXPECT_EQ(cluster_.call("PATCH", kMaps + "/b", R"({"data":{"n":"7"}})", kMerge).status, 422);
    EXPECT_EQ(cluster_.call("DELETE", kMaps + "/b").status, 200);
    ASSERT_EQ(cluster_.call("DELETE", kGroup + "validatingadmissionpolicybindings/b").status, 200);
    EXPECT_EQ(make("d", R"({"n":"6"})").status, 201);
}

TEST_F(Checked, MessagesAndReasons) {
    policy("p", R"J("validations":[
        {"expression":"!('a' in object.data)","message":" no a ","reason":"Forbidden"},
        {"expression":"!('b' in object.data)","messageExpression":"'b is ' + object.data.b","reason":"Unauthorized"},
        {"expression":"!('c' in object.data)","messageExpression":"'x' + object.data.none","message":"no c",
         "reason":"RequestEntityTooLarge"},
        {"expression":"!('d' in object.data)","messageExpression":"'two\\nlines'"},
        {"expression":"object.data.e == 'x' || true"}])J");
    bind("b", "p");
    struct Case {
        const char* data;
        int status;
        const char* message;
    };
    const Case cases[] = {{R"({"a":"1"})", 403, "no a"},
                          {R"({"b":"1"})", 401, "b is 1"},
                          {R"({"c":"1"})", 413, "no c"},
                          {R"({"d":"1"})", 422, "failed expression: !('d' in object.data)"}};
    for (const Case& one : cases) {
        const Reply reply = make("m", one.data);
        EXPECT_EQ(reply.status, one.status) << reply.body;
        EXPECT_EQ(reply.at("/message"),
                  std::string(R"(configmaps "m" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied )") +
                      "request: " + one.message);
    }
    EXPECT_EQ(make("m", R"({"x":"1"})").status, 201);
}

TEST_F(Checked, FailuresAreThePolicysToJudge) {
    policy("fail", R"("validations":[{"expression":"object.data.none == 'x'"}])");
    policy("ignore", R"("failurePolicy":"Ignore","validations":[{"expression":"object.data.none == 'x'"}])");
    bind("i", "ignore");
    EXPECT_EQ(make("a", R"({"k":"v"})").status, 201);
    bind("f", "fail");
    const Reply refused = make("b", R"({"k":"v"})");
    EXPECT_EQ(refused.status, 422);
    EXPECT_EQ(refused.at("/message"),
              R"(configmaps "b" is forbidden: ValidatingAdmissionPolicy 'fail' with binding 'f' denied request: )"
              "expression 'object.data.none == 'x'' resulted in error: no such key: none");
}

TEST_F(Checked, WarningsAndAudits) {
    policy("p", R"("validations":[{"expression":"true"},{"expression":"object.data.k != 'bad'","message":"k is bad"}],
        "auditAnnotations":[{"key":"seen","valueExpression":"'saw ' + object.data.k"},
                            {"key":"not","valueExpression":"object.data.k == 'good' ? 'x' : ''"},
                            {"key":"never","valueExpression":"null"}])");
    bind("b", "p", "", R"("Warn","Audit")");
    const auto recorder = std::make_shared<registry::testing::Recorder>();
    const auto noting = std::make_shared<Noting>(recorder);
    auto request = std::make_shared<http::Request>();
    request->method = "POST";
    request->path = kMaps;
    request->body = R"({"metadata":{"name":"m"},"data":{"k":"bad"}})";
    cluster_.api().handle(request, noting);
    const http::Response made = recorder->wait();
    EXPECT_EQ(made.status, 201) << made.body;
    std::string warning;
    for (const auto& [name, value] : made.headers) {
        if (name == "Warning") warning = value;
    }
    EXPECT_EQ(warning, R"(299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': k is bad")");
    EXPECT_EQ(noting->notes["p/seen"], "saw bad");
    EXPECT_FALSE(noting->notes.contains("p/not") || noting->notes.contains("p/never"));
    EXPECT_EQ(noting->notes["validation.policy.admission.k8s.io/validation_failure"],
              R"([{"message":"k is bad","policy":"p","binding":"b","expressionIndex":1,)"
              R"("validationActions":["Warn","Audit"]}])");
    const std::string metrics = policies_.metrics();
    for (const char* action : {"warn", "audit"}) {
        EXPECT_NE(metrics.find(std::string(R"(check_total{policy="p",policy_binding="b",error_type="invalid_error",)") +
                               R"(enforcement_action=")" + action + "\"} 1"),
                  std::string::npos)
            << metrics;
    }
}

TEST_F(Checked, VariablesAreMadeOnceAndOnlyIfMentioned) {
    policy("p", R"J("variables":[{"name":"n","expression":"int(object.data.n)"},
                                {"name":"twice","expression":"variables.n * 2"},
                                {"name":"bad","expression":"object.data.none"}],
        "validations":[{"expression":"variables.twice <= 10 && variables.n >= 0",
                        "messageExpression":"'twice is ' + string(variables.twice)"},
                       {"expression":"!('bad' in object.data) || variables.bad == 'x'"}])J");
    bind("b", "p");
    EXPECT_EQ(make("a", R"({"n":"5"})").status, 201);
    EXPECT_TRUE(make("b", R"({"n":"6"})").at("/message").ends_with("denied request: twice is 12"));
    EXPECT_TRUE(make("c", R"({"n":"1","bad":"1"})")
                    .at("/message")
                    .ends_with("resulted in error: composited variable \"bad\" fails to evaluate: no such key: none"));
}

TEST_F(Checked, VariablesMayNotBeMentionedWithoutEnd) {
    std::string variables = R"({"name":"v0","expression":"1"})";
    for (int i = 1; i < 400; ++i) {
        variables += R"(,{"name":"v)" + std::to_string(i) + R"(","expression":"variables.v)" + std::to_string(i - 1) +
                     "\"}";
    }
    policy("p", R"("variables":[)" + variables + R"(],"validations":[{"expression":"variables.v399 == 1"}])");
    bind("b", "p");
    EXPECT_EQ(make("a", "{}").status, 422);
}

// Whatever the macros are that take most of the stack; which is that of a thread as the server starts them.
TEST_F(Checked, VariablesMentionedFromWithinMacros) {
    constexpr int kVariables = 99;
    constexpr int kNested = 120;
    int policies = 0;
    for (const auto& [before, behind] : {std::pair("[0].all(x, ", ")"), std::pair("[0].map(x, ", ")[0]")}) {
        std::string variables = R"({"name":"v0","expression":"true"})";
        for (int i = 1; i < kVariables; ++i) {
            std::string expression = "variables.v" + std::to_string(i - 1);
            for (int n = 0; n < kNested; ++n) expression = before + expression + behind;
            variables += R"(,{"name":"v)" + std::to_string(i) + R"(","expression":")" + expression + "\"}";
        }
        const std::string name = "p" + std::to_string(++policies);
        policy(name, R"("variables":[)" + variables + R"(],"validations":[{"expression":"variables.v98"}])");
        bind(name, name);
        std::string why;
        std::thread([&] { why = make("a", "{}").at("/message"); }).join();
        EXPECT_NE(why.find("fails to evaluate: expressions are nested too deeply"), std::string::npos) << why;
        EXPECT_EQ(cluster_.call("DELETE", kGroup + "validatingadmissionpolicybindings/" + name).status, 200);
    }
}

TEST_F(Checked, AVariableMayNotHaveAllOfThemInIt) {
    policy("p", R"J("variables":[{"name":"a","expression":"1"},{"name":"b","expression":"dyn(variables)"}],
        "validations":[{"expression":"dyn(variables) == variables.b"}])J");
    bind("b", "p");
    const std::string why = make("a", "{}").at("/message");
    EXPECT_TRUE(why.ends_with("resulted in error: composited variable \"b\" fails to evaluate: values are nested too "
                              "deeply"))
        << why;
}

TEST_F(Checked, ConditionsAndConstraints) {
    policy("p", R"("matchConditions":[{"name":"guarded","expression":"has(object.data) && 'guard' in object.data"}],
        "validations":[{"expression":"false"}])");
    bind("b", "p", R"(,"matchResources":{"objectSelector":{"matchLabels":{"l":"x"}},
        "excludeResourceRules":[{"operations":["*"],"apiGroups":[""],"apiVersions":["v1"],"resources":["configmaps"],
                                 "resourceNames":["spared"]}]})");
    const auto labelled = [&](const std::string& name, const std::string& data) {
        return cluster_
            .call("POST", kMaps,
                  R"({"metadata":{"name":")" + name + R"(","labels":{"l":"x"}},"data":)" + data + "}")
            .status;
    };
    EXPECT_EQ(make("a", R"({"guard":"1"})").status, 201);
    EXPECT_EQ(labelled("b", R"({"k":"v"})"), 201);
    EXPECT_EQ(labelled("spared", R"({"guard":"1"})"), 201);
    EXPECT_EQ(labelled("c", R"({"guard":"1"})"), 422);
}

TEST_F(Checked, RequestNamespaceAndAuthorizer) {
    policy("p", R"J("validations":[
        {"expression":"request.operation == 'CREATE' && request.name == object.metadata.name && request.namespace == 'default' && request.resource.resource == 'configmaps' && !request.dryRun && request.options.kind == 'CreateOptions'"},
        {"expression":"oldObject == null && object.kind == 'ConfigMap' && object.apiVersion == 'v1'"},
        {"expression":"namespaceObject.metadata.name == 'default' && namespaceObject.metadata.creationTimestamp > timestamp('2000-01-01T00:00:00Z')"},
        {"expression":"authorizer.group('').resource('pods').namespace('x').check('get').allowed()"},
        {"expression":"authorizer.requestResource.check('create').allowed() && authorizer.path('/healthz').check('get').allowed()"}])J");
    bind("b", "p");
    const Reply reply = make("a", "{}");
    EXPECT_EQ(reply.status, 201) << reply.body;
    EXPECT_EQ(make("b", "{}", "?dryRun=All").status, 422);
}

// As upstream: requests for tokens are shown to policies, and questions about rights are not.
TEST_F(Checked, ReviewsAreNobodysBusiness) {
    policy("p", R"J("validations":[{"expression":"false"}])J", R"("apiGroups":["*"],"resources":["*/*"])");
    bind("b", "p");
    const auto verdict = [this](registry::Posted posted, registry::Message* body) {
        posted.name_space = posted.kind->namespaced ? "default" : "";
        auto request = std::make_shared<http::Request>();
        request->method = "POST";
        const auto recorder = std::make_shared<registry::testing::Recorder>();
        cluster_.api().admit_posted(request, recorder, posted, [&, recorder](registry::PostedAdmission& admission) {
            const auto ok = admission.check(body);
            recorder->send({ok ? 200 : ok.error().code, {}, "{}"});
        });
        return recorder->wait().status;
    };
    static const auto review = registry::unstored_kind<k8s::io::api::authentication::v1::TokenReview>(
        "authentication.k8s.io", "v1", "tokenreviews", "tokenreview", false);
    static const auto access = registry::unstored_kind<k8s::io::api::authorization::v1::LocalSubjectAccessReview>(
        "authorization.k8s.io", "v1", "localsubjectaccessreviews", "localsubjectaccessreview", true);
    static const auto token = registry::unstored_kind<k8s::io::api::authentication::v1::TokenRequest>(
        "authentication.k8s.io", "v1", "tokenrequests", "tokenrequest", true);
    registry::Posted posted;
    posted.kind = &review;
    EXPECT_EQ(verdict(posted, review.new_object().get()), 200);
    posted.kind = &access;
    EXPECT_EQ(verdict(posted, access.new_object().get()), 200);
    posted.kind = &token;
    posted.resource = &registry::kind_named("", "v1", "serviceaccounts");
    posted.subresource = "token";
    posted.name = "robot";
    EXPECT_EQ(verdict(posted, token.new_object().get()), 422);
}

TEST_F(Checked, ParamsByNameAndSelector) {
    ASSERT_EQ(make("limits", R"({"most":"3"})").status, 201);
    policy("p", R"J("paramKind":{"apiVersion":"v1","kind":"ConfigMap"},
        "validations":[{"expression":"!('n' in object.data) || int(object.data.n) <= int(params.data.most)"}])J");
    bind("named", "p", R"(,"paramRef":{"name":"limits","parameterNotFoundAction":"Deny"})");
    EXPECT_EQ(make("a", R"({"n":"3"})").status, 201);
    EXPECT_EQ(make("b", R"({"n":"4"})").status, 422);
    ASSERT_EQ(cluster_.call("DELETE", kGroup + "validatingadmissionpolicybindings/named").status, 200);

    bind("selected", "p",
         R"(,"paramRef":{"selector":{"matchLabels":{"role":"limits"}},"parameterNotFoundAction":"Deny"})");
    const Reply none = make("c", R"({"n":"1"})");
    EXPECT_EQ(none.status, 422);
    EXPECT_EQ(none.at("/message"),
              R"(configmaps "c" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'selected' denied request: )"
              "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction");
    ASSERT_EQ(cluster_.call("DELETE", kGroup + "validatingadmissionpolicybindings/selected").status, 200);
    bind("lenient", "p",
         R"(,"paramRef":{"selector":{"matchLabels":{"role":"limits"}},"parameterNotFoundAction":"Allow"})");
    EXPECT_EQ(make("c", R"({"n":"100"})").status, 201);
    ASSERT_EQ(cluster_.call("POST", kMaps,
                            R"({"metadata":{"name":"l2","labels":{"role":"limits"}},"data":{"most":"50"}})")
                  .status,
              201);
    EXPECT_EQ(make("d", R"({"n":"51"})").status, 422);
    EXPECT_EQ(make("e", R"({"n":"50"})").status, 201);
}

TEST_F(Checked, ParamKindsThatAreNotThere) {
    policy("p", R"("paramKind":{"apiVersion":"rules.example.com/v1","kind":"Limit"},"validations":[{"expression":"true"}])");
    bind("b", "p", R"(,"paramRef":{"name":"x","parameterNotFoundAction":"Allow"})");
    EXPECT_EQ(make("a", "{}").at("/message"),
              R"(configmaps "a" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: )"
              "failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Limit'");
}

TEST_F(Checked, BudgetsEnd) {
    std::string list = "[1";
    for (int i = 0; i < 44; ++i) list += ",1";
    list += "]";
    // Each evaluation costs some hundred thousands: the budget is used up before all are done.
    std::string validations;
    for (int i = 0; i < 40; ++i) {
        validations += std::string(i == 0 ? "" : ",") + R"J({"expression":"variables.l.all(x, variables.l.all(y, )J" +
                       R"J(variables.l.all(z, z > 0)))"})J";
    }
    policy("p", R"("variables":[{"name":"l","expression":")" + list + R"("}],"validations":[)" + validations + "]");
    bind("b", "p");
    const std::string why = make("a", "{}").at("/message");
    EXPECT_TRUE(why.ends_with("denied request: validation failed due to running out of cost budget, no further "
                              "validation rules will be run"))
        << why;
}

struct Refusal {
    const char* spec;
    const char* why;
};
class Refusals : public Checked, public ::testing::WithParamInterface<Refusal> {};

TEST_P(Refusals, AtWriteInUpstreamsWords) {
    const Reply reply = cluster_.call(
        "POST", kGroup + "validatingadmissionpolicies",
        R"({"metadata":{"name":"p"},"spec":{"matchConstraints":{"resourceRules":[{"operations":["*"],"apiGroups":[""],)"
        R"("apiVersions":["v1"],"resources":["pods"]}]},)" +
            std::string(GetParam().spec) + "}}");
    registry::testing::expect_refused(reply, GetParam().why);
}

INSTANTIATE_TEST_SUITE_P(
    All, Refusals,
    ::testing::Values(
        Refusal{R"("validations":[{"expression":"object.x = 1"}])",
                R"(spec.validations[0].expression: Invalid value: "object.x = 1": compilation failed: ERROR: <input>:1:10: )"
                "Syntax error: token recognition error at: '="},
        Refusal{R"("validations":[{"expression":"params.x == 1"}])",
                R"(spec.validations[0].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: )"
                "undeclared reference to 'params' (in container '')"},
        Refusal{R"("validations":[{"expression":"1 + 1"}])",
                R"(spec.validations[0].expression: Invalid value: "1 + 1": must evaluate to bool but got int)"},
        Refusal{R"J("validations":[{"expression":"true","messageExpression":"authorizer.path('/x').check('get').reason()"}])J",
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in container '')"},
        Refusal{R"("validations":[{"expression":"true","messageExpression":"1"}])",
                R"(spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int)"},
        Refusal{R"("variables":[{"name":"a","expression":"variables.b"}],"validations":[{"expression":"true"}])",
                R"(spec.variables[0].expression: Invalid value: "variables.b": compilation failed: ERROR: <input>:1:10: )"
                "undefined field 'b'"},
        Refusal{R"("auditAnnotations":[{"key":"k","valueExpression":"true"}])",
                R"(spec.auditAnnotations[0].valueExpression: Invalid value: "true": must evaluate to one of )"
                "[string null_type] but got bool"},
        Refusal{R"("matchConditions":[{"name":"c","expression":"request.none"}],"validations":[{"expression":"true"}])",
                R"(spec.matchConditions[0].expression: Invalid value: "request.none": compilation failed: ERROR: )"
                "<input>:1:8: undefined field 'none'"}));

}  // namespace
}  // namespace sluice::admission::testing
