// How server-side apply takes an object apart: which parts of it are owned one by one and which as a whole. Read from
// the options of the messages' fields (api/kubernetes/options.proto): list_type, list_map_key, map_type.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace google::protobuf {
class Descriptor;
class FieldDescriptor;
}  // namespace google::protobuf

namespace sluice::codec {

struct ApplyType {
    enum class Shape : unsigned char {
        kScalar,    // a leaf; also messages with a form of their own, such as times and quantities
        kObject,    // members, each of its own; with `message` they have names that are known
        kAtomic,    // an object or a list that is owned as a whole
        kSet,       // a list of scalars, each of its own
        kKeyed,     // a list of objects that are told by `keys`
        kFreeForm,  // as it comes: objects by members, lists as a whole
    };
    Shape shape = Shape::kFreeForm;
    const google::protobuf::Descriptor* message = nullptr;       // of an object, or of a list's elements
    const google::protobuf::FieldDescriptor* values = nullptr;   // of an object that is a map: its entry's value
    std::vector<std::string> keys;
};

// Remembers each message it met, so make one for a request. Not thread-safe.
class ApplySchema {
public:
    static ApplyType root(const google::protobuf::Descriptor& type);
    // Of a member of an object. known: the member is one of the message, and no entry of a map.
    const ApplyType& member(const ApplyType& parent, std::string_view name, bool* known);
    // Of an element of a keyed list.
    static ApplyType element(const ApplyType& list);
    // What a key is worth that an element does not give; empty: nothing.
    static std::string_view default_of_key(std::string_view key);

private:
    using Members = std::unordered_map<std::string, ApplyType>;
    const Members& members_of(const google::protobuf::Descriptor& type);

    std::unordered_map<const google::protobuf::Descriptor*, Members> known_;
    std::unordered_map<const google::protobuf::FieldDescriptor*, ApplyType> map_values_;
    ApplyType free_form_;
};

}  // namespace sluice::codec
