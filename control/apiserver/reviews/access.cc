#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/reviews/access_private.h"

namespace sluice::reviews {

namespace authorizationv1 = ::k8s::io::api::authorization::v1;

void fill_attributes(const authorizationv1::ResourceAttributes& from, authorization::Attributes* out) {
    out->is_resource = true;
    out->verb = from.verb();
    out->group = from.group();
    out->version = from.version();
    out->resource = from.resource();
    out->subresource = from.subresource();
    out->namespace_name = from.namespace_();
    out->name = from.name();
    out->field_selector = from.fieldselector().rawselector();
    // Authorizers look for what a field must be; other requirements only narrow further, and are not needed.
    for (const auto& requirement : from.fieldselector().requirements()) {
        if (requirement.operator_() != "In" || requirement.values_size() != 1) continue;
        std::string value;
        for (const char c : requirement.values(0)) {
            if (c == ',' || c == '=' || c == '\\') value += '\\';
            value += c;
        }
        if (!out->field_selector.empty()) out->field_selector += ',';
        out->field_selector += requirement.key() + "=" + value;
    }
}

void decide(const authorization::Authorizer& authorizer, const authorization::Attributes& asked,
            authorizationv1::SubjectAccessReviewStatus* status) {
    const authorization::Decision decision = authorizer.authorize(asked);
    status->Clear();
    status->set_allowed(decision.allowed);
    if (!decision.reason.empty()) status->set_reason(decision.reason);
}

void tell_rules(const authorization::Permitted& permitted, authorizationv1::SubjectRulesReviewStatus* status) {
    const auto fill = [](const std::vector<std::string>& from, auto* to) {
        for (const std::string& value : from) *to->Add() = value;
    };
    status->Clear();
    status->set_incomplete(permitted.incomplete);
    if (!permitted.error.empty()) status->set_evaluationerror(permitted.error);
    for (const authorization::Rule& rule : permitted.rules) {
        if (!rule.resources.empty()) {
            auto* out = status->add_resourcerules();
            fill(rule.verbs, out->mutable_verbs());
            fill(rule.groups, out->mutable_apigroups());
            fill(rule.resources, out->mutable_resources());
            fill(rule.names, out->mutable_resourcenames());
        }
        if (!rule.paths.empty()) {
            auto* out = status->add_nonresourcerules();
            fill(rule.verbs, out->mutable_verbs());
            fill(rule.paths, out->mutable_nonresourceurls());
        }
    }
}

}  // namespace sluice::reviews
