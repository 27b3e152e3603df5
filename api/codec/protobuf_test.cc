// The envelope and the wire format. Bytes are written out by hand from the protobuf encoding and
// Kubernetes' description of its envelope.
#include "api/codec/protobuf.h"

#include <gtest/gtest.h>

#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/codec/protobuf_normal.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::codec {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;
using namespace std::string_literals;

std::string error_of(std::string_view raw, google::protobuf::Message* message) {
    const auto result = decode_protobuf_raw(raw, message);
    return result ? "no error" : result.error().message;
}

TEST(Protobuf, EnvelopeIsMagicThenTypeThenObject) {
    corev1::ConfigMap map;
    map.mutable_metadata()->set_name("a");
    // 0a: typeMeta {0a apiVersion "v1", 12 kind "ConfigMap"}; 12: raw {0a metadata {0a name "a"}};
    // 1a and 22: empty content encoding and type.
    const std::string expected =
        "k8s\0"s + "\x0A\x0F" + "\x0A\x02v1" + "\x12\x09" "ConfigMap" + "\x12\x05" + "\x0A\x03\x0A\x01" "a" +
        "\x1A\0"s + "\x22\0"s;
    EXPECT_EQ(encode_protobuf(map, {"", "v1", "ConfigMap"}), expected);
    const auto envelope = open_envelope(expected);
    ASSERT_TRUE(envelope.has_value());
    EXPECT_EQ(envelope->gvk, (GroupVersionKind{"", "v1", "ConfigMap"}));
    corev1::ConfigMap again;
    ASSERT_TRUE(decode_protobuf_raw(envelope->raw, &again));
    EXPECT_EQ(again.metadata().name(), "a");
}

TEST(Protobuf, EnvelopeRefusesOtherBytes) {
    for (const auto& bytes : {""s, "k8s"s, "k8t\0"s, "{}"s, "k8s\0\x0A"s, "k8s\0\x0A\x05\x0A"s,
                              "k8s\0\x0B"s, "k8s\0\x0A\x02\x0A\x05"s, "k8s\0\x1A\x04gzip"s}) {
        const auto envelope = open_envelope(bytes);
        ASSERT_FALSE(envelope.has_value()) << testing::PrintToString(bytes);
        EXPECT_EQ(envelope.error().code, Code::kInvalidArgument);
    }
    // The kind may be missing; unknown fields are skipped.
    EXPECT_TRUE(open_envelope("k8s\0"s));
    EXPECT_EQ(open_envelope("k8s\0\x12\x01x\x28\x07"s)->raw, "x");
}

TEST(Protobuf, ZeroesOfGoClientsAreAbsent) {
    // What Go sends for a ServicePort {port: 80}: every field that is no pointer.
    const std::string port = "\x0A\0"s + "\x12\0"s + "\x18\x50" + "\x22\x06\x08\0\x10\0\x1A\0"s + "\x28\0"s;
    corev1::ServicePort message;
    ASSERT_TRUE(decode_protobuf_raw(port, &message));
    corev1::ServicePort expected;
    expected.set_port(80);
    EXPECT_EQ(message.SerializeAsString(), expected.SerializeAsString());
    // A pointer's zero stays: EndpointConditions {ready: false}.
    discoveryv1::EndpointConditions conditions;
    ASSERT_TRUE(decode_protobuf_raw("\x08\0"s, &conditions));
    EXPECT_TRUE(conditions.has_ready());
    // metadata {} and status {} are what Go holds by value.
    corev1::Service service;
    ASSERT_TRUE(decode_protobuf_raw("\x0A\0\x12\0\x1A\x02\x0A\0"s, &service));
    EXPECT_FALSE(service.has_metadata());
    EXPECT_FALSE(service.has_spec());
    EXPECT_FALSE(service.has_status());
}

