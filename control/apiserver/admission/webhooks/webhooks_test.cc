// Webhooks asked over TLS, with the words of Kubernetes 1.32.
#include "control/apiserver/admission/webhooks/webhooks.h"

#include "control/apiserver/admission/webhooks/test_hook.h"
#include "control/http/forwarding_responder.h"

namespace sluice::admission::testing {
namespace {

const std::string kMaps = "/api/v1/namespaces/default/configmaps";

TEST_F(Asked, ReviewOfACreation) {
    hook_.on("/ok", R"("allowed":true)");
    configure(false, "c", hook_json("a.example.com", "/ok", rules(R"(["configmaps"])")));
    ASSERT_EQ(make("m", R"(,"labels":{"a":"b"})", "?fieldManager=me").status, 201);
    const auto seen = hook_.seen();
    ASSERT_EQ(seen.size(), 1U);
    const auto& request = seen[0];
    EXPECT_EQ(text(request, "/kind"), R"({"group":"","version":"v1","kind":"ConfigMap"})");
    EXPECT_EQ(text(request, "/resource"), R"({"group":"","version":"v1","resource":"configmaps"})");
    EXPECT_EQ(text(request, "/requestKind"), text(request, "/kind"));
    EXPECT_EQ(text(request, "/requestResource"), text(request, "/resource"));
    EXPECT_EQ(text(request, "/subResource"), "absent");
    EXPECT_EQ(text(request, "/name"), "m");
    EXPECT_EQ(text(request, "/namespace"), "default");
    EXPECT_EQ(text(request, "/operation"), "CREATE");
    EXPECT_EQ(text(request, "/object/kind"), "ConfigMap");
    EXPECT_EQ(text(request, "/object/apiVersion"), "v1");
    EXPECT_EQ(text(request, "/object/metadata/labels"), R"({"a":"b"})");
    EXPECT_NE(text(request, "/object/metadata/uid"), "absent");
    EXPECT_EQ(text(request, "/oldObject"), "null");
    EXPECT_EQ(text(request, "/dryRun"), "false");
    EXPECT_EQ(text(request, "/options"),
              R"({"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"me"})");
}

TEST_F(Asked, ReviewsOfUpdatesAndDeletions) {
    hook_.on("/ok", R"("allowed":true)");
    ASSERT_EQ(make("m").status, 201);
    configure(false, "c", hook_json("a.example.com", "/ok", rules(R"(["configmaps"])")));
    ASSERT_EQ(cluster_.call("PATCH", kMaps + "/m", R"({"data":{"k":"v"}})", registry::testing::kMerge).status, 200);
    ASSERT_EQ(cluster_.call("DELETE", kMaps + "/m?propagationPolicy=Background").status, 200);
    const auto seen = hook_.seen();
    ASSERT_EQ(seen.size(), 2U);
    EXPECT_EQ(text(seen[0], "/operation"), "UPDATE");
    EXPECT_EQ(text(seen[0], "/object/data"), R"({"k":"v"})");
    EXPECT_EQ(text(seen[0], "/oldObject/metadata/name"), "m");
    EXPECT_EQ(text(seen[0], "/oldObject/data"), "absent");
    EXPECT_EQ(text(seen[0], "/options/kind"), "UpdateOptions");
    EXPECT_EQ(text(seen[1], "/operation"), "DELETE");
    EXPECT_EQ(text(seen[1], "/object"), "null");
    EXPECT_EQ(text(seen[1], "/oldObject/data"), R"({"k":"v"})");
    EXPECT_EQ(text(seen[1], "/options"),
              R"({"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1","propagationPolicy":"Background"})");
}

TEST_F(Asked, DenialIsTheWebhooksOwn) {
    hook_.on("/no", R"("allowed":false,"status":{"code":403,"reason":"Forbidden","message":"not today"})");
    hook_.on("/why", R"("allowed":false)");
    hook_.on("/reason", R"("allowed":false,"status":{"code":200,"reason":"Conflict","status":"Success"})");
    configure(false, "c",
              hook_json("no.example.com", "/no",
                        rules(R"(["configmaps"])") + R"(,"objectSelector":{"matchLabels":{"h":"no"}})") +
                  "," +
                  hook_json("why.example.com", "/why",
                            rules(R"(["configmaps"])") + R"(,"objectSelector":{"matchLabels":{"h":"why"}})") +
                  "," +
                  hook_json("reason.example.com", "/reason",
                            rules(R"(["configmaps"])") + R"(,"objectSelector":{"matchLabels":{"h":"reason"}})"));
    const Reply no = make("m", R"(,"labels":{"h":"no"})");
    EXPECT_EQ(no.status, 403);
    EXPECT_EQ(no.at("/reason"), "Forbidden");
    EXPECT_EQ(no.at("/message"), "admission webhook \"no.example.com\" denied the request: not today");
    const Reply why = make("m", R"(,"labels":{"h":"why"})");
    EXPECT_EQ(why.status, 400);
    EXPECT_EQ(why.at("/message"), "admission webhook \"why.example.com\" denied the request without explanation");
    const Reply reason = make("m", R"(,"labels":{"h":"reason"})");
    EXPECT_EQ(reason.status, 400);
    EXPECT_EQ(reason.at("/message"), "admission webhook \"reason.example.com\" denied the request: Conflict");
    // Nothing was stored; who wears no label is none of theirs.
    EXPECT_EQ(make("m").status, 201);
    EXPECT_NE(webhooks_.metrics().find(
                  R"(apiserver_admission_webhook_rejection_count{name="no.example.com",type="validating",)"
                  R"(operation="CREATE",error_type="no_error",rejection_code="403"} 1)"),
              std::string::npos)
        << webhooks_.metrics();
}

TEST_F(Asked, PatchesAreAppliedInOrderAndDefaultsAfterThem) {
    hook_.on("/1", patch(R"([{"op":"add","path":"/data","value":{"one":"1"}}])"));
    hook_.on("/2", [](const json::object& request) {
        EXPECT_EQ(text(request, "/object/data"), R"({"one":"1"})");
        return patch(R"([{"op":"add","path":"/data/two","value":"2"}])");
    });
    hook_.on("/pod", patch(R"([{"op":"add","path":"/spec/initContainers","value":[{"image":"i","name":"init"}]}])"));
    // By name, whatever order they are made in.
    configure(true, "b", hook_json("b.example.com", "/2", rules(R"(["configmaps"])")));
    configure(true, "a",
              hook_json("a.example.com", "/1", rules(R"(["configmaps"])")) + "," +
                  hook_json("pod.example.com", "/pod", rules(R"(["pods"])", R"(["CREATE"])")));
    EXPECT_EQ(make("m").at("/data"), R"({"one":"1","two":"2"})");
    EXPECT_EQ(cluster_.call("GET", kMaps + "/m").at("/data"), R"({"one":"1","two":"2"})");
    const Reply pod = cluster_.call("POST", "/api/v1/namespaces/default/pods",
                                    R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})");
    ASSERT_EQ(pod.status, 201) << pod.body;
    EXPECT_EQ(pod.at("/spec/initContainers/0/terminationMessagePolicy"), "File");
    EXPECT_EQ(pod.at("/spec/initContainers/0/imagePullPolicy"), "Always");
}

