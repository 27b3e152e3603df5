// Pods: admission, validation, updates, binding, deletion; requests for certificates, roles, and events that expire.
#include <gtest/gtest.h>

#include "control/apiserver/registry/allocator/service_allocator.h"
#include "control/apiserver/registry/event_expiry/event_expiry.h"
#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kPods = "/api/v1/namespaces/default/pods";
const Headers kStrategic = {{"Content-Type", "application/strategic-merge-patch+json"}};

std::string pod(const std::string& name, const std::string& container = "",
                const std::string& spec = "") {
    return R"({"metadata":{"name":")" + name + R"("},"spec":{)" + spec +
           R"("containers":[{"name":"c","image":"i:1")" + container + "}]}}";
}

std::string path_of(const std::string& name) { return std::string(kPods) + "/" + name; }

void bind(Cluster& cluster, const std::string& name) {
    EXPECT_EQ(cluster
                  .call("POST", path_of(name) + "/binding",
                        R"({"metadata":{"name":")" + name +
                            R"("},"target":{"kind":"Node","name":"n1"}})")
                  .status,
              201);
}

TEST(Pods, AdmissionAndDefaults) {
    Cluster cluster;
    const Reply made = cluster.call("POST", kPods, pod("p"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/serviceAccountName"), "default");
    EXPECT_EQ(made.at("/spec/enableServiceLinks"), "true");
    EXPECT_EQ(made.at("/spec/priority"), "0");
    EXPECT_EQ(made.at("/status/phase"), "Pending");
    EXPECT_EQ(made.at("/status/qosClass"), "BestEffort");
    EXPECT_EQ(made.at("/spec/tolerations"),
              R"([{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute",)"
              R"("tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable",)"
              R"("operator":"Exists","effect":"NoExecute","tolerationSeconds":300}])");
    EXPECT_EQ(cluster.call("POST", kPods, pod("q", "", R"("priorityClassName":"system-node-critical",)"))
                  .at("/spec/priority"),
              "2000001000");
    const Reply host = cluster.call(
        "POST", kPods, pod("h", R"(,"ports":[{"containerPort":80}])", R"("hostNetwork":true,)"));
    EXPECT_EQ(host.at("/spec/containers/0/ports/0/hostPort"), "80");
}

TEST(Pods, ValidationInKubernetesWords) {
    Cluster cluster;
    const auto refused = [&](const std::string& body, const std::string& why) {
        const Reply reply = cluster.call("POST", kPods, body);
        EXPECT_EQ(reply.status, 422) << body << reply.body;
        EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.at("/message");
    };
    refused(pod("p", R"(,"livenessProbe":{})"),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type");
    refused(pod("p", R"(,"livenessProbe":{"tcpSocket":{"port":1},"successThreshold":2})"),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1");
    refused(pod("p", R"(,"readinessProbe":{"httpGet":{"port":70000}})"),
            "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 70000: must be between "
            "1 and 65535, inclusive");
    refused(pod("p", R"(,"startupProbe":{"exec":{"command":["x"]},"grpc":{"port":1}})"),
            "spec.containers[0].startupProbe.grpc: Forbidden: may not specify more than 1 handler "
            "type");
    refused(pod("p", R"(,"lifecycle":{"preStop":{"exec":{"command":[]}}})"),
            "spec.containers[0].lifecycle.preStop.exec.command: Required value");
    refused(pod("p", R"(,"env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"spec.x"}}}])"),
            "error converting fieldPath: field label not supported: spec.x");
    refused(pod("p", R"(,"env":[{"name":"A","valueFrom":{}}])"),
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
            "`secretKeyRef`");
    refused(pod("p", R"(,"envFrom":[{}])"), "must specify one of: `configMapRef` or `secretRef`");
    refused(pod("p", R"(,"restartPolicy":"Always")"),
            "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers");
    refused(pod("p", R"(,"volumeMounts":[{"name":"v","mountPath":"/a","subPath":"../x"}])",
                R"("volumes":[{"name":"v","emptyDir":{}}],)"),
            "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"../x\": must not contain "
            "'..'");
    refused(pod("p", R"(,"securityContext":{"runAsUser":-1})"),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 "
            "and 2147483647, inclusive");
    refused(pod("p", R"(,"resources":{"limits":{"bananas":"1"}})"),
            "must be a standard resource for containers");
    refused(pod("p", "", R"("volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/x"}}],)"),
            "spec.volumes[0].emptyDir: Forbidden: may not specify more than 1 volume type");
    refused(pod("p", "", R"("volumes":[{"name":"v","secret":{}}],)"),
            "spec.volumes[0].secret.secretName: Required value");
    refused(pod("p", "", R"("volumes":[{"name":"v","configMap":{"name":"c","defaultMode":1000}}],)"),
            "spec.volumes[0].configMap.defaultMode: Invalid value: 1000: must be a number between "
            "0 and 0777 (octal), both inclusive");
    refused(pod("p", "", R"("dnsPolicy":"None",)"),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None");
    refused(pod("p", "", R"("tolerations":[{"value":"x"}],)"),
            "operator must be Exists when `key` is empty");
    refused(pod("p", "",
                R"("affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":)"
                R"({"nodeSelectorTerms":[{"matchExpressions":[{"key":"k","operator":"In"}]}]}}},)"),
            "matchExpressions[0].values: Required value: must be specified when `operator` is 'In' "
            "or 'NotIn'");
    refused(pod("p", "",
                R"("initContainers":[{"name":"i","image":"i","livenessProbe":)"
                R"({"tcpSocket":{"port":1}}}],)"),
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers "
            "without restartPolicy=Always");
    refused(pod("p", "", R"("terminationGracePeriodSeconds":-1,)"),
            "must be greater than or equal to 0");
}