TEST(Protobuf, NormalBytesAreKnownAsSuch) {
    const auto& service = *corev1::Service::descriptor();
    // metadata {name "a", creationTimestamp {seconds 7}}, spec {ports [{port 80, targetPort {type 1, strVal "x"}}]}.
    const std::string ports = "\x0A\x09\x18\x50\x22\x05\x08\x01\x1A\x01x";
    EXPECT_TRUE(is_normal("\x0A\x07\x0A\x01" "a\x42\x02\x08\x07\x12\x0B" + ports, service));
    EXPECT_TRUE(is_normal("", service));
    // An empty metadata, an empty name, a time without a second, and one with nanoseconds.
    for (const auto& bytes :
         {"\x0A\0"s, "\x0A\x02\x0A\0"s, "\x0A\x02\x42\0"s, "\x0A\x06\x42\x04\x08\x07\x10\x01"s}) {
        EXPECT_FALSE(is_normal(bytes, service)) << testing::PrintToString(bytes);
    }
    // An unknown field, the name twice, a name of another wire type, and bytes that end too soon.
    for (const auto& bytes :
         {"\xC0\x3E\x07"s, "\x0A\x06\x0A\x01" "a\x0A\x01" "b"s, "\x0A\x02\x08\x01"s, "\x0A\x05\x0A"s}) {
        EXPECT_FALSE(is_normal(bytes, service)) << testing::PrintToString(bytes);
    }
    // Quantities: requests {cpu: "1"} and {cpu: "1000m"}, which is the same.
    const auto& resources = *corev1::ResourceRequirements::descriptor();
    EXPECT_TRUE(is_normal("\x12\x0A\x0A\x03" "cpu\x12\x03\x0A\x01" "1", resources));
    EXPECT_FALSE(is_normal("\x12\x0E\x0A\x03" "cpu\x12\x07\x0A\x05" "1000m", resources));
    EXPECT_FALSE(is_normal("\x12\x05\x0A\x03" "cpu", resources)) << "a quantity that is not there is 0";
    // A pointer's zero stays, another's does not: EndpointConditions {ready: false}, ServicePort {port: 0}.
    EXPECT_TRUE(is_normal("\x08\0"s, *discoveryv1::EndpointConditions::descriptor()));
    EXPECT_FALSE(is_normal("\x18\0"s, *corev1::ServicePort::descriptor()));
}

TEST(Protobuf, UnknownFieldsAreDropped) {
    corev1::Service service;
    // Field 1000, a varint, in the service and in its metadata.
    ASSERT_TRUE(decode_protobuf_raw("\xC0\x3E\x07\x0A\x06\x0A\x01" "a\xC0\x3E\x07"s, &service));
    EXPECT_EQ(encode_protobuf_raw(service), "\x0A\x03\x0A\x01" "a"s);
}

TEST(Protobuf, StringsNeedNotBeUtf8) {
    corev1::ConfigMap map;
    ASSERT_TRUE(decode_protobuf_raw("\x0A\x03\x0A\x01\xFF"s, &map));
    EXPECT_EQ(map.metadata().name(), "\xFF");
    EXPECT_NE(encode_json(map).find(R"("name":"\ufffd")"), std::string::npos);
}

TEST(Protobuf, ValuesBecomeCanonical) {
    corev1::NodeStatus status;
    (*status.mutable_capacity())["cpu"].set_string("0.5");
    (*status.mutable_capacity())["none"];
    auto* condition = status.add_conditions();
    condition->mutable_lastheartbeattime()->set_seconds(5);
    condition->mutable_lastheartbeattime()->set_nanos(7);
    condition->mutable_lasttransitiontime()->set_nanos(7);
    ASSERT_TRUE(normalise(&status));
    EXPECT_EQ(status.capacity().at("cpu").string(), "500m");
    EXPECT_EQ(status.capacity().at("none").string(), "0");
    EXPECT_FALSE(status.conditions(0).lastheartbeattime().has_nanos());
    EXPECT_FALSE(status.conditions(0).has_lasttransitiontime());
    // Normalising again changes nothing.
    const std::string once = encode_protobuf_raw(status);
    ASSERT_TRUE(normalise(&status));
    EXPECT_EQ(encode_protobuf_raw(status), once);
}

