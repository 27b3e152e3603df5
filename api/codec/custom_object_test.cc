// JSON of CustomResourceDefinitions' schemas, and of the objects of custom kinds. Expectations are the encodings that
// Kubernetes' Go types have (JSONSchemaPropsOrBool and its like).
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace {

namespace extv1 = ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1;

std::string again(const std::string& text) {
    extv1::JSONSchemaProps schema;
    if (const auto read = decode_json(text, &schema); !read) return read.error().message;
    // Through protobuf as well: kubectl sends definitions so.
    extv1::JSONSchemaProps other;
    if (const auto read = decode_protobuf_raw(encode_protobuf_raw(schema), &other); !read) {
        return read.error().message;
    }
    EXPECT_EQ(encode_json(schema), encode_json(other));
    return encode_json(other);
}

TEST(SchemaJson, EitherFormComesBackAsItWas) {
    for (const char* text : {
             R"({"type":"object","additionalProperties":false})",
             R"({"type":"object","additionalProperties":true})",
             R"({"type":"object","additionalProperties":{}})",
             R"({"type":"object","additionalProperties":{"type":"string"}})",
             R"({"type":"array","items":{"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}}}}})",
             R"({"items":[{"type":"string"},{"type":"integer"}]})",
             R"({"dependencies":{"a":["b","c"],"d":{"type":"object"}}})",
             R"({"default":{"a":[1,2.5,"x",null]},"enum":["a",1,true,null]})",
             R"({"default":false,"maximum":0,"exclusiveMinimum":true,"minLength":0})",
             R"({"$ref":"x","x-kubernetes-preserve-unknown-fields":false,"x-kubernetes-list-type":"map"})",
         }) {
        EXPECT_EQ(again(text), text);
    }
}

TEST(SchemaJson, WrongTypesAreErrors) {
    EXPECT_EQ(again(R"({"additionalProperties":"x"})"), "boolean or JSON schema expected");
    EXPECT_EQ(again(R"({"items":7})"), "JSON schema or array of them expected");
    EXPECT_EQ(again(R"({"properties":{"a":{"type":7}}})"),
              "json: cannot unmarshal number into Go struct field JSONSchemaProps.properties.type of "
              "type string");
}

TEST(CustomObjects, MembersAreKeptInTheOrderOfTheirNames) {
    const std::unique_ptr<google::protobuf::Message> object(custom_object_prototype().New());
    FieldWarnings warnings;
    ASSERT_TRUE(decode_json(R"({"kind":"Widget","spec":{"b":[{"z":1,"a":null}],"a":1.50},
                                "metadata":{"name":"x","nonsense":1},"apiVersion":"a/v1","data":2})",
                            object.get(), &warnings));
    EXPECT_EQ(custom_members(*object), R"({"data":2,"spec":{"a":1.5,"b":[{"a":null,"z":1}]}})");
    EXPECT_EQ(warnings, FieldWarnings{R"(unknown field "metadata.nonsense")"});
    const GroupVersionKind gvk{"a", "v1", "Widget"};
    EXPECT_EQ(encode_json(*object, &gvk),
              R"({"kind":"Widget","apiVersion":"a/v1","metadata":{"name":"x","creationTimestamp":null},)"
              R"("data":2,"spec":{"a":1.5,"b":[{"a":null,"z":1}]}})");
}

TEST(CustomObjects, TwoOrdersAreOneObject) {
    const std::unique_ptr<google::protobuf::Message> a(custom_object_prototype().New());
    const std::unique_ptr<google::protobuf::Message> b(custom_object_prototype().New());
    ASSERT_TRUE(decode_json(R"({"spec":{"x":{"p":1,"q":2},"y":[]}})", a.get()));
    ASSERT_TRUE(decode_json(R"({"spec":{"y":[],"x":{"q":2,"p":1.0}}})", b.get()));
    EXPECT_EQ(encode_protobuf_raw(*a), encode_protobuf_raw(*b));
    set_custom_members(a.get(), "{}");
    EXPECT_EQ(custom_members(*a), "{}");
    EXPECT_EQ(encode_json(*a), R"({"metadata":{"creationTimestamp":null}})");
}

}  // namespace
}  // namespace sluice::codec
