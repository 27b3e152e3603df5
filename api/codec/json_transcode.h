// Objects as they are stored to JSON, without messages: see json.h for the text. Pure and thread-safe.
#pragma once

#include <google/protobuf/descriptor.h>

#include <optional>
#include <string>
#include <string_view>

#include "api/codec/scheme.h"

namespace sluice::codec {

// What encode_json(message, gvk) gives for the message that decode_protobuf_raw reads from `raw`, with this
// metadata.resourceVersion; appended to *out. False, with *out as it was, when only a message can tell: bytes that are
// not in the order of the fields, kinds with documents in them. REQUIRES: a type compiled into the program.
// Cost: about a fifth of decoding and encoding.
[[nodiscard]] bool transcode_json(std::string_view raw, const google::protobuf::Descriptor& type,
                                  const GroupVersionKind* gvk, std::string_view resource_version, std::string* out);

// The bytes of the object in a protobuf envelope (open_envelope) that is said to be of this version and kind; nullopt
// otherwise, as for what is no plain envelope.
[[nodiscard]] std::optional<std::string_view> enveloped(std::string_view bytes, const GroupVersionKind& gvk);

}  // namespace sluice::codec
