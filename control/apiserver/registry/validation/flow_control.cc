#include "control/apiserver/registry/validation/flow_control.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

using Strings = google::protobuf::RepeatedPtrField<std::string>;

constexpr std::int32_t kMaxPrecedence = 10'000;
constexpr std::int32_t kMaxQueues = 10'000'000;
constexpr std::int32_t kMaxPercent = 100;
constexpr double kMaxEntropyBits = 60;
const std::vector<std::string> kVerbs = {
    "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"};

bool has_wildcard(const Strings& list) {
    return std::ranges::find(list, "*") != list.end();
}

BadValue shown(const Strings& list) {
    return BadValue::verbatim(go_string_list(std::vector<std::string>(list.begin(), list.end())));
}

void check_verbs(const Strings& verbs, const std::string& field, FieldErrors* errors) {
    if (verbs.empty()) {
        errors->required(field, "verbs must contain at least one value");
    } else if (has_wildcard(verbs)) {
        if (verbs.size() > 1) {
            errors->invalid(field, shown(verbs),
                            "if '*' is present, must not specify other verbs");
        }
    } else if (!std::ranges::all_of(verbs, [](const std::string& verb) {
                   return std::ranges::find(kVerbs, verb) != kVerbs.end();
               })) {
        errors->not_supported(field, shown(verbs), kVerbs);
    }
}

// What only one member of a subject may be: the one that its kind names.
void check_others(const flowv1::Subject& subject, const std::string& field, FieldErrors* errors) {
    if (subject.has_serviceaccount() && subject.kind() != "ServiceAccount") {
        errors->forbidden(field + ".serviceAccount",
                          "serviceAccount is forbidden when subject kind is not 'ServiceAccount'");
    }
    if (subject.has_user() && subject.kind() != "User") {
        errors->forbidden(field + ".user", "user is forbidden when subject kind is not 'User'");
    }
    if (subject.has_group() && subject.kind() != "Group") {
        errors->forbidden(field + ".group", "group is forbidden when subject kind is not 'Group'");
    }
}

void check_account(const flowv1::Subject& subject, const std::string& field, FieldErrors* errors) {
    if (!subject.has_serviceaccount()) {
        errors->required(field, "serviceAccount is required when subject kind is 'ServiceAccount'");
        return;
    }
    const auto& account = subject.serviceaccount();
    if (account.name().empty()) {
        errors->required(field + ".name");
    } else if (account.name() != "*") {
        errors->invalid_all(field + ".name", account.name(),
                            check_dns1123_subdomain(account.name()));
    }
    if (account.namespace_().empty()) {
        errors->required(field + ".namespace", "must specify namespace for service account");
    } else {
        errors->invalid_all(field + ".namespace", account.namespace_(),
                            check_dns1123_label(account.namespace_()));
    }
}

void check_subject(const flowv1::Subject& subject, const std::string& field, FieldErrors* errors) {
    if (subject.kind() == "ServiceAccount") {
        check_account(subject, field + ".serviceAccount", errors);
    } else if (subject.kind() == "User") {
        if (!subject.has_user()) {
            errors->required(field + ".user", "user is required when subject kind is 'User'");
        } else if (subject.user().name().empty()) {
            errors->required(field + ".user.name");
        }
    } else if (subject.kind() == "Group") {
        if (!subject.has_group()) {
            errors->required(field + ".group", "group is required when subject kind is 'Group'");
        } else if (subject.group().name().empty()) {
            errors->required(field + ".group.name");
        }
    } else {
        errors->not_supported(field + ".kind", subject.kind(), {"Group", "ServiceAccount", "User"});
        return;
    }
    check_others(subject, field, errors);
}

void check_resource_rule(const flowv1::ResourcePolicyRule& rule, const std::string& field,
                         FieldErrors* errors) {
    check_verbs(rule.verbs(), field + ".verbs", errors);
    if (rule.apigroups_size() == 0) {
        errors->required(field + ".apiGroups",
                         "resource rules must supply at least one api group");
    } else if (rule.apigroups_size() > 1 && has_wildcard(rule.apigroups())) {
        errors->invalid(field + ".apiGroups", shown(rule.apigroups()),
                        "if '*' is present, must not specify other api groups");
    }
    if (rule.resources_size() == 0) {
        errors->required(field + ".resources",
                         "resource rules must supply at least one resource");
    } else if (rule.resources_size() > 1 && has_wildcard(rule.resources())) {
        errors->invalid(field + ".resources", shown(rule.resources()),
                        "if '*' is present, must not specify other resources");
    }
    if (rule.namespaces_size() == 0 && !rule.clusterscope()) {
        errors->required(field + ".namespaces",
                         "resource rules that are not cluster scoped must supply at least one "
                         "namespace");
    } else if (has_wildcard(rule.namespaces())) {
        if (rule.namespaces_size() > 1) {
            errors->invalid(field + ".namespaces", shown(rule.namespaces()),
                            "if '*' is present, must not specify other namespaces");
        }
    } else {
        for (int i = 0; i < rule.namespaces_size(); ++i) {
            for (const std::string& why : check_dns1123_label(rule.namespaces(i))) {
                errors->invalid(field_index(field + ".namespaces", i), rule.namespaces(i),
                                "each member of this list must be '*' or a DNS-1123 label; " + why);
            }
        }
    }
}

