// JSON as Kubernetes writes it. Expectations are answers of a real kube-apiserver and bodies of a real
// kubectl, or follow from Go's rules for struct tags; none comes from this encoder.
#include "api/codec/json.h"

#include <gtest/gtest.h>

#include <boost/json/value.hpp>

#include "api/kubernetes/coordination/v1/lease.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/runtime/runtime.pb.h"

namespace sluice::codec {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;
namespace coordinationv1 = ::k8s::io::api::coordination::v1;

template <class T>
T decoded(std::string_view text) {
    T message;
    const auto result = decode_json(text, &message);
    EXPECT_TRUE(result.has_value()) << result.error().message << "\n" << text;
    return message;
}

// Texts that Kubernetes wrote and that decode to the same text again, byte for byte.
template <class T>
void expect_unchanged(std::string_view text) {
    T message;
    FieldWarnings warnings;
    const auto result = decode_json(text, &message, &warnings);
    ASSERT_TRUE(result.has_value()) << result.error().message << "\n" << text;
    EXPECT_TRUE(warnings.empty()) << warnings.front();
    const auto gvk = peek_json_kind(text);
    ASSERT_TRUE(gvk.has_value());
    EXPECT_EQ(encode_json(message, gvk->kind.empty() ? nullptr : &*gvk), text);
}

TEST(Json, AnswersOfKubeApiserverComeBackUnchanged) {
    expect_unchanged<corev1::ConfigMap>(
        R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"ho","uid":"u","resourceVersion":"268","creationTimestamp":"2026-11-20T21:54:47Z"},"data":{"k":"v"}})");
    expect_unchanged<metav1::Status>(
        R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"nope\" not found","reason":"NotFound","details":{"name":"nope","kind":"configmaps"},"code":404})");
    expect_unchanged<metav1::Status>(
        R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf","reason":"NotAcceptable","details":{},"code":406})");
    expect_unchanged<metav1::Status>(
        R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 99999999, current: 301","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504})");
    expect_unchanged<metav1::APIVersions>(
        R"({"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"192.0.2.2:16443"}]})");
    expect_unchanged<metav1::APIGroup>(
        R"({"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}})");
}

TEST(Json, BodiesOfKubectlComeBackUnchanged) {
    expect_unchanged<corev1::Pod>(
        R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"r1","creationTimestamp":null,"labels":{"run":"r1"}},"spec":{"containers":[{"name":"r1","image":"localhost/busybox:1","args":["true"],"resources":{},"imagePullPolicy":"Never"}],"restartPolicy":"Never","dnsPolicy":"ClusterFirst"},"status":{}})");
    expect_unchanged<corev1::Service>(
        R"({"kind":"Service","apiVersion":"v1","metadata":{"name":"w","creationTimestamp":null},"spec":{"ports":[{"protocol":"TCP","port":80,"targetPort":8080}],"selector":{"app":"w"}},"status":{"loadBalancer":{}}})");
}

TEST(Json, EmptyObjectsShowWhatGoHoldsByValue) {
    const GroupVersionKind gvk{"", "v1", "Service"};
    EXPECT_EQ(
        encode_json(corev1::Service(), &gvk),
        R"({"kind":"Service","apiVersion":"v1","metadata":{"creationTimestamp":null},"spec":{},"status":{"loadBalancer":{}}})");
    EXPECT_EQ(encode_json(corev1::Event()),
              R"({"metadata":{"creationTimestamp":null},"involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""})");
    EXPECT_EQ(encode_json(discoveryv1::EndpointSlice()),
              R"({"metadata":{"creationTimestamp":null},"addressType":"","endpoints":null,"ports":null})");
    EXPECT_EQ(encode_json(corev1::Lifecycle()), "{}");
    EXPECT_EQ(encode_json(corev1::ResourceFieldSelector()), R"({"resource":"","divisor":"0"})");
}

TEST(Json, ListsHaveItemsAndItemsHaveNoKind) {
    const GroupVersionKind gvk{"", "v1", "ConfigMapList"};
    corev1::ConfigMapList list;
    list.mutable_metadata()->set_resourceversion("7");
    EXPECT_EQ(encode_json(list, &gvk),
              R"({"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]})");
    list.add_items()->mutable_metadata()->set_name("a");
    EXPECT_EQ(
        encode_json(list, &gvk),
        R"({"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a","creationTimestamp":null}}]})");
    const auto again = decoded<corev1::ConfigMapList>(
        R"({"kind":"List","items":[{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}]})");
    EXPECT_EQ(again.items(0).metadata().name(), "a");
}

