// The Kubernetes protobuf envelope: the four bytes "k8s\0", then a runtime.Unknown that names the kind
// and holds the object's own encoding. Content type application/vnd.kubernetes.protobuf.
#pragma once

#include <string>
#include <string_view>

#include "api/base/result.h"
#include "api/codec/scheme.h"

namespace sluice::codec {

inline constexpr std::string_view kProtobufMagic{"k8s\0", 4};

// Deterministic: equal objects give equal bytes (maps are ordered by key).
[[nodiscard]] std::string encode_protobuf(const google::protobuf::Message& message,
                                          const GroupVersionKind& gvk);

struct Envelope {
    GroupVersionKind gvk;
    std::string_view raw;  // points into the bytes given
};
// kInvalidArgument on a missing magic or malformed envelope.
Result<Envelope> open_envelope(std::string_view bytes);
// Reads raw into *message (cleared first).
Result<void> decode_protobuf_raw(std::string_view raw, google::protobuf::Message* message);

}  // namespace sluice::codec
