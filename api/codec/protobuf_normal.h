// The normal form of messages (protobuf.h), told from bytes. Pure and thread-safe.
#pragma once

#include <string_view>

namespace google::protobuf {
class Descriptor;
}

namespace sluice::codec {

// Whether a message that is read from these bytes is in its normal form already, without reading it. False: it is
// not, or only the message can tell. Cost: some nanoseconds for each field that is set.
[[nodiscard]] bool is_normal(std::string_view raw, const google::protobuf::Descriptor& type);

}  // namespace sluice::codec
