// Endpoints and EndpointSlice: the addresses behind a Service.
#include <fmt/format.h>

#include <map>
#include <set>

#include "api/base/host_port.h"
#include "api/base/ip_address.h"
#include "api/kubernetes/core/v1/endpoints.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/addresses.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

constexpr int kMaxSliceEndpoints = 1000;
constexpr int kMaxSlicePorts = 20'000;
constexpr int kMaxEndpointAddresses = 100;
constexpr int kMaxHints = 8;
// Shown in a table cell before "+ N more...".
constexpr std::size_t kShownEndpoints = 3;

bool known_protocol(std::string_view protocol) {
    return protocol == "TCP" || protocol == "UDP" || protocol == "SCTP";
}

void check_node_name(bool given, const std::string& name, const std::string& field,
                     FieldErrors* errors) {
    if (given) errors->invalid_all(field, name, check_dns1123_subdomain(name));
}

constexpr Column kEndpointsColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Endpoints", "string", "", "Ready addresses and ports."},
    {"Age", "string", "", "Time since the object was created."},
};

std::string format_endpoints(const corev1::Endpoints& object) {
    std::vector<std::string> shown;
    std::size_t total = 0;
    for (const auto& subset : object.subsets()) {
        const int ports = subset.ports_size();
        for (int p = 0; p < (ports == 0 ? 1 : ports); ++p) {
            for (const auto& address : subset.addresses()) {
                ++total;
                if (shown.size() >= kShownEndpoints) continue;
                if (ports == 0) {
                    shown.push_back(address.ip());
                } else {
                    shown.push_back(host_and_port(address.ip(), subset.ports(p).port()));
                }
            }
        }
    }
    if (shown.empty()) return "<none>";
    std::string out = fmt::format("{}", fmt::join(shown, ","));
    if (total > shown.size()) out += fmt::format(" + {} more...", total - shown.size());
    return out;
}

class EndpointsStrategy final : public TypedStrategy<corev1::Endpoints> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::string storage_prefix() const override {
        return "/registry/services/endpoints";
    }
    [[nodiscard]] std::span<const Column> columns() const override { return kEndpointsColumns; }
    [[nodiscard]] bool allow_create_on_update() const override { return true; }

protected:
    void defaults(corev1::Endpoints* object) const override {
        for (auto& subset : *object->mutable_subsets()) {
            for (auto& port : *subset.mutable_ports()) {
                if (port.protocol().empty()) port.set_protocol("TCP");
            }
        }
    }
    void check(const corev1::Endpoints& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        for (int i = 0; i < object.subsets_size(); ++i) {
            check_subset(object.subsets(i), field_index("subsets", i), errors);
        }
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::Endpoints& object) const override {
        return {object.metadata().name(), format_endpoints(object), age_cell(object.metadata())};
    }

private:
    static void check_one(const corev1::EndpointAddress& address, const std::string& field,
                          FieldErrors* errors) {
        check_not_special(address.ip(), field + ".ip", errors);
        if (!address.hostname().empty()) {
            errors->invalid_all(field + ".hostname", address.hostname(),
                                check_dns1123_label(address.hostname()));
        }
        check_node_name(address.has_nodename(), address.nodename(), field + ".nodeName", errors);
    }
    static void check_subset(const corev1::EndpointSubset& subset, const std::string& field,
                             FieldErrors* errors) {
        if (subset.addresses_size() == 0 && subset.notreadyaddresses_size() == 0) {
            errors->required(field, "must specify `addresses` or `notReadyAddresses`");
        }
        for (int i = 0; i < subset.addresses_size(); ++i) {
            check_one(subset.addresses(i), field_index(field + ".addresses", i), errors);
        }
        for (int i = 0; i < subset.notreadyaddresses_size(); ++i) {
            check_one(subset.notreadyaddresses(i), field_index(field + ".notReadyAddresses", i),
                      errors);
        }
        for (int i = 0; i < subset.ports_size(); ++i) {
            const auto& port = subset.ports(i);
            const std::string at = field_index(field + ".ports", i);
            if (port.name().empty()) {
                if (subset.ports_size() > 1) errors->required(at + ".name");
            } else {
                errors->invalid_all(at + ".name", port.name(), check_dns1123_label(port.name()));
            }
            for (const std::string& why : check_port_number(port.port())) {
                errors->invalid(at + ".port", port.port(), why);
            }
            if (!known_protocol(port.protocol())) {
                errors->not_supported(at + ".protocol", port.protocol(), {"SCTP", "TCP", "UDP"});
            }
            if (port.has_appprotocol()) {
                errors->invalid_all(at + ".appProtocol", port.appprotocol(),
                                    check_qualified_name(port.appprotocol()));
            }
        }
    }
};

