// Classes, admission, aggregation and flow control: what kube-apiserver 1.32 answers, and what a cluster has of
// them from the start.
#include <gtest/gtest.h>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

const std::string kPriorities = "/apis/scheduling.k8s.io/v1/priorityclasses";
const std::string kRuntimes = "/apis/node.k8s.io/v1/runtimeclasses";
const std::string kAdmission = "/apis/admissionregistration.k8s.io/v1/";
const std::string kServices = "/apis/apiregistration.k8s.io/v1/apiservices";
const std::string kFlow = "/apis/flowcontrol.apiserver.k8s.io/v1/";

TEST(PriorityClasses, TheSystemsOwnAreThereAndStay) {
    Cluster cluster;
    EXPECT_EQ(cells(cluster, kPriorities + "/system-node-critical"),
              R"(["system-node-critical",2000001000,false,"AGE","PreemptLowerPriority"])");
    EXPECT_EQ(cells(cluster, kPriorities + "/system-cluster-critical"),
              R"(["system-cluster-critical",2000000000,false,"AGE","PreemptLowerPriority"])");
    const Reply gone = cluster.call("DELETE", kPriorities + "/system-node-critical");
    EXPECT_EQ(gone.status, 403);
    EXPECT_EQ(gone.at("/message"),
              "priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a "
              "system priority class and cannot be deleted");
    expect_refused(cluster.call("POST", kPriorities, R"({"metadata":{"name":"system-mine"},"value":1})"),
                   "metadata.name: Forbidden: priority class names with 'system-' prefix are "
                   "reserved for system use only. error: system-mine is not a known system "
                   "priority class");
}

TEST(PriorityClasses, ValueIsImmutableAndBounded) {
    Cluster cluster;
    const Reply made =
        cluster.call("POST", kPriorities, R"({"metadata":{"name":"high"},"value":1000000})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/preemptionPolicy"), "PreemptLowerPriority");
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    expect_refused(cluster.call("PATCH", kPriorities + "/high", R"({"value":2})", kMerge),
                   "value: Forbidden: may not be changed in an update.");
    expect_refused(
        cluster.call("PATCH", kPriorities + "/high", R"({"preemptionPolicy":"Never"})", kMerge),
        R"(preemptionPolicy: Invalid value: "Never": field is immutable)");
    expect_refused(
        cluster.call("POST", kPriorities, R"({"metadata":{"name":"x"},"value":1000000001})"),
        "value: Forbidden: maximum allowed value of a user defined priority is 1000000000");
    EXPECT_EQ(cluster.call("DELETE", kPriorities + "/high").status, 200);
}

TEST(RuntimeClasses, HandlerIsImmutable) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kRuntimes,
        R"({"metadata":{"name":"gvisor"},"handler":"runsc","overhead":{"podFixed":{"memory":)"
        R"("120Mi"}},"scheduling":{"nodeSelector":{"a":"b"},"tolerations":[{"key":"k","operator":)"
        R"("Exists"}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(cells(cluster, kRuntimes), R"(["gvisor","runsc","AGE"])");
    expect_refused(cluster.call("PATCH", kRuntimes + "/gvisor", R"({"handler":"kata"})", kMerge),
                   R"(handler: Invalid value: "kata": field is immutable)");
    expect_refused(cluster.call("POST", kRuntimes, R"({"metadata":{"name":"x"},"handler":"A_b"})"),
                   R"(handler: Invalid value: "A_b": a lowercase RFC 1123 label must consist of)");
    expect_refused(
        cluster.call("POST", kRuntimes,
                     R"({"metadata":{"name":"x"},"handler":"h","scheduling":{"tolerations":)"
                     R"([{"operator":"Equal"}]}})"),
        R"(scheduling.tolerations[0].operator: Invalid value: "Equal": operator must be Exists )"
        "when `key` is empty");
}

std::string webhook(const std::string& more, const std::string& client =
                                                 R"({"service":{"namespace":"n","name":"s"}})") {
    return R"({"metadata":{"name":"h"},"webhooks":[{"name":"a.example.com","sideEffects":"None",)"
           R"("admissionReviewVersions":["v1"],"clientConfig":)" +
           client + more + "}]}";
}