TEST(Pods, OnlyAFewFieldsMayChange) {
    Cluster cluster;
    cluster.call("POST", kPods, pod("p", "", R"("activeDeadlineSeconds":100,)"));
    const auto patch = [&](const std::string& text) {
        return cluster.call("PATCH", path_of("p"), text, kStrategic);
    };
    EXPECT_EQ(patch(R"({"spec":{"containers":[{"name":"c","image":"i:2"}]}})").status, 200);
    EXPECT_EQ(patch(R"({"spec":{"activeDeadlineSeconds":50}})").status, 200);
    EXPECT_EQ(patch(R"({"spec":{"activeDeadlineSeconds":60}})").status, 422);
    const Reply command = patch(R"({"spec":{"containers":[{"name":"c","command":["x"]}]}})");
    EXPECT_EQ(command.status, 422);
    EXPECT_TRUE(command.at("/message").starts_with(
        "Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than "
        "`spec.containers[*].image`"));
    EXPECT_NE(patch(R"({"spec":{"containers":[{"name":"d","image":"i"}]}})")
                  .at("/message")
                  .find("pod updates may not add or remove containers"),
              std::string::npos);
    // A status written by a kubelet changes neither the spec nor the class of service.
    const Reply status = cluster.call("PATCH", path_of("p") + "/status",
                                      R"({"spec":{"nodeName":"x"},"status":{"phase":"Running",)"
                                      R"("qosClass":"Guaranteed"}})",
                                      kMerge);
    EXPECT_EQ(status.at("/spec/nodeName"), "");
    EXPECT_EQ(status.at("/status/phase"), "Running");
    EXPECT_EQ(status.at("/status/qosClass"), "BestEffort");
}