TEST(Json, PointersKeepZeroesAndValuesDropThem) {
    const auto pod = decoded<corev1::Pod>(
        R"({"spec":{"terminationGracePeriodSeconds":0,"priority":null,"hostNetwork":false,"containers":[{"name":"c","stdin":false,"ports":[{"containerPort":0}]}]}})");
    EXPECT_TRUE(pod.spec().has_terminationgraceperiodseconds());
    EXPECT_FALSE(pod.spec().has_priority());
    EXPECT_FALSE(pod.spec().has_hostnetwork());
    EXPECT_FALSE(pod.has_status());
    EXPECT_EQ(
        encode_json(pod),
        R"({"metadata":{"creationTimestamp":null},"spec":{"containers":[{"name":"c","ports":[{"containerPort":0}],"resources":{}}],"terminationGracePeriodSeconds":0},"status":{}})");
}

TEST(Json, StringsAreEscapedForHtmlAndJavaScript) {
    corev1::ConfigMap map;
    (*map.mutable_data())["k"] = std::string("<a href=\"x\">&\\\b\f\n\r\t\x01\x7f\xE2\x80\xA8\xE2\x80\xA9 \xC3\xA9 \xF0\x9F\x98\x80 \xFF\xC0\x80 \xED\xA0\x80");
    EXPECT_EQ(
        encode_json(map),
        "{\"metadata\":{\"creationTimestamp\":null},\"data\":{\"k\":\"\\u003ca "
        "href=\\\"x\\\"\\u003e\\u0026\\\\\\b\\f\\n\\r\\t\\u0001\x7f\\u2028\\u2029 \xC3\xA9 "
        "\xF0\x9F\x98\x80 \\ufffd\\ufffd\\ufffd \\ufffd\\ufffd\\ufffd\"}}");
}

TEST(Json, MapsAreSortedByKey) {
    corev1::ConfigMap map;
    for (const char* key : {"b", "a", "ab", "B", "10", "9"}) (*map.mutable_data())[key] = "";
    EXPECT_EQ(encode_json(map),
              R"({"metadata":{"creationTimestamp":null},"data":{"10":"","9":"","B":"","a":"","ab":"","b":""}})");
}

TEST(Json, BytesAreBase64) {
    const auto secret = decoded<corev1::Secret>(
        R"({"data":{"a":"aGVsbG8=","b":"","c":null,"d":"/+8\n="},"stringData":{"x":"y"},"type":"Opaque"})");
    EXPECT_EQ(secret.data().at("a"), "hello");
    EXPECT_EQ(secret.data().at("b"), "");
    EXPECT_EQ(secret.data().at("c"), "");
    EXPECT_EQ(secret.data().at("d"), "\xFF\xEF");
    EXPECT_EQ(secret.stringdata().at("x"), "y");
    EXPECT_EQ(
        encode_json(secret),
        R"({"metadata":{"creationTimestamp":null},"data":{"a":"aGVsbG8=","b":"","c":"","d":"/+8="},"stringData":{"x":"y"},"type":"Opaque"})");
}

TEST(Json, IntOrString) {
    const auto service = decoded<corev1::Service>(
        R"({"spec":{"ports":[{"port":1,"targetPort":80},{"port":2,"targetPort":"http"},{"port":3},{"port":4,"targetPort":0}]}})");
    EXPECT_EQ(service.spec().ports(0).targetport().type(), 0);
    EXPECT_EQ(service.spec().ports(0).targetport().intval(), 80);
    EXPECT_EQ(service.spec().ports(1).targetport().type(), 1);
    EXPECT_EQ(service.spec().ports(1).targetport().strval(), "http");
    EXPECT_FALSE(service.spec().ports(2).has_targetport());
    EXPECT_NE(encode_json(service).find(
                  R"([{"port":1,"targetPort":80},{"port":2,"targetPort":"http"},{"port":3,"targetPort":0},{"port":4,"targetPort":0}])"),
              std::string::npos);
}

