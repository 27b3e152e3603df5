// Ingress, IngressClass, NetworkPolicy, ServiceCIDR, IPAddress, and Events of events.k8s.io: what kube-apiserver 1.32
// answers. Columns and messages are those of its printers and its validation.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

const std::string kGroup = "/apis/networking.k8s.io/v1";
const std::string kIngresses = kGroup + "/namespaces/default/ingresses";
const std::string kPolicies = kGroup + "/namespaces/default/networkpolicies";

void refused(Cluster& cluster, const std::string& path, const std::string& body,
             const std::string& why) {
    const Reply reply = cluster.call("POST", path, body);
    EXPECT_EQ(reply.status, 422) << reply.body;
    EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.at("/message");
}

// Asks until the member is as expected; says in the failure what it was last.
void eventually(Cluster& cluster, const std::string& path, const std::string& pointer,
                const std::string& expected) {
    std::string last;
    for (int i = 0; i < 2000; ++i) {
        last = cluster.call("GET", path).at(pointer);
        if (last == expected) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ADD_FAILURE() << path << " " << pointer << " is " << last << ", expected " << expected;
}

std::string rule(const std::string& host, const std::string& path, const std::string& type) {
    return R"({"host":")" + host + R"(","http":{"paths":[{"path":")" + path +
           R"(","pathType":")" + type +
           R"(","backend":{"service":{"name":"web","port":{"number":80}}}}]}})";
}

std::string ingress(const std::string& name, const std::string& spec) {
    return R"({"metadata":{"name":")" + name + R"("},"spec":{)" + spec + "}}";
}

TEST(Ingresses, TableGenerationAndStatus) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kIngresses,
        ingress("web", R"("ingressClassName":"nginx","tls":[{"hosts":["a.example.com"],)"
                       R"("secretName":"cert"}],"rules":[)" +
                           rule("a.example.com", "/", "Prefix") + "," +
                           rule("b.example.com", "/x", "Exact") + "," +
                           rule("*.example.com", "/", "Prefix") + "," +
                           rule("d.example.com", "", "ImplementationSpecific") + "]"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    EXPECT_EQ(made.at("/spec/rules/0/http/paths/0/backend/service/port/number"), "80");
    EXPECT_EQ(made.at("/status"), R"({"loadBalancer":{}})");
    const Reply status = cluster.call(
        "PATCH", kIngresses + "/web/status",
        R"({"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"},{"hostname":"lb.example.com"}]}}})",
        kMerge);
    ASSERT_EQ(status.status, 200) << status.body;
    EXPECT_EQ(status.at("/metadata/generation"), "1");
    // Status cannot be changed through the object, nor the object through its status.
    EXPECT_EQ(cluster.call("PATCH", kIngresses + "/web", R"({"status":null})", kMerge)
                  .at("/status/loadBalancer/ingress/0/ip"),
              "192.0.2.7");
    EXPECT_EQ(cluster.call("PATCH", kIngresses + "/web", R"({"spec":{"ingressClassName":"other"}})",
                           kMerge)
                  .at("/metadata/generation"),
              "2");
    const Reply table = cluster.call("GET", kIngresses, "", kTable);
    EXPECT_EQ(table.at("/columnDefinitions/1/name"), "Class");
    EXPECT_EQ(ageless(table.at("/rows/0/cells")),
              R"(["web","other","a.example.com,b.example.com,*.example.com + 1 more...",)"
              R"("192.0.2.7,lb.example.com","80, 443","AGE"])");
    EXPECT_EQ(cluster.store().get("/registry/ingress/default/web")->has_value(), true);
}

TEST(Ingresses, WithoutHostOrClass) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kIngresses,
        ingress("all", R"("defaultBackend":{"service":{"name":"web","port":{"name":"http"}}})"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(ageless(cluster.call("GET", kIngresses + "/all", "", kTable).at("/rows/0/cells")),
              R"(["all","<none>","*","","80","AGE"])");
}