// What kubectl get pods shows; the rules are those of kubectl's documentation and of pkg/printers of 1.32.
TEST(Pods, StatusInTheTable) {
    Cluster cluster;
    const Headers table = {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}};
    const auto cells = [&](const std::string& name, const std::string& spec, const std::string& status) {
        EXPECT_EQ(cluster.call("POST", kPods, pod(name, "", spec)).status, 201) << name;
        EXPECT_EQ(cluster.call("PATCH", path_of(name) + "/status", R"({"status":)" + status + "}", kMerge).status,
                  200)
            << name;
        const Reply reply = cluster.call("GET", path_of(name), "", table);
        return reply.at("/rows/0/cells/1") + " " + reply.at("/rows/0/cells/2") + " " + reply.at("/rows/0/cells/3");
    };
    const std::string sidecar = R"("initContainers":[{"name":"s","image":"i","restartPolicy":"Always"}],)";
    const std::string initialized = R"("conditions":[{"type":"Initialized","status":"True"}],)";
    const auto init = [](const std::string& state, const std::string& more = "") {
        return R"("initContainerStatuses":[{"name":"s","image":"i","imageID":"",)" + more + R"("state":)" + state +
               "}],";
    };
    const std::string killed = R"({"terminated":{"exitCode":137,"reason":"Error"}})";
    const auto main = [](const std::string& state, const std::string& more = "") {
        return R"("containerStatuses":[{"name":"c","image":"i","imageID":"",)" + more + R"("state":)" + state + "}]";
    };
    const std::string done = R"({"terminated":{"exitCode":0,"reason":"Completed"}})";
    // The sidecar of a pod that has succeeded was killed at its end.
    EXPECT_EQ(cells("succeeded", sidecar,
                    R"({"phase":"Succeeded",)" + initialized + init(killed) + main(done) + "}"),
              "0/2 Completed 0");
    EXPECT_EQ(cells("failed-init", sidecar, R"({"phase":"Pending",)" + init(killed) + R"("message":""})"),
              "0/2 Init:Error 0");
    // A sidecar that runs counts as a container, and so do its restarts.
    EXPECT_EQ(cells("running", sidecar,
                    R"({"phase":"Running",)" + initialized +
                        init(R"({"running":{}})", R"("started":true,"ready":true,"restartCount":2,)") +
                        main(R"({"running":{}})", R"("ready":true,"restartCount":1,)") + "}"),
              "2/2 Running 3");
    const std::string plain = R"("initContainers":[{"name":"s","image":"i"}],)";
    EXPECT_EQ(cells("waiting", plain, R"({"phase":"Pending",)" + init(R"({"running":{}})") + R"("message":""})"),
              "0/1 Init:0/1 0");
    EXPECT_EQ(cells("gated", "",
                    R"({"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False",)"
                    R"("reason":"SchedulingGated"}]})"),
              "0/1 SchedulingGated 0");
}

TEST(Bindings, PutAPodOnANodeOnce) {
    Cluster cluster;
    const Reply made = cluster.call("POST", kPods, pod("p"));
    const std::string body = R"({"apiVersion":"v1","kind":"Binding","metadata":{"name":"p",)"
                             R"("uid":")" + made.at("/metadata/uid") +
                             R"(","annotations":{"x":"y"}},"target":{"kind":"Node","name":"n"}})";
    // To the collection of bindings, with the name in the body.
    ASSERT_EQ(cluster.call("POST", "/api/v1/namespaces/default/bindings", body).status, 201);
    const Reply bound = cluster.call("GET", path_of("p"));
    EXPECT_EQ(bound.at("/spec/nodeName"), "n");
    EXPECT_EQ(bound.at("/metadata/annotations/x"), "y");
    EXPECT_EQ(bound.at("/status/conditions/0/type"), "PodScheduled");
    EXPECT_EQ(bound.at("/status/conditions/0/status"), "True");
    EXPECT_EQ(cluster.call("GET", std::string(kPods) + "?fieldSelector=spec.nodeName%3Dn")
                  .at("/items/0/metadata/name"),
              "p");
    EXPECT_EQ(cluster.call("POST", path_of("p") + "/binding", body).status, 409);
    EXPECT_EQ(cluster.call("POST", path_of("q") + "/binding", body).status, 400);
    EXPECT_EQ(cluster
                  .call("POST", path_of("q") + "/binding",
                        R"({"metadata":{"name":"q"},"target":{"name":"n"}})")
                  .status,
              404);
    EXPECT_EQ(cluster
                  .call("POST", path_of("p") + "/binding",
                        R"({"metadata":{"name":"p"},"target":{"kind":"Pod"}})")
                  .status,
              422);
    EXPECT_EQ(cluster.call("GET", path_of("p") + "/binding").status, 405);
}

