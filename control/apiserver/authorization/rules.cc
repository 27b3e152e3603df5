#include "control/apiserver/authorization/rules.h"

#include <algorithm>

#include "api/kubernetes/rbac/v1/rbac.pb.h"

namespace sluice::authorization {
namespace {

constexpr std::string_view kAll = "*";

bool holds(const std::vector<std::string>& list, std::string_view value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

bool verb_matches(const Rule& rule, std::string_view verb) {
    return holds(rule.verbs, kAll) || holds(rule.verbs, verb);
}

bool group_matches(const Rule& rule, std::string_view group) {
    return holds(rule.groups, kAll) || holds(rule.groups, group);
}

// `whole`: "pods" or "pods/log".
bool resource_matches(const Rule& rule, std::string_view whole) {
    const std::size_t slash = whole.find('/');
    for (const std::string& entry : rule.resources) {
        if (entry == kAll || entry == whole) return true;
        if (slash != std::string_view::npos && entry.starts_with("*/") &&
            std::string_view(entry).substr(2) == whole.substr(slash + 1)) {
            return true;
        }
    }
    return false;
}

bool path_matches(const Rule& rule, std::string_view path) {
    return std::any_of(rule.paths.begin(), rule.paths.end(), [&](std::string_view entry) {
        if (entry == kAll || entry == path) return true;
        return entry.ends_with('*') && path.starts_with(entry.substr(0, entry.size() - 1));
    });
}

// A rule that covers another's "*" must hold "*" itself, which the functions above say already: "*" as a value matches
// nothing but "*".
bool covers_one(const Rule& held, std::string_view verb, std::string_view group, std::string_view resource,
                std::string_view name) {
    return verb_matches(held, verb) && group_matches(held, group) && resource_matches(held, resource) &&
           (held.names.empty() || (!name.empty() && holds(held.names, name)));
}

template <class Covered>
bool any_of(const std::vector<Rule>& held, Covered covered) {
    return std::any_of(held.begin(), held.end(), covered);
}

bool covers_resources(const std::vector<Rule>& held, const Rule& wanted, const std::string& verb) {
    static const std::vector<std::string> kEveryName = {std::string()};
    const auto& names = wanted.names.empty() ? kEveryName : wanted.names;
    for (const auto& group : wanted.groups) {
        for (const auto& resource : wanted.resources) {
            for (const auto& name : names) {
                if (!any_of(held, [&](const Rule& rule) { return covers_one(rule, verb, group, resource, name); })) {
                    return false;
                }
            }
        }
    }
    return true;
}

}  // namespace

Rule rule_from(const ::k8s::io::api::rbac::v1::PolicyRule& rule) {
    const auto list = [](const auto& values) { return std::vector<std::string>(values.begin(), values.end()); };
    return {list(rule.verbs()), list(rule.apigroups()), list(rule.resources()), list(rule.resourcenames()),
            list(rule.nonresourceurls())};
}

bool permits(const Rule& rule, const Attributes& asked) {
    if (!verb_matches(rule, asked.verb)) return false;
    if (!asked.is_resource) return path_matches(rule, asked.path);
    const std::string whole =
        asked.subresource.empty() ? asked.resource : asked.resource + "/" + asked.subresource;
    return group_matches(rule, asked.group) && resource_matches(rule, whole) &&
           (rule.names.empty() || (!asked.name.empty() && holds(rule.names, asked.name)));
}

bool covers(const std::vector<Rule>& held, const Rule& wanted) {
    return std::all_of(wanted.verbs.begin(), wanted.verbs.end(), [&](const std::string& verb) {
        if (!covers_resources(held, wanted, verb)) return false;
        return std::all_of(wanted.paths.begin(), wanted.paths.end(), [&](const std::string& path) {
            return any_of(held,
                          [&](const Rule& rule) { return verb_matches(rule, verb) && path_matches(rule, path); });
        });
    });
}

}  // namespace sluice::authorization
