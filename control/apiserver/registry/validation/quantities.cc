#include "control/apiserver/registry/validation/quantities.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

constexpr std::string_view kContainerResources[] = {"cpu", "memory", "ephemeral-storage"};
constexpr std::string_view kObjectCounts[] = {
    "pods",       "resourcequotas",         "services",           "replicationcontrollers",
    "secrets",    "persistentvolumeclaims", "configmaps",         "services.nodeports",
    "services.loadbalancers",
};
constexpr std::string_view kQuotaAmounts[] = {
    "cpu",           "memory",        "ephemeral-storage", "requests.cpu",
    "limits.cpu",    "requests.memory", "limits.memory",   "requests.storage",
    "requests.ephemeral-storage",     "limits.ephemeral-storage",
};
constexpr std::string_view kHugePages = "hugepages-";

template <std::size_t N>
bool among(const std::string_view (&names)[N], std::string_view name) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool has_prefix(std::string_view name) { return name.find('/') != std::string_view::npos; }

// Resources without a prefix, and those under kubernetes.io.
bool is_native(std::string_view name) {
    return !has_prefix(name) || name.find("kubernetes.io/") != std::string_view::npos;
}

// A device or the like: somebody's prefix, and a name that a quota can count as "requests.NAME".
bool is_extended(std::string_view name) {
    if (is_native(name) || name.starts_with("requests.")) return false;
    return check_qualified_name("requests." + std::string(name)).empty();
}

// Returns whether the name is well formed and has no prefix, so that it must be one that Kubernetes knows.
bool check_syntax(const std::string& name, const std::string& field, FieldErrors* errors) {
    const auto why = check_qualified_name(name);
    errors->invalid_all(field, name, why);
    return why.empty() && !has_prefix(name);
}

}  // namespace

std::map<std::string, codec::Quantity> quantities_of(const QuantityMap& map) {
    std::map<std::string, codec::Quantity> out;
    for (const auto& [name, value] : map) {
        const auto parsed = codec::Quantity::parse(value.string());
        out[name] = parsed ? *parsed : codec::Quantity();
    }
    return out;
}

std::string quantity_text(const QuantityMap& map, const std::string& name) {
    const auto found = map.find(name);
    if (found == map.end()) return "0";
    const auto parsed = codec::Quantity::parse(found->second.string());
    return parsed ? parsed->to_string() : found->second.string();
}

BadValue go_quantity(const codec::Quantity& value) {
    const std::string text = value.to_string();
    // Go keeps the digits and a power of ten apart, and binary suffixes multiplied out.
    const std::size_t end = text.find_first_not_of("-0123456789");
    const std::string suffix = end == std::string::npos ? "" : text.substr(end);
    std::string digits = text.substr(0, end);
    int scale = 0;
    std::string_view format = "DecimalSI";
    if (suffix.size() == 2 && suffix[1] == 'i') {
        format = "BinarySI";
        digits = std::to_string(value.units());
    } else if (!suffix.empty() && (suffix[0] == 'e' || (suffix[0] == 'E' && suffix.size() > 1))) {
        format = "DecimalExponent";
        const auto parsed = codec::Quantity::parse("0" + suffix);
        scale = parsed ? std::atoi(suffix.c_str() + 1) : 0;
    } else if (!suffix.empty()) {
        constexpr std::string_view kSuffixes = "num kMGTPE";
        constexpr int kFirst = -9;
        constexpr int kStep = 3;
        scale = kFirst + kStep * static_cast<int>(kSuffixes.find(suffix[0]));
    }
    return BadValue::verbatim(
        fmt::format("resource.Quantity{{i:resource.int64Amount{{value:{}, scale:{}}}, "
                    "d:resource.infDecAmount{{Dec:(*inf.Dec)(nil)}}, s:\"{}\", Format:\"{}\"}}",
                    digits, scale, text, format));
}

void check_not_negative_quantity(const codec::Quantity& value, const std::string& field,
                                 FieldErrors* errors) {
    if (!value.is_negative()) return;
    errors->invalid(field, value.to_string(), "must be greater than or equal to 0");
}

void check_positive_quantity(const codec::Quantity& value, const std::string& field,
                             FieldErrors* errors) {
    if (!value.is_negative() && !value.is_zero()) return;
    errors->invalid(field, value.to_string(), "must be greater than zero");
}

void check_resource_type(const std::string& name, const std::string& field, FieldErrors* errors) {
    if (!check_syntax(name, field, errors)) return;
    const bool known = among(kContainerResources, name) || among(kObjectCounts, name) ||
                       among(kQuotaAmounts, name) || name == "storage" ||
                       name.starts_with(kHugePages);
    if (!known) errors->invalid(field, name, "must be a standard resource type or fully qualified");
}

void check_container_resource(const std::string& name, const std::string& field,
                              FieldErrors* errors) {
    check_resource_type(name, field, errors);
    if (!has_prefix(name)) {
        if (!among(kContainerResources, name) && !name.starts_with(kHugePages)) {
            errors->invalid(field, name, "must be a standard resource for containers");
        }
    } else if (!is_native(name) && !is_extended(name)) {
        errors->invalid(field, name, "doesn't follow extended resource name standard");
    }
}

bool is_quota_resource(std::string_view name) {
    return among(kObjectCounts, name) || among(kQuotaAmounts, name) ||
           name.starts_with(kHugePages) || name.starts_with("requests.hugepages-");
}

void check_quota_resource(const std::string& name, const std::string& field, FieldErrors* errors) {
    if (check_syntax(name, field, errors) && !is_quota_resource(name)) {
        errors->invalid(field, name, "must be a standard resource for quotas");
    }
}

bool is_integer_resource(std::string_view name) {
    return among(kObjectCounts, name) || is_extended(name);
}

bool may_overcommit(std::string_view name) {
    return is_native(name) && !name.starts_with(kHugePages);
}

}  // namespace sluice::registry
