// Kinds that are served in more than one version: every object is stored in one of them, as Kubernetes keeps it in
// etcd, and read and written in any.
//
//   body (served version) --to_stored--> strategy, store, watches, selectors, Tables (stored version)
//   answer (served version) <--to_served-- StoredObject::as(served), made once per object and shared
//
// The strategy is that of the stored kind, and knows nothing of the others. Adding a version: a row in
// api/codec/scheme.cc for its KindInfo, a file beside this one with the two functions, and a row in conversion.cc.
// Everything here is pure and thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "api/codec/scheme.h"

namespace sluice::registry {

struct Conversion {
    codec::GroupVersionKind served;
    codec::GroupVersionKind stored;
    // `object` as a client wrote it, without defaults: what the served version defaults otherwise than the stored one
    // is this function's work. kInvalidArgument when what the client wrote cannot be converted (400 for the client).
    Result<std::unique_ptr<google::protobuf::Message>> (*to_stored)(
        const google::protobuf::Message& object);
    // Whatever is stored can be shown in every served version. Metadata is the object's own.
    std::unique_ptr<google::protobuf::Message> (*to_served)(
        const google::protobuf::Message& object);
    // The stored version's name of a field that a field selector names; empty: not selectable in this version. Null:
    // both versions select by the same names.
    std::string_view (*stored_field)(std::string_view field) = nullptr;
};

// Null for a kind that is stored as it is served.
[[nodiscard]] const Conversion* conversion_of(const codec::KindInfo& served);
// The kind whose strategy, key and bytes `served` uses: itself, if it has no conversion.
[[nodiscard]] const codec::KindInfo& stored_kind(const codec::KindInfo& served);

// `object` of the kind `served` in its stored version; handed through when it is stored as it is served.
Result<std::unique_ptr<google::protobuf::Message>> to_stored(
    const codec::KindInfo& served, std::unique_ptr<google::protobuf::Message> object);
// A copy of the stored `object` in the version `served`.
[[nodiscard]] std::unique_ptr<google::protobuf::Message> to_served(
    const codec::KindInfo& served, const google::protobuf::Message& object);

}  // namespace sluice::registry
