// Whether bytes are those of a message in its normal form: the rules of protobuf_normal.cc, told from the wire format.
// What is stored is nearly always normal, and to find that out by reflection costs as much as decoding. Anything out of
// the ordinary (a field twice, packed lists, unknown numbers) is left to the message.
#include <algorithm>
#include <array>
#include <cstdint>

#include "api/codec/json_plan_internal.h"
#include "api/codec/json_text.h"
#include "api/codec/protobuf.h"
#include "api/codec/protobuf_normal.h"
#include "api/codec/protobuf_scan.h"
#include "api/codec/quantity.h"
#include "api/codec/time.h"

namespace sluice::codec {
namespace {

constexpr std::size_t kMaxFields = 64;  // of a message: the bits of a word
constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
constexpr std::int64_t kNanosPerMicro = 1'000;
constexpr std::int64_t kIntOrStringIsString = 1;

constexpr std::array kText = {WireType::kBytes};
constexpr std::array kNumber = {WireType::kVarint};
constexpr std::array kNumbers = {WireType::kVarint, WireType::kVarint};
constexpr std::array kNumbersAndText = {WireType::kVarint, WireType::kVarint, WireType::kBytes};

WireType wire_type_of(ValueKind kind) {
    switch (kind) {
        case ValueKind::kBool:
        case ValueKind::kInt32:
        case ValueKind::kInt64:
        case ValueKind::kUint32:
        case ValueKind::kUint64: return WireType::kVarint;
        case ValueKind::kDouble: return WireType::kFixed64;
        case ValueKind::kFloat: return WireType::kFixed32;
        default: return WireType::kBytes;
    }
}

bool is_zero_scalar(const WireField& field, ValueKind kind) {
    switch (kind) {
        case ValueKind::kBool:
        case ValueKind::kInt64:
        case ValueKind::kUint64: return field.value == 0;
        case ValueKind::kInt32:
        case ValueKind::kUint32: return static_cast<std::uint32_t>(field.value) == 0;
        case ValueKind::kDouble:
        case ValueKind::kFloat: {
            // A negative zero is zero too: all bits but the highest of the last byte.
            const auto last = static_cast<unsigned char>(field.bytes.back());
            return (last & 0x7FU) == 0 && std::all_of(field.bytes.begin(), field.bytes.end() - 1,
                                                      [](char byte) { return byte == 0; });
        }
        default: return field.bytes.empty();
    }
}

bool is_normal_quantity(std::string_view text) {
    if (text.empty()) return false;
    const auto parsed = Quantity::parse(text);
    return parsed && parsed->to_string() == text;
}

bool is_normal_time(std::string_view bytes, ValueKind kind) {
    std::array<WireField, 2> parts;  // seconds, nanos
    if (!read_parts(bytes, kNumbers, parts)) return false;
    const bool has_seconds = parts[0].number != 0;
    const bool has_nanos = parts[1].number != 0;
    const auto seconds = static_cast<std::int64_t>(parts[0].value);
    const auto nanos = static_cast<std::int64_t>(parts[1].value);
    if (has_seconds && (seconds == 0 || seconds < kMinTimeSeconds || seconds > kMaxTimeSeconds)) return false;
    if (has_seconds && !has_nanos && seconds == kMinTimeSeconds) return false;
    if (!has_nanos) return true;
    return kind == ValueKind::kMicroTime && nanos > 0 && nanos < kNanosPerSecond && nanos % kNanosPerMicro == 0;
}

bool is_normal_int_or_string(std::string_view bytes) {
    std::array<WireField, 3> parts;  // type, number, text
    if (!read_parts(bytes, kNumbersAndText, parts)) return false;
    const bool has_number = parts[1].number != 0;
    const bool has_text = parts[2].number != 0;
    if (parts[0].number == 0) return !has_text && (!has_number || static_cast<std::int32_t>(parts[1].value) != 0);
    const bool is_text = static_cast<std::int64_t>(parts[0].value) == kIntOrStringIsString;
    return is_text && !has_number && (!has_text || !parts[2].bytes.empty());
}

bool is_normal_text(std::string_view bytes, ValueKind kind) {
    std::array<WireField, 1> parts;
    if (!read_parts(bytes, kText, parts)) return false;
    if (kind == ValueKind::kQuantity) return is_normal_quantity(parts[0].bytes);
    if (parts[0].number == 0) return true;
    if (parts[0].bytes.empty()) return false;
    return kind == ValueKind::kRawExtension || is_compact_tree(parts[0].bytes);
}

bool is_message(const FieldPlan& field) { return field.value_plan != nullptr; }

// NOLINTBEGIN(misc-no-recursion): the depth is limited.
bool is_normal_message(std::string_view bytes, const MessagePlan& plan, int depth);

bool is_normal_value(std::string_view bytes, const FieldPlan& field, int depth) {
    switch (field.kind) {
        case ValueKind::kTime:
        case ValueKind::kMicroTime: return is_normal_time(bytes, field.kind);
        case ValueKind::kDuration: {
            std::array<WireField, 1> parts;
            return read_parts(bytes, kNumber, parts) && (parts[0].number == 0 || parts[0].value != 0);
        }
        case ValueKind::kIntOrString: return is_normal_int_or_string(bytes);
        case ValueKind::kQuantity:
        case ValueKind::kRawExtension:
        case ValueKind::kFieldsV1:
        case ValueKind::kJson: return is_normal_text(bytes, field.kind);
        case ValueKind::kStringList: {
            WireReader reader(bytes);
            for (WireField item; reader.next(&item);) {
                if (item.number != 1 || item.wire_type != WireType::kBytes) return false;
            }
            return !reader.malformed();
        }
        default: return is_normal_message(bytes, *field.value_plan, depth + 1);
    }
}

bool is_normal_entry(std::string_view bytes, const FieldPlan& field, int depth) {
    const std::array types = {WireType::kBytes, wire_type_of(field.kind)};
    std::array<WireField, 2> parts;  // the key, and the value
    if (!read_parts(bytes, types, parts)) return false;
    return !is_message(field) || is_normal_value(parts[1].bytes, field, depth);
}

bool is_normal_singular(const WireField& given, const FieldPlan& field, int depth) {
    if (!is_message(field)) return field.pointer || !is_zero_scalar(given, field.kind);
    if (!is_normal_value(given.bytes, field, depth)) return false;
    if (!absent_when_zero(field)) return true;
    constexpr std::string_view kZeroQuantity{"\x0A\x01" "0"};
    return !given.bytes.empty() && !(field.kind == ValueKind::kQuantity && given.bytes == kZeroQuantity);
}

bool is_normal_message(std::string_view bytes, const MessagePlan& plan, int depth) {
    if (plan.fields.size() > kMaxFields || depth > kMaxProtobufDepth) return false;
    std::uint64_t seen = 0;
    WireReader reader(bytes);
    for (WireField given; reader.next(&given);) {
        const int index = given.number < plan.by_number.size() ? plan.by_number[given.number] : -1;
        if (index < 0) return false;
        const FieldPlan& field = plan.fields[static_cast<std::size_t>(index)];
        const bool map = field.shape == FieldShape::kMap;
        if (given.wire_type != (map ? WireType::kBytes : wire_type_of(field.kind))) return false;
        if (field.shape == FieldShape::kSingular) {
            const std::uint64_t bit = std::uint64_t{1} << static_cast<unsigned>(index);
            if ((seen & bit) != 0 || !is_normal_singular(given, field, depth)) return false;
            seen |= bit;
        } else if (map) {
            if (!is_normal_entry(given.bytes, field, depth)) return false;
        } else if (is_message(field) && !is_normal_value(given.bytes, field, depth)) {
            return false;
        }
    }
    return !reader.malformed();
}
// NOLINTEND(misc-no-recursion)

}  // namespace

bool is_normal(std::string_view raw, const google::protobuf::Descriptor& type) {
    return message_kind(type) == ValueKind::kMessage && is_normal_message(raw, plan_of(type), 0);
}

}  // namespace sluice::codec
