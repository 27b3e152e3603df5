// What json.h needs to know of a message type, worked out once: names, kinds of value, presence.
// Private to api/codec.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::codec {

enum class ValueKind : std::uint8_t {
    kString,
    kBytes,
    kBool,
    kInt32,
    kInt64,
    kUint32,
    kUint64,
    kDouble,
    kFloat,
    kMessage,
    // Messages with a form of their own:
    kTime,
    kMicroTime,
    kDuration,
    kQuantity,
    kIntOrString,
    kRawExtension,
    kFieldsV1,
    kStringList,  // a list of strings that has a name in Go, such as metav1.Verbs
    kJson,             // any JSON value, kept as text
    kSchemaOrBool,     // JSON schemas of CustomResourceDefinitions, and what may stand in their place
    kSchemaOrArray,
    kSchemaOrStrings,
};

enum class FieldShape : std::uint8_t { kSingular, kList, kMap };

struct MessagePlan;

struct FieldPlan {
    const google::protobuf::FieldDescriptor* field = nullptr;
    std::string name;      // the member
    std::string key_text;  // `"name":`
    std::string go_type;   // of a value that an error names, such as "int32" or "[]v1.ServicePort"
    // Of the value, of a list's element or of a map's value.
    ValueKind kind = ValueKind::kString;
    FieldShape shape = FieldShape::kSingular;
    bool pointer = false;
    bool always = false;
    bool inlined = false;
    bool hidden = false;      // named "-"
    bool empty_list = false;  // written as [], not as null, when empty
    const MessagePlan* value_plan = nullptr;  // of kMessage; never null then
    std::string go_element_type;              // of a list's element or a map's value
};

// A JSON member and the inlined messages that lead to it.
struct MemberPlan {
    std::vector<const FieldPlan*> inlined;
    const FieldPlan* field = nullptr;
};

struct MessagePlan {
    const google::protobuf::Descriptor* descriptor = nullptr;
    const google::protobuf::Reflection* reflection = nullptr;
    std::string go_name;           // "ServicePort"
    std::string go_type;           // "v1.ServicePort"
    std::size_t instance_bytes = 0;  // what an empty message takes
    bool is_list = false;  // a list kind: its items are objects with kind and apiVersion
    bool has_inlined = false;
    // The field that keeps, as canonical text, all members that no other field has; null for most messages.
    const google::protobuf::FieldDescriptor* rest = nullptr;
    std::vector<FieldPlan> fields;  // in the order of declaration, which is that of the Go struct
    boost::unordered_flat_map<std::string_view, MemberPlan> members;
    // [field number]: its place in `fields`, or -1.
    std::vector<std::int16_t> by_number;
    // [field number]; null where there is no field whose values are messages.
    std::vector<const FieldPlan*> message_fields;
};

// Thread-safe; the plan lives as long as the program. REQUIRES: a type compiled into the program.
[[nodiscard]] const MessagePlan& plan_of(const google::protobuf::Descriptor& type);

// Whether Go holds the same value when the message is absent: nothing is set in it, or it is the
// quantity 0. plan is message's.
[[nodiscard]] bool is_zero(const google::protobuf::Message& message, ValueKind kind,
                           const MessagePlan& plan);

// Whether the field's message, empty as it is, is to be absent: Go holds it by value, or JSON writes null
// for it, which reads as absent.
[[nodiscard]] bool absent_when_zero(const FieldPlan& field);

// The one field of a message of kStringList.
[[nodiscard]] const google::protobuf::FieldDescriptor* items_of(const google::protobuf::Message& list);

// How a singular message of this type is written.
[[nodiscard]] ValueKind message_kind(const google::protobuf::Descriptor& type);

}  // namespace sluice::codec
