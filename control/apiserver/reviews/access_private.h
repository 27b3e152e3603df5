// What reviews of access have in common: the attributes that they ask about, and how decisions and rules are told.
#pragma once

#include "api/kubernetes/authorization/v1/authorization.pb.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::reviews {

// Exactly one of the two kinds of attributes. Spec: SelfSubjectAccessReviewSpec or SubjectAccessReviewSpec.
template <class Spec>
void check_attributes(const Spec& spec, registry::FieldErrors* errors) {
    if (spec.has_resourceattributes() && spec.has_nonresourceattributes()) {
        errors->invalid("spec.nonResourceAttributes",
                        registry::BadValue::verbatim("v1.NonResourceAttributes{...}"),
                        "cannot be specified in combination with resourceAttributes");
    }
    if (!spec.has_resourceattributes() && !spec.has_nonresourceattributes()) {
        errors->invalid("spec.resourceAttributes", registry::BadValue::verbatim("null"),
                        "exactly one of nonResourceAttributes or resourceAttributes must be specified");
    }
}

void fill_attributes(const ::k8s::io::api::authorization::v1::ResourceAttributes& from,
                     authorization::Attributes* out);

template <class Spec>
authorization::Attributes attributes_of(const Spec& spec, http::Identity user) {
    authorization::Attributes out;
    out.user = std::move(user);
    if (spec.has_resourceattributes()) {
        fill_attributes(spec.resourceattributes(), &out);
    } else {
        out.verb = spec.nonresourceattributes().verb();
        out.path = spec.nonresourceattributes().path();
    }
    return out;
}

void decide(const authorization::Authorizer& authorizer, const authorization::Attributes& asked,
            ::k8s::io::api::authorization::v1::SubjectAccessReviewStatus* status);

void tell_rules(const authorization::Permitted& permitted,
                ::k8s::io::api::authorization::v1::SubjectRulesReviewStatus* status);

}  // namespace sluice::reviews
