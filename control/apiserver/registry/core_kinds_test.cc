// The kinds of core/v1, apps/v1 and batch/v1 that hold storage, limits and schedules. Expectations are recordings of
// kube-apiserver 1.32 and the words of its sources.
#include <gtest/gtest.h>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

constexpr const char* kCore = "/api/v1/namespaces/default/";
constexpr const char* kVolumes = "/api/v1/persistentvolumes";
constexpr const char* kCronJobs = "/apis/batch/v1/namespaces/default/cronjobs";
constexpr const char* kSets = "/apis/apps/v1/namespaces/default/statefulsets";

std::string core(const std::string& path) { return kCore + path; }

std::string named(const std::string& name, const std::string& spec) {
    return R"({"metadata":{"name":")" + name + R"("},"spec":{)" + spec + "}}";
}

// Posts and expects a 422 that says `why`.
void refused(Cluster* cluster, const std::string& path, const std::string& body,
             const std::string& why) {
    const Reply reply = cluster->call("POST", path, body);
    EXPECT_EQ(reply.status, 422) << reply.body;
    EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.body;
}

std::string columns(const Reply& table) {
    std::string out;
    for (int i = 0;; ++i) {
        const std::string name = table.at("/columnDefinitions/" + std::to_string(i) + "/name");
        if (name.empty()) return out;
        out += name + "|";
    }
}

const std::string kJobTemplate =
    R"("jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":)"
    R"([{"name":"c","image":"i"}]}}}})";

TEST(CronJobs, DefaultsAndTable) {
    Cluster cluster;
    const Reply made =
        cluster.call("POST", kCronJobs, named("dc", R"("schedule":"0 0 1 1 *",)" + kJobTemplate));
    ASSERT_EQ(made.status, 201) << made.body;
    // As recorded.
    EXPECT_EQ(made.at("/spec/schedule"), "0 0 1 1 *");
    EXPECT_EQ(made.at("/spec/concurrencyPolicy"), "Allow");
    EXPECT_EQ(made.at("/spec/suspend"), "false");
    EXPECT_EQ(made.at("/spec/successfulJobsHistoryLimit"), "3");
    EXPECT_EQ(made.at("/spec/failedJobsHistoryLimit"), "1");
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    // A Job's own defaults come with the Job.
    EXPECT_EQ(made.at("/spec/jobTemplate/spec/backoffLimit"), "");
    EXPECT_EQ(made.at("/spec/jobTemplate/spec/template/spec/dnsPolicy"), "ClusterFirst");
    const Reply table = cluster.call("GET", kCronJobs, "", kTable);
    EXPECT_EQ(columns(table),
              "Name|Schedule|Timezone|Suspend|Active|Last Schedule|Age|Containers|Images|Selector|");
    EXPECT_EQ(ageless(table.at("/rows/0/cells")),
              R"(["dc","0 0 1 1 *","<none>","False",0,"<none>","AGE","c","i","<none>"])");
}

TEST(CronJobs, SchedulesAndTimeZones) {
    Cluster cluster;
    const auto bad = [&](const std::string& schedule, const std::string& why) {
        refused(&cluster, kCronJobs,
                named("v", R"("schedule":")" + schedule + R"(",)" + kJobTemplate),
                "spec.schedule: Invalid value: \"" + schedule + "\": " + why);
    };
    bad("x", "expected exactly 5 fields, found 1: [x]");
    bad("60 * * * *", "end of range (60) above maximum (59): 60");
    bad("* * 0 * *", "beginning of range (0) below minimum (1): 0");
    bad("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3");
    bad("*/0 * * * *", "step of range should be a positive number: */0");
    bad("1-2-3 * * * *", "too many hyphens: 1-2-3");
    bad("1/2/3 * * * *", "too many slashes: 1/2/3");
    bad("a * * * *",
        "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax");
    bad("@never", "unrecognized descriptor: @never");
    bad("TZ=UTC 0 * * * *",
        "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    int number = 0;
    for (const char* schedule : {"*/15 9-17 * jan-jun mon-fri", "@hourly", "@every 1h30m",
                                 "0,30 ? 1 1 SUN", "3/10 * * * *"}) {
        const Reply reply = cluster.call(
            "POST", kCronJobs,
            named("ok" + std::to_string(number++),
                  R"("timeZone":"Europe/Berlin","schedule":")" + std::string(schedule) + R"(",)" +
                      kJobTemplate));
        EXPECT_EQ(reply.status, 201) << reply.body;
    }
    const auto bad_zone = [&](const std::string& zone, const std::string& why) {
        refused(&cluster, kCronJobs,
                named("v", R"("schedule":"@daily","timeZone":")" + zone + R"(",)" + kJobTemplate),
                "spec.timeZone: Invalid value: \"" + zone + "\": " + why);
    };
    bad_zone("Mars/Base", "unknown time zone Mars/Base");
    bad_zone("../../etc/passwd", "unknown time zone ../../etc/passwd");
    bad_zone("Local", "timeZone must be an explicit time zone as defined in "
                      "https://www.iana.org/time-zones");
    refused(&cluster, kCronJobs,
            named(std::string(53, 'n'), R"("schedule":"@daily",)" + kJobTemplate),
            "must be no more than 52 characters");
    refused(&cluster, kCronJobs, named("v", R"("schedule":"@daily","concurrencyPolicy":"X",)" + kJobTemplate),
            R"(spec.concurrencyPolicy: Unsupported value: "X": supported values: "Allow", "Forbid", )"
            R"("Replace")");
    refused(&cluster, kCronJobs, named("v", kJobTemplate), "spec.schedule: Required value");
}

const std::string kSet =
    R"("serviceName":"s","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":)"
    R"({"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}})";