void check_path(const std::string& path, const std::string& field, FieldErrors* errors) {
    if (path == "/") return;
    const auto stars = std::ranges::count(path, '*');
    if (path.empty()) {
        errors->invalid(field, path, "must not be empty");
    } else if (!path.starts_with('/')) {
        errors->invalid(field, path, "must start with slash");
    } else if (path.find(' ') != std::string::npos) {
        errors->invalid(field, path, "must not contain white-space");
    } else if (path.find("//") != std::string::npos) {
        errors->invalid(field, path, "must not contain double slash");
    } else if (stars > 1 || (stars == 1 && !path.ends_with("/*"))) {
        errors->invalid(field, path, "wildcard can only do suffix matching");
    }
}

void check_path_rule(const flowv1::NonResourcePolicyRule& rule, const std::string& field,
                     FieldErrors* errors) {
    check_verbs(rule.verbs(), field + ".verbs", errors);
    const auto& urls = rule.nonresourceurls();
    if (urls.empty()) {
        errors->required(field + ".nonResourceURLs",
                         "nonResourceURLs must contain at least one value");
    } else if (has_wildcard(urls)) {
        if (urls.size() > 1) {
            errors->invalid(field + ".nonResourceURLs", shown(urls),
                            "if '*' is present, must not specify other non-resource URLs");
        }
    } else {
        for (int i = 0; i < urls.size(); ++i) {
            check_path(urls.Get(i), field_index(field + ".nonResourceURLs", i), errors);
        }
    }
}

void check_rule(const flowv1::PolicyRulesWithSubjects& rule, const std::string& field,
                FieldErrors* errors) {
    if (rule.subjects_size() == 0) {
        errors->required(field + ".subjects", "subjects must contain at least one value");
    }
    for (int i = 0; i < rule.subjects_size(); ++i) {
        check_subject(rule.subjects(i), field_index(field + ".subjects", i), errors);
    }
    if (rule.resourcerules_size() == 0 && rule.nonresourcerules_size() == 0) {
        errors->required(field,
                         "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (int i = 0; i < rule.resourcerules_size(); ++i) {
        check_resource_rule(rule.resourcerules(i), field_index(field + ".resourceRules", i),
                            errors);
    }
    for (int i = 0; i < rule.nonresourcerules_size(); ++i) {
        check_path_rule(rule.nonresourcerules(i), field_index(field + ".nonResourceRules", i),
                        errors);
    }
}

template <class Conditions>
void check_conditions(const Conditions& conditions, FieldErrors* errors) {
    std::set<std::string> types;
    for (int i = 0; i < conditions.size(); ++i) {
        const std::string field = field_index("status.conditions", i) + ".type";
        const std::string& type = conditions.Get(i).type();
        if (!types.insert(type).second) errors->duplicate(field, type);
        if (type.empty()) errors->required(field, "must not be empty");
    }
}

// Bits that name one of the hands of `hand` cards from a deck of `deck`.
double entropy_bits(std::int32_t deck, std::int32_t hand) {
    double bits = 0;
    for (std::int32_t i = 0; i < hand; ++i) bits += std::log2(static_cast<double>(deck - i));
    return std::ceil(bits);
}

void check_queuing(const flowv1::QueuingConfiguration& queuing, const std::string& field,
                   FieldErrors* errors) {
    if (queuing.queuelengthlimit() <= 0) {
        errors->invalid(field + ".queueLengthLimit", queuing.queuelengthlimit(),
                        "must be positive");
    }
    if (queuing.queues() <= 0) {
        errors->invalid(field + ".queues", queuing.queues(), "must be positive");
    } else if (queuing.queues() > kMaxQueues) {
        errors->invalid(field + ".queues", queuing.queues(),
                        fmt::format("must not be greater than {}", kMaxQueues));
    }
    if (queuing.handsize() <= 0) {
        errors->invalid(field + ".handSize", queuing.handsize(), "must be positive");
    } else if (queuing.handsize() > queuing.queues()) {
        errors->invalid(field + ".handSize", queuing.handsize(),
                        fmt::format("should not be greater than queues ({})", queuing.queues()));
    } else if (queuing.handsize() > static_cast<std::int32_t>(kMaxEntropyBits) ||
               entropy_bits(queuing.queues(), queuing.handsize()) > kMaxEntropyBits) {
        errors->invalid(field + ".handSize", queuing.handsize(),
                        fmt::format("required entropy bits of deckSize {} and handSize {} should "
                                    "not be greater than {}",
                                    queuing.queues(), queuing.handsize(), kMaxEntropyBits));
    }
}

void check_response(const flowv1::LimitResponse& response, const std::string& field,
                    FieldErrors* errors) {
    if (response.type() == "Reject") {
        if (response.has_queuing()) {
            errors->forbidden(field + ".queuing",
                              "must be nil if limited.limitResponse.type is not Limited");
        }
    } else if (response.type() == "Queue") {
        if (!response.has_queuing()) {
            errors->required(field + ".queuing",
                             "must not be empty if limited.limitResponse.type is Limited");
        } else {
            check_queuing(response.queuing(), field + ".queuing", errors);
        }
    } else {
        errors->not_supported(field + ".type", response.type(), {"Queue", "Reject"});
    }
}

template <class Shares>
void check_shares(const Shares& shares, const std::string& field, FieldErrors* errors) {
    if (shares.nominalconcurrencyshares() < 0) {
        errors->invalid(field + ".nominalConcurrencyShares", shares.nominalconcurrencyshares(),
                        "must be a non-negative integer");
    }
    if (shares.lendablepercent() < 0 || shares.lendablepercent() > kMaxPercent) {
        errors->invalid(field + ".lendablePercent", shares.lendablepercent(),
                        "must be between 0 and 100, inclusive");
    }
}

}  // namespace

