// What another API server says that it serves, as the documents of this one show it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::aggregator {

// One group version.
struct RemoteVersion {
    std::string group;
    std::string version;
    std::int32_t group_priority = 0;
    std::int32_t version_priority = 0;
    std::string resources = "[]";  // of APIVersionDiscovery, as JSON text
    bool stale = true;             // the server did not answer when it was asked last
    std::string openapi_hash;      // of its document in OpenAPI v3; empty: it has none
    bool operator==(const RemoteVersion&) const = default;
};

// The version's resources in an APIGroupDiscoveryList; "[]" where it has none.
Result<std::string> resources_of_aggregated(std::string_view text, std::string_view group, std::string_view version);
// The same of an APIResourceList.
Result<std::string> resources_of_legacy(std::string_view text, std::string_view group, std::string_view version);
// The hash that the index of OpenAPI v3 gives for the version's document; empty: none.
Result<std::string> openapi_hash_of(std::string_view text, std::string_view group, std::string_view version);

}  // namespace sluice::aggregator