TEST_F(Asked, BadPatches) {
    const auto configured = [this](const std::string& name, const std::string& answer) {
        hook_.on("/" + name, answer);
        configure(
            true, name,
            hook_json(name + ".example.com", "/" + name,
                      rules(R"(["configmaps"])") + R"(,"objectSelector":{"matchLabels":{"h":")" + name + "\"}}"));
        return make("m", R"(,"labels":{"h":")" + name + "\"}");
    };
    EXPECT_EQ(configured("nowhere", patch(R"([{"op":"remove","path":"/nowhere"}])")).status, 500);
    EXPECT_TRUE(configured("garbage", patch("{"))
                    .at("/message")
                    .starts_with("Internal error occurred: failed calling webhook \"garbage.example.com\": received "
                                 "undecodable patch in webhook "
                                 "response: "));
    EXPECT_EQ(configured("untyped", R"("allowed":true,"patch":"W10=")").at("/message"),
              "Internal error occurred: failed calling webhook \"untyped.example.com\": received invalid webhook "
              "response: webhook returned response.patch but not response.patchType");
    EXPECT_EQ(
        configured("merge", R"("allowed":true,"patchType":"Merge","patch":")" + base64("[{}]") + "\"").at("/message"),
        "Internal error occurred: failed calling webhook \"merge.example.com\": unsupported patch type \"Merge\"");
    EXPECT_EQ(configured("renamed", patch(R"([{"op":"replace","path":"/metadata/name","value":"x"}])")).status, 400);
    EXPECT_EQ(configured("moved", patch(R"([{"op":"replace","path":"/metadata/namespace","value":"x"}])")).status,
              400);
    EXPECT_EQ(configured("retyped", patch(R"([{"op":"replace","path":"/kind","value":"Secret"}])")).status, 500);
    // What it makes of an object is checked like what a client sends.
    EXPECT_EQ(configured("invalid", patch(R"([{"op":"add","path":"/metadata/labels/a","value":"?"}])")).status, 422);
    EXPECT_EQ(configured("managers", patch(R"([{"op":"add","path":"/metadata/managedFields","value":[{"manager":"x",)"
                                           R"("operation":"Sing"}]}])"))
                  .status,
              201);
    EXPECT_EQ(cluster_.call("GET", kMaps).at("/items/1"), "");
}