TEST(Webhooks, Defaults) {
    Cluster cluster;
    const std::string path = kAdmission + "mutatingwebhookconfigurations";
    const Reply made = cluster.call(
        "POST", path,
        webhook(R"(,"rules":[{"operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"],)"
                R"("resources":["pods"]}])"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/webhooks/0/failurePolicy"), "Fail");
    EXPECT_EQ(made.at("/webhooks/0/matchPolicy"), "Equivalent");
    EXPECT_EQ(made.at("/webhooks/0/timeoutSeconds"), "10");
    EXPECT_EQ(made.at("/webhooks/0/reinvocationPolicy"), "Never");
    EXPECT_EQ(made.at("/webhooks/0/namespaceSelector"), "{}");
    EXPECT_EQ(made.at("/webhooks/0/objectSelector"), "{}");
    EXPECT_EQ(made.at("/webhooks/0/rules/0/scope"), "*");
    EXPECT_EQ(made.at("/webhooks/0/rules/0/operations"), R"(["CREATE"])");
    EXPECT_EQ(made.at("/webhooks/0/clientConfig/service/port"), "443");
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    EXPECT_EQ(cells(cluster, path), R"(["h",1,"AGE"])");
    // A strategic merge patch finds the webhook by its name.
    const Reply patched = cluster.call(
        "PATCH", path + "/h", R"({"webhooks":[{"name":"a.example.com","timeoutSeconds":3}]})",
        {{"Content-Type", "application/strategic-merge-patch+json"}});
    EXPECT_EQ(patched.at("/webhooks/0/timeoutSeconds"), "3") << patched.body;
    EXPECT_EQ(patched.at("/metadata/generation"), "2");
    const Reply same =
        cluster.call("PATCH", path + "/h", R"({"metadata":{"labels":{"a":"b"}}})", kMerge);
    EXPECT_EQ(same.at("/metadata/generation"), "2");
}

TEST(Webhooks, Validation) {
    Cluster cluster;
    const std::string path = kAdmission + "validatingwebhookconfigurations";
    const auto bad = [&](const std::string& body, const std::string& why) {
        expect_refused(cluster.call("POST", path, body), why);
    };
    bad(webhook("", "{}"),
        "webhooks[0].clientConfig: Required value: exactly one of url or service is required");
    bad(webhook("", R"({"url":"http://a.example.com/x"})"),
        R"(webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL )"
        "scheme; desired format: https://host[/path]");
    bad(webhook("", R"({"url":"https://u@a.example.com/x?y#z"})"),
        R"(webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in )"
        "the URL");
    bad(webhook(R"(,"timeoutSeconds":31)"),
        "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 "
        "seconds");
    bad(webhook(R"(,"failurePolicy":"Maybe")"),
        R"(webhooks[0].failurePolicy: Unsupported value: "Maybe": supported values: "Fail", )"
        R"("Ignore")");
    bad(webhook(R"(,"rules":[{"operations":["CREATE","*"],"apiGroups":["*"],"apiVersions":["*"],)"
                R"("resources":["*/*","pods"]}])"),
        R"(webhooks[0].rules[0].operations: Invalid value: []admissionregistration.OperationType)"
        R"({"CREATE", "*"}: if '*' is present, must not specify other operations)");
    bad(webhook(R"(,"rules":[{"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],)"
                R"("resources":["pods/*","pods/log"]}])"),
        R"(webhooks[0].rules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, )"
        "must not specify pods/log");
    bad(R"({"metadata":{"name":"h"},"webhooks":[{"name":"short","sideEffects":"Some",)"
        R"("admissionReviewVersions":["v2"],"clientConfig":{"url":"https://a/b"}}]})",
        R"(webhooks[0].name: Invalid value: "short": should be a domain with at least three )"
        "segments separated by dots");
    bad(R"({"metadata":{"name":"h"},"webhooks":[{"name":"a.b.c","sideEffects":"Some",)"
        R"("admissionReviewVersions":["v2"],"clientConfig":{"url":"https://a/b"}}]})",
        R"(webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", )"
        R"("NoneOnDryRun")");
    bad(R"({"metadata":{"name":"h"},"webhooks":[{"name":"a.b.c","sideEffects":"None",)"
        R"("admissionReviewVersions":["v2"],"clientConfig":{"url":"https://a/b"}}]})",
        R"(webhooks[0].admissionReviewVersions: Invalid value: []string{"v2"}: must include at )"
        "least one of v1, v1beta1");
}

constexpr const char* kConstraints =
    R"("matchConstraints":{"resourceRules":[{"operations":["CREATE"],"apiGroups":["apps"],)"
    R"("apiVersions":["v1"],"resources":["deployments"]}]})";

TEST(AdmissionPolicies, DefaultsStatusAndTable) {
    Cluster cluster;
    const std::string path = kAdmission + "validatingadmissionpolicies";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"p"},"spec":{"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},)" +
            std::string(kConstraints) +
            R"(,"validations":[{"expression":"object.spec.replicas <= 5"}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/failurePolicy"), "Fail");
    EXPECT_EQ(made.at("/spec/matchConstraints/matchPolicy"), "Equivalent");
    EXPECT_EQ(made.at("/spec/matchConstraints/namespaceSelector"), "{}");
    EXPECT_EQ(made.at("/spec/matchConstraints/resourceRules/0/scope"), "*");
    EXPECT_EQ(cells(cluster, path), R"(["p",1,"v1/ConfigMap","AGE"])");
    EXPECT_EQ(cluster
                  .call("PATCH", path + "/p/status", R"({"status":{"observedGeneration":1}})",
                        kMerge)
                  .at("/status/observedGeneration"),
              "1");
    expect_refused(cluster.call("POST", path, R"({"metadata":{"name":"q"},"spec":{)" +
                                                  std::string(kConstraints) + "}}"),
                   "spec.validations: Required value: validations or auditAnnotations must "
                   "contain at least one item");
    expect_refused(
        cluster.call("POST", path,
                     R"({"metadata":{"name":"q"},"spec":{"variables":[{"name":"in","expression":)"
                     R"("1"}],"validations":[{"expression":" "}]}})"),
        R"(spec.variables[0].name: Invalid value: "in": name is not a valid CEL identifier)");
}

TEST(AdmissionPolicies, Bindings) {
    Cluster cluster;
    const std::string path = kAdmission + "validatingadmissionpolicybindings";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"b"},"spec":{"policyName":"p","validationActions":["Deny"],)"
        R"("paramRef":{"name":"c","parameterNotFoundAction":"Deny"}}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(cells(cluster, path), R"(["b","p","*/c","AGE"])");
    expect_refused(
        cluster.call("POST", path,
                     R"({"metadata":{"name":"c"},"spec":{"policyName":"p","validationActions":)"
                     R"(["Deny","Warn"]}})"),
        R"(spec.validationActions: Invalid value: []admissionregistration.ValidationAction)"
        R"({"Deny", "Warn"}: must not contain both Deny and Warn)");
    expect_refused(
        cluster.call("POST", path, R"({"metadata":{"name":"c"},"spec":{"policyName":"p"}})"),
        "spec.validationActions: Required value: at least one validation action is required");
}

TEST(ApiServices, WhatIsServedHereIsLocalAndAvailable) {
    Cluster cluster;
    const Reply core = cluster.call("GET", kServices + "/v1.");
    ASSERT_EQ(core.status, 200) << core.body;
    EXPECT_EQ(core.at("/spec"), R"({"version":"v1","groupPriorityMinimum":18000,"versionPriority":1})");
    EXPECT_EQ(core.at("/metadata/labels/kube-aggregator.kubernetes.io~1automanaged"), "onstart");
    EXPECT_EQ(core.at("/status/conditions/0/reason"), "Local");
    EXPECT_EQ(core.at("/status/conditions/0/message"), "Local APIServices are always available");
    EXPECT_EQ(cells(cluster, kServices + "/v1.apps"), R"(["v1.apps","Local","True","AGE"])");
    EXPECT_EQ(cluster.call("GET", kServices + "/v1.apps").at("/spec/groupPriorityMinimum"), "17800");
    EXPECT_EQ(cluster.call("GET", kServices + "/v1.apiregistration.k8s.io").status, 404);
    EXPECT_TRUE(cluster.store()
                    .get("/registry/apiregistration.k8s.io/apiservices/v1.apps")
                    ->has_value());
    // Deleted ones come back at the next start.
    ASSERT_EQ(cluster.call("DELETE", kServices + "/v1.apps").status, 200);
    cluster.restart();
    EXPECT_EQ(cluster.call("GET", kServices + "/v1.apps").status, 200);
}

TEST(ApiServices, Validation) {
    Cluster cluster;
    const std::string spec =
        R"("spec":{"group":"metrics.k8s.io","version":"v1beta1","groupPriorityMinimum":100,)"
        R"("versionPriority":100,"service":{"namespace":"kube-system","name":"metrics-server"})";
    const Reply made = cluster.call("POST", kServices,
                                    R"({"metadata":{"name":"v1beta1.metrics.k8s.io"},)" + spec + "}}");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/service/port"), "443");
    EXPECT_EQ(cells(cluster, kServices + "/v1beta1.metrics.k8s.io"),
              R"(["v1beta1.metrics.k8s.io","kube-system/metrics-server","Unknown","AGE"])");
    expect_refused(cluster.call("POST", kServices, R"({"metadata":{"name":"x"},)" + spec + "}}"),
                   R"(metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: )"
                   R"("v1beta1.metrics.k8s.io")");
    ASSERT_EQ(cluster.call("DELETE", kServices + "/v1beta1.metrics.k8s.io").status, 200);
    expect_refused(
        cluster.call("POST", kServices,
                     R"({"metadata":{"name":"v1beta1.metrics.k8s.io"},)" + spec +
                         R"(,"caBundle":"YQ==","insecureSkipTLSVerify":true}})"),
        "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present");
    expect_refused(cluster.call("POST", kServices,
                                R"({"metadata":{"name":"v2.a.b"},"spec":{"group":"a.b","version":)"
                                R"("v2","groupPriorityMinimum":0,"versionPriority":1001}})"),
                   "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than "
                   "20000");
}

TEST(FlowControl, DefaultsAreThereAndTheMandatoryOnesFixed) {
    Cluster cluster;
    EXPECT_EQ(cells(cluster, kFlow + "flowschemas/exempt"),
              R"(["exempt","exempt",1,"<none>","AGE","False"])");
    EXPECT_EQ(cells(cluster, kFlow + "flowschemas/service-accounts"),
              R"(["service-accounts","workload-low",9000,"ByUser","AGE","False"])");
    EXPECT_EQ(cells(cluster, kFlow + "prioritylevelconfigurations/workload-low"),
              R"(["workload-low","Limited",100,128,6,50,"AGE"])");
    EXPECT_EQ(cells(cluster, kFlow + "prioritylevelconfigurations/exempt"),
              R"(["exempt","Exempt","<none>","<none>","<none>","<none>","AGE"])");
    EXPECT_EQ(cells(cluster, kFlow + "prioritylevelconfigurations/catch-all"),
              R"(["catch-all","Limited",5,"<none>","<none>","<none>","AGE"])");
    const std::string list = cluster.call("GET", kFlow + "flowschemas").at("/items/12/metadata/name");
    EXPECT_EQ(list, "workload-leader-election");
    expect_refused(cluster.call("PATCH", kFlow + "flowschemas/catch-all",
                                R"({"spec":{"matchingPrecedence":9999}})", kMerge),
                   "spec of 'catch-all' must equal the fixed value");
    expect_refused(cluster.call("PATCH", kFlow + "prioritylevelconfigurations/catch-all",
                                R"({"spec":{"limited":{"nominalConcurrencyShares":50}}})", kMerge),
                   "spec of 'catch-all' must equal the fixed value");
    const Reply exempt = cluster.call("PATCH", kFlow + "prioritylevelconfigurations/exempt",
                                      R"({"spec":{"exempt":{"nominalConcurrencyShares":7}}})", kMerge);
    EXPECT_EQ(exempt.status, 200) << exempt.body;
    cluster.restart();
    EXPECT_EQ(cluster.call("GET", kFlow + "prioritylevelconfigurations/exempt")
                  .at("/spec/exempt/nominalConcurrencyShares"),
              "7");
}

TEST(FlowControl, SuggestedObjectsFollowUnlessToldNotTo) {
    Cluster cluster;
    const std::string path = kFlow + "flowschemas/service-accounts";
    const auto set = [&](const std::string& annotation, int precedence) {
        const Reply reply = cluster.call(
            "PATCH", path,
            R"({"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":")" + annotation +
                R"("}},"spec":{"matchingPrecedence":)" + std::to_string(precedence) + "}}",
            kMerge);
        EXPECT_EQ(reply.status, 200) << reply.body;
        cluster.restart();
        return cluster.call("GET", path).at("/spec/matchingPrecedence");
    };
    EXPECT_EQ(set("false", 8000), "8000");
    EXPECT_EQ(set("true", 8001), "9000");
}

