#include "api/codec/protobuf_scan.h"

#include "api/codec/json_plan_internal.h"
#include "api/codec/protobuf.h"

namespace sluice::codec {
namespace {

constexpr int kMaxVarintBytes = 10;
constexpr std::uint64_t kMaxFieldNumber = (1U << 29U) - 1;

class SizeCheck {
public:
    explicit SizeCheck(std::size_t budget_bytes) : budget_bytes_(budget_bytes) {}

    // NOLINTNEXTLINE(misc-no-recursion): the depth is limited.
    Result<void> message(std::string_view bytes, const MessagePlan& plan, int depth) {
        if (depth > kMaxProtobufDepth) {
            return make_error(Code::kInvalidArgument,
                              "unable to decode the protobuf message: more than {} levels",
                              kMaxProtobufDepth);
        }
        WireReader reader(bytes);
        WireField field;
        while (reader.next(&field)) {
            if (field.wire_type != WireType::kBytes ||
                field.number >= plan.message_fields.size()) {
                continue;
            }
            const FieldPlan* known = plan.message_fields[field.number];
            if (known == nullptr) continue;
            if (known->value_plan->instance_bytes > budget_bytes_) {
                return make_error(Code::kResourceExhausted,
                                  "{}: the protobuf message holds more elements than its size "
                                  "justifies",
                                  known->name);
            }
            budget_bytes_ -= known->value_plan->instance_bytes;
            if (known->shape == FieldShape::kMap) {
                // Values with a form of their own are leaves; protobuf's own limit covers their depth.
                if (known->kind == ValueKind::kMessage) {
                    SLUICE_TRY(map_entry(field.bytes, *known->value_plan, depth + 1));
                }
                continue;
            }
            SLUICE_TRY(message(field.bytes, *known->value_plan, depth + 1));
        }
        if (reader.malformed()) {
            return make_error(Code::kInvalidArgument, "unable to decode the protobuf message {}",
                              plan.go_name);
        }
        return {};
    }

private:
    // NOLINTNEXTLINE(misc-no-recursion): the depth is limited.
    Result<void> map_entry(std::string_view bytes, const MessagePlan& value_plan, int depth) {
        constexpr std::uint32_t kValueNumber = 2;
        WireReader reader(bytes);
        WireField field;
        while (reader.next(&field)) {
            if (field.number != kValueNumber || field.wire_type != WireType::kBytes) continue;
            SLUICE_TRY(message(field.bytes, value_plan, depth));
        }
        if (reader.malformed()) {
            return make_error(Code::kInvalidArgument, "unable to decode the protobuf message {}",
                              value_plan.go_name);
        }
        return {};
    }

    std::size_t budget_bytes_;
};

}  // namespace

bool WireReader::long_varint(std::uint64_t* value) {
    *value = 0;
    for (int i = 0; i < kMaxVarintBytes && !rest_.empty(); ++i) {
        const auto byte = static_cast<unsigned char>(rest_.front());
        rest_.remove_prefix(1);
        *value |= static_cast<std::uint64_t>(byte & 0x7FU) << static_cast<unsigned>(7 * i);
        if (byte < 0x80) return true;
    }
    return fail();
}

bool WireReader::next(WireField* field) {
    if (rest_.empty() || malformed_) return false;
    std::uint64_t tag = 0;
    if (!varint(&tag)) return false;
    const std::uint64_t number = tag >> 3U;
    if (number == 0 || number > kMaxFieldNumber) return fail();
    field->number = static_cast<std::uint32_t>(number);
    field->bytes = {};
    field->value = 0;
    const auto skip = [&](std::uint64_t bytes) {
        if (rest_.size() < bytes) return fail();
        field->bytes = rest_.substr(0, bytes);
        rest_.remove_prefix(bytes);
        return true;
    };
    std::uint64_t value = 0;
    switch (tag & 7U) {
        case 0: field->wire_type = WireType::kVarint; return varint(&field->value);
        case 1: field->wire_type = WireType::kFixed64; return skip(8);
        case 2:
            field->wire_type = WireType::kBytes;
            if (!varint(&value)) return false;
            return skip(value);
        case 5: field->wire_type = WireType::kFixed32; return skip(4);
        default: return fail();
    }
}

Result<void> check_wire_size(std::string_view bytes, const google::protobuf::Descriptor& type,
                             std::size_t limit_bytes) {
    return SizeCheck(limit_bytes).message(bytes, plan_of(type), 0);
}

}  // namespace sluice::codec
