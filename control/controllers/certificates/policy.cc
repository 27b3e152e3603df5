#include "control/controllers/certificates/policy.h"

#include <algorithm>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/certificates/certificates.h"

namespace sluice::controllers::certificates {
namespace {

constexpr std::string_view kNodePrefix = "system:node:";
constexpr char kNodesGroup[] = "system:nodes";
constexpr char kBootstrappers[] = "system:bootstrappers";
constexpr std::int64_t kHourS = 3'600;
constexpr std::int64_t kDayS = 24 * kHourS;

bool in_group(const Request& request, const char* group) {
    const auto& groups = request.spec().groups();
    return std::find(groups.begin(), groups.end(), group) != groups.end();
}

bool is_serving(const Request& request) { return request.spec().signername() == kServingSigner; }

std::optional<std::string> usage_fault(const Request& request, const char* purpose) {
    bool signs = false;
    bool serves = false;
    for (const auto& usage : request.spec().usages()) {
        if (usage == "digital signature") {
            signs = true;
        } else if (usage == purpose) {
            serves = true;
        } else if (usage != "key encipherment") {
            return fmt::format("usage \"{}\" is not allowed for signer {}", usage,
                               request.spec().signername());
        }
    }
    if (signs && serves) return std::nullopt;
    return fmt::format("usages must contain \"digital signature\" and \"{}\"", purpose);
}

std::string name_fault(const pki::RequestFacts& facts, const std::string& node,
                       const NodeNames& names) {
    for (const auto& dns : facts.dns_names) {
        if (dns == node || std::find(names.dns_names.begin(), names.dns_names.end(), dns) !=
                               names.dns_names.end()) {
            continue;
        }
        return fmt::format("DNS name \"{}\" is not one of node {}", dns, node);
    }
    for (const auto& address : facts.addresses) {
        const auto in = [&](const std::vector<IpAddress>& list) {
            return std::find(list.begin(), list.end(), address) != list.end();
        };
        if (in(names.addresses)) continue;
        // A node that has not told its addresses yet needs its certificate first; it cannot take
        // those of others.
        const bool unknown_yet = names.addresses.empty();
        if (unknown_yet && !in(names.others) && !address.is_multicast() &&
            !address.is_unspecified() && !address.is_loopback()) {
            continue;
        }
        return fmt::format("address {} is not one of node {}", address.to_string(), node);
    }
    return {};
}

}  // namespace

bool is_known_signer(const std::string& signer) {
    return signer == kClientSigner || signer == kServingSigner;
}

std::string node_of(const std::string& user) {
    if (!user.starts_with(kNodePrefix)) return {};
    return user.substr(kNodePrefix.size());
}

bool has_condition(const Request& request, const std::string& type) {
    const auto& conditions = request.status().conditions();
    return std::any_of(conditions.begin(), conditions.end(),
                       [&](const auto& item) { return item.type() == type; });
}

std::optional<std::string> fault_of(const Request& request, const pki::RequestFacts& facts) {
    if (facts.organizations != std::vector<std::string>{kNodesGroup}) {
        return "subject organization is not system:nodes";
    }
    if (node_of(facts.common_name).empty()) {
        return "subject common name does not begin with system:node:";
    }
    if (facts.has_other_names) {
        return "only a common name, an organization, DNS names and IP addresses are allowed";
    }
    if (is_serving(request)) {
        if (facts.dns_names.empty() && facts.addresses.empty()) {
            return "DNS or IP subjectAltName is required";
        }
        return usage_fault(request, "server auth");
    }
    if (!facts.dns_names.empty()) return "DNS subjectAltNames are not allowed";
    if (!facts.addresses.empty()) return "IP subjectAltNames are not allowed";
    return usage_fault(request, "client auth");
}

Verdict judge(const Request& request, const pki::RequestFacts& facts, const NodeNames& names) {
    const std::string& user = request.spec().username();
    const bool is_node = !node_of(user).empty() && in_group(request, kNodesGroup);
    if (is_node && user != facts.common_name) {
        return {Verdict::Kind::kDeny, "NotOwnName",
                fmt::format("{} may not have a certificate of {}", user, facts.common_name)};
    }
    if (is_serving(request)) {
        const std::string node = node_of(facts.common_name);
        const std::string fault = name_fault(facts, node, names);
        if (!is_node) {
            return {Verdict::Kind::kWait, "", ""};
        }
        if (!fault.empty()) return {Verdict::Kind::kDeny, "NotOwnAddress", fault};
        return {Verdict::Kind::kApprove, "AutoApproved",
                "Auto approving kubelet serving certificate: all names are the node's own."};
    }
    if (is_node) {
        return {Verdict::Kind::kApprove, "AutoApproved",
                "Auto approving self kubelet client certificate."};
    }
    if (in_group(request, kBootstrappers)) {
        // Whoever has a token may add a node, not take the place of one that lives.
        if (names.ready) {
            return {Verdict::Kind::kDeny, "NodeExists",
                    fmt::format("node {} is in the cluster already and Ready; delete it first, or "
                                "join by another name",
                                node_of(facts.common_name))};
        }
        return {Verdict::Kind::kApprove, "AutoApproved",
                "Auto approving kubelet client certificate of a member of system:bootstrappers."};
    }
    return {Verdict::Kind::kWait, "", ""};
}

pki::CertificateSpec spec_of(const Request& request, const pki::RequestFacts& facts) {
    pki::CertificateSpec spec;
    spec.common_name = facts.common_name;
    spec.organizations = facts.organizations;
    spec.dns_names = facts.dns_names;
    spec.addresses = facts.addresses;
    spec.usage = is_serving(request) ? pki::CertificateSpec::Usage::kServer
                                     : pki::CertificateSpec::Usage::kClient;
    spec.lifetime_s = kDefaultLifetimeS;
    if (request.spec().has_expirationseconds()) {
        spec.lifetime_s = std::clamp<std::int64_t>(request.spec().expirationseconds(),
                                                   kMinLifetimeS, kDefaultLifetimeS);
    }
    return spec;
}

std::int64_t expires_at(const Request& request, std::optional<std::int64_t> certificate_end_s) {
    std::int64_t end = request.metadata().creationtimestamp().seconds() + kDayS;
    for (const auto& condition : request.status().conditions()) {
        if (condition.type() != "Approved" && condition.type() != "Denied" &&
            condition.type() != "Failed") {
            continue;
        }
        const std::int64_t decided = condition.has_lastupdatetime()
                                         ? condition.lastupdatetime().seconds()
                                         : request.metadata().creationtimestamp().seconds();
        end = std::min(end, decided + kHourS);
    }
    if (certificate_end_s) end = std::min(end, *certificate_end_s);
    return end;
}

}  // namespace sluice::controllers::certificates
