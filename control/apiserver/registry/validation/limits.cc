#include "control/apiserver/registry/validation/limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "api/kubernetes/core/v1/limitrange.pb.h"
#include "api/kubernetes/core/v1/resourcequota.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using Quantities = std::map<std::string, codec::Quantity>;

void check_limit_type(const std::string& type, const std::string& field, FieldErrors* errors) {
    const auto why = check_qualified_name(type);
    errors->invalid_all(field, type, why);
    if (!why.empty() || type.find('/') != std::string::npos) return;
    if (type != "Pod" && type != "Container" && type != "PersistentVolumeClaim") {
        errors->invalid(field, type, "must be a standard limit type or fully qualified");
    }
}

void check_limit_names(const Quantities& values, const std::string& type, const std::string& field,
                       FieldErrors* errors) {
    for (const auto& [name, value] : values) {
        const std::string at = field_key(field, name);
        if (type == "Pod" || type == "Container") {
            check_container_resource(name, at, errors);
        } else {
            check_resource_type(name, at, errors);
        }
    }
}

// One LimitRangeItem, its quantities read.
struct Limits {
    std::string field;
    Quantities min;
    Quantities max;
    Quantities limit;    // default
    Quantities request;  // defaultRequest
    Quantities ratio;    // maxLimitRequestRatio
};

const codec::Quantity* find(const Quantities& values, const std::string& name) {
    const auto found = values.find(name);
    return found == values.end() ? nullptr : &found->second;
}

// Each pair that must be in order, and the words for it when it is not.
void check_order(const Limits& item, const std::string& name, FieldErrors* errors) {
    const auto at = [&](const char* member) {
        return field_key(field_child(item.field, member), name);
    };
    const auto* min = find(item.min, name);
    const auto* max = find(item.max, name);
    const auto* limit = find(item.limit, name);
    const auto* request = find(item.request, name);
    const auto ordered = [&](const codec::Quantity* low, const codec::Quantity* high,
                             const char* member, const codec::Quantity* shown,
                             std::string_view low_name, std::string_view high_name) {
        if (low == nullptr || high == nullptr || *low <= *high) return;
        errors->invalid(at(member), go_quantity(*shown),
                        fmt::format("{} value {} is greater than {} value {}", low_name,
                                    low->to_string(), high_name, high->to_string()));
    };
    ordered(min, max, "min", min, "min", "max");
    ordered(min, request, "defaultRequest", request, "min", "default request");
    ordered(request, max, "defaultRequest", request, "default request", "max");
    ordered(request, limit, "defaultRequest", request, "default request", "default limit");
    ordered(min, limit, "default", min, "min", "default");
    ordered(limit, max, "default", max, "default", "max");
    if (!may_overcommit(name) && limit != nullptr && request != nullptr && *limit != *request) {
        errors->invalid(at("defaultRequest"), go_quantity(*request),
                        fmt::format("default value {} must equal to defaultRequest value {} in {}",
                                    limit->to_string(), request->to_string(), name));
    }
}

void check_ratio(const Limits& item, const std::string& name, FieldErrors* errors) {
    const auto* ratio = find(item.ratio, name);
    if (ratio == nullptr) return;
    const std::string field = field_key(field_child(item.field, "maxLimitRequestRatio"), name);
    if (*ratio < codec::Quantity::from_units(1)) {
        errors->invalid(field, go_quantity(*ratio),
                        fmt::format("ratio {} is less than 1", ratio->to_string()));
    }
    const auto* min = find(item.min, name);
    const auto* max = find(item.max, name);
    if (min == nullptr || max == nullptr || min->milli() == 0) return;
    // As Kubernetes computes it: in whole units where they say enough.
    constexpr std::int64_t kEnough = 1000;
    const bool fine = ratio->units() < kEnough && max->units() < kEnough && min->units() < kEnough;
    const double wanted = static_cast<double>(fine ? ratio->milli() : ratio->units());
    const double possible =
        fine ? static_cast<double>(max->milli()) / static_cast<double>(min->milli()) * 1000.0
             : static_cast<double>(max->units()) / static_cast<double>(min->units());
    if (wanted > possible) {
        errors->invalid(field, go_quantity(*ratio),
                        fmt::format("ratio {} is greater than max/min = {:f}", ratio->to_string(),
                                    fine ? possible / 1000.0 : possible));
    }
}

