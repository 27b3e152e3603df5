// ServiceCIDR and IPAddress: the ranges of ClusterIPs, and who has which address.
#include <fmt/format.h>

#include "api/base/ip_address.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/servicecidr.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/addresses.h"

namespace sluice::registry {

namespace {

namespace networkingv1 = ::k8s::io::api::networking::v1;

constexpr int kMaxCidrs = 2;
constexpr std::string_view kImmutable = "field is immutable";
constexpr std::string_view kPlainCidr =
    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

constexpr Column kCidrColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"CIDRs", "string", "", "Ranges that ClusterIPs are taken from, one of each family."},
    {"Age", "string", "", "Time since the object was created."},
};

void check_cidrs(const networkingv1::ServiceCIDRSpec& spec, FieldErrors* errors) {
    if (spec.cidrs_size() == 0) {
        errors->required("spec.cidrs", "at least one CIDR required");
        return;
    }
    if (spec.cidrs_size() > kMaxCidrs) {
        const std::vector<std::string> all(spec.cidrs().begin(), spec.cidrs().end());
        errors->invalid("spec.cidrs",
                        BadValue::verbatim(fmt::format("networking.ServiceCIDRSpec{{CIDRs:{}}}",
                                                       go_string_list(all))),
                        "may only hold up to 2 values");
        return;
    }
    std::vector<IpPrefix> ranges;
    for (int i = 0; i < spec.cidrs_size(); ++i) {
        const std::string& text = spec.cidrs(i);
        const auto range = IpPrefix::parse(text);
        if (!range || range->to_string() != text) {
            errors->invalid(field_index("spec.cidrs", i), text, kPlainCidr);
        } else {
            ranges.push_back(*range);
        }
    }
    if (ranges.size() == 2 && ranges[0].family() == ranges[1].family()) {
        const std::vector<std::string> all(spec.cidrs().begin(), spec.cidrs().end());
        errors->invalid("spec.cidrs", BadValue::verbatim(go_string_list(all)),
                        "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 "
                        "and 2001:db8::/64");
    }
}

class ServiceCidrStrategy final : public TypedStrategy<networkingv1::ServiceCIDR> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kCidrColumns; }

protected:
    void check(const networkingv1::ServiceCIDR& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        check_cidrs(object.spec(), errors);
    }
    // A second range of the other family may be added; nothing else changes.
    void check_update(const networkingv1::ServiceCIDR& object,
                      const networkingv1::ServiceCIDR& old, FieldErrors* errors) const override {
        const auto& now = object.spec();
        const auto& before = old.spec();
        const bool grows = before.cidrs_size() == 1 && now.cidrs_size() == 2;
        if (before.cidrs_size() != now.cidrs_size() && !grows) {
            const std::vector<std::string> all(now.cidrs().begin(), now.cidrs().end());
            errors->invalid("spec.cidrs", BadValue::verbatim(go_string_list(all)), kImmutable);
            return;
        }
        for (int i = 0; i < before.cidrs_size(); ++i) {
            if (now.cidrs(i) != before.cidrs(i)) {
                errors->invalid(field_index("spec.cidrs", i), now.cidrs(i), kImmutable);
            }
        }
        if (grows) check_cidrs(now, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const networkingv1::ServiceCIDR& object) const override {
        return {object.metadata().name(),
                joined_cell({object.spec().cidrs().begin(), object.spec().cidrs().end()}, ""),
                age_cell(object.metadata())};
    }
};

constexpr Column kAddressColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"ParentRef", "string", "", "The object that uses the address."},
};

std::vector<std::string> check_address_name(std::string_view name) {
    const auto address = IpAddress::parse(name);
    if (!address) return {fmt::format("ParseAddr({}): unable to parse IP", go_quote(name))};
    if (address->to_string() != name) return {"must be a canonical format IP address"};
    return {};
}

class IpAddressStrategy final : public TypedStrategy<networkingv1::IPAddress> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kAddressColumns; }
    [[nodiscard]] NameCheck name_check() const override { return check_address_name; }

protected:
    void check(const networkingv1::IPAddress& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        if (!object.spec().has_parentref()) {
            errors->required("spec.parentRef");
            return;
        }
        const auto& parent = object.spec().parentref();
        if (!parent.group().empty()) {
            errors->invalid_all("spec.parentRef.group", parent.group(),
                                check_dns1123_subdomain(parent.group()));
        }
        check_segment(parent.resource(), "spec.parentRef.resource", true, errors);
        check_segment(parent.name(), "spec.parentRef.name", true, errors);
        check_segment(parent.namespace_(), "spec.parentRef.namespace", false, errors);
    }
    void check_update(const networkingv1::IPAddress& object, const networkingv1::IPAddress& old,
                      FieldErrors* errors) const override {
        const auto& now = object.spec().parentref();
        if (same_field(object, old, "spec")) return;
        errors->invalid(
            "spec.parentRef",
            BadValue::verbatim(fmt::format(
                "networking.ParentReference{{Group:{}, Resource:{}, Namespace:{}, Name:{}}}",
                go_quote(now.group()), go_quote(now.resource()), go_quote(now.namespace_()),
                go_quote(now.name()))),
            kImmutable);
    }
    [[nodiscard]] std::vector<Cell> cells(const networkingv1::IPAddress& object) const override {
        std::string parent = "<none>";
        if (object.spec().has_parentref()) {
            const auto& reference = object.spec().parentref();
            parent = reference.resource();
            if (!reference.group().empty()) parent += "." + reference.group();
            if (!reference.namespace_().empty()) parent += "/" + reference.namespace_();
            parent += "/" + reference.name();
        }
        return {object.metadata().name(), parent};
    }

private:
    static void check_segment(const std::string& text, const std::string& field, bool required,
                              FieldErrors* errors) {
        if (!text.empty()) {
            errors->invalid_all(field, text, check_path_segment(text));
        } else if (required) {
            errors->required(field);
        }
    }
};

}  // namespace

std::unique_ptr<Strategy> make_servicecidr_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ServiceCidrStrategy>(kind);
}

std::unique_ptr<Strategy> make_ipaddress_strategy(const codec::KindInfo& kind) {
    return std::make_unique<IpAddressStrategy>(kind);
}

}  // namespace sluice::registry
