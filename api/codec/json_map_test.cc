// Maps whose values are messages. Expectations follow from Go's encoding/json: keys in order, null for a
// named list that is empty, the last of two equal keys.
#include <gtest/gtest.h>

#include "api/codec/json.h"
#include "api/codec/json_map_test.pb.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"

namespace sluice::codec {
namespace {

namespace certificatesv1 = ::k8s::io::api::certificates::v1;
using test::v1::Shelf;
using Spec = certificatesv1::CertificateSigningRequestSpec;

std::string error_of(std::string_view text, google::protobuf::Message* message) {
    const auto result = decode_json(text, message);
    return result ? "no error" : result.error().message;
}

TEST(MessageMaps, ExtraValuesAreLists) {
    Spec spec;
    ASSERT_TRUE(decode_json(R"({"request":"","signerName":"s","extra":{"scopes":["a","b"],"none":null}})", &spec));
    ASSERT_EQ(spec.extra().at("scopes").items_size(), 2);
    EXPECT_EQ(spec.extra().at("scopes").items(1), "b");
    EXPECT_EQ(encode_json(spec), R"({"request":null,"signerName":"s","extra":{"none":null,"scopes":["a","b"]}})");
    EXPECT_EQ(error_of(R"({"extra":{"a":"b"}})", &spec),
              "json: cannot unmarshal string into Go struct field CertificateSigningRequestSpec.extra of type "
              "v1.ExtraValue");
    EXPECT_EQ(error_of(R"({"extra":["a"]})", &spec),
              "json: cannot unmarshal array into Go struct field CertificateSigningRequestSpec.extra of type "
              "map[string]v1.ExtraValue");
    EXPECT_EQ(error_of(R"({"extra":{"a":[1]}})", &spec),
              "json: cannot unmarshal number into Go struct field CertificateSigningRequestSpec.extra of type "
              "string");
}

TEST(MessageMaps, MessagesWithinMessages) {
    Shelf shelf;
    const std::string text =
        R"({"boxes":{"a":{"label":"x","packed":"2026-01-02T03:04:05Z","count":1},)"
        R"("b":{"packed":null,"inner":[{"label":"y","packed":null,"count":0}],"count":0}}})";
    ASSERT_TRUE(decode_json(text, &shelf)) << error_of(text, &shelf);
    EXPECT_EQ(shelf.boxes().at("b").inner(0).label(), "y");
    EXPECT_FALSE(shelf.boxes().at("b").has_packed());
    FieldWarnings warnings;
    ASSERT_TRUE(decode_json(R"({"boxes":{"a":{"label":"old"},"c":null,"a":{"lid":1}}})", &shelf, &warnings));
    EXPECT_EQ(shelf.boxes_size(), 2);
    EXPECT_EQ(shelf.boxes().at("a").label(), "");
    EXPECT_NE(std::find(warnings.begin(), warnings.end(), R"(unknown field "boxes.a.lid")"), warnings.end());
}

TEST(MessageMaps, TheWireFormIsNormalisedAndBounded) {
    Shelf shelf;
    // {"k": {label: "x", packed: {0 s}, count: 0, field 9: 1}}: zero values and unknown fields go.
    ASSERT_TRUE(decode_protobuf_raw(std::string_view("\x0A\x10\x0A\x01k\x12\x0B\x0A\x01x\x12\x02\x08\x00\x20\x00\x48\x01", 18),
                                    &shelf));
    const auto& box = shelf.boxes().at("k");
    EXPECT_EQ(box.label(), "x");
    EXPECT_FALSE(box.has_count());
    EXPECT_TRUE(box.GetReflection()->GetUnknownFields(box).empty());
    Shelf again;
    std::string raw;
    ASSERT_TRUE(shelf.SerializeToString(&raw));
    ASSERT_TRUE(decode_protobuf_raw(raw, &again));
    EXPECT_EQ(again.SerializeAsString(), raw);
    // Boxes in boxes within a map, one level more than is allowed.
    test::v1::Box deep;
    for (int i = 0; i < kMaxProtobufDepth + 1; ++i) {
        test::v1::Box outer;
        outer.add_inner()->Swap(&deep);
        deep.Swap(&outer);
    }
    Shelf nested;
    (*nested.mutable_boxes())["k"].Swap(&deep);
    EXPECT_FALSE(decode_protobuf_raw(nested.SerializeAsString(), &again));
    // Two bytes for each of very many messages: more memory than the bytes justify.
    std::string inner;
    for (int i = 0; i < 1'000'000; ++i) inner += std::string("\x1A\x00", 2);
    (*nested.mutable_boxes())["k"].Clear();
    ASSERT_TRUE((*nested.mutable_boxes())["k"].ParseFromString(inner));
    const auto bomb = decode_protobuf_raw(nested.SerializeAsString(), &again);
    ASSERT_FALSE(bomb);
    EXPECT_EQ(bomb.error().code, Code::kResourceExhausted);
}

}  // namespace
}  // namespace sluice::codec
