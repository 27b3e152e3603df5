// create of pods/eviction: a deletion that asks the Pod's disruption budget first.
//
//   Pod --no longer counts--> deleted
//    | its PodDisruptionBudgets
//    |--none--> deleted
//    |--unhealthy, and the policy lets it go--> deleted, if it is unchanged since
//    `--one--> allowed - 1, the Pod noted as disrupted (compare-and-swap) --> deleted
//
// The budget's controller counts the noted Pods as gone until it sees what became of them.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/codec/selector.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/policy/v1/policy.pb.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/body.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/unstored_kind.h"
#include "control/apiserver/registry/rest/verbs.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace policyv1 = ::k8s::io::api::policy::v1;

// Evictions of one budget that its controller has not confirmed; more are refused.
constexpr std::size_t kMaxDisruptedPods = 2000;
// When a client should ask again while the budget is not up to date.
constexpr std::int32_t kRetrySeconds = 10;
constexpr int kTooManyRequests = 429;
// Not for clients: the Pod has begun to count since it was read, and its budget has to be asked after all.
constexpr int kCountsAfterAll = 0;
constexpr const char* kWouldViolate =
    "Cannot evict pod as it would violate the pod's disruption budget.";

codec::KindInfo eviction_kind_of(const char* version) {
    return unstored_kind<policyv1::Eviction>("policy", version, "evictions", "eviction", true);
}

// Both versions have the same fields.
const codec::KindInfo& eviction_kind(bool beta) {
    static const codec::KindInfo stable = eviction_kind_of("v1");
    static const codec::KindInfo old = eviction_kind_of("v1beta1");
    return beta ? old : stable;
}

const Strategy& eviction_strategy(bool beta) {
    static const Strategy stable(eviction_kind(false));
    static const Strategy old(eviction_kind(true));
    return beta ? old : stable;
}

// Whether the body says policy/v1beta1, which clients before 1.22 send. Bodies that cannot be read are refused later.
bool says_beta(const http::Request& request) {
    const auto is_beta = [](const auto& gvk) {
        return gvk && gvk->group == "policy" && gvk->version == "v1beta1";
    };
    const auto encoding = negotiate_input(request.header("content-type"));
    if (!encoding) return false;
    if (*encoding == Encoding::kProtobuf) {
        const auto envelope = codec::open_envelope(request.body);
        return envelope && envelope->gvk.group == "policy" && envelope->gvk.version == "v1beta1";
    }
    if (*encoding == Encoding::kJson) return is_beta(codec::peek_json_kind(request.body));
    const auto document = codec::yaml_to_json(request.body);
    return document && is_beta(codec::json_kind_of(*document));
}

// One eviction on its way.
struct Evicting {
    CallPtr call;
    DeleteOptions options;
    std::string budget;              // the one that was asked
    std::optional<store::Revision> unchanged_since;  // of the Pod
    // No budget was asked, as the Pod did not count when it was read.
    bool unasked = false;
};
using EvictingPtr = std::shared_ptr<Evicting>;

StatusError too_many(std::string cause, std::int32_t retry_seconds) {
    StatusError error;
    error.code = kTooManyRequests;
    error.reason = "TooManyRequests";
    error.message = kWouldViolate;
    error.has_details = true;
    error.retry_after_seconds = retry_seconds;
    error.causes.push_back({"DisruptionBudget", std::move(cause), ""});
    return error;
}

StatusError still_processed(const std::string& budget) {
    return too_many(fmt::format("The disruption budget {} is still being processed by the server.",
                                budget),
                    kRetrySeconds);
}

// Pods that have ended, not begun or are going already: they are not what a budget protects.
bool counts_no_more(const corev1::Pod& pod) {
    const std::string& phase = pod.status().phase();
    return phase == "Succeeded" || phase == "Failed" || phase == "Pending" ||
           pod.metadata().has_deletiontimestamp();
}

bool is_ready(const corev1::Pod& pod) {
    const auto& conditions = pod.status().conditions();
    return std::any_of(conditions.begin(), conditions.end(), [](const auto& condition) {
        return condition.type() == "Ready" && condition.status() == "True";
    });
}

void mark_disrupted(corev1::Pod* pod) {
    auto* conditions = pod->mutable_status()->mutable_conditions();
    auto found = std::find_if(conditions->begin(), conditions->end(), [](const auto& condition) {
        return condition.type() == "DisruptionTarget";
    });
    auto* condition = found == conditions->end() ? conditions->Add() : &*found;
    if (condition->status() != "True") {
        condition->mutable_lasttransitiontime()->set_seconds(unix_now());
    }
    condition->set_type("DisruptionTarget");
    condition->set_status("True");
    condition->set_reason("EvictionByEvictionAPI");
    condition->set_message("Eviction API: evicting");
}