TEST(Pods, GracefulDeletion) {
    Cluster cluster;
    cluster.call("POST", kPods, pod("free"));
    EXPECT_EQ(cluster.call("DELETE", path_of("free")).status, 200);
    EXPECT_EQ(cluster.call("GET", path_of("free")).status, 404);

    const Reply made = cluster.call("POST", kPods, pod("p"));
    bind(cluster, "p");
    const Reply wrong = cluster.call("DELETE", path_of("p"), R"({"preconditions":{"uid":"other"}})");
    EXPECT_EQ(wrong.status, 409);
    EXPECT_EQ(cluster.call("DELETE", path_of("p"), R"({"preconditions":{"resourceVersion":"1"}})")
                  .status,
              409);
    EXPECT_EQ(cluster.call("DELETE", path_of("p")).at("/metadata/deletionGracePeriodSeconds"), "30");
    // Longer is ignored, shorter is taken.
    EXPECT_EQ(cluster.call("DELETE", path_of("p") + "?gracePeriodSeconds=60")
                  .at("/metadata/deletionGracePeriodSeconds"),
              "30");
    EXPECT_EQ(cluster.call("DELETE", path_of("p") + "?gracePeriodSeconds=5")
                  .at("/metadata/deletionGracePeriodSeconds"),
              "5");
    EXPECT_EQ(cluster
                  .call("DELETE", path_of("p"),
                        R"({"gracePeriodSeconds":0,"preconditions":{"uid":")" +
                            made.at("/metadata/uid") + "\"}}")
                  .status,
              200);
    EXPECT_EQ(cluster.call("GET", path_of("p")).status, 404);

    cluster.call("POST", kPods, pod("done"));
    bind(cluster, "done");
    cluster.call("PATCH", path_of("done") + "/status", R"({"status":{"phase":"Succeeded"}})", kMerge);
    cluster.call("DELETE", path_of("done"));
    EXPECT_EQ(cluster.call("GET", path_of("done")).status, 404);
}

TEST(Roles, BindingsKeepTheirRole) {
    Cluster cluster;
    const std::string group = "/apis/rbac.authorization.k8s.io/v1/";
    const Reply role = cluster.call("POST", group + "namespaces/default/roles",
                                    R"({"metadata":{"name":"system:r"},"rules":[{"verbs":["get"],)"
                                    R"("apiGroups":[""],"resources":["pods"]}]})");
    EXPECT_EQ(role.status, 201) << role.body;
    EXPECT_EQ(cluster
                  .call("POST", group + "clusterroles",
                        R"({"metadata":{"name":"c"},"rules":[{"verbs":[],"apiGroups":[""],)"
                        R"("resources":["pods"]}]})")
                  .at("/details/causes/0/message"),
              "Required value: verbs must contain at least one value");
    const std::string bindings = group + "namespaces/default/rolebindings";
    const Reply made = cluster.call(
        "POST", bindings,
        R"({"metadata":{"name":"b"},"roleRef":{"kind":"Role","name":"r"},"subjects":)"
        R"([{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s","namespace":"n"}]})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/subjects/0/apiGroup"), "rbac.authorization.k8s.io");
    EXPECT_EQ(made.at("/subjects/1/apiGroup"), "");
    const Reply changed =
        cluster.call("PATCH", bindings + "/b", R"({"roleRef":{"name":"other"}})", kMerge);
    EXPECT_EQ(changed.status, 422);
    EXPECT_NE(changed.at("/message").find("cannot change roleRef"), std::string::npos);
    EXPECT_EQ(cluster.call("PUT", bindings + "/new",
                           R"({"metadata":{"name":"new"},"roleRef":{"kind":"Role","name":"r"}})")
                  .status,
              201);
}

// A PKCS #10 request of system:node:n1 in group system:nodes, signed with its own key; PEM in base64.
constexpr const char* kRequest =
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIck1JR1NBZ0VBTURBeEZUQVRCZ05W"
    "QkFvTURITjVjM1JsYlRwdWIyUmxjekVYTUJVR0ExVUVBd3dPYzNsegpkR1Z0T201dlpHVTZiakV3V1RB"
    "VEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVNTMXAwaXVjYjJDTFlDCmxNZDg2S2JWeDZPRUVB"
    "d2VOeE1kOWJrREdhZHRkUGxTS1BKVHZackdtZmw5M08yQzZmS0lvT1VzOURGUFp5M0wKSWlvL0t4ci9v"
    "QUF3Q2dZSUtvWkl6ajBFQXdJRFNBQXdSUUlnYk1TTTVNL2VhQ2ZqbU5pRkRLZGpKRFZvU1hoSgozRTJx"
    "cDZMTU5sdVoxRWNDSVFEcDF3enZ5aFlnYzlwWG5jWnlTTnJ5UzdVY0ptL3NSc0ZyOFFaaUkvQkVndz09"
    "Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

