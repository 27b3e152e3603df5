// Another API server that serves a group version: where it is, how it is known, and why it may not be there. Made of an
// APIService, its Service and that one's EndpointSlices. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"
#include "control/http/dialer.h"

namespace google::protobuf {
class Message;
}
namespace k8s::io::kube_aggregator::pkg::apis::apiregistration::v1 {
class APIService;
}

namespace sluice::aggregator {

using ApiService = ::k8s::io::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
using MessagePtr = std::shared_ptr<const google::protobuf::Message>;

// Places that are kept of one Service; the others of a larger one are never asked.
inline constexpr std::size_t kMaxPlaces = 100;

// The condition Available of an APIService.
struct Availability {
    std::string status;  // "True", "False", "Unknown"
    std::string reason;
    std::string message;
    bool operator==(const Availability&) const = default;
};

// What this server is to others: the pair that its authority for this purpose signed.
struct FrontProxy {
    std::string certificate_pem;
    std::string private_key_pem;
    // To servers that the machine's authorities know: reading those takes its time, so that it is done once. Null: not
    // yet.
    std::shared_ptr<const http::ClientTls> of_system{};
};

// Immutable; thread-safe.
struct Remote {
    std::string name;  // of the APIService
    std::string group;
    std::string version;
    std::int32_t group_priority = 0;
    std::int32_t version_priority = 0;
    bool available = false;  // as its condition says

    // Addresses or, of an ExternalName, one host; ports.
    std::vector<std::pair<std::string, std::uint16_t>> places;
    bool places_are_hosts = false;
    std::string server_name;  // that its certificate must have
    bool skip_verify = false;
    std::shared_ptr<const http::ClientTls> tls;  // null: tls_error
    std::string tls_error;
    // Why nobody can be asked, or else nothing.
    std::optional<Availability> missing;
    // Changes with everything but the condition.
    std::string fingerprint;

    // "/apis/GROUP/VERSION"
    [[nodiscard]] std::string path() const;
    // To one of its places; each in turn. Nothing but where and who is filled in. REQUIRES: places and tls.
    [[nodiscard]] http::DialRequest dial(std::size_t turn) const;
    // "10.0.0.1:443"
    [[nodiscard]] std::string shown_place(std::size_t turn) const;
};
using RemotePtr = std::shared_ptr<const Remote>;

// service: null when there is none; slices: of that Service.
[[nodiscard]] RemotePtr make_remote(const ApiService& object, const FrontProxy& us,
                                    const google::protobuf::Message* service, const std::vector<MessagePtr>& slices);

}  // namespace sluice::aggregator