void answer_success(const CallPtr& call) {
    constexpr int kCreated = 201;
    metav1::Status status;
    status.mutable_metadata();
    status.set_status("Success");
    status.set_code(kCreated);
    call->respond(kCreated, status);
}

Answer<Change> delete_pod(const Evicting& work, const ObjectPtr& existing) {
    const Strategy& pods = *work.call->strategy;
    if (existing == nullptr) return refuse(not_found(pods.kind(), work.call->info.name));
    if (work.unchanged_since && *work.unchanged_since != existing->revision()) {
        return refuse(still_processed(work.budget));
    }
    const auto& old = static_cast<const corev1::Pod&>(existing->message());
    if (counts_no_more(old)) return prepare_deletion(pods, *existing, work.options);
    if (work.unasked) {
        StatusError begun;
        begun.code = kCountsAfterAll;
        return refuse(std::move(begun));
    }
    // Who watches the Pod go is told why, in the same write.
    auto marked = std::make_unique<corev1::Pod>(old);
    mark_disrupted(marked.get());
    const StoredObject told(pods.kind(), std::move(marked), existing->revision());
    return prepare_deletion(pods, told, work.options);
}

void ask_budget(const EvictingPtr& work);

void delete_now(const EvictingPtr& work) {
    const CallPtr& call = work->call;
    change_object(
        *call->core, *call->strategy, call->info.name_space, call->info.name, work->options.dry_run,
        admitted(call, work->options.dry_run,
                 [work](const ObjectPtr& existing) { return delete_pod(*work, existing); }),
        [work](const Answer<Outcome>& outcome) {
            if (outcome) return answer_success(work->call);
            if (outcome.error().code != kCountsAfterAll) return work->call->respond(outcome.error());
            ask_budget(work);
        });
}

metav1::Condition* disruption_allowed(policyv1::PodDisruptionBudgetStatus* status) {
    for (auto& condition : *status->mutable_conditions()) {
        if (condition.type() == "DisruptionAllowed") return &condition;
    }
    return nullptr;
}

StatusError exhausted(const policyv1::PodDisruptionBudget& budget) {
    const std::string& name = budget.metadata().name();
    for (const auto& condition : budget.status().conditions()) {
        if (condition.type() == "DisruptionAllowed" && condition.reason() == "SyncFailed") {
            return too_many(fmt::format("The disruption budget {} does not allow evicting pods "
                                        "currently because it failed sync: {}",
                                        name, condition.message()),
                            0);
        }
    }
    return too_many(
        fmt::format("The disruption budget {} needs {} healthy pods and has {} currently", name,
                    budget.status().desiredhealthy(), budget.status().currenthealthy()),
        0);
}

// 403 in the words of a resource that is misspelt upstream.
StatusError budget_forbids(const std::string& name, std::string_view why) {
    codec::KindInfo kind = eviction_kind(false);
    kind.resource = "poddisruptionbudget";
    return forbidden(kind, name, why);
}

