// What a container sees as its environment.
#include "control/kubelet/environment/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "api/codec/json.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/kubelet/environment/test_objects.h"

namespace sluice::kubelet {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Not;
using testing::Pair;

corev1::Pod pod_of(const std::string& container) {
    corev1::Pod pod;
    const auto read = codec::decode_json(
        R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1","namespace":"shop","uid":"u1",
            "labels":{"app":"web","b":"x\"y"},"annotations":{"note":"hi"}},
            "spec":{"serviceAccountName":"sa","containers":[{"name":"c",)" + container + "}]}}", &pod);
    EXPECT_TRUE(read) << read.error().message;
    return pod;
}

PodFacts facts() { return {"node-a", {"10.0.0.1"}, {"10.1.0.5", "fd00::5"}, 2000, 1 << 30, 4096}; }

std::shared_ptr<const corev1::Service> service(const std::string& space, const std::string& name,
                                               const std::string& address,
                                               const std::string& ports) {
    auto out = std::make_shared<corev1::Service>();
    const auto read = codec::decode_json(
        R"({"kind":"Service","apiVersion":"v1","metadata":{"name":")" + name + R"(","namespace":")" + space +
            R"("},"spec":{"clusterIP":")" + address + R"(","ports":)" + ports + "}}", out.get());
    EXPECT_TRUE(read);
    return out;
}

Result<Environment> make(const std::string& container, ObjectSource& objects,
                         const std::vector<std::shared_ptr<const corev1::Service>>& services = {}) {
    const corev1::Pod pod = pod_of(container);
    return make_environment(pod, pod.spec().containers(0), facts(), services, objects);
}

TEST(Environment, ReferencesSeeWhatStandsBeforeThem) {
    TestObjects objects;
    const auto made = make(R"j("env":[{"name":"A","value":"1"},{"name":"B","value":"$(A)-$(C)-$$(A)"},
        {"name":"C","value":"3"},{"name":"A","value":"4"},{"name":"D","value":"$(A)"}])j", objects);
    ASSERT_TRUE(made);
    EXPECT_THAT(*made, ElementsAre(Pair("A", "4"), Pair("B", "1-$(C)-$(A)"), Pair("C", "3"),
                                   Pair("D", "4")));
}

TEST(Environment, EnvWinsOverEnvFrom) {
    TestObjects objects;
    objects.put_config_map("cm", {{"K", "map"}, {"L", "map"}});
    objects.put_secret("s", {{"K", "secret"}});
    const auto made = make(R"j("envFrom":[{"configMapRef":{"name":"cm"}},{"prefix":"P_","secretRef":{"name":"s"}},
        {"secretRef":{"name":"none","optional":true}}],"env":[{"name":"L","value":"$(K)+$(P_K)"}])j", objects);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_THAT(*made, ElementsAre(Pair("K", "map"), Pair("L", "map+secret"), Pair("P_K", "secret")));
}

TEST(Environment, KeysOfObjects) {
    TestObjects objects;
    objects.put_config_map("cm", {{"k", "v"}});
    objects.put_secret("s", {{"p", "q"}});
    const auto made = make(R"("env":[
        {"name":"A","valueFrom":{"configMapKeyRef":{"name":"cm","key":"k"}}},
        {"name":"B","valueFrom":{"secretKeyRef":{"name":"s","key":"p"}}},
        {"name":"C","valueFrom":{"secretKeyRef":{"name":"s","key":"x","optional":true}}},
        {"name":"D","valueFrom":{"configMapKeyRef":{"name":"x","key":"x","optional":true}}}])", objects);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_THAT(*made, ElementsAre(Pair("A", "v"), Pair("B", "q")));
}

