#include "control/apiserver/registry/validation/admission_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "control/apiserver/expressions/admission.h"
#include "control/apiserver/expressions/text.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/paths.h"

namespace sluice::registry {

namespace {

using Strings = google::protobuf::RepeatedPtrField<std::string>;

constexpr int kMaxMatchConditions = 64;

bool has_wildcard(const Strings& list) {
    return std::ranges::find(list, "*") != list.end();
}

BadValue shown(const Strings& list) {
    return BadValue::verbatim(go_string_list(std::vector<std::string>(list.begin(), list.end())));
}

void check_resources(const Strings& resources, const std::string& field, FieldErrors* errors) {
    if (resources.empty()) errors->required(field);
    std::set<std::string> any_subresource;  // "x" of "x/*"
    std::set<std::string> any_resource;     // "y" of "*/y"
    bool everything = false;
    bool all_resources = false;
    bool plain = false;
    for (int i = 0; i < resources.size(); ++i) {
        const std::string& text = resources.Get(i);
        const std::string path = field_index(field, i);
        if (text.empty()) {
            errors->required(path);
            continue;
        }
        everything = everything || text == "*/*";
        all_resources = all_resources || text == "*";
        const std::size_t slash = text.find('/');
        if (slash == std::string::npos) {
            plain = text != "*";
            continue;
        }
        const std::string resource = text.substr(0, slash);
        const std::string subresource = text.substr(slash + 1);
        if (any_subresource.contains(resource)) {
            errors->invalid(path, text,
                            fmt::format("if '{}/*' is present, must not specify {}", resource,
                                        text));
        }
        if (any_resource.contains(subresource)) {
            errors->invalid(path, text,
                            fmt::format("if '*/{}' is present, must not specify {}", subresource,
                                        text));
        }
        if (subresource == "*") any_subresource.insert(resource);
        if (resource == "*") any_resource.insert(subresource);
    }
    if (resources.size() > 1 && everything) {
        errors->invalid(field, shown(resources),
                        "if '*/*' is present, must not specify other resources");
    }
    if (all_resources && plain) {
        errors->invalid(field, shown(resources),
                        "if '*' is present, must not specify other resources without "
                        "subresources");
    }
}

}  // namespace

void check_admission_rule(const admissionv1::RuleWithOperations& rule, const std::string& field,
                          FieldErrors* errors) {
    const Strings& operations = rule.operations();
    if (operations.empty()) errors->required(field + ".operations");
    if (operations.size() > 1 && has_wildcard(operations)) {
        std::vector<std::string> quoted;
        for (const std::string& operation : operations) quoted.push_back(go_quote(operation));
        errors->invalid(field + ".operations",
                        BadValue::verbatim(fmt::format("[]admissionregistration.OperationType{{{}}}",
                                                       fmt::join(quoted, ", "))),
                        "if '*' is present, must not specify other operations");
    }
    for (int i = 0; i < operations.size(); ++i) {
        const std::string& operation = operations.Get(i);
        if (operation != "*" && operation != "CREATE" && operation != "UPDATE" &&
            operation != "DELETE" && operation != "CONNECT") {
            errors->not_supported(field_index(field + ".operations", i), operation,
                                  {"*", "CONNECT", "CREATE", "DELETE", "UPDATE"});
        }
    }
    const auto& what = rule.rule();
    if (what.apigroups_size() == 0) errors->required(field + ".apiGroups");
    if (what.apigroups_size() > 1 && has_wildcard(what.apigroups())) {
        errors->invalid(field + ".apiGroups", shown(what.apigroups()),
                        "if '*' is present, must not specify other API groups");
    }
    if (what.apiversions_size() == 0) errors->required(field + ".apiVersions");
    if (what.apiversions_size() > 1 && has_wildcard(what.apiversions())) {
        errors->invalid(field + ".apiVersions", shown(what.apiversions()),
                        "if '*' is present, must not specify other API versions");
    }
    for (int i = 0; i < what.apiversions_size(); ++i) {
        if (what.apiversions(i).empty()) errors->required(field_index(field + ".apiVersions", i));
    }
    check_resources(what.resources(), field + ".resources", errors);
    if (what.has_scope() && what.scope() != "*" && what.scope() != "Cluster" &&
        what.scope() != "Namespaced") {
        errors->not_supported(field + ".scope", what.scope(), {"*", "Cluster", "Namespaced"});
    }
}

void check_webhook_client(const admissionv1::WebhookClientConfig& client, const std::string& field,
                          FieldErrors* errors) {
    if (client.has_url() == client.has_service()) {
        errors->required(field, "exactly one of url or service is required");
        return;
    }
    if (client.has_url()) {
        check_webhook_url(client.url(), field + ".url", errors);
        return;
    }
    const auto& service = client.service();
    // kube-apiserver mixes up the two here: a service without a name is told that it lacks its namespace.
    if (service.namespace_().empty()) errors->required(field + ".service.name");
    if (service.name().empty()) errors->required(field + ".service.namespace");
    const auto why = check_port_number(service.port());
    if (!why.empty()) {
        errors->invalid(field + ".service.port", service.port(),
                        fmt::format("port is not valid: {}", fmt::join(why, ", ")));
    }
    if (service.has_path()) check_service_path(service.path(), field + ".service.path", errors);
}

void check_match_conditions(
    const google::protobuf::RepeatedPtrField<admissionv1::MatchCondition>& conditions,
    const std::string& field, bool params, FieldErrors* errors) {
    if (conditions.empty()) return;
    if (conditions.size() > kMaxMatchConditions) {
        // Each costs time to look at.
        return errors->too_many(field, static_cast<std::uint64_t>(conditions.size()),
                                kMaxMatchConditions);
    }
    expressions::Declarations declared;
    declared.params = params;
    const expressions::Compiler compiler(declared);
    std::set<std::string> names;
    for (int i = 0; i < conditions.size(); ++i) {
        const auto& condition = conditions.Get(i);
        const std::string path = field_index(field, i);
        const std::string expression(expressions::trimmed(condition.expression()));
        if (expression.empty()) {
            errors->required(path + ".expression");
        } else if (const auto program = compiler.compile(expression, expressions::Gives::kBool);
                   !program) {
            errors->invalid(path + ".expression", expression, program.error().message);
        }
        if (condition.name().empty()) {
            errors->required(path + ".name");
            continue;
        }
        errors->invalid_all(path + ".name", condition.name(),
                            check_qualified_name(condition.name()));
        if (!names.insert(condition.name()).second) {
            errors->duplicate(path + ".name", condition.name());
        }
    }
}

void check_review_versions(const Strings& versions, bool recognized, const std::string& field,
                           FieldErrors* errors) {
    if (versions.empty()) {
        errors->required(field, "must specify one of v1, v1beta1");
        return;
    }
    std::set<std::string> seen;
    bool known = false;
    for (int i = 0; i < versions.size(); ++i) {
        const std::string& version = versions.Get(i);
        const std::string path = field_index(field, i);
        if (!seen.insert(version).second) {
            errors->invalid(path, version, "duplicate version");
            continue;
        }
        errors->invalid_all(path, version, check_dns1035_label(version));
        known = known || version == "v1" || version == "v1beta1";
    }
    if (recognized && !known) {
        errors->invalid(field, shown(versions), "must include at least one of v1, v1beta1");
    }
}

}  // namespace sluice::registry
