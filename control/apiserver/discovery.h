// Discovery: which groups, versions and resources are served, in the legacy documents (/api, /apis, /api/v1,
// /apis/G, /apis/G/V) and in the aggregated ones (/api and /apis as APIGroupDiscoveryList, v2 and v2beta1).
// Made from the scheme, the custom kinds and what other servers serve when these change; answers are copies of ready
// text.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec/scheme.h"
#include "control/apiserver/aggregator/published.h"
#include "control/http/server.h"

namespace sluice::apiserver {

class Discovery {
public:
    // server_address: "10.0.0.1:6443", where clients are told to find the server.
    explicit Discovery(std::string server_address);
    // From now on these custom kinds are shown as well, in the order of preference within a group. Thread-safe.
    void set_custom(std::vector<codec::PublishedKind> kinds);

    // From now on these versions that other servers serve are shown as well, within the groups' documents and in place
    // of custom kinds of the same version. Thread-safe.
    void set_remote(std::vector<aggregator::RemoteVersion> versions);

    // nullopt when the path (without a slash at its end) is not one of discovery. Thread-safe.
    [[nodiscard]] std::optional<http::Response> answer(std::string_view path,
                                                       const http::Request& request) const;
    // The paths served here, for the index at "/".
    [[nodiscard]] std::vector<std::string> paths() const;

private:
    struct Document {
        std::string json;
        std::string protobuf;       // in its envelope
        std::string aggregated_v2;  // empty but for /api and /apis
        std::string aggregated_v2beta1;
    };
    using Documents = std::map<std::string, Document, std::less<>>;
    // Made at the first question after a change.
    [[nodiscard]] std::shared_ptr<const Documents> documents() const;
    [[nodiscard]] std::shared_ptr<const Documents> make_documents() const;

    const std::string server_address_;
    mutable std::mutex mutex_;
    std::vector<codec::PublishedKind> custom_;                // under the mutex
    std::vector<aggregator::RemoteVersion> remote_;           // under the mutex
    mutable std::shared_ptr<const Documents> documents_;      // under the mutex
};

// An entity tag for a text: equal texts have equal tags, in every run.
[[nodiscard]] std::string entity_tag(std::string_view text);
// True if the If-None-Match header names the tag.
[[nodiscard]] bool matches_entity_tag(std::string_view if_none_match, std::string_view tag);

}  // namespace sluice::apiserver