TEST(Ingresses, Validation) {
    Cluster cluster;
    const auto bad = [&](const std::string& spec, const std::string& why) {
        refused(cluster, kIngresses, ingress("x", spec), why);
    };
    bad("", "spec: Invalid value: []networking.IngressRule(nil): either `defaultBackend` or "
            "`rules` must be specified");
    bad(R"("rules":[)" + rule("10.0.0.1", "/", "Prefix") + "]",
        R"(spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address)");
    bad(R"("rules":[)" + rule("*.a.*", "/", "Prefix") + "]",
        R"(spec.rules[0].host: Invalid value: "*.a.*": a wildcard DNS-1123 subdomain must start )"
        "with '*.'");
    bad(R"("rules":[)" + rule("a.b", "x", "Prefix") + "]",
        R"(spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path)");
    bad(R"("rules":[)" + rule("a.b", "/x//y", "Exact") + "]",
        R"(spec.rules[0].http.paths[0].path: Invalid value: "/x//y": must not contain '//')");
    bad(R"("rules":[)" + rule("a.b", "/x/..", "Exact") + "]",
        R"(spec.rules[0].http.paths[0].path: Invalid value: "/x/..": cannot end with '/..')");
    bad(R"("rules":[)" + rule("a.b", "/", "Regex") + "]",
        R"(spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex": supported values: )"
        R"("Exact", "ImplementationSpecific", "Prefix")");
    bad(R"("rules":[{"http":{"paths":[{"path":"/","backend":{}}]}}])",
        "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified");
    bad(R"("rules":[{"http":{"paths":[]}}])", "spec.rules[0].http.paths: Required value");
    bad(R"("defaultBackend":{})",
        R"(spec.defaultBackend: Invalid value: "": resource or service backend is required)");
    bad(R"("defaultBackend":{"service":{"name":"w"}})",
        "spec.defaultBackend: Required value: port name or number is required");
    bad(R"("defaultBackend":{"service":{"name":"w","port":{"number":80,"name":"h"}}})",
        R"(spec.defaultBackend: Invalid value: "": cannot set both port name & port number)");
    refused(cluster, kIngresses,
            R"({"metadata":{"name":"x","annotations":{"kubernetes.io/ingress.class":"a"}},"spec":{)"
            R"("ingressClassName":"b","defaultBackend":{"service":{"name":"w","port":{"number":80}}}}})",
            R"(annotations.kubernetes.io/ingress.class: Invalid value: "a": must match )"
            "`ingressClassName` when both are specified");
}

TEST(IngressClasses, ControllerIsImmutable) {
    Cluster cluster;
    const std::string path = kGroup + "/ingressclasses";
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"nginx"},"spec":{"controller":"example.com/nginx","parameters":)"
        R"({"apiGroup":"k8s.example.com","kind":"Params","name":"p"}}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/parameters/scope"), "Cluster");
    EXPECT_EQ(ageless(cluster.call("GET", path, "", kTable).at("/rows/0/cells")),
              R"(["nginx","example.com/nginx","Params.k8s.example.com/p","AGE"])");
    const Reply changed =
        cluster.call("PATCH", path + "/nginx", R"({"spec":{"controller":"a.b/c"}})", kMerge);
    EXPECT_EQ(changed.status, 422);
    EXPECT_NE(changed.at("/message").find(
                  R"(spec.controller: Invalid value: "a.b/c": field is immutable)"),
              std::string::npos);
    refused(cluster, path, R"({"metadata":{"name":"x"},"spec":{"controller":"nginx"}})",
            R"(spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as )"
            "\"acme.io/foo\")");
    refused(cluster, path,
            R"({"metadata":{"name":"x"},"spec":{"controller":"a.b/c","parameters":{"kind":"K",)"
            R"("name":"n","scope":"Namespace"}}})",
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'");
}

TEST(NetworkPolicies, DefaultsAndTable) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kPolicies,
        R"({"metadata":{"name":"p"},"spec":{"podSelector":{"matchLabels":{"app":"db"}},"ingress":)"
        R"([{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],)"
        R"("ports":[{"port":5432}]}],"egress":[{"ports":[{"port":"dns","protocol":"UDP"}]}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/policyTypes"), R"(["Ingress","Egress"])");
    EXPECT_EQ(made.at("/spec/ingress/0/ports/0/protocol"), "TCP");
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    EXPECT_EQ(ageless(cluster.call("GET", kPolicies, "", kTable).at("/rows/0/cells")),
              R"(["p","app=db","AGE"])");
    EXPECT_EQ(cluster.call("POST", kPolicies,
                           R"({"metadata":{"name":"deny"},"spec":{"podSelector":{}}})")
                  .at("/spec/policyTypes"),
              R"(["Ingress"])");
}