TEST_F(Asked, FailuresCloseOrOpen) {
    hook_.raw("/500", 500, "oops");
    hook_.raw("/404", 404, "");
    hook_.raw("/text", 200, "hello");
    hook_.raw(
        "/uid", 200,
        R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"x","allowed":true}})");
    hook_.raw("/absent", 200, R"({"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"})");
    const std::string failed = "Internal error occurred: failed calling webhook \"";
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"500",
         "failed to call webhook: an error on the server (\"oops\") has prevented the request from succeeding"},
        {"404", "failed to call webhook: the server could not find the requested resource"},
        {"text", "failed to call webhook: "},
        {"absent", "received invalid webhook response: webhook response was absent"},
        {"uid", "received invalid webhook response: expected response.uid=\""},
    };
    for (const bool mutating : {true, false}) {
        for (const bool open : {true, false}) {
            for (const auto& [name, why] : cases) {
                configure(mutating, "c",
                          hook_json(name + ".example.com", "/" + name,
                                    rules(R"(["configmaps"])", R"(["CREATE"])") + R"(,"failurePolicy":")" +
                                        (open ? "Ignore" : "Fail") + "\""));
                const Reply reply = make("m");
                if (open) {
                    EXPECT_EQ(reply.status, 201) << reply.body;
                    EXPECT_EQ(cluster_.call("DELETE", kMaps + "/m").status, 200);
                } else {
                    EXPECT_EQ(reply.status, 500);
                    EXPECT_EQ(reply.at("/reason"), "InternalError");
                    EXPECT_TRUE(reply.at("/message").starts_with(failed + name + ".example.com\": " + why))
                        << reply.at("/message");
                }
                EXPECT_EQ(cluster_.call("DELETE", path_of(mutating) + "/c").status, 200);
            }
        }
    }
    const std::string metrics = webhooks_.metrics();
    EXPECT_NE(metrics.find(R"(apiserver_admission_webhook_fail_open_count{name="500.example.com",type="admit"} 1)"),
              std::string::npos)
        << metrics;
    EXPECT_NE(metrics.find(R"(apiserver_admission_webhook_rejection_count{name="404.example.com",type="validating",)"
                           R"(operation="CREATE",error_type="calling_webhook_error",rejection_code="404"} 1)"),
              std::string::npos)
        << metrics;
    EXPECT_NE(metrics.find(R"(apiserver_admission_webhook_admission_duration_seconds_count{name="uid.example.com",)"
                           R"(type="admit",operation="CREATE",rejected="false"} 1)"),
              std::string::npos)
        << metrics;
}

TEST_F(Asked, TimeoutIsTold) {
    hook_.hold("/never");
    configure(false, "c",
              hook_json("slow.example.com", "/never", rules(R"(["configmaps"])") + R"(,"timeoutSeconds":1)"));
    const Reply reply = make("m");
    EXPECT_EQ(reply.status, 500);
    EXPECT_EQ(reply.at("/message"),
              "Internal error occurred: failed calling webhook \"slow.example.com\": failed to call "
              "webhook: Post \"" +
                  hook_.url("/never?timeout=1s") + "\": context deadline exceeded");
}