TEST(StatefulSets, DefaultsScaleAndTable) {
    Cluster cluster;
    const Reply made = cluster.call(
        "POST", kSets,
        named("s", R"("volumeClaimTemplates":[{"metadata":{"name":"v"},"spec":{"accessModes":)"
                   R"(["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}],)" + kSet));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/podManagementPolicy"), "OrderedReady");
    EXPECT_EQ(made.at("/spec/updateStrategy"), R"({"type":"RollingUpdate","rollingUpdate":{"partition":0}})");
    EXPECT_EQ(made.at("/spec/persistentVolumeClaimRetentionPolicy"),
              R"({"whenDeleted":"Retain","whenScaled":"Retain"})");
    EXPECT_EQ(made.at("/spec/replicas"), "1");
    EXPECT_EQ(made.at("/spec/revisionHistoryLimit"), "10");
    EXPECT_EQ(made.at("/spec/volumeClaimTemplates/0/spec/volumeMode"), "Filesystem");
    EXPECT_EQ(made.at("/spec/volumeClaimTemplates/0/status/phase"), "Pending");
    const std::string path = std::string(kSets) + "/s";
    const Reply scale = cluster.call("PATCH", path + "/scale", R"({"spec":{"replicas":4}})", kMerge);
    EXPECT_EQ(scale.status, 200) << scale.body;
    EXPECT_EQ(scale.at("/status/selector"), "a=b");
    EXPECT_EQ(cluster.call("GET", path).at("/spec/replicas"), "4");
    EXPECT_EQ(cluster.call("GET", path).at("/metadata/generation"), "2");
    const Reply table = cluster.call("GET", kSets, "", kTable);
    EXPECT_EQ(columns(table), "Name|Ready|Age|Containers|Images|");
    EXPECT_EQ(ageless(table.at("/rows/0/cells")), R"(["s","0/4","AGE","c","i:1"])");
}

TEST(StatefulSets, Validation) {
    Cluster cluster;
    refused(&cluster, kSets, named("v", R"("podManagementPolicy":"X",)" + kSet),
            "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'");
    refused(&cluster, kSets, named("v", R"("updateStrategy":{"type":"OnDelete","rollingUpdate":{}},)" + kSet),
            "only allowed for updateStrategy 'RollingUpdate'");
    refused(&cluster, kSets,
            named("v", R"("selector":{"matchLabels":{"a":"c"}},"template":{"metadata":{"labels":)"
                       R"({"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}})"),
            "`selector` does not match template `labels`");
    ASSERT_EQ(cluster.call("POST", kSets, named("s", kSet)).status, 201);
    const Reply changed = cluster.call("PATCH", std::string(kSets) + "/s",
                                       R"({"spec":{"serviceName":"other"}})", kMerge);
    EXPECT_EQ(changed.status, 422);
    EXPECT_EQ(changed.at("/details/causes/0/field"), "spec");
    EXPECT_EQ(changed.at("/details/causes/0/reason"), "FieldValueForbidden");
    EXPECT_NE(changed.at("/message").find("updates to statefulset spec for fields other than "
                                          "'replicas', 'ordinals', 'template'"),
              std::string::npos);
}

const std::string kClaim =
    R"("accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}})";

