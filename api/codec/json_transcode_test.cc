// Which stored objects become JSON without a message; that the text is right, json_property_test.cc shows for random
// ones.
#include <gtest/gtest.h>

#include <string>

#include "api/codec/json.h"
#include "api/codec/json_transcode.h"
#include "api/codec/protobuf.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::codec {
namespace {

using ConfigMap = ::k8s::io::api::core::v1::ConfigMap;
using Pod = ::k8s::io::api::core::v1::Pod;

const GroupVersionKind kConfigMap{"", "v1", "ConfigMap"};

std::string raw_configmap() {
    ConfigMap object;
    object.mutable_metadata()->set_name("a");
    (*object.mutable_data())["k"] = "<v>";
    return encode_protobuf_raw(object);
}

std::string transcoded(const std::string& raw) {
    std::string out;
    const bool done = transcode_json(raw, *ConfigMap::descriptor(), &kConfigMap, "7", &out);
    return done ? out : "left to a message";
}

TEST(Transcode, WritesTheVersionIntoTheMetadata) {
    EXPECT_EQ(transcoded(raw_configmap()),
              R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7",)"
              R"("creationTimestamp":null},"data":{"k":"\u003cv\u003e"}})");
    // Of an object without metadata, too.
    EXPECT_EQ(transcoded(""),
              R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7","creationTimestamp":null}})");
}

// What an ordinary Pod consists of: times, quantities, ports by number and name, managed fields.
TEST(Transcode, KnowsPods) {
    Pod object;
    const std::string text =
        R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","resourceVersion":"7",)"
        R"("creationTimestamp":"2024-01-02T03:04:05Z","managedFields":[{"manager":"m","operation":"Update",)"
        R"("apiVersion":"v1","time":"2024-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{}}}]},)"
        R"("spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"100m","memory":"1Gi"}},)"
        R"("livenessProbe":{"httpGet":{"port":"web"}},"readinessProbe":{"tcpSocket":{"port":80}}}]},)"
        R"("status":{"startTime":"2024-01-02T03:04:05Z"}})";
    ASSERT_TRUE(decode_json(text, &object).has_value());
    object_meta(object).clear_resourceversion();
    std::string out;
    const GroupVersionKind gvk{"", "v1", "Pod"};
    ASSERT_TRUE(transcode_json(encode_protobuf_raw(object), *Pod::descriptor(), &gvk, "7", &out));
    EXPECT_EQ(out, text);
}

TEST(Transcode, LeavesWhatCouldBeReadInTwoWays) {
    const std::string raw = raw_configmap();
    // The metadata twice: a message merges the two.
    EXPECT_EQ(transcoded(raw + raw), "left to a message");
    // A field that nobody has declared, a value of another wire type, and bytes that end early.
    EXPECT_EQ(transcoded(raw + "\xfa\x07\x01x"), "left to a message");
    EXPECT_EQ(transcoded(std::string("\x08\x01", 2)), "left to a message");
    EXPECT_EQ(transcoded(raw.substr(0, raw.size() - 1)), "left to a message");
    // The entries of a map in another order, and one of them twice.
    const auto entry = [](const std::string& name) { return "\x12\x03\x0a\x01" + name; };
    EXPECT_NE(transcoded(entry("a") + entry("b")), "left to a message");
    EXPECT_EQ(transcoded(entry("b") + entry("a")), "left to a message");
    EXPECT_EQ(transcoded(entry("a") + entry("a")), "left to a message");
}

TEST(Transcode, LeavesDocumentsInObjects) {
    ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition object;
    auto* schema = object.mutable_spec()->add_versions()->mutable_schema()->mutable_openapiv3schema();
    schema->mutable_default_()->set_raw("1");
    std::string out;
    const GroupVersionKind gvk{"apiextensions.k8s.io", "v1", "CustomResourceDefinition"};
    EXPECT_FALSE(transcode_json(encode_protobuf_raw(object), *object.GetDescriptor(), &gvk, "7", &out));
    EXPECT_EQ(out, "");
}

}  // namespace
}  // namespace sluice::codec
