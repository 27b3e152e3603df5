// Typed objects to and from Kubernetes JSON, driven by descriptors and the options of
// api/kubernetes/options.proto: int64 as numbers, IntOrString, Quantity (canonicalised as Kubernetes
// does), Time and MicroTime (RFC 3339), Duration, bytes as base64, RawExtension and FieldsV1 as embedded
// JSON, inlined structs. Members are written in field-number order; kind and apiVersion come first.
// Pure and thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "api/codec/scheme.h"

namespace boost::json {
class value;
class object;
}  // namespace boost::json

namespace sluice::codec {

// Limits of a JSON document: deeper nesting is refused with kInvalidArgument.
inline constexpr int kMaxJsonDepth = 100;

// `unknown field "spec.foo"` and `duplicate field "spec.foo"`, in document order.
using FieldWarnings = std::vector<std::string>;

// An object (or a list, or any message) as JSON text. Without gvk, no kind and apiVersion are written.
[[nodiscard]] std::string encode_json(const google::protobuf::Message& message,
                                      const GroupVersionKind* gvk = nullptr);
[[nodiscard]] boost::json::value to_json_value(const google::protobuf::Message& message,
                                               const GroupVersionKind* gvk = nullptr);

// Reads text into *message (cleared first). Unknown and duplicate fields are dropped and, if warnings is
// given, named there; the caller decides whether that is an error (fieldValidation=Strict).
// Member names match exactly, as in Kubernetes. A wrong type is kInvalidArgument in the words of Kubernetes:
// `json: cannot unmarshal string into Go struct field Service.spec.ports.port of type int32`.
Result<void> decode_json(std::string_view text, google::protobuf::Message* message,
                         FieldWarnings* warnings = nullptr);
Result<void> from_json_value(const boost::json::value& value, google::protobuf::Message* message,
                             FieldWarnings* warnings = nullptr);

// Parses text with the limits above; trailing garbage is an error. Duplicate members: the last wins, and
// each is named in *warnings when given.
Result<boost::json::value> parse_json(std::string_view text, FieldWarnings* warnings = nullptr);

// The kind and apiVersion that a document claims; either may be empty.
Result<GroupVersionKind> peek_json_kind(std::string_view text);

}  // namespace sluice::codec