TEST_F(Asked, WarningsReachWhoAsked) {
    hook_.on("/warn", R"("allowed":true,"warnings":["mind the gap","mind the gap"])");
    hook_.on("/no", R"("allowed":false,"warnings":["and the step"])");
    configure(true, "c", hook_json("w.example.com", "/warn", rules(R"(["configmaps"])")));
    const Reply made = make("m");
    ASSERT_EQ(made.status, 201);
    std::vector<std::string> warnings;
    for (const auto& [name, value] : made.headers) {
        if (name == "Warning") warnings.push_back(value);
    }
    EXPECT_EQ(warnings, std::vector<std::string>{R"(299 - "mind the gap")"});
    configure(false, "d", hook_json("n.example.com", "/no", rules(R"(["configmaps"])")));
    warnings.clear();
    for (const auto& [name, value] : make("n").headers) {
        if (name == "Warning") warnings.push_back(value);
    }
    EXPECT_EQ(warnings, (std::vector<std::string>{R"(299 - "mind the gap")", R"(299 - "and the step")"}));
}

// A responder on the way to the connection that keeps what it is told.
class Noting final : public http::ForwardingResponder {
public:
    using ForwardingResponder::ForwardingResponder;
    void annotate(const std::string& key, const std::string& value) override { notes[key] = value; }
    std::map<std::string, std::string> notes;
};

TEST_F(Asked, AnnotationsGoToTheRecord) {
    hook_.on("/m", R"("auditAnnotations":{"why":"because"},)" +
                       patch(R"([{"op":"add","path":"/data","value":{"a":"b"}}])"));
    hook_.raw("/500", 500, "");
    configure(true, "c",
              hook_json("m.example.com", "/m", rules(R"(["configmaps"])")) + "," +
                  hook_json("o.example.com", "/500", rules(R"(["configmaps"])") + R"(,"failurePolicy":"Ignore")"));
    const auto recorder = std::make_shared<registry::testing::Recorder>();
    const auto noting = std::make_shared<Noting>(recorder);
    auto request = std::make_shared<http::Request>();
    request->method = "POST";
    request->path = kMaps;
    request->body = R"({"metadata":{"name":"m"}})";
    cluster_.api().handle(request, noting);
    EXPECT_EQ(recorder->wait().status, 201);
    EXPECT_EQ(noting->notes,
              (std::map<std::string, std::string>{
                  {"m.example.com/why", "because"},
                  {"mutation.webhook.admission.k8s.io/round_0_index_0",
                   R"({"configuration":"c","webhook":"m.example.com","mutated":true})"},
                  {"mutation.webhook.admission.k8s.io/round_0_index_1",
                   R"({"configuration":"c","webhook":"o.example.com","mutated":false})"},
                  {"failed-open.mutation.webhook.admission.k8s.io/round_0_index_1", "o.example.com"}}));
}

TEST_F(Asked, DryRunsAskOnlyWhoHasNoSideEffects) {
    hook_.on("/ok", R"("allowed":true)");
    configure(false, "c", hook_json("a.example.com", "/ok", rules(R"(["configmaps"])")));
    EXPECT_EQ(make("m", "", "?dryRun=All").status, 201);
    EXPECT_EQ(text(hook_.seen().at(0), "/dryRun"), "true");
    EXPECT_EQ(text(hook_.seen().at(0), "/options/dryRun"), R"(["All"])");
    EXPECT_EQ(cluster_.call("GET", kMaps + "/m").status, 404);
}

