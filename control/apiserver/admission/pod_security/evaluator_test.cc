// The checks of the Pod Security Standards one by one, with the texts of Kubernetes' own policies and tests.
#include <gtest/gtest.h>

#include <map>
#include <ostream>

#include "api/codec/json.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/pod_security/evaluator.h"

namespace sluice::admission::pod_security {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

struct Case {
    const char* name;
    Level level;
    int minor;
    const char* spec;        // of the Pod, whose containers a and b are as safe as can be
    const char* of_a;        // securityContext of container a, instead of the safe one
    const char* expected;
    const char* metadata = "{}";
};

void PrintTo(const Case& of, std::ostream* out) { *out << of.name; }

constexpr char kSafe[] =
    R"({"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"runAsNonRoot":true,)"
    R"("seccompProfile":{"type":"RuntimeDefault"}})";

corev1::Pod pod_of(const Case& of) {
    const std::string a = of.of_a[0] == 0 ? kSafe : of.of_a;
    std::string spec = of.spec;
    if (!spec.empty()) spec += ",";
    const std::string text = std::string(R"({"apiVersion":"v1","kind":"Pod","metadata":)") + of.metadata +
                             R"(,"spec":{)" + spec + R"("containers":[{"name":"a","securityContext":)" + a +
                             R"(},{"name":"b","securityContext":)" + kSafe + "}]}}";
    corev1::Pod out;
    const auto decoded = codec::decode_json(text, &out);
    EXPECT_TRUE(decoded) << decoded.error().message << text;
    return out;
}

class Evaluate : public testing::TestWithParam<Case> {};

TEST_P(Evaluate, SaysWhatUpstreamSays) {
    const Case& of = GetParam();
    const auto pod = pod_of(of);
    EXPECT_EQ(detailed(evaluate({of.level, Version{of.minor}}, pod.metadata(), pod.spec())), of.expected);
}

constexpr Level kBase = Level::kBaseline;
constexpr Level kStrict = Level::kRestricted;

INSTANTIATE_TEST_SUITE_P(
    Baseline, Evaluate,
    testing::Values(
        Case{"safe", kStrict, 32, "", "", ""},
        Case{"privileged allows all", Level::kPrivileged, 32, R"("hostNetwork":true)", R"({"privileged":true})", ""},
        Case{"namespaces", kBase, 32, R"("hostNetwork":true,"hostPID":true,"hostIPC":true)", "",
             "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)"},
        Case{"privileged", kBase, 32, "", R"({"privileged":true})",
             R"(privileged (container "a" must not set securityContext.privileged=true))"},
        Case{"capabilities", kBase, 32, "", R"({"capabilities":{"add":["NET_RAW","CHOWN","BPF"]}})",
             R"(non-default capabilities (container "a" must not include "BPF", "NET_RAW" in )"
             R"(securityContext.capabilities.add))"},
        Case{"hostPath", kBase, 32,
             R"("volumes":[{"name":"x","hostPath":{"path":"/"}},{"name":"y","hostPath":{"path":"/"}}])", "",
             R"(hostPath volumes (volumes "x", "y"))"},
        Case{"hostPort", kBase, 32,
             R"("initContainers":[{"name":"i","ports":[{"containerPort":1,"hostPort":80},)"
             R"({"containerPort":2,"hostPort":8080}]}])",
             "", R"(hostPort (container "i" uses hostPorts 80, 8080))"},
        Case{"procMount", kBase, 32, "", R"({"procMount":"Unmasked"})",
             R"(procMount (container "a" must not set securityContext.procMount to "Unmasked"))"},
        Case{"selinux", kBase, 32, R"("securityContext":{"seLinuxOptions":{"type":"spc_t","user":"u"}})",
             R"({"seLinuxOptions":{"role":"r"}})",
             R"(seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "spc_t"; )"
             R"(user may not be set; role may not be set))"},
        Case{"engine of containers", kBase, 31, "", R"({"seLinuxOptions":{"type":"container_engine_t"}})", ""},
        Case{"engine before 1.31", kBase, 30, "", R"({"seLinuxOptions":{"type":"container_engine_t"}})",
             R"(seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: )"
             R"(type "container_engine_t"))"},
        Case{"seccomp", kBase, 32, R"("securityContext":{"seccompProfile":{"type":"Unconfined"}})", "",
             R"(seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined"))"},
        Case{"seccomp annotation", kBase, 18, "", "",
             R"(seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined"))",
             R"({"annotations":{"seccomp.security.alpha.kubernetes.io/pod":"unconfined"}})"},
        Case{"apparmor", kBase, 32, "", R"({"appArmorProfile":{"type":"Unconfined"}})",
             R"(forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined"))"},
        Case{"apparmor annotation", kBase, 32, "", "",
             R"(forbidden AppArmor profile (annotation must not set AppArmor profile type to )"
             R"("container.apparmor.security.beta.kubernetes.io/a="unconfined""))",
             R"({"annotations":{"container.apparmor.security.beta.kubernetes.io/a":"unconfined"}})"},
        Case{"sysctls", kBase, 32,
             R"("securityContext":{"sysctls":[{"name":"net.ipv4.tcp_rmem"},{"name":"kernel.x"}]})", "", "forbidden sysctls (kernel.x)"},
        Case{"sysctls of 1.26", kBase, 26,
             R"("securityContext":{"sysctls":[{"name":"net.ipv4.ip_local_reserved_ports"},)"
             R"({"name":"net.ipv4.tcp_rmem"}]})",
             "", "forbidden sysctls (net.ipv4.ip_local_reserved_ports, net.ipv4.tcp_rmem)"},
        Case{"windows", kBase, 32, R"("securityContext":{"windowsOptions":{"hostProcess":true}})", "",
             "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"}));