void check_defaults_allowed(const Limits& item, FieldErrors* errors) {
    constexpr std::string_view kWhy = "may not be specified when `type` is 'Pod'";
    if (!item.limit.empty()) errors->forbidden(field_child(item.field, "default"), kWhy);
    if (!item.request.empty()) errors->forbidden(field_child(item.field, "defaultRequest"), kWhy);
}

void check_limit(const corev1::LimitRangeItem& source, const std::string& field,
                 FieldErrors* errors) {
    const Limits item{field,
                      quantities_of(source.min()),
                      quantities_of(source.max()),
                      quantities_of(source.default_()),
                      quantities_of(source.defaultrequest()),
                      quantities_of(source.maxlimitrequestratio())};
    const std::string& type = source.type();
    check_limit_names(item.max, type, field_child(field, "max"), errors);
    check_limit_names(item.min, type, field_child(field, "min"), errors);
    if (type == "Pod") {
        check_defaults_allowed(item, errors);
    } else {
        check_limit_names(item.limit, type, field_child(field, "default"), errors);
        check_limit_names(item.request, type, field_child(field, "defaultRequest"), errors);
    }
    if (type == "PersistentVolumeClaim" && !item.min.contains("storage") &&
        !item.max.contains("storage")) {
        errors->required(field_child(field, "limits"),
                         "either minimum or maximum storage value is required, but neither was "
                         "provided");
    }
    check_limit_names(item.ratio, type, field_child(field, "maxLimitRequestRatio"), errors);
    std::set<std::string> names;
    for (const Quantities* values : {&item.min, &item.max, &item.limit, &item.request, &item.ratio}) {
        for (const auto& [name, value] : *values) names.insert(name);
    }
    for (const std::string& name : names) {
        check_order(item, name, errors);
        check_ratio(item, name, errors);
    }
}

void check_quota_values(const QuantityMap& values, const std::string& field, FieldErrors* errors) {
    for (const auto& [name, value] : quantities_of(values)) {
        const std::string at = field_key(field, name);
        check_quota_resource(name, at, errors);
        check_not_negative_quantity(value, at, errors);
        constexpr std::int64_t kMilli = 1000;
        if (is_integer_resource(name) && value.milli() % kMilli != 0) {
            errors->invalid(at, go_quantity(value), "must be an integer");
        }
    }
}

bool is_scope(std::string_view scope) {
    constexpr std::string_view kScopes[] = {"Terminating",   "NotTerminating",
                                            "BestEffort",    "NotBestEffort",
                                            "PriorityClass", "CrossNamespacePodAffinity"};
    return std::find(std::begin(kScopes), std::end(kScopes), scope) != std::end(kScopes);
}

// Scopes are about Pods: what they count must be something of theirs.
bool scope_counts(std::string_view scope, std::string_view resource) {
    if (resource == "pods") return true;
    if (scope == "BestEffort") return false;
    constexpr std::string_view kOfPods[] = {"cpu",          "memory",       "limits.cpu",
                                            "limits.memory", "requests.cpu", "requests.memory"};
    return std::find(std::begin(kOfPods), std::end(kOfPods), resource) != std::end(kOfPods);
}

bool counts_everything(std::string_view scope, const QuantityMap& hard) {
    return std::all_of(hard.begin(), hard.end(), [scope](const auto& entry) {
        return !is_quota_resource(entry.first) || scope_counts(scope, entry.first);
    });
}

bool in_conflict(const std::set<std::string>& scopes) {
    return (scopes.contains("BestEffort") && scopes.contains("NotBestEffort")) ||
           (scopes.contains("Terminating") && scopes.contains("NotTerminating"));
}

