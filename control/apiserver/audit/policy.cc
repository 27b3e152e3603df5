#include "control/apiserver/audit/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <fstream>
#include <iterator>
#include <optional>

#include "api/codec/yaml.h"

namespace sluice::audit {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 4> kLevels = {"None", "Metadata", "Request",
                                                     "RequestResponse"};
constexpr std::array<std::string_view, kStages> kStageNames = {
    "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"};

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

Result<std::vector<std::string>> texts(const json::object& from, std::string_view name,
                                       const std::string& path) {
    std::vector<std::string> out;
    const json::value* value = from.if_contains(name);
    if (value == nullptr || value->is_null()) return out;
    if (!value->is_array()) {
        return make_error(Code::kInvalidArgument, "{}.{}: it must be a list of strings", path, name);
    }
    for (const auto& item : value->get_array()) {
        if (!item.is_string()) {
            return make_error(Code::kInvalidArgument, "{}.{}: it must be a list of strings", path,
                              name);
        }
        out.emplace_back(view(item.get_string()));
    }
    return out;
}

Result<bool> flag(const json::object& from, std::string_view name, const std::string& path) {
    const json::value* value = from.if_contains(name);
    if (value == nullptr || value->is_null()) return false;
    if (!value->is_bool()) {
        return make_error(Code::kInvalidArgument, "{}.{}: it must be true or false", path, name);
    }
    return value->get_bool();
}

Result<StageSet> stages(const json::object& from, const std::string& path) {
    StageSet out{};
    SLUICE_TRY_ASSIGN(const auto names, texts(from, "omitStages", path));
    for (const auto& name : names) {
        const auto* found = std::find(kStageNames.begin(), kStageNames.end(), name);
        if (found == kStageNames.end()) {
            return make_error(Code::kInvalidArgument,
                              "{}.omitStages: Invalid value: \"{}\": allowed stages are "
                              "RequestReceived,ResponseStarted,ResponseComplete,Panic",
                              path, name);
        }
        out[static_cast<std::size_t>(found - kStageNames.begin())] = true;
    }
    return out;
}

// A field that is not known would be a rule that is not kept.
Result<void> check_fields(const json::object& from, std::initializer_list<std::string_view> known,
                          const std::string& path) {
    for (const auto& field : from) {
        const std::string_view name(field.key().data(), field.key().size());
        if (std::find(known.begin(), known.end(), name) == known.end()) {
            return make_error(Code::kInvalidArgument, "unknown field \"{}{}{}\"", path,
                              path.empty() ? "" : ".", name);
        }
    }
    return {};
}

Result<GroupResources> group_resources(const json::value& from, const std::string& path) {
    if (!from.is_object()) {
        return make_error(Code::kInvalidArgument, "{}: it must be an object", path);
    }
    const json::object& object = from.get_object();
    SLUICE_TRY(check_fields(object, {"group", "resources", "resourceNames"}, path));
    GroupResources out;
    if (const json::value* group = object.if_contains("group"); group && group->is_string()) {
        out.group = view(group->get_string());
    }
    if (out.group.find('/') != std::string::npos) {
        return make_error(Code::kInvalidArgument,
                          "{}.group: Invalid value: \"{}\": a group has no version", path,
                          out.group);
    }
    SLUICE_TRY_ASSIGN(out.resources, texts(object, "resources", path));
    SLUICE_TRY_ASSIGN(out.names, texts(object, "resourceNames", path));
    if (!out.names.empty() && out.resources.empty()) {
        return make_error(Code::kInvalidArgument,
                          "{}.resourceNames: using resourceNames requires at least one resource",
                          path);
    }
    return out;
}

Result<Rule> rule_of(const json::value& from, const std::string& path) {
    if (!from.is_object()) {
        return make_error(Code::kInvalidArgument, "{}: it must be an object", path);
    }
    const json::object& object = from.get_object();
    SLUICE_TRY(check_fields(object,
                            {"level", "users", "userGroups", "verbs", "resources", "namespaces",
                             "nonResourceURLs", "omitStages", "omitManagedFields"},
                            path));
    Rule rule;
    const json::value* level = object.if_contains("level");
    if (level == nullptr || !level->is_string()) {
        return make_error(Code::kInvalidArgument, "{}.level: Required value", path);
    }
    const auto* found = std::find(kLevels.begin(), kLevels.end(), view(level->get_string()));
    if (found == kLevels.end()) {
        return make_error(Code::kInvalidArgument,
                          "{}.level: Unsupported value: \"{}\": supported values: \"None\", "
                          "\"Metadata\", \"Request\", \"RequestResponse\"",
                          path, view(level->get_string()));
    }
    rule.level = static_cast<Level>(found - kLevels.begin());
    SLUICE_TRY_ASSIGN(rule.users, texts(object, "users", path));
    SLUICE_TRY_ASSIGN(rule.groups, texts(object, "userGroups", path));
    SLUICE_TRY_ASSIGN(rule.verbs, texts(object, "verbs", path));
    SLUICE_TRY_ASSIGN(rule.namespaces, texts(object, "namespaces", path));
    SLUICE_TRY_ASSIGN(rule.urls, texts(object, "nonResourceURLs", path));
    SLUICE_TRY_ASSIGN(rule.omitted, stages(object, path));
    SLUICE_TRY_ASSIGN(rule.omit_managed_fields, flag(object, "omitManagedFields", path));
    if (const json::value* resources = object.if_contains("resources");
        resources != nullptr && resources->is_array()) {
        for (std::size_t i = 0; i < resources->get_array().size(); ++i) {
            SLUICE_TRY_ASSIGN(auto group,
                              group_resources(resources->get_array()[i],
                                              fmt::format("{}.resources[{}]", path, i)));
            rule.resources.push_back(std::move(group));
        }
    }
    if (!rule.urls.empty() && (!rule.resources.empty() || !rule.namespaces.empty())) {
        return make_error(Code::kInvalidArgument,
                          "{}.nonResourceURLs: Invalid value: rules cannot apply to both regular "
                          "resources and non-resource URLs",
                          path);
    }
    for (std::size_t i = 0; i < rule.urls.size(); ++i) {
        const std::string& url = rule.urls[i];
        const bool star = url.find('*') != std::string::npos && url.find('*') + 1 != url.size();
        if (url == "*") continue;
        if (!url.starts_with('/') || star) {
            return make_error(Code::kInvalidArgument,
                              "{}.nonResourceURLs[{}]: Invalid value: \"{}\": non-resource URL rules "
                              "must begin with a '/' character, and '*' may only be the last",
                              path, i, url);
        }
    }
    return rule;
}

bool has(const std::vector<std::string>& list, std::string_view value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

bool names_resource(std::string_view pattern, const authorization::Attributes& request) {
    if (pattern == "*") return true;
    const std::size_t slash = pattern.find('/');
    const std::string_view resource = pattern.substr(0, slash);
    const std::string_view subresource =
        slash == std::string_view::npos ? std::string_view{} : pattern.substr(slash + 1);
    if (resource != "*" && resource != request.resource) return false;
    if (slash == std::string_view::npos) return request.subresource.empty();
    // "pods/*" is the subresources of Pods and not the Pods.
    return subresource == request.subresource ||
           (subresource == "*" && !request.subresource.empty());
}

bool covers_resource(const Rule& rule, const authorization::Attributes& request) {
    if (!rule.namespaces.empty() && !has(rule.namespaces, request.namespace_name)) return false;
    if (rule.resources.empty()) return true;
    return std::any_of(
        rule.resources.begin(), rule.resources.end(), [&](const GroupResources& group) {
            if (group.group != request.group) return false;
            if (group.resources.empty()) return true;
            if (!group.names.empty() && !has(group.names, request.name)) return false;
            return std::any_of(group.resources.begin(), group.resources.end(),
                               [&](const std::string& p) { return names_resource(p, request); });
        });
}

bool covers_url(const Rule& rule, std::string_view path) {
    return std::any_of(rule.urls.begin(), rule.urls.end(), [path](std::string_view url) {
        if (!url.ends_with('*')) return url == path;
        url.remove_suffix(1);
        return path.starts_with(url);
    });
}

bool covers(const Rule& rule, const authorization::Attributes& request,
            const http::Identity& user) {
    if (!rule.users.empty() && !has(rule.users, user.user)) return false;
    if (!rule.groups.empty() &&
        std::none_of(rule.groups.begin(), rule.groups.end(), [&](const std::string& group) {
            return has(user.groups, group);
        })) {
        return false;
    }
    if (!rule.verbs.empty() && !has(rule.verbs, request.verb)) return false;
    if (!rule.namespaces.empty() || !rule.resources.empty()) {
        return request.is_resource && covers_resource(rule, request);
    }
    if (!rule.urls.empty()) return !request.is_resource && covers_url(rule, request.path);
    return true;
}

}  // namespace

std::string_view level_name(Level level) { return kLevels.at(static_cast<std::size_t>(level)); }
std::string_view stage_name(Stage stage) { return kStageNames.at(static_cast<std::size_t>(stage)); }

Result<Policy> Policy::parse(std::string_view text) {
    SLUICE_TRY_ASSIGN(const json::value root, codec::yaml_to_json(text));
    if (!root.is_object()) {
        return make_error(Code::kInvalidArgument, "an audit policy must be an object");
    }
    const json::object& object = root.get_object();
    const auto is = [&object](std::string_view name, std::string_view value) {
        const json::value* found = object.if_contains(name);
        return found != nullptr && found->is_string() && view(found->get_string()) == value;
    };
    if (!is("apiVersion", "audit.k8s.io/v1") || !is("kind", "Policy")) {
        return make_error(Code::kInvalidArgument,
                          "an audit policy needs \"apiVersion: audit.k8s.io/v1\" and \"kind: Policy\"");
    }
    SLUICE_TRY(check_fields(
        object, {"apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"}, ""));
    SLUICE_TRY_ASSIGN(const StageSet omitted, stages(object, "policy"));
    SLUICE_TRY_ASSIGN(const bool omit_fields, flag(object, "omitManagedFields", "policy"));
    const json::value* rules = object.if_contains("rules");
    if (rules == nullptr || !rules->is_array() || rules->get_array().empty()) {
        return make_error(Code::kInvalidArgument, "loaded illegal policy with 0 rules");
    }
    if (rules->get_array().size() > kMaxRules) {
        return make_error(Code::kInvalidArgument, "rules: Too many: {}: must have at most {} items",
                          rules->get_array().size(), kMaxRules);
    }
    Policy out;
    for (std::size_t i = 0; i < rules->get_array().size(); ++i) {
        const json::value& item = rules->get_array()[i];
        SLUICE_TRY_ASSIGN(Rule rule, rule_of(item, fmt::format("rules[{}]", i)));
        for (std::size_t stage = 0; stage < kStages; ++stage) {
            rule.omitted[stage] = rule.omitted[stage] || omitted[stage];
        }
        // The rule's own word goes before the policy's.
        const bool said = item.get_object().if_contains("omitManagedFields") != nullptr;
        if (!said) rule.omit_managed_fields = omit_fields;
        out.rules_.push_back(std::move(rule));
    }
    return out;
}

Result<Policy> Policy::load(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return errno_error(errno, "cannot read the audit policy {}", path);
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (text.size() > kMaxPolicyBytes) {
        return make_error(Code::kInvalidArgument, "the audit policy {} is larger than {} bytes",
                          path, kMaxPolicyBytes);
    }
    auto policy = parse(text);
    if (!policy) return policy.error().with_context(path);
    return policy;
}

Verdict Policy::decide(const authorization::Attributes& request, const http::Identity& user) const {
    const auto found = std::find_if(rules_.begin(), rules_.end(), [&](const Rule& rule) {
        return covers(rule, request, user);
    });
    if (found == rules_.end()) return {};
    return {found->level, found->omitted, found->omit_managed_fields};
}

}  // namespace sluice::audit
