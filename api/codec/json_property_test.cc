// decode(encode(x)) == x for random messages of every kind in the scheme, in JSON, YAML and protobuf.
#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/codec/json_transcode.h"
#include "api/codec/protobuf.h"
#include "api/codec/protobuf_normal.h"
#include "api/codec/quantity.h"
#include "api/codec/scheme.h"
#include "api/codec/time.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

constexpr int kMaxDepth = 8;

// Texts that are likely to go wrong somewhere.
rc::Gen<std::string> text() {
    return rc::gen::weightedOneOf<std::string>(
        {{3, rc::gen::element<std::string>("", "a", "yes", "null", "~", "1", "017", "1e3", "0x1f", "2001-01-01",
                                           "a: b", "- x", "#x", "x #y", "a\nb", "a\n", "\n", " a", "a ", "\t", "'",
                                           "\"", "\\", "<&>", "\xC3\xA9", "\xE2\x80\xA8", "\xF0\x9F\x98\x80",
                                           "\x01\x7F", "\xC2\x85", "\xEF\xBB\xBF", "k8s\n\n", " \n x", "<<", "12:30")},
         {2, rc::gen::container<std::string>(rc::gen::inRange<char>(' ', '~'))},
         {1, rc::gen::container<std::string>(rc::gen::inRange<char>('\x01', '\x7F'))}});
}

// Numbers that JSON has: neither infinities nor NaN.
rc::Gen<double> number() {
    return rc::gen::weightedOneOf<double>(
        {{1, rc::gen::element(0.0, 1.0, -1.0, 0.1, 1e-7, 1e21, 1e20, -1e-300, 1.7976931348623157e308, 5e-324,
                              9007199254740993.0, 18446744073709551616.0)},
         {1, rc::gen::map(rc::gen::arbitrary<std::int32_t>(), [](std::int32_t n) { return n / 64.0; })}});
}

std::string any_text() {
    return *text();
}

class Builder {
public:
    void fill(Message* message, int depth) {
        const std::string& name = message->GetDescriptor()->full_name();
        if (name.ends_with(".Time") || name.ends_with(".MicroTime")) return time(message);
        if (name.ends_with(".Quantity")) {
            return set(message, "string", *rc::gen::element<std::string>(
                "0", "1", "500m", "1Gi", "-3", "1e3", "12345678901234567890", "1n"));
        }
        if (name.ends_with(".IntOrString")) {
            if (*rc::gen::arbitrary<bool>()) {
                set_int(message, "type", 1);
                set(message, "strVal", any_text());
            } else {
                set_int(message, "intVal", *rc::gen::arbitrary<std::int32_t>());
            }
            return;
        }
        if (name.ends_with(".FieldsV1")) return set(message, "Raw", R"({"f:a":{".":{},"k:{\"n\":1}":{}}})");
        if (name.ends_with(".JSON")) {
            return set(message, "raw", *rc::gen::element<std::string>("1", "\"x\"", "[]", R"({"a":1.5})"));
        }
        if (name.find(".JSONSchemaPropsOr") != std::string::npos) return either(message, depth);
        if (name.ends_with(".RawExtension")) return set(message, "raw", R"({"a":[1,"x",null]})");
        const auto* reflection = message->GetReflection();
        const auto* descriptor = message->GetDescriptor();
        for (int i = 0; i < descriptor->field_count(); ++i) {
            const auto* field = descriptor->field(i);
            // Fewer fields further down, and none in the end, so that messages stay small.
            if (depth >= kMaxDepth || *rc::gen::inRange(0, 3 + depth) != 0) continue;
            if (field->is_map()) {
                map(message, field, depth);
            } else if (field->is_repeated()) {
                const int size = *rc::gen::inRange(1, 3);
                for (int j = 0; j < size; ++j) element(message, field, depth);
            } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
                fill(reflection->MutableMessage(message, field), depth + 1);
            } else {
                scalar(message, field);
            }
        }
    }

