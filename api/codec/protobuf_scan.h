// The protobuf wire format without messages: what bytes hold, before anything is allocated for them.
// Private to api/codec. Pure and thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/base/result.h"

namespace google::protobuf {
class Descriptor;
}

namespace sluice::codec {

enum class WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct WireField {
    std::uint32_t number = 0;
    WireType wire_type = WireType::kVarint;
    std::string_view bytes;   // of kBytes, kFixed64 and kFixed32; points into the input
    std::uint64_t value = 0;  // of kVarint
};

class WireReader {
public:
    explicit WireReader(std::string_view input) : rest_(input) {}
    // False at the end and on malformed input. Groups count as malformed: Kubernetes has none.
    bool next(WireField* field);
    // Where the next field begins in the input.
    [[nodiscard]] const char* position() const { return rest_.data(); }
    [[nodiscard]] bool malformed() const { return malformed_; }

private:
    bool varint(std::uint64_t* value) {
        // Most are of one byte.
        if (!rest_.empty() && static_cast<unsigned char>(rest_.front()) < 0x80) {
            *value = static_cast<unsigned char>(rest_.front());
            rest_.remove_prefix(1);
            return true;
        }
        return long_varint(value);
    }
    bool long_varint(std::uint64_t* value);
    bool fail() {
        malformed_ = true;
        return false;
    }

    std::string_view rest_;
    bool malformed_ = false;
};

// The fields 1 to N of a small message, of these types; false if there is anything else, or one of them twice.
template <std::size_t N>
bool read_parts(std::string_view bytes, const std::array<WireType, N>& types, std::array<WireField, N>& parts) {
    WireReader reader(bytes);
    for (WireField field; reader.next(&field);) {
        if (field.number > N || parts[field.number - 1].number != 0 || field.wire_type != types[field.number - 1]) {
            return false;
        }
        parts[field.number - 1] = field;
    }
    return !reader.malformed();
}

// kInvalidArgument if bytes are malformed or nested deeper than kMaxProtobufDepth, kResourceExhausted if
// the messages they hold would take more than limit_bytes when empty.
Result<void> check_wire_size(std::string_view bytes, const google::protobuf::Descriptor& type,
                             std::size_t limit_bytes);

}  // namespace sluice::codec