TEST(Certificates, ApproversAndSignersHaveTheirOwnParts) {
    Cluster cluster;
    const std::string csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    const Reply made = cluster.call(
        "POST", csrs,
        R"({"metadata":{"name":"x"},"spec":{"request":")" + std::string(kRequest) +
            R"(","signerName":"kubernetes.io/kube-apiserver-client-kubelet","usages":)"
            R"(["client auth"],"username":"forged","groups":["forged"],"extra":{"scopes":["forged"]}},)"
            R"("status":{"conditions":)"
            R"([{"type":"Approved","status":"True"}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    // Who asked comes from the connection, which is nobody's here.
    EXPECT_EQ(made.at("/spec/username"), "");
    EXPECT_EQ(made.at("/spec/groups"), "");
    EXPECT_EQ(made.at("/spec/extra"), "");
    EXPECT_EQ(made.at("/status"), "{}");
    const std::string approved =
        R"({"status":{"certificate":"eA==","conditions":[{"type":"Approved","status":"True"}]}})";
    EXPECT_EQ(cluster.call("PATCH", csrs + "/x/status", approved, kMerge).status, 422);
    const Reply decided = cluster.call("PATCH", csrs + "/x/approval", approved, kMerge);
    ASSERT_EQ(decided.status, 200) << decided.body;
    EXPECT_EQ(decided.at("/status/certificate"), "");
    EXPECT_EQ(decided.at("/status/conditions/0/type"), "Approved");
    EXPECT_NE(decided.at("/status/conditions/0/lastUpdateTime"), "null");
    const Reply both = cluster.call(
        "PATCH", csrs + "/x/approval",
        R"({"status":{"conditions":[{"type":"Approved","status":"True"},)"
        R"({"type":"Denied","status":"True"}]}})",
        kMerge);
    EXPECT_NE(both.at("/message").find("mutually exclusive"), std::string::npos);
    EXPECT_NE(cluster.call("PATCH", csrs + "/x/approval", R"({"status":{"conditions":null}})", kMerge)
                  .at("/message")
                  .find("updates may not remove a condition of type \"Approved\""),
              std::string::npos);
    const Headers table = {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}};
    EXPECT_EQ(ageless(cluster.call("GET", csrs, "", table).at("/rows/0/cells")),
              R"(["x","AGE","kubernetes.io/kube-apiserver-client-kubelet","","<none>","Approved"])");
}

TEST(Certificates, OnlyARealRequestIsTaken) {
    Cluster cluster;
    const std::string csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    const Reply bad = cluster.call("POST", csrs,
                                   R"({"metadata":{"name":"x"},"spec":{"request":"eA==",)"
                                   R"("signerName":"nope","usages":["juggling"]}})");
    EXPECT_EQ(bad.status, 422);
    for (const char* why : {"PEM block type must be CERTIFICATE REQUEST",
                            "must be a fully qualified domain and path of the form",
                            "spec.usages[0]: Unsupported value: \"juggling\""}) {
        EXPECT_NE(bad.at("/message").find(why), std::string::npos) << bad.at("/message");
    }
}

TEST(Events, ExpireByWhenTheyWereLastSeen) {
    Cluster cluster;
    const std::string events = "/api/v1/namespaces/default/events";
    const std::string about = R"("involvedObject":{"kind":"Pod","namespace":"default","name":"p"}})";
    ASSERT_EQ(cluster.call("POST", events, R"({"metadata":{"name":"old"},)" + about).status, 201);
    ASSERT_EQ(cluster
                  .call("POST", events,
                        R"({"metadata":{"name":"seen"},"lastTimestamp":"2999-01-01T00:00:00Z",)" +
                            about)
                  .status,
              201);
    ServiceAllocator allocator({*IpPrefix::parse("10.96.0.0/16")}, 30000, 32767, 1);
    const ApiOptions options;
    const StrategySet strategies(allocator, options);
    Core core(cluster.store(), strategies);
    EXPECT_EQ(sweep_events(core, unix_now() - 3600), 0U);
    EXPECT_EQ(sweep_events(core, unix_now() + 1), 1U);
    core.wait_until_idle();
    EXPECT_EQ(cluster.call("GET", events + "/old").status, 404);
    EXPECT_EQ(cluster.call("GET", events + "/seen").status, 200);
}

}  // namespace
}  // namespace sluice::registry::testing
