// Bindings: a scheduler puts a Pod on a node, once.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/kubernetes/core/v1/binding.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/body.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/unstored_kind.h"
#include "control/apiserver/registry/rest/verbs.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

const codec::KindInfo& binding_kind() {
    // The resource as conflicts name it.
    static const codec::KindInfo kind =
        unstored_kind<corev1::Binding>("", "v1", "pods/binding", "binding", true);
    return kind;
}

const Strategy& binding_strategy() {
    static const Strategy strategy(binding_kind());
    return strategy;
}

FieldErrors check_target(const corev1::Binding& binding) {
    FieldErrors errors;
    const std::string& kind = binding.target().kind();
    if (!kind.empty() && kind != "Node") {
        errors.not_supported("target.kind", kind, {"Node", "<empty>"});
    }
    if (binding.target().name().empty()) errors.required("target.name");
    return errors;
}

// Why the Pod cannot be bound; empty: it can.
std::string obstacle(const corev1::Pod& pod) {
    const std::string& name = pod.metadata().name();
    if (pod.metadata().has_deletiontimestamp()) {
        return fmt::format("pod {} is being deleted, cannot be assigned to a host", name);
    }
    if (!pod.spec().nodename().empty()) {
        return fmt::format("pod {} is already assigned to node {}", name,
                           go_quote(pod.spec().nodename()));
    }
    if (pod.spec().schedulinggates_size() > 0) {
        return fmt::format("pod {} has non-empty .spec.schedulingGates", name);
    }
    return {};
}

void set_scheduled(corev1::Pod* pod) {
    auto* conditions = pod->mutable_status()->mutable_conditions();
    for (auto& condition : *conditions) {
        if (condition.type() != "PodScheduled") continue;
        if (condition.status() == "True") return;
        condition.Clear();
        condition.set_type("PodScheduled");
        condition.set_status("True");
        condition.mutable_lasttransitiontime()->set_seconds(unix_now());
        return;
    }
    auto* condition = conditions->Add();
    condition->set_type("PodScheduled");
    condition->set_status("True");
    condition->mutable_lasttransitiontime()->set_seconds(unix_now());
}

Answer<Change> bind(const CallPtr& call, const corev1::Binding& binding,
                    const ObjectPtr& existing) {
    const std::string& name = binding.metadata().name();
    if (existing == nullptr) return refuse(not_found(call->strategy->kind(), name));
    const auto& old = static_cast<const corev1::Pod&>(existing->message());
    const auto& meta = binding.metadata();
    if (!meta.uid().empty() && meta.uid() != old.metadata().uid()) {
        return refuse(uid_precondition_failed(*call->strategy, *existing, meta.uid()));
    }
    if (!meta.resourceversion().empty() &&
        meta.resourceversion() != old.metadata().resourceversion()) {
        return refuse(object_modified(call->strategy->kind(), name));
    }
    if (const std::string why = obstacle(old); !why.empty()) {
        return refuse(conflict(binding_kind(), name, why));
    }
    Change change;
    change.kind = Change::Kind::kPut;
    auto pod = std::make_unique<corev1::Pod>(old);
    pod->mutable_spec()->set_nodename(binding.target().name());
    for (const auto& [key, value] : meta.annotations()) {
        (*pod->mutable_metadata()->mutable_annotations())[key] = value;
    }
    set_scheduled(pod.get());
    change.object = std::move(pod);
    return change;
}

}  // namespace

void serve_binding(const CallPtr& call) {
    auto options = parse_write_options(*call->request, "CreateOptions");
    if (!options) return call->respond(std::move(options).error());
    auto body = read_body(*call->request, binding_strategy(), binding_kind(),
                          options->validation, &call->warnings);
    if (!body) return call->respond(std::move(body).error());
    if (auto ok = place_in_namespace(call->info, body->get()); !ok) {
        return call->respond(std::move(ok).error());
    }
    if (auto ok = admit_sent(*call, options->dry_run, binding_kind(), body->get(), nullptr); !ok) {
        return call->respond(std::move(ok).error());
    }
    const auto binding = std::static_pointer_cast<const corev1::Binding>(
        std::shared_ptr<const Message>(std::move(*body)));
    const std::string& name = binding->metadata().name();
    if (!call->info.name.empty() && call->info.name != name) {
        return call->respond(bad_request("name in URL does not match name in Binding object"));
    }
    const FieldErrors errors = check_target(*binding);
    if (!errors.empty()) return call->respond(invalid(binding_kind(), name, errors));
    change_object(
        *call->core, *call->strategy, call->info.name_space, name, options->dry_run,
        admitted(call, options->dry_run,
                 [call, binding](const ObjectPtr& existing) { return bind(call, *binding, existing); }),
        [call](Answer<Outcome> outcome) {
            if (!outcome) return call->respond(std::move(outcome).error());
            constexpr int kCreated = 201;
            metav1::Status status;
            status.mutable_metadata();
            status.set_status("Success");
            status.set_code(kCreated);
            call->respond(kCreated, status);
        });
}

}  // namespace sluice::registry