TEST_F(Asked, ConfigurationsThemselvesAreExempt) {
    hook_.on("/no", R"("allowed":false)");
    hook_.on("/m", patch(R"([{"op":"add","path":"/metadata/labels","value":{"a":"b"}}])"));
    const std::string all = rules(R"(["*/*"])", R"(["*"])", R"(["*"])", R"(["*"])");
    configure(false, "v", hook_json("v.example.com", "/no", all));
    configure(true, "m", hook_json("m.example.com", "/m", all));
    EXPECT_EQ(make("m").status, 400);
    EXPECT_EQ(cluster_.call("GET", path_of(true) + "/m").at("/metadata/labels"), "");
    EXPECT_EQ(cluster_.call("DELETE", path_of(true) + "/m").status, 200);
    EXPECT_EQ(cluster_.call("DELETE", path_of(false) + "/v").status, 200);
    EXPECT_EQ(make("m").status, 201);
}

TEST_F(Asked, ChangesOfAConfigurationHoldAtOnce) {
    hook_.on("/no", R"("allowed":false)");
    configure(false, "c", hook_json("a.example.com", "/no", rules(R"(["configmaps"])", R"(["CREATE"])")));
    EXPECT_EQ(make("m").status, 400);
    const std::string update = R"([{"op":"replace","path":"/webhooks/0/rules/0/operations","value":["UPDATE"]}])";
    const registry::testing::Headers kJson = {{"Content-Type", "application/json-patch+json"}};
    ASSERT_EQ(cluster_.call("PATCH", path_of(false) + "/c", update, kJson).status, 200);
    EXPECT_EQ(make("m").status, 201);
    const std::string create = R"([{"op":"replace","path":"/webhooks/0/rules/0/operations","value":["CREATE"]}])";
    ASSERT_EQ(cluster_.call("PATCH", path_of(false) + "/c", create, kJson).status, 200);
    EXPECT_EQ(make("n").status, 400);
    // As one of a collection.
    ASSERT_EQ(cluster_.call("DELETE", path_of(false)).status, 200);
    EXPECT_EQ(make("n").status, 201);
}

TEST_F(Asked, ServicesAreFoundAndHeldToTheirName) {
    hook_.on("/x", R"("allowed":false,"status":{"message":"by service"})");
    const auto configured = [this](const std::string& service) {
        cluster_.call("DELETE", path_of(false) + "/s");
        configure(false, "s",
                  R"({"name":"s.example.com","sideEffects":"None","admissionReviewVersions":["v1"],"clientConfig":)"
                  R"({"service":{"namespace":"default","name":")" +
                      service + R"(","path":"/x","port":)" + std::to_string(hook_.port()) + R"(},"caBundle":")" +
                      HookServer::ca_bundle() + "\"}" + rules(R"(["configmaps"])") + "}");
        return make("m").at("/message");
    };
    const std::string post =
        "Internal error occurred: failed calling webhook \"s.example.com\": failed to call webhook: "
        "Post \"https://";
    const std::string port = std::to_string(hook_.port());
    EXPECT_EQ(configured("hook"), post + "hook.default.svc:" + port + "/x?timeout=10s\": service \"hook\" not found");
    for (const char* name : {"hook", "other"}) {
        ASSERT_EQ(cluster_
                      .call("POST", "/api/v1/namespaces/default/services",
                            R"({"metadata":{"name":")" + std::string(name) +
                                R"("},"spec":{"type":"ExternalName","externalName":"localhost"}})")
                      .status,
                  201);
    }
    EXPECT_EQ(configured("hook"), "admission webhook \"s.example.com\" denied the request: by service");
    EXPECT_EQ(configured("other"),
              post + "other.default.svc:" + port +
                  "/x?timeout=10s\": tls: failed to verify certificate: x509: certificate is not "
                  "valid for other.default.svc");
    ASSERT_EQ(cluster_
                  .call("POST", "/api/v1/namespaces/default/services",
                        R"({"metadata":{"name":"bare"},"spec":{"clusterIP":"None","ports":[{"port":1}]}})")
                  .status,
              201);
    EXPECT_EQ(configured("bare"), post + "bare.default.svc:" + port +
                                      "/x?timeout=10s\": cannot route to service with ClusterIP \"None\"");
    ASSERT_EQ(cluster_
                  .call("POST", "/api/v1/namespaces/default/services",
                        R"({"metadata":{"name":"web"},"spec":{"ports":[{"port":1}]}})")
                  .status,
              201);
    EXPECT_EQ(configured("web"), post + "web.default.svc:" + port + "/x?timeout=10s\": no service port " + port +
                                     " found for service \"web\"");
}

TEST_F(Asked, OlderReviews) {
    hook_.on("/m", [](const json::object&) {
        return R"("allowed":true,"patch":")" + base64(R"([{"op":"add","path":"/data","value":{"a":"b"}}])") + "\"";
    });
    std::string hook = hook_json("m.example.com", "/m", rules(R"(["configmaps"])"));
    hook.replace(hook.find(R"(["v1"])"), 6, R"(["v7","v1beta1","v1"])");
    configure(true, "c", hook);
    EXPECT_EQ(make("m").at("/data"), R"({"a":"b"})");
}

TEST_F(Asked, ReinvocationWhenALaterOneChangedTheObject) {
    int first = 0;
    int never = 0;
    std::mutex mutex;
    const auto count = [&mutex](int* counter, const std::string& answer) {
        return [&mutex, counter, answer](const json::object&) {
            const std::lock_guard lock(mutex);
            ++*counter;
            return answer;
        };
    };
    hook_.on("/first", count(&first, R"("allowed":true)"));
    hook_.on("/never", count(&never, R"("allowed":true)"));
    hook_.on("/change", patch(R"([{"op":"add","path":"/data","value":{"a":"b"}}])"));
    configure(
        true, "a",
        hook_json("first.example.com", "/first", rules(R"(["configmaps"])") + R"(,"reinvocationPolicy":"IfNeeded")") +
            "," + hook_json("never.example.com", "/never", rules(R"(["configmaps"])")));
    ASSERT_EQ(make("m").status, 201);
    EXPECT_EQ(first, 1);
    configure(true, "b", hook_json("change.example.com", "/change", rules(R"(["configmaps"])")));
    ASSERT_EQ(make("n").status, 201);
    EXPECT_EQ(first, 3);
    EXPECT_EQ(never, 2);
}

TEST_F(Asked, WebhooksOfOneRequestAreAskedTogether) {
    // The first is answered when the second has come, so that one after the other would never end.
    hook_.on("/1", R"("allowed":true)");
    hook_.on("/2", R"("allowed":true)");
    hook_.answer_together(2);
    configure(false, "c",
              hook_json("a.example.com", "/1", rules(R"(["configmaps"])")) + "," +
                  hook_json("b.example.com", "/2", rules(R"(["configmaps"])")));
    EXPECT_EQ(make("m").status, 201);
}

TEST_F(Asked, MatchConditionsDecideWhoIsAsked) {
    hook_.on("/no", R"("allowed":false)");
    const std::string conditions =
        rules(R"(["configmaps"])") +
        R"(,"matchConditions":[{"name":"a","expression":"request.operation == 'CREATE'"},)"
        R"({"name":"b","expression":"object.metadata.name != 'spared' && namespaceObject == null"}])";
    configure(false, "c", hook_json("a.example.com", "/no", conditions));
    EXPECT_EQ(make("spared").status, 201);
    EXPECT_EQ(cluster_.call("DELETE", kMaps + "/spared").status, 200);
    EXPECT_EQ(hook_.seen().size(), 0U);
    EXPECT_EQ(make("m").status, 400);
    EXPECT_NE(webhooks_.metrics().find(R"(apiserver_admission_match_condition_exclusions_total{name="a.example.com",)"
                                       R"(kind="webhook",type="validating",operation="CREATE"} 1)"),
              std::string::npos);
}

TEST_F(Asked, MutatingHooksSeeWhatThoseBeforeThemDid) {
    hook_.on("/a", patch(R"([{"op":"add","path":"/data","value":{"a":"1"}}])"));
    hook_.on("/b", patch(R"([{"op":"add","path":"/data/b","value":"2"}])"));
    const auto with = [](const std::string& expression) {
        return rules(R"(["configmaps"])") + R"(,"matchConditions":[{"name":"n","expression":")" + expression + "\"}]";
    };
    configure(true, "c", hook_json("a.example.com", "/a", with("!has(object.data)")) + "," +
                             hook_json("b.example.com", "/b", with("has(object.data) && 'a' in object.data")));
    EXPECT_EQ(make("m").at("/data"), R"({"a":"1","b":"2"})");
}

TEST_F(Asked, ConditionsThatFailAreThePolicysToJudge) {
    hook_.on("/ok", R"("allowed":true)");
    const std::string conditions =
        rules(R"(["configmaps"])") + R"(,"matchConditions":[{"name":"n","expression":"object.data.none == 'x'"}])";
    configure(false, "c", hook_json("a.example.com", "/ok", conditions));
    const Reply refused = make("m");
    EXPECT_EQ(refused.status, 403);
    EXPECT_EQ(refused.at("/message"),
              R"(configmaps "m" is forbidden: expression 'object.data.none == 'x'' resulted in error: )"
              "no such key: data");
    ASSERT_EQ(cluster_.call("DELETE", path_of(false) + "/c").status, 200);
    configure(false, "d", hook_json("a.example.com", "/ok", conditions + R"(,"failurePolicy":"Ignore")"));
    EXPECT_EQ(make("m").status, 201);
    EXPECT_EQ(hook_.seen().size(), 0U);
}

}  // namespace
}  // namespace sluice::admission::testing
