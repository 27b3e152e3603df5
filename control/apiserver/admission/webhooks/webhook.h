// One webhook of a configuration. Pure.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "control/apiserver/admission/matching/conditions.h"
#include "control/apiserver/admission/matching/criteria.h"

namespace sluice::admission {

// Of a configuration of either kind. Immutable.
struct Webhook {
    std::string configuration;
    std::string name;
    admissionv1::WebhookClientConfig client;
    Criteria criteria;
    ConditionsPtr conditions;    // null: none
    std::string review_version;  // "v1" or "v1beta1", the first of its list; empty: it takes neither
    bool mutating = false;
    bool ignore_failures = false;  // failurePolicy: Ignore
    bool again = false;            // reinvocationPolicy: IfNeeded
    bool dry_runs = false;         // may be asked about dry runs
    int timeout_s = 10;
};
using WebhookPtr = std::shared_ptr<const Webhook>;

// The webhooks of a configuration in their order.
[[nodiscard]] std::vector<WebhookPtr> webhooks_of(const admissionv1::MutatingWebhookConfiguration& configuration);
[[nodiscard]] std::vector<WebhookPtr> webhooks_of(const admissionv1::ValidatingWebhookConfiguration& configuration);

}  // namespace sluice::admission
