#include "control/apiserver/admission/webhooks/webhook.h"

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::admission {
namespace {

template <class Hook>
WebhookPtr webhook_of(const std::string& configuration, const Hook& hook) {
    auto out = std::make_shared<Webhook>();
    out->configuration = configuration;
    out->name = hook.name();
    out->client = hook.clientconfig();
    for (const auto& rule : hook.rules()) out->criteria.rules.push_back({rule, {}});
    out->criteria.namespaces = selector_of(hook.namespaceselector());
    out->criteria.objects = selector_of(hook.objectselector());
    out->criteria.equivalent = hook.matchpolicy() != "Exact";
    out->conditions = compile_conditions(hook.matchconditions());
    for (const std::string& version : hook.admissionreviewversions()) {
        if (version != "v1" && version != "v1beta1") continue;
        out->review_version = version;
        break;
    }
    out->ignore_failures = hook.failurepolicy() == "Ignore";
    out->dry_runs = hook.sideeffects() == "None" || hook.sideeffects() == "NoneOnDryRun";
    if (hook.timeoutseconds() > 0) out->timeout_s = hook.timeoutseconds();
    if constexpr (requires { hook.reinvocationpolicy(); }) {
        out->mutating = true;
        out->again = hook.reinvocationpolicy() == "IfNeeded";
    }
    return out;
}

template <class Configuration>
std::vector<WebhookPtr> all_of(const Configuration& configuration) {
    std::vector<WebhookPtr> out;
    for (const auto& hook : configuration.webhooks()) {
        out.push_back(webhook_of(configuration.metadata().name(), hook));
    }
    return out;
}

}  // namespace

std::vector<WebhookPtr> webhooks_of(const admissionv1::MutatingWebhookConfiguration& configuration) {
    return all_of(configuration);
}

std::vector<WebhookPtr> webhooks_of(const admissionv1::ValidatingWebhookConfiguration& configuration) {
    return all_of(configuration);
}

}  // namespace sluice::admission