TEST(FlowControl, Validation) {
    Cluster cluster;
    const auto level = [&](const std::string& spec, const std::string& why) {
        expect_refused(cluster.call("POST", kFlow + "prioritylevelconfigurations",
                                    R"({"metadata":{"name":"l"},"spec":)" + spec + "}"),
                       why);
    };
    level(R"({"type":"Exempt"})",
          R"(spec.type: Invalid value: "Exempt": type must be 'Exempt' if and only if name is )"
          "'exempt'");
    level(R"({"type":"Limited"})",
          "spec.limited: Required value: must not be empty when type is Limited");
    level(R"({"type":"Limited","limited":{"limitResponse":{"type":"Queue","queuing":{"queues":4,)"
          R"("handSize":8}}}})",
          "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater "
          "than queues (4)");
    level(R"({"type":"Limited","limited":{"limitResponse":{"type":"Queue","queuing":{"queues":512,)"
          R"("handSize":8}}}})",
          "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of "
          "deckSize 512 and handSize 8 should not be greater than 60");
    const auto schema = [&](const std::string& spec, const std::string& why) {
        expect_refused(cluster.call("POST", kFlow + "flowschemas",
                                    R"({"metadata":{"name":"s"},"spec":)" + spec + "}"),
                       why);
    };
    schema(R"({"matchingPrecedence":1,"priorityLevelConfiguration":{"name":"l"}})",
           "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have "
           "matchingPrecedence 1");
    schema(R"({"priorityLevelConfiguration":{}})",
           "spec.priorityLevelConfiguration.name: Required value: must reference a priority level");
    schema(R"({"priorityLevelConfiguration":{"name":"l"},"rules":[{"subjects":[{"kind":"User",)"
           R"("user":{"name":"u"},"group":{"name":"g"}}],"nonResourceRules":[{"verbs":["get"],)"
           R"("nonResourceURLs":["/a*b"]}]}]})",
           R"(spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "/a*b": )"
           "wildcard can only do suffix matching");
    const Reply made = cluster.call(
        "POST", kFlow + "flowschemas",
        R"({"metadata":{"name":"s"},"spec":{"priorityLevelConfiguration":{"name":"l"},"rules":[)"
        R"({"subjects":[{"kind":"User","user":{"name":"u"}}],"resourceRules":[{"verbs":["*"],)"
        R"("apiGroups":["*"],"resources":["*"],"namespaces":["*"]}]}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/matchingPrecedence"), "1000");
    EXPECT_EQ(cells(cluster, kFlow + "flowschemas/s"), R"(["s","l",1000,"<none>","AGE","?"])");
}

}  // namespace
}  // namespace sluice::registry::testing
