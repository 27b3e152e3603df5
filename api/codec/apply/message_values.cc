#include "api/codec/apply/message_values_internal.h"

#include <algorithm>

#include "api/codec/json_map.h"
#include "api/codec/json_text.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/resource/quantity.pb.h"

namespace sluice::codec {
namespace {

namespace pb = ::google::protobuf;
using PbQuantity = ::k8s::io::apimachinery::pkg::api::resource::Quantity;

bool is_message(const FieldPlan& field) { return field.kind >= ValueKind::kMessage; }

bool is_nonzero(const pb::Message& holder, const pb::Reflection& reflection, const FieldPlan& field) {
    const pb::FieldDescriptor* of = field.field;
    if (!reflection.HasField(holder, of)) return false;
    switch (field.kind) {
        case ValueKind::kString:
        case ValueKind::kBytes: {
            std::string scratch;
            return !reflection.GetStringReference(holder, of, &scratch).empty();
        }
        case ValueKind::kBool: return reflection.GetBool(holder, of);
        case ValueKind::kInt32: return reflection.GetInt32(holder, of) != 0;
        case ValueKind::kInt64: return reflection.GetInt64(holder, of) != 0;
        case ValueKind::kUint32: return reflection.GetUInt32(holder, of) != 0;
        case ValueKind::kUint64: return reflection.GetUInt64(holder, of) != 0;
        case ValueKind::kDouble: return reflection.GetDouble(holder, of) != 0;
        case ValueKind::kFloat: return reflection.GetFloat(holder, of) != 0;
        default: return true;
    }
}

// A member of one field alone, to compare and to measure by its bytes.
std::string bytes_of(const pb::Message& holder, const FieldPlan& field) {
    if (field.shape == FieldShape::kSingular && is_message(field)) {
        return encode_protobuf_raw(holder.GetReflection()->GetMessage(holder, field.field));
    }
    std::string out;
    const int size = holder.GetReflection()->FieldSize(holder, field.field);
    for (int i = 0; i < size; ++i) {
        if (is_message(field)) {
            const std::string bytes =
                encode_protobuf_raw(holder.GetReflection()->GetRepeatedMessage(holder, field.field, i));
            append_json_int(static_cast<std::int64_t>(bytes.size()), &out);
            out += ':' + bytes;
        } else {
            append_scalar(holder, field, i, &out);
            out += ',';
        }
    }
    return out;
}

std::vector<std::pair<std::string, std::string>> plain_entries(const pb::Message& holder, const FieldPlan& field) {
    std::vector<std::pair<std::string, std::string>> out;
    if (field.kind == ValueKind::kQuantity) {
        for (const auto& [name, value] : read_map<PbQuantity>(holder, field.field)) {
            out.emplace_back(name, value.string());
        }
    } else if (field.value_plan != nullptr) {
        read_message_map(holder, field.field, [&](const std::string& name, const pb::Message& value) {
            out.emplace_back(name, encode_protobuf_raw(value));
        });
    } else {
        for (const auto& [name, value] : read_map<std::string>(holder, field.field)) out.emplace_back(name, value);
    }
    std::sort(out.begin(), out.end());
    return out;
}

PathElement key_of(const pb::Message& item, const ApplyMember& member) {
    PathElement out{PathElement::Kind::kKey, "{"};
    for (const ApplyMember::Key& key : member.keys) {
        const pb::Message& holder = holder_of(item, key.path);
        const FieldPlan& field = *key.path.field;
        const pb::Reflection& reflection = *key.path.reflection;
        const bool given = field.pointer ? reflection.HasField(holder, field.field)
                                         : field.always || is_nonzero(holder, reflection, field);
        if (!given && key.fallback.empty()) continue;
        if (out.text.size() > 1) out.text += ',';
        out.text += key.name_text;
        if (given) {
            append_scalar(holder, field, -1, &out.text);
        } else {
            out.text += key.fallback;
        }
    }
    out.text += '}';
    return out;
}

}  // namespace

bool is_given(const pb::Message& message, const ApplyMember& member) {
    return member.always || is_filled(message, member);
}

bool is_filled(const pb::Message& message, const ApplyMember& member) {
    const pb::Message& holder = holder_of(message, member.path);
    const pb::Reflection& reflection = *member.path.reflection;
    const FieldPlan& field = *member.path.field;
    if (field.shape != FieldShape::kSingular) return reflection.FieldSize(holder, field.field) > 0;
    if (field.pointer || is_message(field)) return reflection.HasField(holder, field.field);
    return is_nonzero(holder, reflection, field);
}

bool is_hollow(const pb::Message& message, const ApplyPlan& plan) {
    return std::none_of(plan.members.begin(), plan.members.end(),
                        [&](const ApplyMember& member) { return is_given(message, member); });
}

const pb::Message* message_of(const pb::Message& message, const ApplyMember& member) {
    const pb::Message& holder = holder_of(message, member.path);
    const FieldPlan& field = *member.path.field;
    const pb::Reflection& reflection = *member.path.reflection;
    const bool present = reflection.HasField(holder, field.field);
    if (!present && (field.pointer || !field.always)) return nullptr;
    return &reflection.GetMessage(holder, field.field);
}

void append_scalar(const pb::Message& holder, const FieldPlan& field, int index, std::string* out) {
    const pb::Reflection& reflection = *holder.GetReflection();
    const pb::FieldDescriptor* of = field.field;
    const bool one = index < 0;
    std::string scratch;
    switch (field.kind) {
        case ValueKind::kString:
            return append_json_string(one ? reflection.GetStringReference(holder, of, &scratch)
                                          : reflection.GetRepeatedStringReference(holder, of, index, &scratch),
                                      out);
        case ValueKind::kBytes:
            return append_json_base64(one ? reflection.GetStringReference(holder, of, &scratch)
                                          : reflection.GetRepeatedStringReference(holder, of, index, &scratch),
                                      out);
        case ValueKind::kBool: {
            const bool value = one ? reflection.GetBool(holder, of) : reflection.GetRepeatedBool(holder, of, index);
            out->append(value ? "true" : "false");
            return;
        }
        case ValueKind::kInt32:
            return append_json_int(
                one ? reflection.GetInt32(holder, of) : reflection.GetRepeatedInt32(holder, of, index), out);
        case ValueKind::kInt64:
            return append_json_int(
                one ? reflection.GetInt64(holder, of) : reflection.GetRepeatedInt64(holder, of, index), out);
        case ValueKind::kUint32:
            return append_json_uint(
                one ? reflection.GetUInt32(holder, of) : reflection.GetRepeatedUInt32(holder, of, index), out);
        case ValueKind::kUint64:
            return append_json_uint(
                one ? reflection.GetUInt64(holder, of) : reflection.GetRepeatedUInt64(holder, of, index), out);
        case ValueKind::kDouble:
            return append_json_double(
                one ? reflection.GetDouble(holder, of) : reflection.GetRepeatedDouble(holder, of, index), out);
        case ValueKind::kFloat:
            return append_json_double(static_cast<double>(one ? reflection.GetFloat(holder, of)
                                                              : reflection.GetRepeatedFloat(holder, of, index)),
                                      out);
        default: out->append("null"); return;
    }
}

bool same_leaf(const pb::Message& a, const pb::Message& b, const ApplyMember& member) {
    const pb::Message& in_a = holder_of(a, member.path);
    const pb::Message& in_b = holder_of(b, member.path);
    const FieldPlan& field = *member.path.field;
    if (field.shape == FieldShape::kMap) return plain_entries(in_a, field) == plain_entries(in_b, field);
    const pb::Reflection& reflection = *member.path.reflection;
    if (field.shape == FieldShape::kSingular && (field.pointer || is_message(field)) &&
        reflection.HasField(in_a, field.field) != reflection.HasField(in_b, field.field)) {
        return false;
    }
    if (field.shape == FieldShape::kSingular && !is_message(field)) {
        std::string left;
        std::string right;
        append_scalar(in_a, field, -1, &left);
        append_scalar(in_b, field, -1, &right);
        return left == right;
    }
    return bytes_of(in_a, field) == bytes_of(in_b, field);
}

std::vector<Entry> entries_of(const pb::Message& message, const ApplyMember& member) {
    const pb::Message& holder = holder_of(message, member.path);
    const FieldPlan& field = *member.path.field;
    std::vector<Entry> out;
    if (field.shape == FieldShape::kMap) {
        if (member.below != nullptr) {
            read_message_map(holder, field.field, [&](const std::string& name, const pb::Message& value) {
                out.push_back({PathElement::field(name), &value, {}});
            });
        } else {
            for (auto& [name, value] : plain_entries(holder, field)) {
                out.push_back({PathElement::field(std::move(name)), nullptr, std::move(value)});
            }
        }
    } else {
        const int size = holder.GetReflection()->FieldSize(holder, field.field);
        out.reserve(static_cast<std::size_t>(size));
        for (int i = 0; i < size; ++i) {
            if (is_message(field)) {
                const pb::Message& item = holder.GetReflection()->GetRepeatedMessage(holder, field.field, i);
                out.push_back({key_of(item, member), &item, {}});
            } else {
                PathElement element{PathElement::Kind::kValue, {}};
                append_scalar(holder, field, i, &element.text);
                out.push_back({std::move(element), nullptr, {}});
            }
        }
    }
    std::stable_sort(out.begin(), out.end(), [](const Entry& a, const Entry& b) { return a.element < b.element; });
    return out;
}

bool same_bytes(const pb::Message& a, const pb::Message& b, const ApplyMember& member) {
    const pb::Message& in_a = holder_of(a, member.path);
    const pb::Message& in_b = holder_of(b, member.path);
    const FieldPlan& field = *member.path.field;
    const int size = in_a.GetReflection()->FieldSize(in_a, field.field);
    if (size != in_b.GetReflection()->FieldSize(in_b, field.field)) return false;
    if (field.shape == FieldShape::kMap) return plain_entries(in_a, field) == plain_entries(in_b, field);
    return size == 0 || bytes_of(in_a, field) == bytes_of(in_b, field);
}

}  // namespace sluice::codec