TEST(NetworkPolicies, Validation) {
    Cluster cluster;
    const auto bad = [&](const std::string& spec, const std::string& why) {
        refused(cluster, kPolicies,
                R"({"metadata":{"name":"p"},"spec":{"podSelector":{},)" + spec + "}}", why);
    };
    bad(R"("ingress":[{"from":[{}]}])", "spec.ingress[0].from[0]: Required value: must specify a peer");
    bad(R"("ingress":[{"from":[{"podSelector":{},"ipBlock":{"cidr":"10.0.0.0/8"}}]}])",
        "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer");
    bad(R"("egress":[{"to":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.0.0.0/8"]}}]}])",
        R"(spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict )"
        "subset of `cidr`");
    bad(R"("egress":[{"ports":[{"protocol":"ICMP"}]}])",
        R"(spec.egress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: )"
        R"("TCP", "UDP", "SCTP")");
    bad(R"("ingress":[{"ports":[{"port":80,"endPort":70}]}])",
        "spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to "
        "`port`");
    bad(R"("ingress":[{"ports":[{"endPort":70}]}])",
        "spec.ingress[0].ports[0].endPort: Invalid value: 70: may not be specified when `port` is "
        "not specified");
    bad(R"("policyTypes":["Both"])",
        R"(spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress")");
}

TEST(ServiceCidrs, TheDefaultOneIsThereAndReady) {
    Cluster cluster(true);
    const std::string path = kGroup + "/servicecidrs";
    const Reply made = cluster.call("GET", path + "/kubernetes");
    ASSERT_EQ(made.status, 200) << made.body;
    EXPECT_EQ(made.at("/spec/cidrs"), R"(["10.96.0.0/16","fd00:10:96::/112"])");
    EXPECT_EQ(made.at("/status/conditions/0/type"), "Ready");
    EXPECT_EQ(made.at("/status/conditions/0/status"), "True");
    EXPECT_EQ(made.at("/metadata/finalizers/0"), "networking.k8s.io/service-cidr-finalizer");
    EXPECT_EQ(ageless(cluster.call("GET", path, "", kTable).at("/rows/0/cells")),
              R"(["kubernetes","10.96.0.0/16,fd00:10:96::/112","AGE"])");
    const Reply changed = cluster.call("PATCH", path + "/kubernetes",
                                       R"({"spec":{"cidrs":["10.97.0.0/16","fd00:10:96::/112"]}})",
                                       kMerge);
    EXPECT_EQ(changed.status, 422);
    EXPECT_NE(changed.at("/message").find(
                  R"(spec.cidrs[0]: Invalid value: "10.97.0.0/16": field is immutable)"),
              std::string::npos);
    refused(cluster, path, R"({"metadata":{"name":"x"},"spec":{"cidrs":[]}})",
            "spec.cidrs: Required value: at least one CIDR required");
    refused(cluster, path,
            R"({"metadata":{"name":"x"},"spec":{"cidrs":["10.0.0.0/24","10.1.0.0/24"]}})",
            "may specify no more than one IP for each IP family");
}

TEST(IpAddresses, FollowServices) {
    Cluster cluster;
    const std::string path = kGroup + "/ipaddresses/";
    eventually(cluster, path + "10.96.0.1", "/spec/parentRef/name", "kubernetes");
    const std::string services = "/api/v1/namespaces/default/services";
    const Reply made = cluster.call(
        "POST", services, R"({"metadata":{"name":"s"},"spec":{"clusterIP":"10.96.7.7","ports":[{"port":80}]}})");
    ASSERT_EQ(made.status, 201) << made.body;
    eventually(cluster, path + "10.96.7.7", "/spec/parentRef/name", "s");
    const Reply address = cluster.call("GET", path + "10.96.7.7");
    EXPECT_EQ(address.at("/spec/parentRef/resource"), "services");
    EXPECT_EQ(address.at("/spec/parentRef/namespace"), "default");
    EXPECT_EQ(address.at("/metadata/labels/ipaddress.kubernetes.io~1ip-family"), "IPv4");
    EXPECT_EQ(address.at("/metadata/labels/ipaddress.kubernetes.io~1managed-by"),
              "ipallocator.k8s.io");
    EXPECT_EQ(cluster.call("GET", path + "10.96.7.7", "", kTable).at("/rows/0/cells"),
              R"(["10.96.7.7","services/default/s"])");
    // One that was taken away while in use comes back.
    ASSERT_EQ(cluster.call("DELETE", path + "10.96.7.7").status, 200);
    eventually(cluster, path + "10.96.7.7", "/spec/parentRef/name", "s");
    ASSERT_EQ(cluster.call("DELETE", services + "/s").status, 200);
    eventually(cluster, path + "10.96.7.7", "/code", "404");
    // A restart finds everything in place, and what went meanwhile gone.
    cluster.restart();
    EXPECT_EQ(cluster.call("GET", path + "10.96.0.1").at("/spec/parentRef/name"), "kubernetes");
}