TEST(Environment, SaysWhatIsMissingAsKubernetesDoes) {
    TestObjects objects;
    objects.put_secret("s", {});
    objects.put_config_map("cm", {});
    const auto message = [&](const std::string& container) {
        const auto made = make(container, objects);
        return made ? "" : made.error().message;
    };
    EXPECT_EQ(message(R"("envFrom":[{"configMapRef":{"name":"x"}}])"), "configmap \"x\" not found");
    EXPECT_EQ(message(R"("env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"x","key":"k"}}}])"),
              "secret \"x\" not found");
    EXPECT_EQ(message(R"("env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}])"),
              "couldn't find key k in Secret shop/s");
    EXPECT_EQ(message(R"("env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"cm","key":"k"}}}])"),
              "couldn't find key k in ConfigMap shop/cm");
    EXPECT_EQ(message(R"("env":[{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"status.color"}}}])"),
              "unsupported fieldPath: status.color");
}

TEST(Environment, FieldsOfThePod) {
    const corev1::Pod pod = pod_of(R"("image":"i")");
    const auto value = [&](const char* path) {
        const auto found = field_value(pod, facts(), path);
        return found ? *found : "error: " + found.error().message;
    };
    EXPECT_EQ(value("metadata.name"), "web-1");
    EXPECT_EQ(value("metadata.namespace"), "shop");
    EXPECT_EQ(value("metadata.uid"), "u1");
    EXPECT_EQ(value("metadata.labels['app']"), "web");
    EXPECT_EQ(value("metadata.labels['none']"), "");
    EXPECT_EQ(value("metadata.annotations['note']"), "hi");
    EXPECT_EQ(value("metadata.labels"), "app=\"web\"\nb=\"x\\\"y\"");
    EXPECT_EQ(value("spec.nodeName"), "node-a");
    EXPECT_EQ(value("spec.serviceAccountName"), "sa");
    EXPECT_EQ(value("status.hostIP"), "10.0.0.1");
    EXPECT_EQ(value("status.podIP"), "10.1.0.5");
    EXPECT_EQ(value("status.podIPs"), "10.1.0.5,fd00::5");
    EXPECT_THAT(value("metadata.labels[app]"), HasSubstr("error"));
}

TEST(Environment, ResourcesAreDividedAndRoundedUp) {
    const corev1::Pod pod = pod_of(
        R"("resources":{"limits":{"cpu":"1500m"},"requests":{"memory":"100Mi","cpu":"250m"}})");
    const auto value = [&](const char* resource, const char* divisor) {
        const auto found = resource_value(pod.spec().containers(0), facts(), resource, divisor);
        return found ? *found : "error: " + found.error().message;
    };
    EXPECT_EQ(value("limits.cpu", ""), "2");
    EXPECT_EQ(value("limits.cpu", "1m"), "1500");
    EXPECT_EQ(value("requests.cpu", "100m"), "3");
    EXPECT_EQ(value("requests.memory", "1Mi"), "100");
    // Of the node, when there is no limit.
    EXPECT_EQ(value("limits.memory", "1Mi"), "1024");
    EXPECT_EQ(value("limits.ephemeral-storage", "0"), "4096");
    EXPECT_THAT(value("limits.gpu", "1"), HasSubstr("error"));
}

