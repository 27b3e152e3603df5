// The plugins over a real store, with the words of Kubernetes 1.32's sources and recordings.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/quota/keeper.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::admission {
namespace {

using registry::testing::Cluster;
using registry::testing::kMerge;
using registry::testing::Reply;

const std::string kCore = "/api/v1/namespaces/default/";

// A cluster whose writes all plugins see.
class Admitted {
public:
    explicit Admitted(PluginSet enabled = PluginSet::all())
        : authorizer_({authorization::Mode::kAlwaysAllow}),
          plugins_(authorizer_, enabled.without(Plugin::kServiceAccount)) {
        cluster_.api().set_admission(&plugins_);
    }
    Cluster& operator*() { return cluster_; }
    Cluster* operator->() { return &cluster_; }

    void make(const std::string& path, const std::string& body) {
        const Reply reply = cluster_.call("POST", path, body);
        EXPECT_EQ(reply.status, 201) << reply.body;
    }
    void refused(const std::string& path, const std::string& body, const std::string& message) {
        const Reply reply = cluster_.call("POST", path, body);
        EXPECT_EQ(reply.status, 403) << reply.body;
        EXPECT_EQ(reply.at("/message"), message);
    }

private:
    authorization::Authorizer authorizer_;
    Plugins plugins_;
    Cluster cluster_;
};

std::string pod(const std::string& name, const std::string& resources = "", const std::string& spec = "") {
    return R"({"metadata":{"name":")" + name + R"("},"spec":{)" + spec +
           R"("containers":[{"name":"c","image":"i","resources":{)" + resources + "}}]}}";
}

TEST(LimitRanger, DefaultsOfContainers) {
    Admitted cluster;
    cluster.make(kCore + "limitranges",
                 R"({"metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","min":{"cpu":"50m"},)"
                 R"("max":{"cpu":"500m","memory":"500Mi"},"default":{"cpu":"300m"},)"
                 R"("defaultRequest":{"cpu":"100m","memory":"200Mi"},"maxLimitRequestRatio":{"cpu":"4"}}]}})");
    const Reply made = cluster->call("POST", kCore + "pods", pod("p"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/containers/0/resources/requests"), R"({"cpu":"100m","memory":"200Mi"})");
    EXPECT_EQ(made.at("/spec/containers/0/resources/limits"), R"({"cpu":"300m","memory":"500Mi"})");
    EXPECT_EQ(made.at("/metadata/annotations/kubernetes.io~1limit-ranger"),
              "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c");
    EXPECT_EQ(made.at("/status/qosClass"), "Burstable");
    cluster.refused(kCore + "pods", pod("q", R"("limits":{"cpu":"600m"},"requests":{"cpu":"20m"})"),
                    "pods \"q\" is forbidden: [minimum cpu usage per Container is 50m, but request is 20m, maximum cpu "
                    "usage per Container is 500m, but limit is 600m, cpu max limit to request ratio per Container is 4, "
                    "but provided ratio is 30.000000]");
}

TEST(LimitRanger, PodsTogetherAndClaims) {
    Admitted cluster;
    cluster.make(kCore + "limitranges",
                 R"({"metadata":{"name":"l"},"spec":{"limits":[{"type":"Pod","max":{"cpu":"1"}},)"
                 R"({"type":"PersistentVolumeClaim","min":{"storage":"1Gi"},"max":{"storage":"2Gi"}}]}})");
    cluster.refused(kCore + "pods", pod("p"),
                    "pods \"p\" is forbidden: maximum cpu usage per Pod is 1.  No limit is specified");
    cluster.refused(kCore + "pods", pod("p", R"("limits":{"cpu":"2"},"requests":{"cpu":"1"})"),
                    "pods \"p\" is forbidden: maximum cpu usage per Pod is 1, but limit is 2");
    cluster.make(kCore + "pods", pod("p", R"("limits":{"cpu":"1"})"));
    const auto claim = [](const std::string& size) {
        return R"({"metadata":{"name":"c"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":)"
               R"({"storage":")" + size + R"("}}}})";
    };
    cluster.refused(kCore + "persistentvolumeclaims", claim("3Gi"),
                    "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, "
                    "but request is 3Gi");
    cluster.refused(kCore + "persistentvolumeclaims", claim("1Mi"),
                    "persistentvolumeclaims \"c\" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, "
                    "but request is 1Mi");
    cluster.make(kCore + "persistentvolumeclaims", claim("1Gi"));
}

TEST(LimitRanger, ListPatchAndDeleteByCollection) {
    Admitted cluster;
    cluster.make(kCore + "limitranges", R"({"metadata":{"name":"l","labels":{"a":"b"}},"spec":{"limits":[)"
                                        R"({"type":"Container","min":{"cpu":"50m"}}]}})");
    EXPECT_EQ(cluster->call("GET", "/api/v1/limitranges?labelSelector=a%3Db").at("/items/0/metadata/name"), "l");
    const Reply patched = cluster->call("PATCH", kCore + "limitranges/l",
                                        R"({"spec":{"limits":[{"type":"Container","min":{"cpu":"40m"}}]}})", kMerge);
    EXPECT_EQ(patched.at("/spec/limits/0/min/cpu"), "40m") << patched.body;
    EXPECT_EQ(cluster->call("DELETE", kCore + "limitranges?labelSelector=a%3Db").status, 200);
    EXPECT_EQ(cluster->call("GET", kCore + "limitranges").at("/items"), "[]");
    // What is gone limits nothing.
    cluster.make(kCore + "pods", pod("p", R"("requests":{"cpu":"1m"})"));
}

TEST(Priority, ByClassAndDefault) {
    Admitted cluster;
    const std::string classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    const Reply none = cluster->call("POST", kCore + "pods", pod("none"));
    EXPECT_EQ(none.at("/spec/priority"), "0");
    EXPECT_EQ(none.at("/spec/preemptionPolicy"), "PreemptLowerPriority");
    cluster.make(classes, R"({"metadata":{"name":"high"},"value":1000,"preemptionPolicy":"Never"})");
    cluster.make(classes, R"({"metadata":{"name":"usual"},"value":7,"globalDefault":true})");
    cluster.refused(classes, R"({"metadata":{"name":"other"},"value":8,"globalDefault":true})",
                    "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as "
                    "default. Only one default can exist");
    const Reply high = cluster->call("POST", kCore + "pods", pod("high", "", R"("priorityClassName":"high",)"));
    EXPECT_EQ(high.at("/spec/priority"), "1000") << high.body;
    EXPECT_EQ(high.at("/spec/preemptionPolicy"), "Never");
    const Reply usual = cluster->call("POST", kCore + "pods", pod("usual"));
    EXPECT_EQ(usual.at("/spec/priority"), "7");
    EXPECT_EQ(usual.at("/spec/priorityClassName"), "usual");
    const Reply system =
        cluster->call("POST", kCore + "pods", pod("s", "", R"("priorityClassName":"system-node-critical",)"));
    EXPECT_EQ(system.at("/spec/priority"), "2000001000");
    cluster.refused(kCore + "pods", pod("x", "", R"("priorityClassName":"gone",)"),
                    "pods \"x\" is forbidden: no PriorityClass with name gone was found");
    cluster.refused(kCore + "pods", pod("x", "", R"("priority":5,)"),
                    "pods \"x\" is forbidden: the integer value of priority (5) must not be provided in pod spec; "
                    "priority admission controller computed 7 from the given PriorityClass name");
    // An update that leaves the fields out keeps them.
    EXPECT_EQ(cluster->call("PATCH", kCore + "pods/high", R"({"spec":{"priority":null}})", kMerge).at("/spec/priority"),
              "1000");
}

TEST(RuntimeClass, OverheadAndPlace) {
    Admitted cluster;
    cluster.refused(kCore + "pods", pod("x", "", R"("runtimeClassName":"r",)"),
                    "pods \"x\" is forbidden: pod rejected: RuntimeClass \"r\" not found");
    cluster.make("/apis/node.k8s.io/v1/runtimeclasses",
                 R"({"metadata":{"name":"r"},"handler":"h","overhead":{"podFixed":{"cpu":"10m"}},)"
                 R"("scheduling":{"nodeSelector":{"a":"b"}}})");
    const Reply made = cluster->call("POST", kCore + "pods", pod("x", "", R"("runtimeClassName":"r",)"));
    EXPECT_EQ(made.at("/spec/overhead/cpu"), "10m") << made.body;
    EXPECT_EQ(made.at("/spec/nodeSelector/a"), "b");
    cluster.refused(kCore + "pods", pod("y", "", R"("runtimeClassName":"r","nodeSelector":{"a":"c"},)"),
                    "pods \"y\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[a] = b; "
                    "pod.spec.nodeSelector[a] = c");
}

TEST(DefaultClasses, OfClaimsAndIngresses) {
    Admitted cluster;
    cluster.make("/apis/storage.k8s.io/v1/storageclasses",
                 R"({"metadata":{"name":"s","annotations":{"storageclass.kubernetes.io/is-default-class":"true"}},)"
                 R"("provisioner":"x.io/p"})");
    const Reply claim = cluster->call(
        "POST", kCore + "persistentvolumeclaims",
        R"({"metadata":{"name":"c"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}})");
    EXPECT_EQ(claim.at("/spec/storageClassName"), "s") << claim.body;
    const Reply none = cluster->call(
        "POST", kCore + "persistentvolumeclaims",
        R"({"metadata":{"name":"n"},"spec":{"storageClassName":"","accessModes":["ReadWriteOnce"],)"
        R"("resources":{"requests":{"storage":"1Gi"}}}})");
    EXPECT_EQ(none.at("/spec/storageClassName"), "") << none.body;
}

TEST(Plugins, AreTurnedOffByName) {
    auto set = parse_plugins("", "LimitRanger,Priority");
    ASSERT_TRUE(set);
    Admitted cluster(*set);
    cluster.make(kCore + "limitranges",
                 R"({"metadata":{"name":"l"},"spec":{"limits":[{"type":"Pod","max":{"cpu":"1"}}]}})");
    cluster.make(kCore + "pods", pod("p"));
    EXPECT_EQ(parse_plugins("NoSuch", "").error().message, "--enable-admission-plugins: there is no plugin \"NoSuch\"");
    EXPECT_EQ(parse_plugins("Priority", "Priority").error().message,
              "Priority in enable-admission-plugins and disable-admission-plugins overlapped");
    EXPECT_FALSE(parse_plugins("", "NamespaceLifecycle"));
}

// Waits until a quota's status says so: it is counted by another thread.
void expect_quota(Cluster& cluster, const std::string& name, const std::string& field, const std::string& value) {
    std::string seen;
    for (int i = 0; i < 500 && seen != value; ++i) {
        seen = cluster.call("GET", kCore + "resourcequotas/" + name).at(field);
        if (seen != value) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(seen, value) << name << field;
}

void make_quota(Admitted* cluster, const std::string& spec) {
    cluster->make(kCore + "resourcequotas", R"({"metadata":{"name":"q"},"spec":{)" + spec + "}}");
}

TEST(ResourceQuota, StatusIsPromptlyCalculated) {
    Admitted cluster;
    make_quota(&cluster, R"("hard":{"pods":"5","services":"2","resourcequotas":"1","configmaps":"10"})");
    expect_quota(*cluster, "q", "/status/hard",
                 R"({"configmaps":"10","pods":"5","resourcequotas":"1","services":"2"})");
    expect_quota(*cluster, "q", "/status/used/resourcequotas", "1");
    expect_quota(*cluster, "q", "/status/used/pods", "0");
    // The Service kubernetes is there.
    expect_quota(*cluster, "q", "/status/used/services", "1");
    cluster.refused(kCore + "resourcequotas", R"({"metadata":{"name":"r"},"spec":{"hard":{"pods":"1"}}})",
                    "resourcequotas \"r\" is forbidden: exceeded quota: q, requested: resourcequotas=1, used: "
                    "resourcequotas=1, limited: resourcequotas=1");
}

TEST(ResourceQuota, TheLifeOfAPod) {
    Admitted cluster;
    make_quota(&cluster, R"("hard":{"pods":"2","requests.cpu":"600m","limits.memory":"1Gi","count/pods":"3"})");
    expect_quota(*cluster, "q", "/status/used/pods", "0");
    cluster.refused(kCore + "pods", pod("x"),
                    "pods \"x\" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c");
    const auto sized = [](const std::string& name, const std::string& cpu) {
        return pod(name, R"("requests":{"cpu":")" + cpu + R"("},"limits":{"memory":"100Mi"})");
    };
    cluster.make(kCore + "pods", sized("a", "500m"));
    // At once, not when it is counted again.
    const Reply quota = cluster->call("GET", kCore + "resourcequotas/q");
    EXPECT_EQ(quota.at("/status/used/requests.cpu"), "500m");
    EXPECT_EQ(quota.at("/status/used/limits.memory"), "100Mi");
    EXPECT_EQ(quota.at("/status/used/count~1pods"), "1");
    cluster.refused(kCore + "pods", sized("b", "200m"),
                    "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=500m, "
                    "limited: requests.cpu=600m");
    EXPECT_EQ(cluster->call("POST", kCore + "pods?dryRun=All", sized("dry", "100m")).status, 201);
    EXPECT_EQ(cluster->call("GET", kCore + "resourcequotas/q").at("/status/used/pods"), "1");
    EXPECT_EQ(cluster->call("DELETE", kCore + "pods/a?gracePeriodSeconds=0").status, 200);
    expect_quota(*cluster, "q", "/status/used/requests.cpu", "0");
    cluster.make(kCore + "pods", sized("b", "600m"));
}

TEST(ResourceQuota, TheLivesOfOtherObjects) {
    Admitted cluster;
    make_quota(&cluster, R"("hard":{"configmaps":"1","secrets":"1","services":"3","services.nodeports":"1",)"
                         R"("services.loadbalancers":"1","replicationcontrollers":"1","count/replicasets.apps":"1"})");
    expect_quota(*cluster, "q", "/status/used/services", "1");
    const std::string one = R"({"metadata":{"name":"one"}})";
    const std::string two = R"({"metadata":{"name":"two"}})";
    for (const std::string kind : {"configmaps", "secrets"}) {
        cluster.make(kCore + kind, one);
        const std::string text = kind + "=1";
        cluster.refused(kCore + kind, two,
                        kind + " \"two\" is forbidden: exceeded quota: q, requested: " + text + ", used: " + text +
                            ", limited: " + text);
        EXPECT_EQ(cluster->call("DELETE", kCore + kind + "/one").status, 200);
        expect_quota(*cluster, "q", "/status/used/" + kind, "0");
    }
    const auto workload = [](const std::string& name) {
        return R"({"metadata":{"name":")" + name + R"("},"spec":{"replicas":0,"selector":{"matchLabels":{"a":"b"}},)"
               R"("template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})";
    };
    const std::string sets = "/apis/apps/v1/namespaces/default/replicasets";
    cluster.make(sets, workload("one"));
    cluster.refused(sets, workload("two"),
                    "replicasets.apps \"two\" is forbidden: exceeded quota: q, requested: count/replicasets.apps=1, used: "
                    "count/replicasets.apps=1, limited: count/replicasets.apps=1");
    const auto service = [](const std::string& name, const std::string& type) {
        return R"({"metadata":{"name":")" + name + R"("},"spec":{"type":")" + type + R"(","ports":[{"port":80}]}})";
    };
    cluster.make(kCore + "services", service("n", "NodePort"));
    cluster.refused(kCore + "services", service("l", "LoadBalancer"),
                    "services \"l\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: "
                    "services.nodeports=1, limited: services.nodeports=1");
    // An update gives back what it frees.
    EXPECT_EQ(cluster->call("PATCH", kCore + "services/n", R"({"spec":{"type":"ClusterIP"}})", kMerge).status, 200);
    EXPECT_EQ(cluster->call("GET", kCore + "resourcequotas/q").at("/status/used/services.nodeports"), "0");
    cluster.make(kCore + "services", service("l", "LoadBalancer"));
    expect_quota(*cluster, "q", "/status/used/services.loadbalancers", "1");
}

TEST(ResourceQuota, Scopes) {
    Admitted cluster;
    const auto quota = [&](const std::string& name, const std::string& scope) {
        cluster.make(kCore + "resourcequotas", R"({"metadata":{"name":")" + name +
                                                   R"("},"spec":{"hard":{"pods":"1"},"scopes":[")" + scope + R"("]}})");
        expect_quota(*cluster, name, "/status/used/pods", "0");
    };
    quota("best", "BestEffort");
    quota("better", "NotBestEffort");
    quota("ending", "Terminating");
    cluster.make(kCore + "pods", pod("best"));
    expect_quota(*cluster, "best", "/status/used/pods", "1");
    expect_quota(*cluster, "better", "/status/used/pods", "0");
    cluster.make(kCore + "pods", pod("better", R"("requests":{"cpu":"1m"})", R"("activeDeadlineSeconds":9,)"));
    expect_quota(*cluster, "better", "/status/used/pods", "1");
    expect_quota(*cluster, "ending", "/status/used/pods", "1");
    expect_quota(*cluster, "best", "/status/used/pods", "1");
}