TEST(Json, QuantitiesAreCanonicalAndMayBeNumbers) {
    const auto node = decoded<corev1::Node>(
        R"({"status":{"capacity":{"cpu":2,"memory":"0.5Gi","x":0.5,"y":"1e3"}}})");
    EXPECT_EQ(node.status().capacity().at("cpu").string(), "2");
    EXPECT_EQ(node.status().capacity().at("memory").string(), "512Mi");
    EXPECT_EQ(node.status().capacity().at("x").string(), "500m");
    EXPECT_EQ(node.status().capacity().at("y").string(), "1e3");
}

TEST(Json, TimesAndMicroTimes) {
    expect_unchanged<coordinationv1::Lease>(
        R"({"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"l","creationTimestamp":"2026-11-20T21:54:47Z"},"spec":{"holderIdentity":"h","leaseDurationSeconds":40,"renewTime":"2026-11-20T21:54:47.000012Z"}})");
    const auto meta = decoded<metav1::ObjectMeta>(
        R"({"creationTimestamp":"2026-11-20T23:54:47.9+02:00","deletionTimestamp":"1969-12-31T23:59:59Z"})");
    EXPECT_EQ(encode_json(meta),
              R"({"creationTimestamp":"2026-11-20T21:54:47Z","deletionTimestamp":"1969-12-31T23:59:59Z"})");
    // Go's zero time is no time.
    EXPECT_FALSE(decoded<metav1::ObjectMeta>(R"({"creationTimestamp":"0001-01-01T00:00:00Z"})")
                     .has_creationtimestamp());
    // A time that only a mistake could make must not take the encoder down.
    metav1::ObjectMeta wild;
    wild.mutable_creationtimestamp()->set_seconds(std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(encode_json(wild), R"({"creationTimestamp":null})");
}

TEST(Json, InlinedStructsStandInTheirParent) {
    constexpr std::string_view kText =
        R"({"name":"v","configMap":{"name":"m","items":[{"key":"a","path":"b"}]}})";
    const auto volume = decoded<corev1::Volume>(kText);
    EXPECT_EQ(volume.volumesource().configmap().localobjectreference().name(), "m");
    EXPECT_EQ(encode_json(volume), kText);
    EXPECT_FALSE(decoded<corev1::Volume>(R"({"name":"v","configMap":null})").has_volumesource());
    EXPECT_FALSE(decoded<corev1::ConfigMapVolumeSource>(R"({"name":""})").has_localobjectreference());
}

TEST(Json, EmbeddedDocumentsKeepTheirMeaning) {
    constexpr std::string_view kText =
        R"({"type":"ADDED","object":{"kind":"X","n":[1,-2,1.5,1e-7,1e+21,true,null,"\u003c"],"z":{},"a":18446744073709551615}})";
    const auto event = decoded<metav1::WatchEvent>(kText);
    EXPECT_EQ(encode_json(event), kText);
    EXPECT_EQ(encode_json(decoded<metav1::WatchEvent>(R"({"type":"X","object":null})")),
              R"({"type":"X"})");
    // White space goes, escapes are added; what is not JSON becomes null.
    ::k8s::io::apimachinery::pkg::runtime::RawExtension raw;
    raw.set_raw(" { \"a\" : [ 1 , \"<\" , 1.50 ] } ");
    EXPECT_EQ(encode_json(raw), R"({"a":[1,"\u003c",1.50]})");
    for (const char* bad : {"{", "{}x", "[1,]", "01", "-", "\"\xFF\"", "\"\n\"", "nul", "{1:2}", "\"\\x\""}) {
        raw.set_raw(bad);
        EXPECT_EQ(encode_json(raw), "null") << bad;
    }
    raw.set_raw(std::string(5'000'000, '['));
    EXPECT_EQ(encode_json(raw), "null");
}

TEST(Json, NamedStringListsAreLists) {
    constexpr std::string_view kText =
        R"({"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"],"shortNames":["po"]})";
    EXPECT_EQ(encode_json(decoded<metav1::APIResource>(kText)), kText);
    EXPECT_EQ(encode_json(metav1::APIResource()),
              R"({"name":"","singularName":"","namespaced":false,"kind":"","verbs":null})");
}

TEST(Json, NullElementsAreZeroValues) {
    const auto pod = decoded<corev1::Pod>(
        R"({"metadata":{"labels":{"a":null},"finalizers":[null,"x"]},"spec":{"containers":[null]}})");
    EXPECT_EQ(pod.metadata().labels().at("a"), "");
    EXPECT_EQ(pod.metadata().finalizers(0), "");
    EXPECT_EQ(pod.spec().containers_size(), 1);
    EXPECT_TRUE(decoded<corev1::Pod>("null").SerializeAsString().empty());
}

