// Values of messages' members as server-side apply asks for them. Private to this folder.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/codec/apply/message_plan_internal.h"

namespace sluice::codec {

// Whether the object's JSON has the member, be it null.
[[nodiscard]] bool is_given(const google::protobuf::Message& message, const ApplyMember& member);
// Whether it has a value other than what Go's zero value shows.
[[nodiscard]] bool is_filled(const google::protobuf::Message& message, const ApplyMember& member);
// Whether the object's JSON is {}.
[[nodiscard]] bool is_hollow(const google::protobuf::Message& message, const ApplyPlan& plan);

// The message of a singular member; null: the member is absent or null.
[[nodiscard]] const google::protobuf::Message* message_of(const google::protobuf::Message& message,
                                                          const ApplyMember& member);

// JSON of a scalar, of a list's element with index >= 0.
void append_scalar(const google::protobuf::Message& holder, const FieldPlan& field, int index, std::string* out);

// Members that are leaves (also maps and lists that are owned as a whole): whether their values are the same.
[[nodiscard]] bool same_leaf(const google::protobuf::Message& a, const google::protobuf::Message& b,
                             const ApplyMember& member);

// One entry of a map or one element of a list; the message is null where it is a leaf of another kind.
struct Entry {
    PathElement element;
    const google::protobuf::Message* message = nullptr;
    std::string leaf;  // of a map's entry that is no message: its value
};
// In the order of their elements, which fieldsV1 is written in.
[[nodiscard]] std::vector<Entry> entries_of(const google::protobuf::Message& message, const ApplyMember& member);
// Whether both lists or maps hold the same bytes; false may mean the same in another order.
[[nodiscard]] bool same_bytes(const google::protobuf::Message& a, const google::protobuf::Message& b,
                              const ApplyMember& member);

}  // namespace sluice::codec
