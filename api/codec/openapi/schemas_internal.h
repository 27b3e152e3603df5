// Messages as OpenAPI schemas. Private to this folder.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec/scheme.h"

namespace google::protobuf {
class Descriptor;
}

namespace sluice::codec {

// The two versions differ in where definitions live, in what stands beside a reference, and in
// defaults, which only v3 has.
enum class OpenApiVersion : std::uint8_t { kV2, kV3 };

// "k8s.io.api.core.v1.Service" to "io.k8s.api.core.v1.Service".
[[nodiscard]] std::string definition_name(const google::protobuf::Descriptor& type);
// "#/definitions/NAME" or "#/components/schemas/NAME".
[[nodiscard]] std::string definition_reference(std::string_view name, OpenApiVersion version);
// {"group": ..., "kind": ..., "version": ...}
[[nodiscard]] boost::json::object gvk_object(const GroupVersionKind& gvk);

// Which kinds each message stands for, by message name. A message may stand for several.
using KindNames = std::map<std::string, std::vector<GroupVersionKind>>;

// All messages reachable from the roots, by definition name.
[[nodiscard]] std::map<std::string, boost::json::object> make_schemas(
    const std::vector<const google::protobuf::Descriptor*>& roots, const KindNames& kinds,
    OpenApiVersion version);

}  // namespace sluice::codec
