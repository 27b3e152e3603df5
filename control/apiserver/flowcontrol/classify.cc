#include "control/apiserver/flowcontrol/classify.h"

#include <algorithm>

#include "control/apiserver/flowcontrol/defaults.h"

namespace sluice::flowcontrol {
namespace {

constexpr std::string_view kAll = "*";
constexpr std::string_view kServiceAccountPrefix = "system:serviceaccount:";

bool has(const std::vector<std::string>& list, std::string_view value) {
    return std::any_of(list.begin(), list.end(), [value](const std::string& item) {
        return item == kAll || item == value;
    });
}

bool is_service_account(std::string_view user, const Subject& subject) {
    if (!user.starts_with(kServiceAccountPrefix)) return false;
    user.remove_prefix(kServiceAccountPrefix.size());
    const std::size_t colon = user.find(':');
    return colon != std::string_view::npos && user.substr(0, colon) == subject.name_space &&
           (subject.name == kAll || user.substr(colon + 1) == subject.name);
}

bool matches(const Subject& subject, const http::Identity& user) {
    switch (subject.kind) {
        case Subject::Kind::kUser:
            return subject.name == kAll || subject.name == user.user;
        case Subject::Kind::kGroup:
            return std::any_of(user.groups.begin(), user.groups.end(),
                               [&](const std::string& group) {
                                   return subject.name == kAll || subject.name == group;
                               });
        case Subject::Kind::kServiceAccount:
            return is_service_account(user.user, subject);
    }
    return false;
}

bool matches(const ResourceRule& rule, const authorization::Attributes& request,
             std::string_view resource) {
    if (!has(rule.verbs, request.verb) || !has(rule.groups, request.group) ||
        !has(rule.resources, resource)) {
        return false;
    }
    if (request.namespace_name.empty()) return rule.cluster_scope;
    return has(rule.namespaces, request.namespace_name);
}

bool matches(const NonResourceRule& rule, const authorization::Attributes& request) {
    if (!has(rule.verbs, request.verb)) return false;
    return std::any_of(rule.urls.begin(), rule.urls.end(), [&](std::string_view url) {
        if (url == kAll || url == request.path) return true;
        if (!url.ends_with("/*")) return false;
        url.remove_suffix(1);
        return request.path.starts_with(url);
    });
}

template <class Item>
bool contains(const std::vector<Item>& items, std::string_view name) {
    return std::any_of(items.begin(), items.end(),
                       [name](const Item& item) { return item.name == name; });
}

}  // namespace

bool matches(const FlowSchema& schema, const authorization::Attributes& request) {
    std::string joined;
    if (!request.subresource.empty()) joined = request.resource + "/" + request.subresource;
    const std::string_view resource = joined.empty() ? request.resource : joined;
    return std::any_of(schema.rules.begin(), schema.rules.end(), [&](const Rules& rules) {
        if (std::none_of(rules.subjects.begin(), rules.subjects.end(),
                         [&](const Subject& s) { return matches(s, request.user); })) {
            return false;
        }
        if (request.is_resource) {
            return std::any_of(
                rules.resource_rules.begin(), rules.resource_rules.end(),
                [&](const ResourceRule& rule) { return matches(rule, request, resource); });
        }
        return std::any_of(rules.non_resource_rules.begin(), rules.non_resource_rules.end(),
                           [&](const NonResourceRule& rule) { return matches(rule, request); });
    });
}

std::string_view distinguisher_of(const FlowSchema& schema,
                                  const authorization::Attributes& request) {
    switch (schema.distinguisher) {
        case FlowSchema::Distinguisher::kByUser: return request.user.user;
        case FlowSchema::Distinguisher::kByNamespace: return request.namespace_name;
        case FlowSchema::Distinguisher::kNone: return {};
    }
    return {};
}

Configuration complete(Configuration configuration) {
    const Configuration own = defaults();
    // Without these two, requests would belong nowhere.
    for (const char* name : {"exempt", "catch-all"}) {
        if (!contains(configuration.levels, name)) {
            configuration.levels.push_back(*std::find_if(
                own.levels.begin(), own.levels.end(), [&](const auto& l) { return l.name == name; }));
        }
        if (!contains(configuration.schemas, name)) {
            configuration.schemas.push_back(*std::find_if(own.schemas.begin(), own.schemas.end(),
                                                          [&](const auto& s) {
                                                              return s.name == name;
                                                          }));
        }
    }
    for (PriorityLevel& level : configuration.levels) {
        level.queues = std::clamp<std::uint32_t>(level.queues, 1, kMaxQueues);
        level.hand_size = std::clamp<std::uint32_t>(level.hand_size, 1, level.queues);
        level.queue_length_limit = std::min(level.queue_length_limit, kMaxQueueLength);
        level.lendable_percent = std::min<std::uint32_t>(level.lendable_percent, 100);
    }
    const auto rank = [](const std::string& name) { return name == "exempt" || name == "catch-all"; };
    // The mandatory ones first, so that they are never among those beyond the limit.
    std::stable_sort(configuration.levels.begin(), configuration.levels.end(),
                     [&](const auto& a, const auto& b) { return rank(a.name) > rank(b.name); });
    if (configuration.levels.size() > kMaxLevels) configuration.levels.resize(kMaxLevels);
    std::erase_if(configuration.schemas, [&](const FlowSchema& schema) {
        return !contains(configuration.levels, schema.level);
    });
    std::stable_sort(configuration.schemas.begin(), configuration.schemas.end(),
                     [&](const auto& a, const auto& b) { return rank(a.name) > rank(b.name); });
    if (configuration.schemas.size() > kMaxSchemas) configuration.schemas.resize(kMaxSchemas);
    std::sort(configuration.schemas.begin(), configuration.schemas.end(),
              [](const FlowSchema& a, const FlowSchema& b) {
                  return a.precedence != b.precedence ? a.precedence < b.precedence
                                                      : a.name < b.name;
              });
    return configuration;
}

}  // namespace sluice::flowcontrol
