// How server-side apply sees the members of a message, worked out once for each type: in the order in which fieldsV1
// writes them, with the way into the message. Private to this folder.
#pragma once

#include <string>
#include <vector>

#include "api/codec/apply/field_set.h"
#include "api/codec/apply/schema.h"
#include "api/codec/json_plan_internal.h"

namespace sluice::codec {

struct ApplyPlan;

// A way from a message to one of its JSON members, through the messages that are inlined.
struct MemberPath {
    std::vector<const FieldPlan*> inlined;
    const FieldPlan* field = nullptr;
    // Of the message that has the field: to ask a message for it costs more than to ask for a field.
    const google::protobuf::Reflection* reflection = nullptr;
};

// The way to a member of owner's messages.
[[nodiscard]] MemberPath path_to(const MessagePlan& owner, const MemberPlan& member);

struct ApplyMember {
    PathElement element;   // f:NAME
    std::string key_text;  // `"f:NAME":`
    MemberPath path;
    ApplyType::Shape shape = ApplyType::Shape::kScalar;
    // Of an object, of a keyed list's elements or of a map's values; null where those are leaves.
    const ApplyPlan* below = nullptr;
    // Go writes the member of a zero value too: a struct, or a field without omitempty.
    bool always = false;

    struct Key {
        std::string name_text;  // `"name":`
        MemberPath path;
        std::string fallback;   // JSON of the key when an element does not give it
    };
    std::vector<Key> keys;
};

struct ApplyPlan {
    const MessagePlan* message = nullptr;
    std::vector<ApplyMember> members;  // by name
};

// Thread-safe; the plan lives as long as the program.
[[nodiscard]] const ApplyPlan& apply_plan_of(const google::protobuf::Descriptor& type);

// The message that holds the path's last field; its type's empty message where there is none.
[[nodiscard]] const google::protobuf::Message& holder_of(const google::protobuf::Message& message,
                                                         const MemberPath& path);

}  // namespace sluice::codec