constexpr Column kSliceColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"AddressType", "string", "", "IPv4, IPv6 or FQDN."},
    {"Ports", "string", "", "Port numbers of the endpoints."},
    {"Endpoints", "string", "", "Addresses of the endpoints."},
    {"Age", "string", "", "Time since the object was created."},
};

std::string format_slice_ports(const discoveryv1::EndpointSlice& object) {
    if (object.ports_size() == 0) return "<unset>";
    std::vector<std::string> shown;
    for (const auto& port : object.ports()) {
        if (shown.size() == kShownEndpoints) break;
        if (port.has_port()) {
            shown.push_back(std::to_string(port.port()));
        } else if (port.has_name() && !port.name().empty()) {
            shown.push_back(port.name());
        } else {
            shown.emplace_back("<unset>");
        }
    }
    std::string out = fmt::format("{}", fmt::join(shown, ","));
    const auto total = static_cast<std::size_t>(object.ports_size());
    if (total > shown.size()) out += fmt::format(" + {} more...", total - shown.size());
    return out;
}

std::string format_slice_endpoints(const discoveryv1::EndpointSlice& object) {
    std::vector<std::string> shown;
    std::size_t total = 0;
    for (const auto& endpoint : object.endpoints()) {
        for (const std::string& address : endpoint.addresses()) {
            ++total;
            if (shown.size() < kShownEndpoints) shown.push_back(address);
        }
    }
    if (shown.empty()) return "<unset>";
    std::string out = fmt::format("{}", fmt::join(shown, ","));
    if (total > shown.size()) out += fmt::format(" + {} more...", total - shown.size());
    return out;
}

class EndpointSliceStrategy final : public TypedStrategy<discoveryv1::EndpointSlice> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kSliceColumns; }