TEST(Json, TheLastOfDuplicateMembersWins) {
    corev1::Service service;
    FieldWarnings warnings;
    ASSERT_TRUE(decode_json(
        R"({"spec":{"ports":[{"port":1,"port":2}],"type":"A","type":"B","type":"C"},"metadata":{"labels":{"a":"1","a":"2"}}})",
        &service, &warnings));
    EXPECT_EQ(service.spec().type(), "C");
    EXPECT_EQ(service.spec().ports(0).port(), 2);
    EXPECT_EQ(service.metadata().labels().at("a"), "2");
    EXPECT_EQ(warnings, (FieldWarnings{R"(duplicate field "spec.ports[0].port")",
                                       R"(duplicate field "spec.type")",
                                       R"(duplicate field "metadata.labels.a")"}));
}

TEST(Json, DecodingForgetsWhatTheMessageHeld) {
    corev1::ConfigMap map;
    (*map.mutable_data())["old"] = "1";
    ASSERT_TRUE(decode_json(R"({"data":{"new":"2"}})", &map));
    EXPECT_EQ(map.data().size(), 1U);
}

TEST(Json, TreesAndTextsAgree) {
    const auto pod = decoded<corev1::Pod>(R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c"}]}})");
    const GroupVersionKind gvk{"", "v1", "Pod"};
    const auto tree = to_json_value(pod, &gvk);
    EXPECT_EQ(write_json(tree), encode_json(pod, &gvk));
    corev1::Pod again;
    ASSERT_TRUE(from_json_value(tree, &again));
    EXPECT_EQ(encode_json(again), encode_json(pod));
}

TEST(Json, NumbersAreWrittenAsGoWritesThem) {
    const auto written = [](std::string_view text) {
        const auto value = parse_json(text);
        return value ? write_json(*value) : value.error().message;
    };
    EXPECT_EQ(written("1.0"), "1");
    EXPECT_EQ(written("-0.0"), "-0");
    EXPECT_EQ(written("100000000000000000000"), "100000000000000000000");
    EXPECT_EQ(written("1e21"), "1e+21");
    // The shortest digits that read back as the value, then zeros.
    EXPECT_EQ(written("-6006000000066964594.0"), "-6006000000066964000");
    EXPECT_EQ(written("1.2345678901234567e19"), "12345678901234567000");
    EXPECT_EQ(written("9007199254740992.0"), "9007199254740992");
    EXPECT_EQ(written("1e16"), "10000000000000000");
    EXPECT_EQ(written("0.000001"), "0.000001");
    EXPECT_EQ(written("0.0000001"), "1e-7");
    EXPECT_EQ(written("1e300"), "1e+300");
    EXPECT_EQ(written("-9223372036854775808"), "-9223372036854775808");
}

// Long texts are looked at in blocks, short ones byte by byte.
TEST(Json, AByteIsWrittenAlikeWhereverItStands) {
    const auto written = [](const std::string& text) {
        const std::string json = write_json(boost::json::value(text));
        return json.substr(1, json.size() - 2);
    };
    constexpr std::size_t kBytes = 40;
    for (int byte = 0; byte < 256; ++byte) {
        const std::string one(1, static_cast<char>(byte));
        for (std::size_t at = 0; at < kBytes; ++at) {
            const std::string before(at, 'a');
            const std::string after(kBytes - at, 'a');
            ASSERT_EQ(written(before + one + after), before + written(one) + after) << byte << " at " << at;
        }
    }
}

TEST(Json, KindOfADocument) {
    const auto gvk = peek_json_kind(R"({"apiVersion":"apps/v1","kind":"Deployment"})");
    ASSERT_TRUE(gvk.has_value());
    EXPECT_EQ(*gvk, (GroupVersionKind{"apps", "v1", "Deployment"}));
    EXPECT_EQ(*peek_json_kind("{}"), (GroupVersionKind{}));
    EXPECT_FALSE(peek_json_kind(R"({"kind":1})"));
    EXPECT_FALSE(peek_json_kind("[]"));
    EXPECT_FALSE(peek_json_kind(R"({"apiVersion":"a/b/c"})"));
    EXPECT_EQ(peek_json_kind(R"({"metadata":)").error().message,
              "couldn't get version/kind; json parse error: unexpected end of JSON input");
}

}  // namespace
}  // namespace sluice::codec
