// The plugin PodSecurity over a real store, with the words of Kubernetes 1.32.
#include <gtest/gtest.h>

#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::admission {
namespace {

using registry::testing::Cluster;
using registry::testing::kMerge;
using registry::testing::Reply;

const std::string kSpace = "/api/v1/namespaces/ps";

class PodSecurity : public testing::Test {
protected:
    PodSecurity() { cluster_.api().set_admission(&plugins_); }

    // Labels without their prefix, as JSON members: `"enforce":"baseline"`.
    static std::string labels(std::string text) {
        for (std::size_t at = 0; (at = text.find("!", at)) != std::string::npos; at += 1) {
            text.replace(at, 1, "pod-security.kubernetes.io/");
        }
        return text;
    }
    void make_space(const std::string& of) {
        const Reply made = cluster_.call("POST", "/api/v1/namespaces",
                                         R"({"metadata":{"name":"ps","labels":{)" + labels(of) + "}}}");
        ASSERT_EQ(made.status, 201) << made.body;
    }
    Reply relabel(const std::string& of) {
        return cluster_.call("PATCH", kSpace, R"({"metadata":{"labels":{)" + labels(of) + "}}}", kMerge);
    }
    static std::string pod(const std::string& name, const std::string& context) {
        return R"({"metadata":{"name":")" + name +
               R"("},"spec":{"containers":[{"name":"c","image":"i","securityContext":{)" + context + "}}]}}";
    }
    Reply make_pod(const std::string& name, const std::string& context) {
        return cluster_.call("POST", kSpace + "/pods", pod(name, context));
    }
    static std::vector<std::string> warnings(const Reply& reply) {
        std::vector<std::string> out;
        for (const auto& [name, value] : reply.headers) {
            if (name == "Warning") out.push_back(value);
        }
        return out;
    }

    authorization::Authorizer authorizer_{{authorization::Mode::kAlwaysAllow}};
    Plugins plugins_{authorizer_};
    Cluster cluster_;
};

TEST_F(PodSecurity, RefusesPodsAndWarnsOfTemplates) {
    make_space(R"("!enforce":"baseline")");
    const Reply refused = make_pod("x", R"("privileged":true)");
    EXPECT_EQ(refused.status, 403);
    EXPECT_EQ(refused.at("/message"),
              R"(pods "x" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not )"
              R"(set securityContext.privileged=true))");
    const Reply made = make_pod("x", "");
    EXPECT_EQ(made.status, 201) << made.body;
    EXPECT_TRUE(warnings(made).empty());
    const Reply warned = cluster_.call(
        "POST", "/apis/apps/v1/namespaces/ps/deployments",
        R"({"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":)"
        R"({"labels":{"a":"b"}},"spec":{"hostPID":true,"containers":[{"name":"c","image":"i"}]}}}})");
    EXPECT_EQ(warned.status, 201) << warned.body;
    EXPECT_EQ(warnings(warned),
              std::vector<std::string>{
                  R"x(299 - "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)")x"});
}

TEST_F(PodSecurity, WarnsByItsOwnMeasure) {
    make_space(R"("!warn":"restricted","!warn-version":"v1.8")");
    const Reply made = make_pod("x", R"("runAsNonRoot":true)");
    EXPECT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(warnings(made),
              std::vector<std::string>{
                  R"(299 - "would violate PodSecurity \"restricted:v1.8\": allowPrivilegeEscalation != false )"
                  R"x((container \"c\" must set securityContext.allowPrivilegeEscalation=false)")x"});
}

TEST_F(PodSecurity, UpdatesOfPodsCountWhenImagesChange) {
    make_space(R"("a":"b")");
    ASSERT_EQ(make_pod("x", R"("privileged":true)").status, 201);
    ASSERT_EQ(relabel(R"("!enforce":"baseline")").status, 200);
    EXPECT_EQ(cluster_.call("PATCH", kSpace + "/pods/x", R"({"metadata":{"labels":{"a":"b"}}})", kMerge).status, 200);
    const Reply refused =
        cluster_.call("PATCH", kSpace + "/pods/x", R"({"spec":{"containers":[{"name":"c","image":"j"}]}})",
                      {{"Content-Type", "application/strategic-merge-patch+json"}});
    EXPECT_EQ(refused.status, 403) << refused.body;
    EXPECT_EQ(cluster_.call("DELETE", kSpace + "/pods/x").status, 200);
}

TEST_F(PodSecurity, LabelsThatTightenWarnOfPods) {
    make_space(R"("a":"b")");
    ASSERT_EQ(make_pod("y", R"("privileged":true)").status, 201);
    ASSERT_EQ(make_pod("x", R"("privileged":true)").status, 201);
    ASSERT_EQ(make_pod("z", R"("capabilities":{"add":["NET_RAW"]})").status, 201);
    const std::vector<std::string> expected = {
        R"(299 - "existing pods in namespace \"ps\" violate the new PodSecurity enforce level \"baseline:latest\"")",
        R"(299 - "x (and 1 other pod): privileged")", R"(299 - "z: non-default capabilities")"};
    const Reply tried = cluster_.call("PATCH", kSpace + "?dryRun=All",
                                      labels(R"({"metadata":{"labels":{"!enforce":"baseline"}}})"), kMerge);
    EXPECT_EQ(warnings(tried), expected);
    EXPECT_EQ(warnings(relabel(R"("!enforce":"baseline")")), expected);
    EXPECT_TRUE(warnings(relabel(R"("other":"label")")).empty());
    EXPECT_TRUE(warnings(relabel(R"("!enforce":"privileged")")).empty());
}

TEST_F(PodSecurity, LabelsThatCannotBeRead) {
    const Reply refused = cluster_.call("POST", "/api/v1/namespaces",
                                        labels(R"({"metadata":{"name":"ps","labels":{"!enforce":"strict"}}})"));
    EXPECT_EQ(refused.status, 422);
    EXPECT_EQ(refused.at("/message"),
              R"(Namespace "ps" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: )"
              R"("strict": must be one of privileged, baseline, restricted)");
    make_space(R"("a":"b")");
    const Reply version = relabel(R"("!warn-version":"1.2")");
    EXPECT_EQ(version.status, 422);
    EXPECT_NE(version.at("/message").find(R"(Invalid value: "1.2": must be "latest" or "v1.x")"), std::string::npos);
}

TEST_F(PodSecurity, CanBeTurnedOff) {
    auto without = parse_plugins("", "PodSecurity");
    ASSERT_TRUE(without);
    const Plugins plugins(authorizer_, *without);
    cluster_.api().set_admission(&plugins);
    make_space(R"("!enforce":"restricted")");
    EXPECT_EQ(make_pod("x", R"("privileged":true)").status, 201);
    cluster_.api().set_admission(&plugins_);
}

}  // namespace
}  // namespace sluice::admission