void check_scopes(const corev1::ResourceQuota& quota, FieldErrors* errors) {
    std::set<std::string> seen;
    for (const std::string& scope : quota.spec().scopes()) {
        if (!is_scope(scope)) errors->invalid("spec.scopes", go_scopes(quota), "unsupported scope");
        if (!counts_everything(scope, quota.spec().hard())) {
            errors->invalid("spec.scopes", go_scopes(quota),
                            "unsupported scope applied to resource");
        }
        seen.insert(scope);
    }
    if (in_conflict(seen)) errors->invalid("spec.scopes", go_scopes(quota), "conflicting scopes");
}

void check_requirement(const corev1::ScopedResourceSelectorRequirement& requirement,
                       const std::string& field, FieldErrors* errors) {
    const std::string& operation = requirement.operator_();
    if (requirement.scopename() != "PriorityClass" && is_scope(requirement.scopename()) &&
        operation != "Exists") {
        errors->invalid(field_child(field, "operator"), operation,
                        "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, "
                        "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                        "ResourceQuotaScopeNotBestEffort or "
                        "ResourceQuotaScopeCrossNamespacePodAffinity");
    }
    const std::vector<std::string> values(requirement.values().begin(), requirement.values().end());
    if (operation == "In" || operation == "NotIn") {
        if (!values.empty()) return;
        errors->required(field_child(field, "values"),
                         "must be at least one value when `operator` is 'In' or 'NotIn' for scope "
                         "selector");
    } else if (operation == "Exists" || operation == "DoesNotExist") {
        if (values.empty()) return;
        errors->invalid(field_child(field, "values"), BadValue::verbatim(go_string_list(values)),
                        "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope "
                        "selector");
    } else {
        errors->invalid(field_child(field, "operator"), operation,
                        "not a valid selector operator");
    }
}

void check_scope_selector(const corev1::ResourceQuota& quota, FieldErrors* errors) {
    const std::string field = "spec.scopeSelector.matchExpressions";
    const BadValue shown = BadValue::verbatim("core.ScopeSelector{...}");
    std::set<std::string> seen;
    for (const auto& requirement : quota.spec().scopeselector().matchexpressions()) {
        const std::string& scope = requirement.scopename();
        if (!is_scope(scope)) {
            errors->invalid(field_child(field, "scopeName"), scope, "unsupported scope");
        }
        if (!counts_everything(scope, quota.spec().hard())) {
            errors->invalid(field, shown, "unsupported scope applied to resource");
        }
        check_requirement(requirement, field, errors);
        seen.insert(scope);
    }
    if (in_conflict(seen)) errors->invalid(field, shown, "conflicting scopes");
}

}  // namespace

BadValue go_scopes(const corev1::ResourceQuota& quota) {
    std::string out = "[]core.ResourceQuotaScope{";
    for (int i = 0; i < quota.spec().scopes_size(); ++i) {
        if (i != 0) out += ", ";
        out += go_quote(quota.spec().scopes(i));
    }
    return BadValue::verbatim(out + "}");
}

void validate_limit_range(const corev1::LimitRange& range, FieldErrors* errors) {
    std::set<std::string> types;
    for (int i = 0; i < range.spec().limits_size(); ++i) {
        const auto& item = range.spec().limits(i);
        const std::string field = field_index("spec.limits", i);
        check_limit_type(item.type(), field_child(field, "type"), errors);
        if (!types.insert(item.type()).second) {
            errors->duplicate(field_child(field, "type"), item.type());
        }
        check_limit(item, field, errors);
    }
}

void validate_quota(const corev1::ResourceQuota& quota, FieldErrors* errors) {
    check_quota_values(quota.spec().hard(), "spec.hard", errors);
    check_scopes(quota, errors);
    check_scope_selector(quota, errors);
}

void validate_quota_status(const corev1::ResourceQuota& quota, FieldErrors* errors) {
    check_quota_values(quota.status().hard(), "status.hard", errors);
    check_quota_values(quota.status().used(), "status.used", errors);
}

}  // namespace sluice::registry