private:
    // JSONSchemaPropsOrBool, ...OrArray, ...OrStringArray: a schema or the other. With a schema `allows` is true, as
    // Kubernetes' own decoder has it.
    void either(Message* message, int depth) {
        const auto* reflection = message->GetReflection();
        const auto* descriptor = message->GetDescriptor();
        const auto* allows = descriptor->FindFieldByName("allows");
        const bool schema = *rc::gen::arbitrary<bool>();
        if (schema) fill(reflection->MutableMessage(message, descriptor->FindFieldByName("schema")), depth + 1);
        if (allows) return reflection->SetBool(message, allows, schema || *rc::gen::arbitrary<bool>());
        if (schema) return;
        const int size = *rc::gen::inRange(1, 3);
        for (int i = 0; i < size; ++i) element(message, descriptor->field(1), depth);
    }

    static void set(Message* message, const char* name, const std::string& value) {
        message->GetReflection()->SetString(message, message->GetDescriptor()->FindFieldByName(name), value);
    }
    static void set_int(Message* message, const char* name, std::int64_t value) {
        const auto* field = message->GetDescriptor()->FindFieldByName(name);
        if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
            message->GetReflection()->SetInt32(message, field, static_cast<std::int32_t>(value));
        } else {
            message->GetReflection()->SetInt64(message, field, value);
        }
    }
    static void time(Message* message) {
        set_int(message, "seconds", *rc::gen::inRange<std::int64_t>(kMinTimeSeconds, kMaxTimeSeconds));
        set_int(message, "nanos", *rc::gen::inRange<std::int64_t>(0, 1'000'000'000));
    }

    void map(Message* message, const FieldDescriptor* field, int depth) {
        const auto* reflection = message->GetReflection();
        std::vector<std::string> keys{any_text()};
        if (*rc::gen::arbitrary<bool>()) keys.push_back(keys[0] + "2");
        for (const auto& key : keys) {
            Message* entry = reflection->AddMessage(message, field);
            entry->GetReflection()->SetString(entry, field->message_type()->map_key(), key);
            const auto* value = field->message_type()->map_value();
            if (value->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
                fill(entry->GetReflection()->MutableMessage(entry, value), depth + 1);
            } else if (value->type() == FieldDescriptor::TYPE_BYTES) {
                entry->GetReflection()->SetString(entry, value, *rc::gen::string<std::string>());
            } else {
                entry->GetReflection()->SetString(entry, value, any_text());
            }
        }
    }

    void element(Message* message, const FieldDescriptor* field, int depth) {
        const auto* reflection = message->GetReflection();
        switch (field->cpp_type()) {
            case FieldDescriptor::CPPTYPE_MESSAGE:
                return fill(reflection->AddMessage(message, field), depth + 1);
            case FieldDescriptor::CPPTYPE_STRING:
                return reflection->AddString(message, field, any_text());
            case FieldDescriptor::CPPTYPE_INT32:
                return reflection->AddInt32(message, field, *rc::gen::arbitrary<std::int32_t>());
            case FieldDescriptor::CPPTYPE_INT64:
                return reflection->AddInt64(message, field, *rc::gen::arbitrary<std::int64_t>());
            default: FAIL() << field->full_name();
        }
    }

    void scalar(Message* message, const FieldDescriptor* field) {
        const auto* reflection = message->GetReflection();
        switch (field->cpp_type()) {
            case FieldDescriptor::CPPTYPE_STRING:
                return reflection->SetString(message, field, any_text());
            case FieldDescriptor::CPPTYPE_BOOL:
                return reflection->SetBool(message, field, *rc::gen::arbitrary<bool>());
            case FieldDescriptor::CPPTYPE_INT32:
                return reflection->SetInt32(message, field, *rc::gen::arbitrary<std::int32_t>());
            case FieldDescriptor::CPPTYPE_INT64:
                return reflection->SetInt64(message, field, *rc::gen::arbitrary<std::int64_t>());
            case FieldDescriptor::CPPTYPE_DOUBLE: return reflection->SetDouble(message, field, *number());
            default: FAIL() << field->full_name();
        }
    }
};

// A random object or list in its normal form.
std::unique_ptr<Message> random_message() {
    const auto& info = all_kinds()[*rc::gen::inRange<std::size_t>(0, all_kinds().size())];
    auto message = *rc::gen::inRange(0, 5) == 0 ? info.new_list() : info.new_object();
    Builder().fill(message.get(), 0);
    RC_ASSERT(normalise(message.get()).has_value());
    return message;
}

void expect_equal(const Message& a, const Message& b) {
    MessageDifferencer differencer;
    std::string difference;
    differencer.ReportDifferencesToString(&difference);
    if (!differencer.Compare(a, b)) RC_FAIL(difference);
}

RC_GTEST_PROP(Property, JsonComesBack, ()) {
    const auto message = random_message();
    const GroupVersionKind gvk{"g", "v1", "K"};
    std::unique_ptr<Message> again(message->New());
    FieldWarnings warnings;
    const std::string json = encode_json(*message, &gvk);
    const auto result = decode_json(json, again.get(), &warnings);
    if (!result) RC_FAIL(result.error().message + "\n" + json);
    RC_ASSERT(warnings.empty());
    expect_equal(*message, *again);
    RC_ASSERT(encode_json(*again, &gvk) == json);
}

// Not only of normal forms: what defaults leave in a message before it is stored is not one.
RC_GTEST_PROP(Property, TranscodedAsDecodedAndEncoded, ()) {
    const auto& info = all_kinds()[*rc::gen::inRange<std::size_t>(0, all_kinds().size())];
    const auto message = info.new_object();
    Builder().fill(message.get(), 0);
    if (*rc::gen::arbitrary<bool>()) RC_ASSERT(normalise(message.get()).has_value());
    const std::string raw = encode_protobuf_raw(*message);
    std::string json = "before";
    if (!transcode_json(raw, *message->GetDescriptor(), &info.gvk, "17", &json)) {
        RC_ASSERT(json == "before");
        RC_TAG("left to a message");
        return;
    }
    RC_TAG("transcoded");
    std::unique_ptr<Message> again(message->New());
    RC_ASSERT(decode_protobuf_raw(raw, again.get()).has_value());
    object_meta(*again).set_resourceversion("17");
    RC_ASSERT(json == "before" + encode_json(*again, &info.gvk));
    std::string alone;
    RC_ASSERT(transcode_json(raw, *message->GetDescriptor(), nullptr, "17", &alone));
    RC_ASSERT(alone == encode_json(*again));
}

// Bytes are called normal only if the message that they are of is left as it is.
RC_GTEST_PROP(Property, NormalBytesAreThoseOfNormalMessages, ()) {
    const auto& info = all_kinds()[*rc::gen::inRange<std::size_t>(0, all_kinds().size())];
    const auto message = info.new_object();
    Builder().fill(message.get(), 0);
    if (*rc::gen::arbitrary<bool>()) RC_ASSERT(normalise(message.get()).has_value());
    const std::string raw = encode_protobuf_raw(*message);
    RC_ASSERT(normalise(message.get()).has_value());
    const bool same = encode_protobuf_raw(*message) == raw;
    const bool told = is_normal(raw, *message->GetDescriptor());
    RC_ASSERT(same || !told);
    RC_TAG(told ? "normal" : same ? "normal, but only the message tells" : "not normal");
}

RC_GTEST_PROP(Property, YamlComesBack, ()) {
    const auto message = random_message();
    const auto tree = to_json_value(*message);
    const std::string yaml = json_to_yaml(tree);
    const auto read = yaml_to_json(yaml);
    if (!read) RC_FAIL(read.error().message + "\n" + yaml);
    std::unique_ptr<Message> again(message->New());
    const auto result = from_json_value(*read, again.get());
    if (!result) RC_FAIL(result.error().message + "\n" + yaml);
    expect_equal(*message, *again);
}

RC_GTEST_PROP(Property, ProtobufComesBack, ()) {
    const auto message = random_message();
    const GroupVersionKind gvk{"g", "v1", "K"};
    const std::string bytes = encode_protobuf(*message, gvk);
    const auto envelope = open_envelope(bytes);
    RC_ASSERT(envelope.has_value());
    RC_ASSERT(envelope->gvk == gvk);
    std::unique_ptr<Message> again(message->New());
    const auto result = decode_protobuf_raw(envelope->raw, again.get());
    if (!result) RC_FAIL(result.error().message);
    expect_equal(*message, *again);
    RC_ASSERT(encode_protobuf(*again, gvk) == bytes);
}

// A message as a client may send it: zero values present. Both encodings lead to one message.
RC_GTEST_PROP(Property, BothEncodingsHaveOneNormalForm, ()) {
    const auto& info = all_kinds()[*rc::gen::inRange<std::size_t>(0, all_kinds().size())];
    const auto sent = info.new_object();
    Builder().fill(sent.get(), 0);
    const auto by_protobuf = info.new_object();
    const auto by_json = info.new_object();
    RC_ASSERT(decode_protobuf_raw(sent->SerializePartialAsString(), by_protobuf.get()).has_value());
    RC_ASSERT(decode_json(encode_json(*sent), by_json.get()).has_value());
    expect_equal(*by_protobuf, *by_json);
}

RC_GTEST_PROP(Property, CanonicalQuantitiesKeepTheirValue, (std::int64_t units, std::int64_t milli)) {
    for (const auto format : {Quantity::Format::kDecimalSi, Quantity::Format::kBinarySi,
                              Quantity::Format::kDecimalExponent}) {
        for (const auto& quantity : {Quantity::from_units(units, format), Quantity::from_milli(milli, format)}) {
            const auto again = Quantity::parse(quantity.to_string());
            RC_ASSERT(again.has_value());
            RC_ASSERT(*again == quantity);
            // A binary quantity that no binary suffix divides has no suffix to tell its format by.
            if (format == Quantity::Format::kBinarySi && !quantity.to_string().ends_with('i')) continue;
            RC_ASSERT(again->to_string() == quantity.to_string());
        }
    }
}

}  // namespace
}  // namespace sluice::codec