// Takes one disruption from the budget for the Pod.
Answer<Change> spend(const Strategy& budgets, const std::string& pod, const std::string& name,
                     const ObjectPtr& existing) {
    if (existing == nullptr) return refuse(not_found(budgets.kind(), name));
    const auto& old = static_cast<const policyv1::PodDisruptionBudget&>(existing->message());
    const auto& status = old.status();
    if (status.observedgeneration() < old.metadata().generation()) {
        return refuse(still_processed(name));
    }
    if (status.disruptionsallowed() < 0) {
        return refuse(budget_forbids(name, "pdb disruptions allowed is negative"));
    }
    if (status.disruptedpods().size() > kMaxDisruptedPods) {
        return refuse(budget_forbids(
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if (status.disruptionsallowed() == 0) return refuse(exhausted(old));
    auto budget = std::make_unique<policyv1::PodDisruptionBudget>(old);
    auto* left = budget->mutable_status();
    left->set_disruptionsallowed(status.disruptionsallowed() - 1);
    if (left->disruptionsallowed() == 0) {
        auto* condition = disruption_allowed(left);
        if (condition == nullptr) condition = left->add_conditions();
        if (condition->status() != "False") {
            condition->mutable_lasttransitiontime()->set_seconds(unix_now());
        }
        condition->set_type("DisruptionAllowed");
        condition->set_status("False");
        condition->set_reason("InsufficientPods");
        condition->set_message("");
        condition->set_observedgeneration(status.observedgeneration());
    }
    (*left->mutable_disruptedpods())[pod].set_seconds(unix_now());
    Change change;
    change.kind = Change::Kind::kPut;
    change.object = std::move(budget);
    return change;
}

Answer<std::vector<ObjectPtr>> budgets_of(Core& core, const Strategy& budgets,
                                          const corev1::Pod& pod) {
    std::vector<ObjectPtr> out;
    const auto& labels = pod.metadata().labels();
    if (labels.empty()) return out;
    const std::string prefix =
        fmt::format("{}/{}/", budgets.storage_prefix(), pod.metadata().namespace_());
    auto range = core.store.range(prefix, "", 0);
    if (!range) return refuse(from_error(range.error()));
    for (const store::KeyValue& item : range->items) {
        auto object = core.cache.get(budgets.kind(), item.mod_revision, *item.value);
        if (!object) return refuse(std::move(object).error());
        const auto& spec =
            static_cast<const policyv1::PodDisruptionBudget&>((*object)->message()).spec();
        // None at all selects nothing, an empty one everything.
        if (!spec.has_selector()) continue;
        const auto selector = codec::LabelSelector::from_proto(spec.selector());
        const bool matches =
            selector &&
            selector->matches([&labels](std::string_view key) -> std::optional<std::string_view> {
                const auto found = labels.find(std::string(key));
                if (found == labels.end()) return std::nullopt;
                return found->second;
            });
        if (matches) out.push_back(std::move(*object));
    }
    return out;
}

// An unhealthy Pod is none of those that the budget counts: whether it may go without spending from it.
bool may_go_unhealthy(const policyv1::PodDisruptionBudget& budget, const corev1::Pod& pod) {
    if (is_ready(pod)) return false;
    if (budget.spec().unhealthypodevictionpolicy() == "AlwaysAllow") return true;
    const auto& status = budget.status();
    return status.currenthealthy() >= status.desiredhealthy() && status.desiredhealthy() > 0;
}

void ask_budget(const EvictingPtr& work) {
    const CallPtr& call = work->call;
    auto object =
        read_object(*call->core, *call->strategy, call->info.name_space, call->info.name);
    if (!object) return call->respond(std::move(object).error());
    const auto& pod = static_cast<const corev1::Pod&>((*object)->message());
    work->unasked = counts_no_more(pod);
    if (work->unasked) return delete_now(work);
    const codec::KindInfo* kind = codec::find_resource("policy", "v1", "poddisruptionbudgets");
    SLUICE_ASSERT(kind != nullptr);
    const Strategy& budgets = call->core->strategies.of(*kind);
    auto found = budgets_of(*call->core, budgets, pod);
    if (!found) return call->respond(std::move(found).error());
    if (found->empty()) return delete_now(work);
    if (found->size() > 1) {
        return call->respond(
            unclassified("This pod has more than one PodDisruptionBudget, which the eviction "
                         "subresource does not support."));
    }
    const ObjectPtr& only = found->front();
    const std::string name = only->meta().name();
    work->budget = name;
    const auto& budget = static_cast<const policyv1::PodDisruptionBudget&>(only->message());
    if (may_go_unhealthy(budget, pod)) {
        // Had it become healthy meanwhile, it would have to be paid for.
        if (!work->options.resource_version) work->unchanged_since = (*object)->revision();
        return delete_now(work);
    }
    change_object(
        *call->core, budgets, call->info.name_space, name, work->options.dry_run,
        [&budgets, name, pod_name = call->info.name](const ObjectPtr& existing) {
            return spend(budgets, pod_name, name, existing);
        },
        [work](const Answer<Outcome>& outcome) {
            if (!outcome) return work->call->respond(outcome.error());
            work->call->core->go_on(work->call->strategy->kind(), [work] { delete_now(work); });
        });
}

Answer<DeleteOptions> options_of(const policyv1::Eviction& eviction, bool dry_run) {
    auto out = delete_options_of(eviction.deleteoptions());
    if (!out) return out;
    const auto& inside = eviction.deleteoptions().dryrun();
    if (dry_run && !inside.empty() && !out->dry_run) {
        return refuse(bad_request("Non-matching dry-run options in request and content"));
    }
    out->dry_run = out->dry_run || dry_run;
    return out;
}

}  // namespace

void serve_eviction(const CallPtr& call) {
    auto options = parse_write_options(*call->request, "CreateOptions");
    if (!options) return call->respond(std::move(options).error());
    const bool beta = says_beta(*call->request);
    auto body = read_body(*call->request, eviction_strategy(beta), eviction_kind(beta),
                          options->validation, &call->warnings);
    if (!body) return call->respond(std::move(body).error());
    if (auto ok = place_in_namespace(call->info, body->get()); !ok) {
        return call->respond(std::move(ok).error());
    }
    auto& eviction = static_cast<policyv1::Eviction&>(**body);
    if (eviction.metadata().name() != call->info.name) {
        return call->respond(bad_request("name in URL does not match name in Eviction object"));
    }
    auto deletion = options_of(eviction, options->dry_run);
    if (!deletion) return call->respond(std::move(deletion).error());
    if (auto ok = admit_sent(*call, deletion->dry_run, eviction_kind(beta), &eviction, nullptr); !ok) {
        return call->respond(std::move(ok).error());
    }
    const auto work = std::make_shared<Evicting>();
    work->call = call;
    work->options = std::move(*deletion);
    ask_budget(work);
}

}  // namespace sluice::registry