TEST(Claims, DefaultsValidationAndTable) {
    Cluster cluster;
    const std::string path = core("persistentvolumeclaims");
    const Reply made = cluster.call("POST", path, named("pvc", kClaim));
    ASSERT_EQ(made.status, 201) << made.body;
    // As recorded.
    EXPECT_EQ(made.at("/spec"),
              R"({"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},)"
              R"("volumeMode":"Filesystem"})");
    EXPECT_EQ(made.at("/status"), R"({"phase":"Pending"})");
    refused(&cluster, path, named("v", R"("resources":{"requests":{"storage":"1Gi"}})"),
            "spec.accessModes: Required value: at least 1 access mode is required");
    refused(&cluster, path, named("v", R"("accessModes":["ReadWriteOnce"])"),
            "spec.resources[storage]: Required value");
    refused(&cluster, path,
            named("v", R"("accessModes":["X"],"resources":{"requests":{"storage":"1Gi"}})"),
            R"(spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", )"
            R"("ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")");
    refused(&cluster, path,
            named("v", R"("accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"0"}})"),
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero");
    const std::string one = path + "/pvc";
    EXPECT_EQ(cluster.call("PATCH", one, R"({"spec":{"volumeName":"pv"}})", kMerge).status, 200);
    const Reply moved = cluster.call("PATCH", one, R"({"spec":{"volumeName":"other"}})", kMerge);
    EXPECT_EQ(moved.status, 422);
    EXPECT_NE(moved.at("/message").find("spec is immutable after creation except resources.requests "
                                        "and volumeAttributesClassName for bound claims"),
              std::string::npos);
    const char* grow = R"({"spec":{"resources":{"requests":{"storage":"2Gi"}}}})";
    EXPECT_EQ(cluster.call("PATCH", one, grow, kMerge).status, 422);
    ASSERT_EQ(cluster
                  .call("PATCH", one + "/status",
                        R"({"status":{"phase":"Bound","accessModes":["ReadWriteOnce"],)"
                        R"("capacity":{"storage":"1Gi"}}})",
                        kMerge)
                  .status,
              200);
    EXPECT_EQ(cluster.call("PATCH", one, grow, kMerge).status, 200);
    const Reply table = cluster.call("GET", path, "", kTable);
    EXPECT_EQ(columns(table),
              "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|"
              "VolumeMode|");
    EXPECT_EQ(ageless(table.at("/rows/0/cells")),
              R"(["pvc","Bound","pv","1Gi","RWO","","<unset>","AGE","Filesystem"])");
}

