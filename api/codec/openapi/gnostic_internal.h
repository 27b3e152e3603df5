// OpenAPI v2 from JSON to its protobuf form. Private to this folder.
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace sluice::codec {

// document: as this folder makes it; members that openapiv2.proto lacks are an invariant broken.
[[nodiscard]] std::string openapi_v2_to_protobuf(const boost::json::object& document);

}  // namespace sluice::codec