INSTANTIATE_TEST_SUITE_P(
    Restricted, Evaluate,
    testing::Values(
        Case{"nothing said", kStrict, 32, "", "{}",
             R"(allowPrivilegeEscalation != false (container "a" must set )"
             R"(securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "a" must set )"
             R"(securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "a" must set )"
             R"(securityContext.runAsNonRoot=true), seccompProfile (pod or container "a" must set )"
             R"(securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"))"},
        Case{"the pod says it", kStrict, 32,
             R"("securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"Localhost"}})",
             R"({"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"],"add":["NET_BIND_SERVICE"]}})", ""},
        Case{"root", kStrict, 32, R"("securityContext":{"runAsNonRoot":false,"runAsUser":0})", "",
             "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), "
             "runAsUser=0 (pod must not set runAsUser=0)"},
        Case{"root before 1.23", kStrict, 22, R"("securityContext":{"runAsUser":0})", "", ""},
        Case{"capabilities", kStrict, 32, "",
             R"({"allowPrivilegeEscalation":false,"capabilities":{"add":["CHOWN"]},"runAsNonRoot":true,)"
             R"("seccompProfile":{"type":"RuntimeDefault"}})",
             R"(unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; )"
             R"(container "a" must not include "CHOWN" in securityContext.capabilities.add))"},
        Case{"volumes", kStrict, 32,
             R"("volumes":[{"name":"h","hostPath":{"path":"/"}},{"name":"n","nfs":{"server":"s","path":"/"}},)"
             R"({"name":"e","emptyDir":{}},{"name":"p","projected":{"sources":[]}}])",
             "", R"(restricted volume types (volumes "h", "n" use restricted volume types "hostPath", "nfs"))"},
        Case{"seccomp of one", kStrict, 32, "",
             R"({"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"runAsNonRoot":true,)"
             R"("seccompProfile":{"type":"Unconfined"}})",
             R"(seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined"))"},
        Case{"windows of 1.25", kStrict, 25, R"("os":{"name":"windows"})", R"({"runAsNonRoot":true})", ""},
        Case{"windows of 1.24", kStrict, 24, R"("os":{"name":"windows"})",
             R"({"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"},"capabilities":{"drop":["ALL"]}})",
             R"(allowPrivilegeEscalation != false (container "a" must set )"
             R"(securityContext.allowPrivilegeEscalation=false))"},
        Case{"of 1.7", kStrict, 7, "", R"({"runAsNonRoot":true})", ""},
        Case{"a version to come", kStrict, 99, "", R"({"runAsUser":0,"runAsNonRoot":true})",
             R"(allowPrivilegeEscalation != false (container "a" must set )"
             R"(securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "a" must set )"
             R"(securityContext.capabilities.drop=["ALL"]), runAsUser=0 (container "a" must not set runAsUser=0), )"
             R"(seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to )"
             R"("RuntimeDefault" or "Localhost"))"}));

Policy policy(const std::map<std::string, std::string>& labels, std::vector<LabelError>* errors) {
    return policy_of(
        [&labels](const std::string& name) {
            const auto found = labels.find(name.substr(name.find('/') + 1));
            return found == labels.end() ? nullptr : &found->second;
        },
        errors);
}

TEST(Policy, OfLabels) {
    std::vector<LabelError> errors;
    EXPECT_TRUE(policy({}, &errors).is_privileged());
    // Who enforces is warned of templates by the same measure, unless he says otherwise.
    Policy made = policy({{"enforce", "restricted"}, {"enforce-version", "v1.25"}}, &errors);
    EXPECT_EQ(to_string(made.enforce), "restricted:v1.25");
    EXPECT_EQ(to_string(made.warn), "restricted:v1.25");
    EXPECT_EQ(to_string(made.audit), "privileged:latest");
    made = policy({{"enforce", "restricted"}, {"warn", "baseline"}, {"audit", "baseline"}, {"audit-version", "latest"}},
                  &errors);
    EXPECT_EQ(to_string(made.warn), "baseline:latest");
    EXPECT_EQ(to_string(made.audit), "baseline:latest");
    EXPECT_TRUE(errors.empty());
}

TEST(Policy, OfBadLabels) {
    std::vector<LabelError> errors;
    const Policy made = policy(
        {{"enforce", "Baseline"}, {"warn", ""}, {"audit-version", "v1.01"}, {"warn-version", "1"}}, &errors);
    EXPECT_EQ(to_string(made.enforce), "restricted:latest");
    EXPECT_EQ(to_string(made.warn), "privileged:latest");
    ASSERT_EQ(errors.size(), 4U);
    EXPECT_EQ(errors[0].why, "must be one of privileged, baseline, restricted");
    EXPECT_EQ(errors[1].label, "pod-security.kubernetes.io/audit-version");
    EXPECT_EQ(errors[1].why, "must be \"latest\" or \"v1.x\"");
}

}  // namespace
}  // namespace sluice::admission::pod_security
