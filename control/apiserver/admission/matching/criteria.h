// Which requests are the business of a webhook or a policy: rules, selectors, and the version of the objects that a
// rule names. Pure but for what is read of the store; thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec/selector.h"
#include "api/kubernetes/admissionregistration/v1/policy.pb.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "control/apiserver/registry/rest/admission.h"

namespace sluice::admission {

namespace admissionv1 = ::k8s::io::api::admissionregistration::v1;

// A rule; names: of objects it is restricted to, empty: none.
struct NamedRule {
    admissionv1::RuleWithOperations what;
    std::vector<std::string> names;
};

struct Criteria {
    std::vector<NamedRule> rules;
    std::vector<NamedRule> excluded;
    codec::LabelSelector namespaces;
    codec::LabelSelector objects;
    bool equivalent = true;    // matchPolicy
    bool any_resource = false;  // with no rules at all
};
[[nodiscard]] Criteria criteria_of(const admissionv1::MatchResources& match, bool any_resource);
// A selector that cannot be read selects nothing; validation lets none in.
[[nodiscard]] codec::LabelSelector selector_of(const codec::metav1::LabelSelector& selector);

// "CREATE" and so on.
[[nodiscard]] const char* operation_name(registry::Operation operation);

// The version of the request's resource that a rule names: that of the request, or another one of the same objects.
struct Match {
    const codec::KindInfo* kind = nullptr;  // null: it is nobody's business
    std::shared_ptr<const registry::CustomKind> held;
};
// Whether a request for this resource (its plural name, of whatever group and version, a subresource of it too) may be
// the business of it: false is certain. Cheap.
[[nodiscard]] bool may_be_about(const Criteria& criteria, std::string_view resource);
// By rules alone.
[[nodiscard]] Match match_rules(const Criteria& criteria, const registry::AdmissionRequest& request);
// By selectors and rules. 404: the namespace by whose labels it is decided does not exist.
[[nodiscard]] registry::Answer<Match> match(const Criteria& criteria, const registry::AdmissionRequest& request);
// Configurations of admission itself: nobody is asked about them, so that a broken one can be taken away.
[[nodiscard]] bool is_exempt(const registry::AdmissionRequest& request);
// Questions about who somebody is and what he may do: no policy is asked about them, as one that denies them could shut
// everybody out. Webhooks are, if their rules name them.
[[nodiscard]] bool is_review(const registry::AdmissionRequest& request);

}  // namespace sluice::admission