TEST(Environment, ServicesOfTheNamespaceAndTheApiServer) {
    TestObjects objects;
    const std::vector services{
        service("shop", "my-db", "10.96.0.7", R"([{"name":"pg","port":5432,"protocol":"TCP"}])"),
        service("shop", "headless", "None", R"([{"port":1}])"),
        service("other", "foreign", "10.96.0.9", R"([{"port":1}])"),
        service("default", "kubernetes", "10.96.0.1", R"([{"name":"https","port":443}])")};
    const auto made = make(R"j("env":[{"name":"URL","value":"$(MY_DB_SERVICE_HOST)"}])j", objects, services);
    ASSERT_TRUE(made);
    EXPECT_THAT(*made, testing::IsSupersetOf({Pair("URL", "10.96.0.7"),
        Pair("MY_DB_SERVICE_HOST", "10.96.0.7"), Pair("MY_DB_SERVICE_PORT", "5432"),
        Pair("MY_DB_SERVICE_PORT_PG", "5432"), Pair("MY_DB_PORT", "tcp://10.96.0.7:5432"),
        Pair("MY_DB_PORT_5432_TCP", "tcp://10.96.0.7:5432"), Pair("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
        Pair("MY_DB_PORT_5432_TCP_PORT", "5432"), Pair("MY_DB_PORT_5432_TCP_ADDR", "10.96.0.7"),
        Pair("KUBERNETES_SERVICE_HOST", "10.96.0.1"), Pair("KUBERNETES_SERVICE_PORT_HTTPS", "443")}));
    EXPECT_THAT(*made, Not(Contains(Key("FOREIGN_SERVICE_HOST"))));
    EXPECT_THAT(*made, Not(Contains(Key("HEADLESS_SERVICE_HOST"))));

    corev1::Pod without = pod_of(R"("image":"i")");
    without.mutable_spec()->set_enableservicelinks(false);
    const auto bare = make_environment(without, without.spec().containers(0), facts(), services, objects);
    ASSERT_TRUE(bare);
    EXPECT_THAT(*bare, Contains(Key("KUBERNETES_SERVICE_HOST")));
    EXPECT_THAT(*bare, Not(Contains(Key("MY_DB_SERVICE_HOST"))));
}

// The cases of Kubernetes' own table.
TEST(Expand, Table) {
    const std::map<std::string, std::string> values{
        {"VAR_A", "A"}, {"VAR_B", "B"}, {"VAR_C", "C"}, {"VAR_REF", "$(VAR_A)"}, {"VAR_EMPTY", ""}};
    const std::vector<std::pair<std::string, std::string>> cases{
        {"$(VAR_A)", "A"}, {"___$(VAR_B)___", "___B___"}, {"$(VAR_A)-1", "A-1"},
        {"$(VAR_REF)", "$(VAR_A)"}, {"%%$(VAR_REF)--$(VAR_REF)%%", "%%$(VAR_A)--$(VAR_A)%%"},
        {"foo$(VAR_EMPTY)bar", "foobar"}, {"foo$$(VAR_A)bar", "foo$(VAR_A)bar"},
        {"$$$(VAR_A)", "$A"}, {"$$$$(VAR_A)", "$$(VAR_A)"}, {"$VAR_A", "$VAR_A"}, {"$", "$"}, {"$$", "$"},
        {"$(VAR_D)", "$(VAR_D)"}, {"$(VAR_A", "$(VAR_A"}, {"$()", "$()"}, {"$((VAR_A)", "$((VAR_A)"},
        {"f000-$(($(VAR_A))", "f000-$(($(VAR_A))"}, {"foo\\$(VAR_A)bar", "foo\\Abar"},
        {"$VAR_A)$(VAR_B)", "$VAR_A)B"}, {"\n$(VAR_A)\n", "\nA\n"}};
    for (const auto& [text, expected] : cases) EXPECT_EQ(expand(text, values), expected) << text;
}

RC_GTEST_PROP(Expand, TextWithoutSignsStays, (const std::string& text)) {
    std::string plain = text;
    std::erase(plain, '$');
    RC_ASSERT(expand(plain, {{"A", "b"}}) == plain);
}

// Doubling every sign is how text is protected.
RC_GTEST_PROP(Expand, EscapedTextComesBack, (const std::string& text)) {
    std::string escaped;
    for (const char c : text) escaped += c == '$' ? "$$" : std::string(1, c);
    RC_ASSERT(expand(escaped, {{"A", "b"}}) == text);
}

RC_GTEST_PROP(Expand, ReferencesBecomeValues, (const std::vector<std::string>& between)) {
    std::string text;
    std::string expected;
    for (std::string part : between) {
        std::erase(part, '$');
        text += part + "$(A)";
        expected += part + "value";
    }
    RC_ASSERT(expand(text, {{"A", "value"}}) == expected);
}

}  // namespace
}  // namespace sluice::kubelet
