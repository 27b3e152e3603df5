// What webhook configurations and admission policies have in common: rules, match conditions, where a webhook is
// reached; in Kubernetes' words. Pure and thread-safe.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::admissionregistration::v1 {
class MatchCondition;
class MatchResources;
class RuleWithOperations;
class ValidatingAdmissionPolicy;
class ValidatingAdmissionPolicyBinding;
class WebhookClientConfig;
}  // namespace k8s::io::api::admissionregistration::v1

namespace sluice::registry {

namespace admissionv1 = ::k8s::io::api::admissionregistration::v1;

void check_admission_rule(const admissionv1::RuleWithOperations& rule, const std::string& field,
                          FieldErrors* errors);
void check_webhook_client(const admissionv1::WebhookClientConfig& client, const std::string& field,
                          FieldErrors* errors);
// params: whether the expressions may name params.
void check_match_conditions(
    const google::protobuf::RepeatedPtrField<admissionv1::MatchCondition>& conditions,
    const std::string& field, bool params, FieldErrors* errors);
// admissionReviewVersions. recognized: one of them has to be spoken here.
void check_review_versions(const google::protobuf::RepeatedPtrField<std::string>& versions,
                           bool recognized, const std::string& field, FieldErrors* errors);

// Everything but metadata.
void validate_admission_policy(const admissionv1::ValidatingAdmissionPolicy& policy,
                               FieldErrors* errors);
void validate_admission_policy_status(const admissionv1::ValidatingAdmissionPolicy& policy,
                                      FieldErrors* errors);
void validate_admission_policy_binding(
    const admissionv1::ValidatingAdmissionPolicyBinding& binding, FieldErrors* errors);

}  // namespace sluice::registry
