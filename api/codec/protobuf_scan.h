// The protobuf wire format without messages: what bytes hold, before anything is allocated for them.
// Private to api/codec. Pure and thread-safe.
#pragma once

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
    std::string_view bytes;   // of kBytes; points into the input
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
    bool varint(std::uint64_t* value);
    bool fail() {
        malformed_ = true;
        return false;
    }

    std::string_view rest_;
    bool malformed_ = false;
};

// kInvalidArgument if bytes are malformed or nested deeper than kMaxProtobufDepth, kResourceExhausted if
// the messages they hold would take more than limit_bytes when empty.
Result<void> check_wire_size(std::string_view bytes, const google::protobuf::Descriptor& type,
                             std::size_t limit_bytes);

}  // namespace sluice::codec
