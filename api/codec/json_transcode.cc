// Protobuf bytes to JSON text without a message between: what a get of a stored object costs. Only what stored objects
// mostly consist of is known here; all else is left to messages, and so is every form of bytes that could be read in
// two ways.
#include "api/codec/json_transcode.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "api/codec/json_plan_internal.h"
#include "api/codec/json_text.h"
#include "api/codec/protobuf.h"
#include "api/codec/protobuf_scan.h"
#include "api/codec/quantity.h"
#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "api/kubernetes/runtime/runtime.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"

namespace sluice::codec {
namespace {

using PbUnknown = ::k8s::io::apimachinery::pkg::runtime::Unknown;
using PbIntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;
using PbQuantity = ::k8s::io::apimachinery::pkg::api::resource::Quantity;

constexpr std::size_t kMaxFields = 64;  // of a message; the largest, PodSpec, has 40
constexpr int kMaxDepth = 32;
constexpr std::int64_t kIntOrStringIsString = 1;
constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
constexpr std::int64_t kNanosPerMicro = 1'000;

constexpr std::array kText = {WireType::kBytes};
constexpr std::array kTexts = {WireType::kBytes, WireType::kBytes};
constexpr std::array kNumbers = {WireType::kVarint, WireType::kVarint};

class Transcoder {
public:
    Transcoder(std::string_view resource_version, std::string* out)
        : resource_version_(resource_version), out_(out) {}

    // The members of the object itself. False: a message is needed; what was appended is to be dropped.
    // first: nothing stands before them.
    bool object(std::string_view bytes, const MessagePlan& plan, bool first) {
        return members(bytes, plan, 0, &first) && has_meta_;
    }

private:
    // Where a field stands in the bytes of its message.
    struct Slot {
        const char* begin = nullptr;  // with its tag; null: absent
        const char* end = nullptr;    // of the last of a list or map
        WireField last;
        [[nodiscard]] std::string_view all() const { return {begin, static_cast<std::size_t>(end - begin)}; }
    };

    [[nodiscard]] static bool is_varint(ValueKind kind) {
        return kind == ValueKind::kBool || kind == ValueKind::kInt32 || kind == ValueKind::kInt64 ||
               kind == ValueKind::kUint32 || kind == ValueKind::kUint64;
    }

    // NOLINTNEXTLINE(misc-no-recursion): the depth is limited.
    bool members(std::string_view bytes, const MessagePlan& plan, int depth, bool* first) {
        if (plan.rest != nullptr || plan.fields.size() > kMaxFields || depth > kMaxDepth) return false;
        std::array<Slot, kMaxFields> slots;  // those of the fields are set below
        std::fill_n(slots.begin(), plan.fields.size(), Slot());
        WireReader reader(bytes);
        const char* at = bytes.data();
        Slot* before = nullptr;
        for (WireField field; reader.next(&field); at = reader.position()) {
            const int index = field.number < plan.by_number.size() ? plan.by_number[field.number] : -1;
            if (index < 0) return false;
            const FieldPlan& known = plan.fields[static_cast<std::size_t>(index)];
            const bool varint = known.shape != FieldShape::kMap && is_varint(known.kind);
            if (field.wire_type != (varint ? WireType::kVarint : WireType::kBytes)) return false;
            Slot& slot = slots[static_cast<std::size_t>(index)];
            if (slot.begin == nullptr) {
                slot.begin = at;
            } else if (known.shape == FieldShape::kSingular || &slot != before) {
                return false;
            }
            slot.end = reader.position();
            slot.last = field;
            before = &slot;
        }
        if (reader.malformed()) return false;
        const bool meta = depth == 1 && plan.descriptor == metav1::ObjectMeta::descriptor();
        has_meta_ = has_meta_ || meta;
        for (std::size_t i = 0; i < plan.fields.size(); ++i) {
            const FieldPlan& field = plan.fields[i];
            if (field.hidden) continue;
            if (meta && field.field->number() == metav1::ObjectMeta::kResourceVersionFieldNumber) {
                key(field, first);
                append_json_string(resource_version_, out_);
            } else if (field.shape == FieldShape::kSingular) {
                if (!singular(field, slots[i], depth, first)) return false;
            } else if (slots[i].begin == nullptr) {
                empty_collection(field, first);
            } else if (!(field.shape == FieldShape::kList ? list(field, slots[i], depth, first)
                                                          : map(field, slots[i], depth, first))) {
                return false;
            }
        }
        return true;
    }

    void key(const FieldPlan& field, bool* first) {
        if (!*first) out_->push_back(',');
        *first = false;
        out_->append(field.key_text);
    }

