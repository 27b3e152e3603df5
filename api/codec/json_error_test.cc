// What is refused, in which words, and what is warned of.
#include <gtest/gtest.h>

#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"

namespace sluice::codec {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

template <class T>
std::string error_of(std::string_view text) {
    T message;
    const auto result = decode_json(text, &message);
    if (result) return "no error";
    EXPECT_EQ(result.error().code, Code::kInvalidArgument);
    return result.error().message;
}

template <class T>
FieldWarnings warnings_of(std::string_view text) {
    T message;
    FieldWarnings warnings;
    const auto result = decode_json(text, &message, &warnings);
    EXPECT_TRUE(result.has_value()) << result.error().message;
    return warnings;
}

TEST(JsonError, TypeErrorsNameTheStructThePathAndTheType) {
    // Word for word the answer of kube-apiserver 1.32.
    EXPECT_EQ(error_of<corev1::ConfigMap>(R"({"metadata":{"name":"x"},"data":{"k":1}})"),
              "json: cannot unmarshal number into Go struct field ConfigMap.data of type string");
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":{"ports":[{"port":"80"}]}})"),
              "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of "
              "type int32");
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":{"ports":{}}})"),
              "json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type "
              "[]v1.ServicePort");
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":[]})"),
              "json: cannot unmarshal array into Go struct field Service.spec of type "
              "v1.ServiceSpec");
    EXPECT_EQ(error_of<corev1::Service>("[]"),
              "json: cannot unmarshal array into Go value of type v1.Service");
    EXPECT_EQ(error_of<corev1::Service>(R"({"kind":7})"),
              "json: cannot unmarshal number into Go struct field Service.kind of type string");
    EXPECT_EQ(error_of<corev1::Service>(R"({"metadata":{"labels":[]}})"),
              "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of "
              "type map[string]string");
    EXPECT_EQ(error_of<corev1::Pod>(R"({"spec":{"containers":[{"env":[{"name":"a","value":true}]}]}})"),
              "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value "
              "of type string");
    EXPECT_EQ(error_of<corev1::Pod>(R"({"spec":{"hostNetwork":"true"}})"),
              "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type "
              "bool");
}

TEST(JsonError, IntegersAreCheckedForTheirRange) {
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":{"ports":[{"port":2147483648}]}})"),
              "json: cannot unmarshal number 2147483648 into Go struct field "
              "ServicePort.spec.ports.port of type int32");
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":{"ports":[{"port":-2147483648}]}})"), "no error");
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":{"ports":[{"port":80.5}]}})"),
              "json: cannot unmarshal number 80.5 into Go struct field "
              "ServicePort.spec.ports.port of type int32");
    EXPECT_EQ(error_of<corev1::Pod>(R"({"spec":{"activeDeadlineSeconds":9223372036854775808}})"),
              "json: cannot unmarshal number 9223372036854775808 into Go struct field "
              "PodSpec.spec.activeDeadlineSeconds of type int64");
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":{"ports":[{"targetPort":2147483648}]}})"),
              "json: cannot unmarshal number 2147483648 into Go value of type int32");
    EXPECT_EQ(error_of<corev1::Service>(R"({"spec":{"ports":[{"targetPort":true}]}})"),
              "json: cannot unmarshal bool into Go value of type int32");
}