TEST(Volumes, DefaultsValidationAndTable) {
    Cluster cluster;
    const std::string sound =
        R"("capacity":{"storage":"2Gi"},"accessModes":["ReadWriteOnce","ReadOnlyMany"],)";
    const Reply made =
        cluster.call("POST", kVolumes, named("pv", sound + R"("hostPath":{"path":"/x"})"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/persistentVolumeReclaimPolicy"), "Retain");
    EXPECT_EQ(made.at("/spec/volumeMode"), "Filesystem");
    EXPECT_EQ(made.at("/status/phase"), "Pending");
    EXPECT_NE(made.at("/status/lastPhaseTransitionTime"), "");
    refused(&cluster, kVolumes, named("v", sound + R"("persistentVolumeReclaimPolicy":"Retain")"),
            "spec: Required value: must specify a volume type");
    refused(&cluster, kVolumes,
            named("v", sound + R"("hostPath":{"path":"/x"},"nfs":{"server":"s","path":"/y"})"),
            "spec.nfs: Forbidden: may not specify more than 1 volume type");
    refused(&cluster, kVolumes, named("v", sound + R"("nfs":{"server":"s","path":"y"})"),
            "spec.nfs.path: Invalid value: \"y\": must be an absolute path");
    refused(&cluster, kVolumes, named("v", sound + R"("csi":{"driver":"d"})"),
            "spec.csi.volumeHandle: Required value");
    refused(&cluster, kVolumes, named("v", sound + R"("local":{"path":"/x"})"),
            "metadata.annotations: Required value: Local volume requires node affinity");
    refused(&cluster, kVolumes, named("v", R"("accessModes":["ReadWriteOnce"],"hostPath":{"path":"/x"})"),
            "spec.capacity: Required value");
    const Reply changed = cluster.call("PATCH", std::string(kVolumes) + "/pv",
                                       R"({"spec":{"hostPath":{"path":"/other"}}})", kMerge);
    EXPECT_EQ(changed.status, 422);
    EXPECT_NE(changed.at("/message").find("spec.persistentvolumesource: Forbidden: "
                                          "spec.persistentvolumesource is immutable after creation"),
              std::string::npos);
    const Reply table = cluster.call("GET", kVolumes, "", kTable);
    EXPECT_EQ(columns(table),
              "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|"
              "VolumeAttributesClass|Reason|Age|VolumeMode|");
    EXPECT_EQ(ageless(table.at("/rows/0/cells")),
              R"(["pv","2Gi","RWO,ROX","Retain","Pending","","","<unset>","","AGE","Filesystem"])");
    EXPECT_EQ(cluster.call("DELETE", std::string(kVolumes) + "/pv").at("/kind"), "PersistentVolume");
}

TEST(LimitRanges, DefaultsAndValidation) {
    Cluster cluster;
    const std::string path = core("limitranges");
    const Reply made = cluster.call(
        "POST", path,
        named("l", R"("limits":[{"type":"Container","max":{"cpu":"1"},"min":{"memory":"1Mi"}}])"));
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/limits/0/default"), R"({"cpu":"1"})");
    EXPECT_EQ(made.at("/spec/limits/0/defaultRequest"), R"({"cpu":"1","memory":"1Mi"})");
    refused(&cluster, path, named("v", R"("limits":[{"type":"X"}])"),
            "spec.limits[0].type: Invalid value: \"X\": must be a standard limit type or fully "
            "qualified");
    refused(&cluster, path, named("v", R"("limits":[{"type":"Pod","default":{"cpu":"1"}}])"),
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'");
    refused(&cluster, path,
            named("v", R"("limits":[{"type":"Pod","min":{"cpu":"2"},"max":{"cpu":"1"}}])"),
            "min value 2 is greater than max value 1");
    refused(&cluster, path, named("v", R"("limits":[{"type":"Pod"},{"type":"Pod"}])"),
            "spec.limits[1].type: Duplicate value: \"Pod\"");
    refused(&cluster, path, named("v", R"("limits":[{"type":"PersistentVolumeClaim"}])"),
            "either minimum or maximum storage value is required, but neither was provided");
    const Reply table = cluster.call("GET", path, "", kTable);
    EXPECT_EQ(columns(table), "Name|Created At|");
    EXPECT_EQ(table.at("/rows/0/cells/1"), made.at("/metadata/creationTimestamp"));
}

TEST(ResourceQuotas, ValidationAndTable) {
    Cluster cluster;
    const std::string path = core("resourcequotas");
    ASSERT_EQ(cluster
                  .call("POST", path,
                        named("q", R"("hard":{"pods":"50","limits.cpu":"2","count/configmaps":"3"})"))
                  .status,
              201);
    refused(&cluster, path, named("v", R"("hard":{"x":"1"})"),
            "spec.hard[x]: Invalid value: \"x\": must be a standard resource for quotas");
    refused(&cluster, path, named("v", R"("hard":{"pods":"-1"})"),
            "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0");
    refused(&cluster, path, named("v", R"("hard":{"pods":"500m"})"), "must be an integer");
    refused(&cluster, path, named("v", R"("hard":{"pods":"1"},"scopes":["BestEffort","NotBestEffort"])"),
            R"(spec.scopes: Invalid value: []core.ResourceQuotaScope{"BestEffort", "NotBestEffort"}: )"
            R"(conflicting scopes)");
    refused(&cluster, path, named("v", R"("hard":{"requests.cpu":"1"},"scopes":["BestEffort"])"),
            "unsupported scope applied to resource");
    const Reply scoped = cluster.call("PATCH", path + "/q", R"({"spec":{"scopes":["Terminating"]}})", kMerge);
    EXPECT_NE(scoped.at("/message").find("field is immutable"), std::string::npos) << scoped.body;
    ASSERT_EQ(cluster
                  .call("PATCH", path + "/q/status",
                        R"({"status":{"hard":{"pods":"50","limits.cpu":"2"},)"
                        R"("used":{"pods":"7","limits.cpu":"500m"}}})",
                        kMerge)
                  .status,
              200);
    const Reply table = cluster.call("GET", path, "", kTable);
    EXPECT_EQ(ageless(table.at("/rows/0/cells")),
              R"(["q","pods: 7/50","limits.cpu: 500m/2","AGE"])");
}

TEST(PodTemplates, DefaultsGenerationAndTable) {
    Cluster cluster;
    const std::string path = core("podtemplates");
    const Reply made = cluster.call(
        "POST", path,
        R"({"metadata":{"name":"t"},"template":{"metadata":{"labels":{"a":"b"}},"spec":)"
        R"({"containers":[{"name":"c","image":"i:1"}]}}})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/metadata/generation"), "1");
    EXPECT_EQ(made.at("/template/spec/restartPolicy"), "Always");
    const Reply changed = cluster.call("PATCH", path + "/t",
                                       R"({"template":{"metadata":{"labels":{"a":"c"}}}})", kMerge);
    EXPECT_EQ(changed.at("/metadata/generation"), "2");
    const Reply table = cluster.call("GET", path, "", kTable);
    EXPECT_EQ(columns(table), "Name|Containers|Images|Pod Labels|");
    EXPECT_EQ(table.at("/rows/0/cells"), R"(["t","c","i:1","a=c"])");
    refused(&cluster, path, R"({"metadata":{"name":"v"},"template":{"spec":{"containers":[]}}})",
            "template.spec.containers: Required value");
}

}  // namespace
}  // namespace sluice::registry::testing
