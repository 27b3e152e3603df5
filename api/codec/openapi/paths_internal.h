// The paths of all resources and what can be done there. Private to this folder.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <vector>

#include "api/codec/openapi/schemas_internal.h"
#include "api/codec/scheme.h"

namespace sluice::codec {

// The member "paths" of a document, for these kinds: for each kind its collection, its objects,
// their status where it has one, and the collection over all namespaces where there are such.
[[nodiscard]] boost::json::object make_paths(const std::vector<const KindInfo*>& kinds,
                                             OpenApiVersion version);

struct DiscoveryPath {
    boost::json::object paths;
    boost::json::object definitions;
};
// The paths that are no resources', by the name of their document in v3 ("api", "apis/apps", "version").
[[nodiscard]] std::map<std::string, DiscoveryPath> make_discovery_paths(const std::vector<std::string>& groups,
                                                                        OpenApiVersion version);

}  // namespace sluice::codec