TEST(JsonError, BadTimesQuantitiesAndBase64) {
    EXPECT_EQ(error_of<corev1::Event>(R"({"firstTimestamp":"yesterday"})"),
              R"(parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006")");
    EXPECT_EQ(error_of<corev1::Event>(R"({"firstTimestamp":5})"),
              "json: cannot unmarshal number into Go value of type string");
    EXPECT_EQ(error_of<corev1::Event>(R"({"eventTime":"2026-11-20T21:54:47Z"})"),
              R"(parsing time "2026-11-20T21:54:47Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000")");
    EXPECT_EQ(error_of<corev1::Node>(R"({"status":{"capacity":{"cpu":"1 core"}}})"),
              "quantities must match the regular expression "
              "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
    EXPECT_EQ(error_of<corev1::Secret>(R"({"data":{"a":"aGVsbG8"}})"),
              "illegal base64 data at input byte 7");
    EXPECT_EQ(error_of<corev1::Secret>(R"({"data":{"a":"a$=="}})"),
              "illegal base64 data at input byte 1");
    EXPECT_EQ(error_of<corev1::Secret>(R"({"data":{"a":"YQ==YQ=="}})"),
              "illegal base64 data at input byte 4");
    EXPECT_EQ(error_of<corev1::Secret>(R"({"data":{"a":"YQ=a"}})"),
              "illegal base64 data at input byte 3");
}

TEST(JsonError, UnknownFieldsAreNamedWithTheirPath) {
    EXPECT_EQ(warnings_of<corev1::Service>(
                  R"({"foo":1,"spec":{"ports":[{"port":1},{"bar":{"x":1}}],"Type":"x"},"metadata":{"labels":{"any":"x"}}})"),
              (FieldWarnings{R"(unknown field "foo")", R"(unknown field "spec.ports[1].bar")",
                             R"(unknown field "spec.Type")"}));
    // kind and apiVersion belong to objects, not to what is within.
    EXPECT_EQ(warnings_of<corev1::Pod>(R"({"kind":"Pod","apiVersion":"v1","spec":{"kind":"x"}})"),
              (FieldWarnings{R"(unknown field "spec.kind")"}));
    // A null member is unknown all the same.
    EXPECT_EQ(warnings_of<corev1::Pod>(R"({"nothing":null})"),
              (FieldWarnings{R"(unknown field "nothing")"}));
    EXPECT_EQ(warnings_of<corev1::Pod>(R"({"a\"\n":1})"),
              (FieldWarnings{R"(unknown field "a\"\n")"}));
}

TEST(JsonError, WarningsAreBounded) {
    std::string text = "{";
    for (int i = 0; i < 1000; ++i) text += "\"f" + std::to_string(i) + "\":1,\"f0\":1,";
    text.back() = '}';
    EXPECT_EQ(warnings_of<corev1::Pod>(text).size(), kMaxFieldWarnings);
}

TEST(JsonError, MalformedText) {
    for (const char* text :
         {"", " ", "{", "{}}", "{} x", "{'a':1}", "{a:1}", "[1,]", "{\"a\":1,}", "01", "+1", "1.", ".5",
          "nan", "tru", "\"\xFF\"", "\"\xED\xA0\x80\"", "\"\\ud800\"", "\"\t\"", "// x\n{}", "{}\x00"}) {
        const auto result = parse_json(text);
        if (std::string_view(text) == "{}") continue;
        EXPECT_FALSE(result.has_value()) << text;
    }
    EXPECT_EQ(parse_json("{\n\"a\": 1,\n]}").error().message.substr(0, 23), "invalid JSON at line 3,");
    EXPECT_TRUE(parse_json(" \t\r\n{} \n"));
}

TEST(JsonError, DepthIsLimited) {
    const auto nested = [](int depth) {
        return std::string(static_cast<std::size_t>(depth), '[') +
               std::string(static_cast<std::size_t>(depth), ']');
    };
    EXPECT_TRUE(parse_json(nested(kMaxJsonDepth)));
    EXPECT_EQ(parse_json(nested(kMaxJsonDepth + 1)).error().code, Code::kInvalidArgument);
    EXPECT_FALSE(parse_json(std::string(1'000'000, '[')));
    corev1::Pod pod;
    EXPECT_FALSE(decode_json(std::string(1'000'000, '{'), &pod));
}

TEST(JsonError, ASmallDocumentCannotDemandMuchMemory) {
    // 3 MB of empty containers would become more than a gigabyte.
    std::string text = R"({"spec":{"containers":[)";
    for (int i = 0; i < 1'000'000; ++i) text += "{},";
    text.back() = ']';
    text += "}}";
    corev1::Pod pod;
    const auto result = decode_json(text, &pod);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, Code::kResourceExhausted);
}

}  // namespace
}  // namespace sluice::codec
