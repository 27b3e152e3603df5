#include "control/apiserver/registry/validation/network_policy.h"

#include <fmt/format.h>

#include <vector>

#include "api/base/ip_address.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/networkpolicy.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"
#include "control/apiserver/registry/validation/addresses.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace networkingv1 = ::k8s::io::api::networking::v1;

constexpr int kMaxPolicyTypes = 2;
constexpr std::int64_t kStringPort = 1;  // IntOrString.type of a name

void check_numbers(const networkingv1::NetworkPolicyPort& port, const std::string& field,
                   FieldErrors* errors) {
    const std::int32_t number = port.port().intval();
    for (const std::string& why : check_port_number(number)) {
        errors->invalid(field + ".port", number, why);
    }
    if (!port.has_endport()) return;
    if (port.endport() < number) {
        errors->invalid(field + ".endPort", port.endport(),
                        "must be greater than or equal to `port`");
    }
    for (const std::string& why : check_port_number(port.endport())) {
        errors->invalid(field + ".endPort", port.endport(), why);
    }
}

void check_port(const networkingv1::NetworkPolicyPort& port, const std::string& field,
                FieldErrors* errors) {
    const std::string& protocol = port.protocol();
    if (port.has_protocol() && protocol != "TCP" && protocol != "UDP" && protocol != "SCTP") {
        errors->not_supported(field + ".protocol", protocol, {"TCP", "UDP", "SCTP"});
    }
    if (!port.has_port()) {
        if (port.has_endport()) {
            errors->invalid(field + ".endPort", port.endport(),
                            "may not be specified when `port` is not specified");
        }
    } else if (port.port().type() == kStringPort) {
        if (port.has_endport()) {
            errors->invalid(field + ".endPort", port.endport(),
                            "may not be specified when `port` is non-numeric");
        }
        errors->invalid_all(field + ".port", port.port().strval(),
                            check_port_name(port.port().strval()));
    } else {
        check_numbers(port, field, errors);
    }
}

void check_block(const networkingv1::IPBlock& block, const std::string& field,
                 FieldErrors* errors) {
    if (block.cidr().empty()) {
        errors->required(field + ".cidr");
        return;
    }
    check_cidr(block.cidr(), field + ".cidr", errors);
    const auto range = IpPrefix::parse(block.cidr(), true);
    if (!range) return;
    for (int i = 0; i < block.except_size(); ++i) {
        const std::string path = field_index(field + ".except", i);
        check_cidr(block.except(i), path, errors);
        const auto except = IpPrefix::parse(block.except(i), true);
        if (!except) continue;
        if (range->family() != except->family() || !range->contains(except->address) ||
            range->bits >= except->bits) {
            errors->invalid(path, block.except(i), "must be a strict subset of `cidr`");
        }
    }
}

void check_peer(const networkingv1::NetworkPolicyPeer& peer, const std::string& field,
                FieldErrors* errors) {
    int peers = 0;
    if (peer.has_podselector()) {
        ++peers;
        validate_label_selector(peer.podselector(), field + ".podSelector", errors);
    }
    if (peer.has_namespaceselector()) {
        ++peers;
        validate_label_selector(peer.namespaceselector(), field + ".namespaceSelector", errors);
    }
    if (peer.has_ipblock()) {
        ++peers;
        check_block(peer.ipblock(), field + ".ipBlock", errors);
    }
    if (peers == 0) {
        errors->required(field, "must specify a peer");
    } else if (peers > 1 && peer.has_ipblock()) {
        errors->forbidden(field, "may not specify both ipBlock and another peer");
    }
}

template <class Rules, class Peers>
void check_rules(const Rules& rules, const std::string& field, const char* peers_name, Peers peers,
                 FieldErrors* errors) {
    for (int i = 0; i < rules.size(); ++i) {
        const std::string path = field_index(field, i);
        const auto& rule = rules.Get(i);
        for (int j = 0; j < rule.ports_size(); ++j) {
            check_port(rule.ports(j), field_index(path + ".ports", j), errors);
        }
        const auto& list = peers(rule);
        for (int j = 0; j < list.size(); ++j) {
            check_peer(list.Get(j), field_index(field_child(path, peers_name), j), errors);
        }
    }
}

}  // namespace

void validate_network_policy(const networkingv1::NetworkPolicy& policy, FieldErrors* errors) {
    const auto& spec = policy.spec();
    validate_label_selector(spec.podselector(), "spec.podSelector", errors);
    check_rules(
        spec.ingress(), "spec.ingress", "from",
        [](const networkingv1::NetworkPolicyIngressRule& rule) -> const auto& {
            return rule.from();
        },
        errors);
    check_rules(
        spec.egress(), "spec.egress", "to",
        [](const networkingv1::NetworkPolicyEgressRule& rule) -> const auto& { return rule.to(); },
        errors);
    if (spec.policytypes_size() > kMaxPolicyTypes) {
        std::vector<std::string> types;
        for (const std::string& type : spec.policytypes()) types.push_back(go_quote(type));
        errors->invalid("spec.policyTypes",
                        BadValue::verbatim(fmt::format("[]networking.PolicyType{{{}}}",
                                                       fmt::join(types, ", "))),
                        "may not specify more than two policyTypes");
        return;
    }
    for (int i = 0; i < spec.policytypes_size(); ++i) {
        const std::string& type = spec.policytypes(i);
        if (type != "Ingress" && type != "Egress") {
            errors->not_supported(field_index("spec.policyTypes", i), type, {"Ingress", "Egress"});
        }
    }
}

}  // namespace sluice::registry
