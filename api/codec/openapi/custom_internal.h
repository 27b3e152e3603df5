// OpenAPI of custom kinds: the schemas of their definitions in the form of either version. Private to this folder.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "api/codec/openapi/schemas_internal.h"
#include "api/codec/scheme.h"

namespace sluice::codec {

[[nodiscard]] bool is_custom(const KindInfo& kind);

// What a kind's objects and lists are called among the definitions: that of their message, and for custom kinds the
// group written backwards, "com.example.stable.v1.CronTab".
[[nodiscard]] std::string object_definition(const KindInfo& kind);
[[nodiscard]] std::string list_definition(const KindInfo& kind);

// Adds the definitions of the kind's objects and lists. Those of metadata are expected to be there.
void add_custom_schemas(const PublishedKind& kind, OpenApiVersion version,
                        boost::json::object* definitions);

}  // namespace sluice::codec