// Of a write that is on its way, perhaps through another server: a count that does not find its object yet takes
// nothing back.
TEST(ResourceQuota, AChargeIsBelievedForAWhile) {
    Admitted cluster;
    make_quota(&cluster, R"("hard":{"configmaps":"1"})");
    expect_quota(*cluster, "q", "/status/used/configmaps", "0");
    EXPECT_EQ(cluster->call("PATCH", kCore + "resourcequotas/q/status", R"({"status":{"used":{"configmaps":"1"}}})",
                            kMerge)
                  .at("/status/used/configmaps"),
              "1");
    std::this_thread::sleep_for(10 * registry::kQuotaGather);
    EXPECT_EQ(cluster->call("GET", kCore + "resourcequotas/q").at("/status/used/configmaps"), "1");
    EXPECT_EQ(cluster->call("POST", kCore + "configmaps", R"({"metadata":{"name":"c"}})").status, 403);
}

TEST(ResourceQuota, UpdateAndDelete) {
    Admitted cluster;
    make_quota(&cluster, R"("hard":{"configmaps":"0"})");
    expect_quota(*cluster, "q", "/status/hard/configmaps", "0");
    EXPECT_EQ(cluster->call("POST", kCore + "configmaps", R"({"metadata":{"name":"c"}})").status, 403);
    EXPECT_EQ(cluster->call("PATCH", kCore + "resourcequotas/q", R"({"spec":{"hard":{"configmaps":"1"}}})", kMerge)
                  .at("/spec/hard/configmaps"),
              "1");
    expect_quota(*cluster, "q", "/status/hard/configmaps", "1");
    cluster.make(kCore + "configmaps", R"({"metadata":{"name":"c"}})");
    EXPECT_EQ(cluster->call("DELETE", kCore + "resourcequotas/q").status, 200);
    EXPECT_EQ(cluster->call("GET", kCore + "resourcequotas/q").status, 404);
    cluster.make(kCore + "configmaps", R"({"metadata":{"name":"d"}})");
}

}  // namespace
}  // namespace sluice::admission