protected:
    void defaults(discoveryv1::EndpointSlice* object) const override {
        for (auto& port : *object->mutable_ports()) {
            if (!port.has_name()) port.set_name("");
            if (!port.has_protocol() || port.protocol().empty()) port.set_protocol("TCP");
        }
        for (auto& endpoint : *object->mutable_endpoints()) endpoint.mutable_conditions();
    }
    void prepare_create(discoveryv1::EndpointSlice* object) const override {
        object->mutable_metadata()->set_generation(1);
    }
    void prepare_update(discoveryv1::EndpointSlice* object,
                        const discoveryv1::EndpointSlice& old) const override {
        // Anything but metadata counts as a new generation, and labels do, because they name the Service.
        discoveryv1::EndpointSlice a = *object;
        discoveryv1::EndpointSlice b = old;
        a.mutable_metadata()->Clear();
        b.mutable_metadata()->Clear();
        *a.mutable_metadata()->mutable_labels() = object->metadata().labels();
        *b.mutable_metadata()->mutable_labels() = old.metadata().labels();
        if (!equal(a, b)) {
            object->mutable_metadata()->set_generation(old.metadata().generation() + 1);
        }
    }
    void check(const discoveryv1::EndpointSlice& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const std::string& type = object.addresstype();
        if (type.empty()) {
            errors->required("addressType");
        } else if (type != "IPv4" && type != "IPv6" && type != "FQDN") {
            errors->not_supported("addressType", type, {"FQDN", "IPv4", "IPv6"});
        }
        if (object.endpoints_size() > kMaxSliceEndpoints) {
            errors->too_many("endpoints", static_cast<std::uint64_t>(object.endpoints_size()),
                             kMaxSliceEndpoints);
            return;
        }
        for (int i = 0; i < object.endpoints_size(); ++i) {
            check_endpoint(object.endpoints(i), type, field_index("endpoints", i), errors);
        }
        check_ports(object, errors);
    }
    void check_update(const discoveryv1::EndpointSlice& object,
                      const discoveryv1::EndpointSlice& old, FieldErrors* errors) const override {
        check(object, errors);
        if (object.addresstype() != old.addresstype()) {
            errors->invalid("addressType", object.addresstype(), "field is immutable");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(
        const discoveryv1::EndpointSlice& object) const override {
        return {object.metadata().name(), object.addresstype(), format_slice_ports(object),
                format_slice_endpoints(object), age_cell(object.metadata())};
    }

private:
    static void check_endpoint_address(const std::string& text, const std::string& type,
                                       const std::string& field, FieldErrors* errors) {
        if (type == "FQDN") {
            errors->invalid_all(field, text, check_dns1123_subdomain(text));
            return;
        }
        if (type != "IPv4" && type != "IPv6") return;
        const auto address = IpAddress::parse_sloppy(text);
        const bool v4 = type == "IPv4";
        if (!address) {
            errors->invalid_all(field, text, check_ip(text));
            return;
        }
        if (address->is_v4() != v4) {
            errors->invalid(field, text,
                            v4 ? "must be an IPv4 address" : "must be an IPv6 address");
            return;
        }
        check_not_special(text, field, errors);
    }
    static void check_endpoint(const discoveryv1::Endpoint& endpoint, const std::string& type,
                               const std::string& field, FieldErrors* errors) {
        if (endpoint.addresses_size() == 0) {
            errors->required(field + ".addresses", "must contain at least 1 address");
        } else if (endpoint.addresses_size() > kMaxEndpointAddresses) {
            errors->too_many(field + ".addresses",
                             static_cast<std::uint64_t>(endpoint.addresses_size()),
                             kMaxEndpointAddresses);
            return;
        }
        for (int i = 0; i < endpoint.addresses_size(); ++i) {
            check_endpoint_address(endpoint.addresses(i), type,
                                   field_index(field + ".addresses", i), errors);
        }
        check_node_name(endpoint.has_nodename(), endpoint.nodename(), field + ".nodeName", errors);
        if (endpoint.has_hostname()) {
            errors->invalid_all(field + ".hostname", endpoint.hostname(),
                                check_dns1123_label(endpoint.hostname()));
        }
        if (endpoint.hints().forzones_size() > kMaxHints) {
            errors->too_many(field + ".hints.forZones",
                             static_cast<std::uint64_t>(endpoint.hints().forzones_size()),
                             kMaxHints);
        }
        std::set<std::string> zones;
        for (int i = 0; i < endpoint.hints().forzones_size(); ++i) {
            const std::string& zone = endpoint.hints().forzones(i).name();
            const std::string at = field_index(field + ".hints.forZones", i) + ".name";
            if (!zones.insert(zone).second) errors->duplicate(at, zone);
            errors->invalid_all(at, zone, check_label_value(zone));
        }
    }
    static void check_ports(const discoveryv1::EndpointSlice& object, FieldErrors* errors) {
        if (object.ports_size() > kMaxSlicePorts) {
            errors->too_many("ports", static_cast<std::uint64_t>(object.ports_size()),
                             kMaxSlicePorts);
            return;
        }
        std::set<std::string> names;
        for (int i = 0; i < object.ports_size(); ++i) {
            const auto& port = object.ports(i);
            const std::string at = field_index("ports", i);
            if (!port.name().empty()) {
                errors->invalid_all(at + ".name", port.name(), check_dns1123_label(port.name()));
            }
            if (!names.insert(port.name()).second) errors->duplicate(at + ".name", port.name());
            if (!known_protocol(port.protocol())) {
                errors->not_supported(at + ".protocol", port.protocol(), {"SCTP", "TCP", "UDP"});
            }
            if (port.has_port()) {
                for (const std::string& why : check_port_number(port.port())) {
                    errors->invalid(at + ".port", port.port(), why);
                }
            }
            if (port.has_appprotocol()) {
                errors->invalid_all(at + ".appProtocol", port.appprotocol(),
                                    check_qualified_name(port.appprotocol()));
            }
        }
    }
};

}  // namespace

std::unique_ptr<Strategy> make_endpoints_strategy(const codec::KindInfo& kind) {
    return std::make_unique<EndpointsStrategy>(kind);
}

std::unique_ptr<Strategy> make_endpointslice_strategy(const codec::KindInfo& kind) {
    return std::make_unique<EndpointSliceStrategy>(kind);
}

}  // namespace sluice::registry
