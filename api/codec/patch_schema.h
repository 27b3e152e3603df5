// How a strategic merge patch treats each member of a message, read from the options of its fields.
// Private to the patches.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

namespace google::protobuf {
class Descriptor;
class FieldDescriptor;
}  // namespace google::protobuf

namespace sluice::codec {

// One member of a JSON object, or the value of a map's entry.
struct PatchMember {
    // What lies below: a message, or a map when map is set; both null for scalars and free-form
    // JSON.
    const google::protobuf::Descriptor* message = nullptr;
    const google::protobuf::FieldDescriptor* map = nullptr;
    bool merge_list = false;     // patch_strategy holds "merge"
    bool replace_map = false;    // patch_strategy holds "replace"
    std::string_view merge_key;  // empty for lists of scalars
};

// Looks members up by their names in JSON, inlined ones included. Remembers each message it met, so
// make one for a patch. Not thread-safe.
class PatchSchema {
public:
    // parent: describes the object that has the member. Unknown members are free-form.
    PatchMember member(const PatchMember& parent, std::string_view name);

private:
    using Members = std::unordered_map<std::string_view, PatchMember>;
    const Members& members_of(const google::protobuf::Descriptor& type);
    static void collect(const google::protobuf::Descriptor& type, int depth, Members* members);

    std::unordered_map<const google::protobuf::Descriptor*, Members> known_;
};

}  // namespace sluice::codec
