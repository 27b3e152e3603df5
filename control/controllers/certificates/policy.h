// Which certificate requests are granted. Pure and thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "control/pki/request.h"

namespace sluice::controllers::certificates {

namespace certificatesv1 = ::k8s::io::api::certificates::v1;
using Request = certificatesv1::CertificateSigningRequest;

inline constexpr std::int64_t kDefaultLifetimeS = 365 * 86'400;
inline constexpr std::int64_t kMinLifetimeS = 600;

struct Verdict {
    // kWait: right in itself, but its sender may not have it without a person's approval.
    enum class Kind { kApprove, kDeny, kWait };
    Kind kind = Kind::kWait;
    std::string reason;   // "AutoApproved"
    std::string message;  // one sentence
};

// What the names of a serving certificate are held against.
struct NodeNames {
    bool exists = false;
    bool ready = false;                  // its condition Ready is True
    std::vector<std::string> dns_names;  // from status.addresses
    std::vector<IpAddress> addresses;
    // Of other nodes and of Services: never this node's.
    std::vector<IpAddress> others;
};

[[nodiscard]] bool is_known_signer(const std::string& signer);
// "web" of "system:node:web"; empty for another user.
[[nodiscard]] std::string node_of(const std::string& user);
[[nodiscard]] bool has_condition(const Request& request, const std::string& type);

// Whether the content fits its signer: what nobody can approve away. nullopt: it does; otherwise
// why not.
[[nodiscard]] std::optional<std::string> fault_of(const Request& request,
                                                  const pki::RequestFacts& facts);
// REQUIRES: the signer is known, there is no fault. names is of the node that the request is for.
[[nodiscard]] Verdict judge(const Request& request, const pki::RequestFacts& facts,
                            const NodeNames& names);

[[nodiscard]] pki::CertificateSpec spec_of(const Request& request, const pki::RequestFacts& facts);

// When a request is done with, Unix seconds. certificate_end_s: of the certificate it holds, or
// nullopt.
[[nodiscard]] std::int64_t expires_at(const Request& request,
                                      std::optional<std::int64_t> certificate_end_s);

}  // namespace sluice::controllers::certificates