// Texts that need no rewriting are recognized without a parser; what it would have made of them is what counts.
TEST(Protobuf, FieldsOfManagersBecomeCanonical) {
    for (const std::string_view text : {
             R"({})", R"({"f:a":{}})", R"({"f:a":{},"f:b":{".":{},"f:c":{}}})",
             R"({"f:data":{".":{},"f:value":{}},"f:metadata":{"f:labels":{"k:{\"n\":1}":{}}}})",
             // Not canonical, or not for sure.
             R"({"f:a":{},"f:a":{"f:b":{}}})", R"({"f:b":{},"f:a":{}})", R"({ "f:a" : {} })",
             R"({"f:\u0061":{}})", R"({"f:<b>":{}})", R"({"f:a\/b":{}})", R"({"v:\"x\"":{}})",
             R"({"":{}})", R"({"f:a":1})", R"({"f:a":[{}]})", "{\"f:\xC3\xA4\":{}}"}) {
        const auto tree = parse_json(text);
        ASSERT_TRUE(tree) << text;
        corev1::Pod pod;
        auto* fields = pod.mutable_metadata()->add_managedfields()->mutable_fieldsv1();
        fields->set_raw(std::string(text));
        ASSERT_TRUE(normalise(&pod)) << text;
        EXPECT_EQ(fields->raw(), write_json(*tree)) << text;
    }
    for (const std::string_view text : {
             R"({)", R"({"f:a":{})", R"({"f:a":{},})", R"({"f:a":{}}})", R"({"f:a"})", R"({"f:a":})",
             R"({"f:a":{}"f:b":{}})", R"({,"f:a":{}})", R"({"f:a)", R"({"f:a\)", R"({} x)"}) {
        corev1::Pod pod;
        pod.mutable_metadata()->add_managedfields()->mutable_fieldsv1()->set_raw(std::string(text));
        EXPECT_FALSE(normalise(&pod)) << text;
    }
}

TEST(Protobuf, BadValuesAreNamed) {
    corev1::Node node;
    (*node.mutable_status()->mutable_capacity())["cpu"].set_string("x");
    corev1::Node read;
    EXPECT_EQ(error_of(node.SerializeAsString(), &read).substr(0, 17), "status.capacity: ");
    corev1::Pod pod;
    pod.mutable_metadata()->mutable_creationtimestamp()->set_seconds(1LL << 60);
    corev1::Pod read_pod;
    EXPECT_EQ(error_of(pod.SerializeAsString(), &read_pod),
              "metadata.creationTimestamp: the time is not between the years 1 and 9999");
    pod.Clear();
    pod.mutable_metadata()->add_managedfields()->mutable_fieldsv1()->set_raw("{");
    EXPECT_EQ(error_of(pod.SerializeAsString(), &read_pod),
              "metadata.managedFields.fieldsV1: unexpected end of JSON input");
    corev1::ServicePort port;
    port.mutable_targetport()->set_type(2);
    corev1::ServicePort read_port;
    EXPECT_EQ(error_of(port.SerializeAsString(), &read_port),
              "targetPort: the type of an IntOrString is neither 0 nor 1");
}

TEST(Protobuf, MalformedBytes) {
    corev1::Service service;
    for (const auto& raw : {"\x0A"s, "\x0A\x05"s, "\x00"s, "\x0B"s, "\x0F"s, "\x08"s,
                            "\x0A\x02\x0A\x05"s, "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"s,
                            "\x09\x01"s, "\x0D\x01"s}) {
        const auto result = decode_protobuf_raw(raw, &service);
        ASSERT_FALSE(result.has_value()) << testing::PrintToString(raw);
        EXPECT_EQ(result.error().code, Code::kInvalidArgument);
    }
}

TEST(Protobuf, ASmallMessageCannotDemandMuchMemory) {
    // Two bytes an empty container, hundreds in memory.
    std::string spec;
    for (int i = 0; i < 1'000'000; ++i) spec += "\x12\0"s;
    corev1::PodSpec message;
    const auto result = decode_protobuf_raw(spec, &message);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Code::kResourceExhausted);
}

TEST(Protobuf, MapsAreOrdered) {
    corev1::ConfigMap forward;
    corev1::ConfigMap backward;
    for (int i = 0; i < 100; ++i) {
        (*forward.mutable_data())["k" + std::to_string(i)] = "v";
        (*backward.mutable_data())["k" + std::to_string(99 - i)] = "v";
    }
    EXPECT_EQ(encode_protobuf_raw(forward), encode_protobuf_raw(backward));
}

}  // namespace
}  // namespace sluice::codec