void validate_flow_schema(const flowv1::FlowSchema& object, FieldErrors* errors) {
    const auto& spec = object.spec();
    const std::int32_t precedence = spec.matchingprecedence();
    if (precedence <= 0) {
        errors->invalid("spec.matchingPrecedence", precedence, "must be a positive value");
    }
    if (precedence > kMaxPrecedence) {
        errors->invalid("spec.matchingPrecedence", precedence,
                        fmt::format("must not be greater than {}", kMaxPrecedence));
    }
    if (precedence == 1 && object.metadata().name() != "exempt") {
        errors->invalid("spec.matchingPrecedence", precedence,
                        "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if (spec.has_distinguishermethod()) {
        const std::string& type = spec.distinguishermethod().type();
        if (type != "ByNamespace" && type != "ByUser") {
            errors->not_supported(
                "spec.distinguisherMethod.type",
                BadValue::verbatim(
                    fmt::format("flowcontrol.FlowDistinguisherMethod{{Type:{}}}", go_quote(type))),
                std::vector<std::string>{"ByNamespace", "ByUser"});
        }
    }
    const std::string& level = spec.prioritylevelconfiguration().name();
    if (level.empty()) {
        errors->required("spec.priorityLevelConfiguration.name", "must reference a priority level");
    } else {
        errors->invalid_all("spec.priorityLevelConfiguration.name", level,
                            check_dns1123_subdomain(level));
    }
    for (int i = 0; i < spec.rules_size(); ++i) {
        check_rule(spec.rules(i), field_index("spec.rules", i), errors);
    }
    validate_flow_schema_status(object, errors);
}

void validate_flow_schema_status(const flowv1::FlowSchema& object, FieldErrors* errors) {
    check_conditions(object.status().conditions(), errors);
}

void validate_priority_level(const flowv1::PriorityLevelConfiguration& object,
                             FieldErrors* errors) {
    const auto& spec = object.spec();
    const bool exempt = spec.type() == "Exempt";
    if ((object.metadata().name() == "exempt") != exempt) {
        errors->invalid("spec.type", spec.type(),
                        "type must be 'Exempt' if and only if name is 'exempt'");
    }
    if (exempt) {
        if (spec.has_limited()) {
            errors->forbidden("spec.limited", "must be nil if the type is not Limited");
        }
        if (spec.has_exempt()) check_shares(spec.exempt(), "spec.exempt", errors);
    } else if (spec.type() == "Limited") {
        if (spec.has_exempt()) {
            errors->forbidden("spec.exempt", "must be nil if the type is Limited");
        }
        if (!spec.has_limited()) {
            errors->required("spec.limited", "must not be empty when type is Limited");
        } else {
            check_shares(spec.limited(), "spec.limited", errors);
            if (spec.limited().borrowinglimitpercent() < 0) {
                errors->invalid("spec.limited.borrowingLimitPercent",
                                spec.limited().borrowinglimitpercent(),
                                "if specified, must be a non-negative integer");
            }
            check_response(spec.limited().limitresponse(), "spec.limited.limitResponse", errors);
        }
    } else {
        errors->not_supported("spec.type", spec.type(), {"Exempt", "Limited"});
    }
    validate_priority_level_status(object, errors);
}

void validate_priority_level_status(const flowv1::PriorityLevelConfiguration& object,
                                    FieldErrors* errors) {
    check_conditions(object.status().conditions(), errors);
}

}  // namespace sluice::registry
