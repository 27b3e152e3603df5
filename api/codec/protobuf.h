// The Kubernetes protobuf envelope: the four bytes "k8s\0", then a runtime.Unknown that names the kind
// and holds the object's own encoding. Content type application/vnd.kubernetes.protobuf.
//
// The normal form of a message is the one of all its encodings: what Kubernetes' Go structs cannot tell
// from absent is absent (zero values of fields without the option `pointer`, empty messages of fields
// with `always`), times have no digits that JSON would not carry, quantities are canonical, and there are
// no unknown fields. Go clients send every zero value; without this rule, an object would differ from
// itself after a round trip through kubectl.
// Pure and thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "api/base/result.h"
#include "api/codec/scheme.h"

namespace sluice::codec {

inline constexpr std::string_view kProtobufMagic{"k8s\0", 4};
// Messages within messages; the deepest of the scheme has about 12.
inline constexpr int kMaxProtobufDepth = 100;

// Deterministic: equal objects give equal bytes (maps are ordered by key).
// REQUIRES: a message below 2 GiB.
[[nodiscard]] std::string encode_protobuf(const google::protobuf::Message& message,
                                          const GroupVersionKind& gvk);
// The object alone, without envelope; also deterministic.
[[nodiscard]] std::string encode_protobuf_raw(const google::protobuf::Message& message);

struct Envelope {
    GroupVersionKind gvk;
    std::string_view raw;  // points into the bytes given
};
// kInvalidArgument on a missing magic or malformed envelope, and on a content encoding, which no client
// uses.
Result<Envelope> open_envelope(std::string_view bytes);
// Reads raw into *message (cleared first; after an error its content is unspecified) and normalises it.
// Strings need not be UTF-8, as in Kubernetes. kInvalidArgument on malformed bytes, quantities, times and
// managed fields; kResourceExhausted as json.h says.
Result<void> decode_protobuf_raw(std::string_view raw, google::protobuf::Message* message);

// Brings a message built by hand into its normal form; kInvalidArgument with the field's path if it holds
// a quantity, time or managed-fields document that no encoding could carry.
Result<void> normalise(google::protobuf::Message* message);

}  // namespace sluice::codec
