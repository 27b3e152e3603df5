// Reads patch strategies from the options of api/kubernetes/options.proto.
#include "api/codec/patch_schema.h"

#include <google/protobuf/descriptor.h>

#include "api/kubernetes/options.pb.h"

namespace sluice::codec {
namespace {

namespace pb = ::google::protobuf;

// An inlined message may inline another; upstream never goes deeper than two.
constexpr int kMaxInlineDepth = 8;

// True if the comma-separated list holds the word.
bool holds(std::string_view list, std::string_view word) {
    while (!list.empty()) {
        const std::size_t comma = list.find(',');
        if (list.substr(0, comma) == word) return true;
        if (comma == std::string_view::npos) break;
        list.remove_prefix(comma + 1);
    }
    return false;
}

}  // namespace

void PatchSchema::collect(const pb::Descriptor& type, int depth, Members* members) {
    for (int i = 0; i < type.field_count(); ++i) {
        const pb::FieldDescriptor& field = *type.field(i);
        const pb::FieldOptions& options = field.options();
        if (options.GetExtension(k8s::inlined)) {
            if (depth < kMaxInlineDepth && field.message_type() != nullptr) {
                collect(*field.message_type(), depth + 1, members);
            }
            continue;
        }
        PatchMember member;
        if (field.is_map()) {
            member.map = &field;
        } else {
            member.message = field.message_type();
        }
        // The options live as long as the descriptors, that is, as long as the program.
        const std::string_view strategy = options.GetExtension(k8s::patch_strategy);
        member.merge_list = holds(strategy, "merge");
        member.replace_map = holds(strategy, "replace");
        member.merge_key = options.GetExtension(k8s::patch_merge_key);
        const std::string_view name = options.HasExtension(k8s::json_name)
                                          ? std::string_view(options.GetExtension(k8s::json_name))
                                          : std::string_view(field.name());
        members->emplace(name, member);
    }
}

const PatchSchema::Members& PatchSchema::members_of(const pb::Descriptor& type) {
    const auto [at, inserted] = known_.try_emplace(&type);
    if (inserted) collect(type, 0, &at->second);
    return at->second;
}

PatchMember PatchSchema::member(const PatchMember& parent, std::string_view name) {
    if (parent.map != nullptr) {
        PatchMember value;
        value.message = parent.map->message_type()->FindFieldByNumber(2)->message_type();
        return value;
    }
    if (parent.message == nullptr) return {};
    const Members& members = members_of(*parent.message);
    const auto found = members.find(name);
    return found == members.end() ? PatchMember{} : found->second;
}

}  // namespace sluice::codec