    void empty_collection(const FieldPlan& field, bool* first) {
        if (!field.always) return;
        key(field, first);
        out_->append(field.empty_list ? "[]" : "null");
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    bool singular(const FieldPlan& field, const Slot& slot, int depth, bool* first) {
        bool present = slot.begin != nullptr;
        // The normal form has no such messages.
        if (present && field.kind >= ValueKind::kMessage && !field.inlined && absent_when_zero(field)) {
            const auto zero = is_zero_value(slot.last.bytes, field.kind);
            if (!zero) return false;
            present = !*zero;
        }
        if (!present && !field.inlined) {
            if (!field.always) return true;
            if (field.pointer) {
                key(field, first);
                out_->append("null");
                return true;
            }
        }
        if (field.kind >= ValueKind::kMessage) {
            const std::string_view bytes = present ? slot.last.bytes : std::string_view();
            if (field.inlined) return members(bytes, *field.value_plan, depth + 1, first);
            key(field, first);
            return value(bytes, field.kind, field.value_plan, depth);
        }
        const bool nonzero = present && (is_varint(field.kind) ? slot.last.value != 0 : !slot.last.bytes.empty());
        if (field.pointer ? !present : !field.always && !nonzero) return true;
        key(field, first);
        if (field.kind == ValueKind::kBytes && !present) {
            out_->append("null");
            return true;
        }
        return scalar(present ? slot.last : WireField(), field.kind);
    }

    bool scalar(const WireField& field, ValueKind kind) {
        switch (kind) {
            case ValueKind::kString: append_json_string(field.bytes, out_); return true;
            case ValueKind::kBytes: append_json_base64(field.bytes, out_); return true;
            case ValueKind::kBool: out_->append(field.value != 0 ? "true" : "false"); return true;
            case ValueKind::kInt32:
                append_json_int(static_cast<std::int32_t>(static_cast<std::uint32_t>(field.value)), out_);
                return true;
            case ValueKind::kInt64: append_json_int(static_cast<std::int64_t>(field.value), out_); return true;
            case ValueKind::kUint32: append_json_uint(static_cast<std::uint32_t>(field.value), out_); return true;
            case ValueKind::kUint64: append_json_uint(field.value, out_); return true;
            default: return false;
        }
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    bool list(const FieldPlan& field, const Slot& slot, int depth, bool* first) {
        key(field, first);
        char separator = '[';
        WireReader reader(slot.all());
        for (WireField item; reader.next(&item); separator = ',') {
            out_->push_back(separator);
            if (!(field.value_plan == nullptr ? scalar(item, field.kind)
                                              : value(item.bytes, field.kind, field.value_plan, depth))) {
                return false;
            }
        }
        out_->push_back(']');
        return true;
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    bool map(const FieldPlan& field, const Slot& slot, int depth, bool* first) {
        key(field, first);
        char separator = '{';
        std::string_view before;
        WireReader reader(slot.all());
        for (WireField entry; reader.next(&entry); separator = ',') {
            std::array<WireField, 2> parts;  // the key, and the value
            if (!read_parts(entry.bytes, kTexts, parts)) return false;
            // In the order of their names and once each, as they are stored.
            const std::string_view name = parts[0].bytes;
            if (separator == ',' && name <= before) return false;
            before = name;
            out_->push_back(separator);
            append_json_string(name, out_);
            out_->push_back(':');
            if (!(field.value_plan == nullptr ? scalar(parts[1], field.kind)
                                              : value(parts[1].bytes, field.kind, field.value_plan, depth))) {
                return false;
            }
        }
        out_->push_back('}');
        return true;
    }

    // Whether a message that is absent when it is zero is; nullopt: a message is needed to tell.
    static std::optional<bool> is_zero_value(std::string_view bytes, ValueKind kind) {
        switch (kind) {
            case ValueKind::kTime:
            case ValueKind::kMicroTime: {
                std::array<WireField, 2> parts;
                if (!read_parts(bytes, kNumbers, parts)) return std::nullopt;
                const auto seconds = static_cast<std::int64_t>(parts[0].value);
                const auto nanos = kind == ValueKind::kTime ? 0 : static_cast<std::int64_t>(parts[1].value);
                return (seconds == 0 || seconds == kMinTimeSeconds) && nanos >= 0 && nanos < kNanosPerMicro;
            }
            case ValueKind::kFieldsV1: {
                std::array<WireField, 1> parts;
                if (!read_parts(bytes, kText, parts)) return std::nullopt;
                return parts[0].bytes.empty();
            }
            // Written by their content, which is that of an absent one if nothing is set.
            case ValueKind::kMessage:
            case ValueKind::kDuration:
            case ValueKind::kIntOrString:
            case ValueKind::kQuantity: return false;
            default: return std::nullopt;
        }
    }
    // NOLINTNEXTLINE(misc-no-recursion)
    bool value(std::string_view bytes, ValueKind kind, const MessagePlan* plan, int depth) {
        switch (kind) {
            case ValueKind::kMessage: {
                out_->push_back('{');
                bool first = true;
                if (!members(bytes, *plan, depth + 1, &first)) return false;
                out_->push_back('}');
                return true;
            }
            case ValueKind::kTime:
            case ValueKind::kMicroTime: return time(bytes, kind);
            case ValueKind::kQuantity: return quantity(bytes);
            case ValueKind::kIntOrString: return int_or_string(bytes);
            case ValueKind::kFieldsV1: {
                std::array<WireField, 1> parts;
                if (!read_parts(bytes, kText, parts)) return false;
                if (parts[0].bytes.empty()) {
                    out_->append("null");
                    return true;
                }
                if (!is_compact_tree(parts[0].bytes)) return false;
                out_->append(parts[0].bytes);
                return true;
            }
            default: return false;
        }
    }

    bool time(std::string_view bytes, ValueKind kind) {
        std::array<WireField, 2> parts;
        if (!read_parts(bytes, kNumbers, parts)) return false;
        const auto seconds = static_cast<std::int64_t>(parts[0].value);
        auto nanos = static_cast<std::int64_t>(parts[1].value);
        if (seconds < kMinTimeSeconds || seconds > kMaxTimeSeconds) return false;
        if (kind == ValueKind::kTime) nanos = 0;
        if (nanos < 0 || nanos >= kNanosPerSecond) return false;
        nanos -= nanos % kNanosPerMicro;
        if (nanos == 0 && (seconds == 0 || seconds == kMinTimeSeconds)) {
            out_->append("null");
            return true;
        }
        out_->push_back('"');
        if (kind == ValueKind::kTime) {
            out_->append(format_time(seconds));
        } else {
            out_->append(format_micro_time({seconds, static_cast<std::int32_t>(nanos)}));
        }
        out_->push_back('"');
        return true;
    }

    bool quantity(std::string_view bytes) {
        std::array<WireField, 1> parts;
        if (!read_parts(bytes, kText, parts)) return false;
        if (parts[0].bytes.empty()) {
            out_->append("\"0\"");
            return true;
        }
        const auto parsed = Quantity::parse(parts[0].bytes);
        if (!parsed) return false;
        append_json_string(parsed->to_string(), out_);
        return true;
    }

    bool int_or_string(std::string_view bytes) {
        constexpr std::array kTypes = {WireType::kVarint, WireType::kVarint, WireType::kBytes};
        std::array<WireField, 3> parts;  // type, number, text
        if (!read_parts(bytes, kTypes, parts)) return false;
        const auto type = static_cast<std::int64_t>(parts[0].value);
        if (type == kIntOrStringIsString) {
            append_json_string(parts[2].bytes, out_);
            return true;
        }
        if (type != 0) return false;
        append_json_int(static_cast<std::int32_t>(static_cast<std::uint32_t>(parts[1].value)), out_);
        return true;
    }

    const std::string_view resource_version_;
    std::string* out_;
    bool has_meta_ = false;
};

static_assert(PbUnknown::kTypeMetaFieldNumber == 1 && PbUnknown::kRawFieldNumber == 2 &&
              PbUnknown::kContentEncodingFieldNumber == 3 && PbUnknown::kContentTypeFieldNumber == 4);
static_assert(metav1::Time::kSecondsFieldNumber == 1 && metav1::Time::kNanosFieldNumber == 2);
static_assert(metav1::MicroTime::kSecondsFieldNumber == 1 && metav1::MicroTime::kNanosFieldNumber == 2);
static_assert(metav1::FieldsV1::kRawFieldNumber == 1 && PbQuantity::kStringFieldNumber == 1);
static_assert(PbIntOrString::kTypeFieldNumber == 1 && PbIntOrString::kIntValFieldNumber == 2 &&
              PbIntOrString::kStrValFieldNumber == 3);

}  // namespace

bool transcode_json(std::string_view raw, const google::protobuf::Descriptor& type, const GroupVersionKind* gvk,
                    std::string_view resource_version, std::string* out) {
    const std::size_t before = out->size();
    constexpr std::size_t kRoom = 256;
    out->reserve(before + raw.size() + raw.size() / 2 + kRoom);
    out->push_back('{');
    if (gvk != nullptr) {
        out->append("\"kind\":");
        append_json_string(gvk->kind, out);
        out->append(",\"apiVersion\":");
        append_json_string(gvk->api_version(), out);
    }
    if (!Transcoder(resource_version, out).object(raw, plan_of(type), gvk == nullptr)) {
        out->resize(before);
        return false;
    }
    out->push_back('}');
    return true;
}

std::optional<std::string_view> enveloped(std::string_view bytes, const GroupVersionKind& gvk) {
    if (!bytes.starts_with(kProtobufMagic)) return std::nullopt;
    std::array<WireField, 4> parts;  // type, object, encoding and content type, the last two empty
    constexpr std::array kTypes = {WireType::kBytes, WireType::kBytes, WireType::kBytes, WireType::kBytes};
    std::array<WireField, 2> type;  // apiVersion, kind
    if (!read_parts(bytes.substr(kProtobufMagic.size()), kTypes, parts) ||
        !read_parts(parts[0].bytes, kTexts, type) || !parts[2].bytes.empty() || !parts[3].bytes.empty()) {
        return std::nullopt;
    }
    std::string_view version = type[0].bytes;
    if (!gvk.group.empty()) {
        if (!version.starts_with(gvk.group)) return std::nullopt;
        version.remove_prefix(gvk.group.size());
        if (!version.starts_with('/')) return std::nullopt;
        version.remove_prefix(1);
    }
    if (version != gvk.version || type[1].bytes != gvk.kind) return std::nullopt;
    return parts[1].bytes;
}

}  // namespace sluice::codec