TEST(IpAddresses, NamesAreCanonicalAddresses) {
    Cluster cluster;
    const std::string parent = R"("spec":{"parentRef":{"resource":"things","name":"t"}})";
    const std::string path = kGroup + "/ipaddresses";
    refused(cluster, path, R"({"metadata":{"name":"fd00::0:1"},)" + parent + "}",
            "must be a canonical format IP address");
    refused(cluster, path, R"({"metadata":{"name":"10.0.0.9"},"spec":{}})",
            "spec.parentRef: Required value");
    ASSERT_EQ(cluster.call("POST", path, R"({"metadata":{"name":"10.0.0.9"},)" + parent + "}").status,
              201);
    const Reply changed = cluster.call("PATCH", path + "/10.0.0.9",
                                       R"({"spec":{"parentRef":{"name":"u"}}})", kMerge);
    EXPECT_EQ(changed.status, 422);
    EXPECT_NE(changed.at("/message").find("spec.parentRef: Invalid value: "), std::string::npos);
}

TEST(EventsV1, OneStorageUnderTwoNames) {
    Cluster cluster;
    const std::string core = "/api/v1/namespaces/default/events";
    const std::string events = "/apis/events.k8s.io/v1/namespaces/default/events";
    const Reply made = cluster.call(
        "POST", events,
        R"({"metadata":{"name":"e"},"eventTime":"2024-01-02T03:04:05.123456Z","reason":"Because",)"
        R"("action":"Binding","type":"Normal","note":"it happened","reportingController":)"
        R"("example.com/tester","reportingInstance":"tester-1","regarding":{"kind":"Pod",)"
        R"("namespace":"default","name":"p"}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/apiVersion"), "events.k8s.io/v1");
    EXPECT_EQ(made.at("/note"), "it happened");
    const Reply read = cluster.call("GET", core + "/e");
    EXPECT_EQ(read.at("/message"), "it happened");
    EXPECT_EQ(read.at("/involvedObject/name"), "p");
    EXPECT_EQ(read.at("/reportingComponent"), "example.com/tester");
    EXPECT_EQ(read.at("/eventTime"), "2024-01-02T03:04:05.123456Z");
    EXPECT_EQ(read.at("/source"), "{}");
    ASSERT_EQ(cluster
                  .call("POST", core,
                        R"({"metadata":{"name":"old"},"message":"m","reason":"R","type":"Warning",)"
                        R"("count":3,"firstTimestamp":"2024-01-02T03:04:05Z","source":)"
                        R"({"component":"kubelet"},"involvedObject":{"kind":"Pod","namespace":)"
                        R"("default","name":"q"}})")
                  .status,
              201);
    const Reply old = cluster.call("GET", events + "/old");
    EXPECT_EQ(old.at("/deprecatedCount"), "3");
    EXPECT_EQ(old.at("/deprecatedSource/component"), "kubelet");
    EXPECT_EQ(old.at("/deprecatedFirstTimestamp"), "2024-01-02T03:04:05Z");
    EXPECT_EQ(old.at("/regarding/name"), "q");
    EXPECT_EQ(old.at("/eventTime"), "null");
    const Reply selected = cluster.call("GET", events + "?fieldSelector=regarding.name%3Dq");
    EXPECT_EQ(selected.at("/kind"), "EventList");
    EXPECT_EQ(selected.at("/items/0/metadata/name"), "old");
    EXPECT_EQ(selected.at("/items/1"), "");
    EXPECT_EQ(cluster.call("GET", events + "?fieldSelector=involvedObject.name%3Dq").status, 400);
}

TEST(EventsV1, WhoKnowsTheTimeSaysTheRestToo) {
    Cluster cluster;
    const std::string core = "/api/v1/namespaces/default/events";
    const std::string begin = R"({"metadata":{"name":"e"},"eventTime":"2024-01-02T03:04:05.000001Z")";
    const std::string about = R"(,"involvedObject":{"kind":"Pod","namespace":"default","name":"p"})";
    refused(cluster, core, begin + about + "}",
            "[reportingController: Required value, reportingController: Invalid value: ");
    refused(cluster, core,
            begin + about + R"(,"reportingComponent":"c","reportingInstance":"i","action":"a"})",
            "reason: Required value");
    refused(cluster, core,
            begin + about +
                R"(,"reportingComponent":"c","reportingInstance":"i","reason":"r","action":")" +
                std::string(129, 'a') + "\"}",
            R"(action: Invalid value: "": can have at most 128 characters)");
    // Without a time, an event about another namespace is refused; with it, upstream does not look.
    refused(cluster, core,
            R"({"metadata":{"name":"e"},"involvedObject":{"namespace":"other"}})",
            R"(involvedObject.namespace: Invalid value: "other": does not match event.namespace)");
}

}  // namespace
}  // namespace sluice::registry::testing
