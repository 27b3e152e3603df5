// Typed objects to and from Kubernetes JSON, driven by descriptors and the options of
// api/kubernetes/options.proto: int64 as numbers, IntOrString, Quantity (canonicalised as Kubernetes
// does), Time and MicroTime (RFC 3339), Duration, bytes as base64, RawExtension and FieldsV1 as embedded
// JSON, inlined structs. Members are written in the order in which the .proto declares the fields, which
// is that of the Go structs, so that texts equal kube-apiserver's; kind and apiVersion come first.
//
// Decoders leave an object in its normal form (protobuf.h), so that two encodings of one object become
// equal messages.
// Pure and thread-safe. REQUIRES, throughout: types compiled into the program.
#pragma once

#include <cstddef>
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
// Warnings kept of one document, as in Kubernetes.
inline constexpr std::size_t kMaxFieldWarnings = 100;
// An empty element takes two bytes of text and hundreds of memory: a document, JSON or protobuf, whose
// messages would take more than kMinDecodedBytes + kMaxDecodedExpansion times its size is refused with
// kResourceExhausted. Real objects stay below a factor of 5.
inline constexpr std::size_t kMinDecodedBytes = 16U << 20U;
inline constexpr std::size_t kMaxDecodedExpansion = 32;
// The same for from_json_value, where the size of the text is not known.
inline constexpr std::size_t kMaxDecodedTreeBytes = 256U << 20U;

// `unknown field "spec.foo"` and `duplicate field "spec.foo"`: duplicates first, then unknown fields in
// document order.
using FieldWarnings = std::vector<std::string>;

// An object (or a list, or any message) as JSON text without white space. Without gvk, no kind and
// apiVersion are written; a gvk without version gives no apiVersion. Embedded documents that are not JSON
// become null. Cost: 3.4 us per Service of 0.7 kB, 13 us per Pod of 2.3 kB (README.md).
[[nodiscard]] std::string encode_json(const google::protobuf::Message& message,
                                      const GroupVersionKind* gvk = nullptr);
// The same, appended to *out.
void append_json(const google::protobuf::Message& message, const GroupVersionKind* gvk,
                 std::string* out);
// REQUIRES: a message of at most kMaxJsonDepth levels, which every decoded one is.
[[nodiscard]] boost::json::value to_json_value(const google::protobuf::Message& message,
                                               const GroupVersionKind* gvk = nullptr);

// Reads text into *message (cleared first; after an error its content is unspecified). Unknown and
// duplicate fields are dropped and, if warnings is given, named there; the caller decides whether that is
// an error (fieldValidation=Strict).
// kind and apiVersion of the object (and of a list's items) are known fields; whether they are the right
// ones is the caller's to check (json_kind_of).
// Member names match exactly, as in Kubernetes. A wrong type is kInvalidArgument in the words of
// Kubernetes, the innermost struct first and then the path:
// `json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32`.
Result<void> decode_json(std::string_view text, google::protobuf::Message* message,
                         FieldWarnings* warnings = nullptr);
Result<void> from_json_value(const boost::json::value& value, google::protobuf::Message* message,
                             FieldWarnings* warnings = nullptr);

// Parses text with the limits above; trailing garbage is an error. Duplicate members: the last wins, and
// each is named in *warnings when given.
Result<boost::json::value> parse_json(std::string_view text, FieldWarnings* warnings = nullptr);
// A tree as text: no white space, members in their order, numbers and escapes as Go writes them.
[[nodiscard]] std::string write_json(const boost::json::value& value);

// The same with the members of every object in the order of their names, so that equal values are equal texts.
[[nodiscard]] std::string write_sorted_json(const boost::json::value& value);

// The kind and apiVersion that a document claims; either may be empty.
Result<GroupVersionKind> peek_json_kind(std::string_view text);
Result<GroupVersionKind> json_kind_of(const boost::json::value& document);

}  // namespace sluice::codec
