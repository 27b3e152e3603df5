// Pod: containers that run together on one node.
#include <fmt/format.h>

#include <algorithm>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/strategies/pod_defaults.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/ephemeral.h"
#include "control/apiserver/registry/validation/pod.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Ready", "string", "", "Containers that are ready, of all containers."},
    {"Status", "string", "", "What the pod is doing."},
    {"Restarts", "string", "", "How often its containers were restarted, and when last."},
    {"Age", "string", "", "Time since the object was created."},
    {"IP", "string", "", "The pod's address.", 1},
    {"Node", "string", "", "The node it runs on.", 1},
    {"Nominated Node", "string", "", "The node it may run on after preemption.", 1},
    {"Readiness Gates", "string", "", "Readiness gates that are met, of all gates.", 1},
};
constexpr std::string_view kFields[] = {
    "spec.nodeName",    "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
    "spec.hostNetwork", "status.phase",       "status.podIP",       "status.podIPs",
    "status.nominatedNodeName",
};

std::string terminated_reason(const corev1::ContainerStateTerminated& state) {
    if (!state.reason().empty()) return state.reason();
    if (state.signal() != 0) return fmt::format("Signal:{}", state.signal());
    return fmt::format("ExitCode:{}", state.exitcode());
}

struct Summary {
    std::string status;
    std::int64_t ready = 0;
    std::int64_t restarts = 0;
    std::int64_t last_restart = 0;
};

void count_restarts(const corev1::ContainerStatus& container, Summary* out) {
    out->restarts += container.restartcount();
    const std::int64_t finished = container.laststate().terminated().finishedat().seconds();
    out->last_restart = std::max(out->last_restart, finished);
}

bool is_true(const corev1::Pod& pod, std::string_view type) {
    return std::any_of(pod.status().conditions().begin(), pod.status().conditions().end(),
                       [&](const corev1::PodCondition& condition) {
                           return condition.type() == type && condition.status() == "True";
                       });
}

// A sidecar: an init container that runs beside the others.
bool is_sidecar(const corev1::Container& container) {
    return container.restartpolicy() == "Always";
}

bool is_sidecar(const corev1::Pod& pod, const std::string& name) {
    const auto& all = pod.spec().initcontainers();
    return std::any_of(all.begin(), all.end(), [&](const corev1::Container& container) {
        return container.name() == name && is_sidecar(container);
    });
}

// True when an init container keeps the pod from starting. The restarts of sidecars are counted in
// `sidecars`, for they count after the start too.
bool summarize_init(const corev1::Pod& pod, Summary* out, Summary* sidecars) {
    for (int i = 0; i < pod.status().initcontainerstatuses_size(); ++i) {
        const auto& container = pod.status().initcontainerstatuses(i);
        const auto& state = container.state();
        const bool sidecar = is_sidecar(pod, container.name());
        count_restarts(container, out);
        if (sidecar) count_restarts(container, sidecars);
        if (state.has_terminated() && state.terminated().exitcode() == 0) continue;
        if (sidecar && container.started()) {
            if (container.ready()) ++out->ready;
            continue;
        }
        if (state.has_terminated()) {
            out->status = "Init:" + terminated_reason(state.terminated());
        } else if (!state.waiting().reason().empty() &&
                   state.waiting().reason() != "PodInitializing") {
            out->status = "Init:" + state.waiting().reason();
        } else {
            out->status = fmt::format("Init:{}/{}", i, pod.spec().initcontainers_size());
        }
        return true;
    }
    return false;
}

Summary summarize(const corev1::Pod& pod) {
    Summary out;
    out.status = pod.status().reason().empty() ? pod.status().phase() : pod.status().reason();
    for (const auto& condition : pod.status().conditions()) {
        if (condition.type() == "PodScheduled" && condition.reason() == "SchedulingGated") {
            out.status = condition.reason();
        }
    }
    Summary sidecars;
    // A pod that has been initialized once shows its containers: a sidecar that ended after them, as
    // by SIGKILL, does not undo that.
    if (!summarize_init(pod, &out, &sidecars) || is_true(pod, "Initialized")) {
        out.restarts = sidecars.restarts;
        out.last_restart = sidecars.last_restart;
        bool running = false;
        for (int i = pod.status().containerstatuses_size(); i > 0; --i) {
            const auto& container = pod.status().containerstatuses(i - 1);
            const auto& state = container.state();
            count_restarts(container, &out);
            if (!state.waiting().reason().empty()) {
                out.status = state.waiting().reason();
            } else if (state.has_terminated()) {
                out.status = terminated_reason(state.terminated());
            } else if (container.ready() && state.has_running()) {
                running = true;
                ++out.ready;
            }
        }
        if (out.status == "Completed" && running) {
            out.status = is_true(pod, "Ready") ? "Running" : "NotReady";
        }
    }
    const std::string& phase = pod.status().phase();
    if (pod.metadata().has_deletiontimestamp()) {
        if (pod.status().reason() == "NodeLost") {
            out.status = "Unknown";
        } else if (phase != "Succeeded" && phase != "Failed") {
            out.status = "Terminating";
        }
    }
    return out;
}

std::string or_none(const std::string& text) { return text.empty() ? "<none>" : text; }

std::string gates_cell(const corev1::Pod& pod) {
    const auto& gates = pod.spec().readinessgates();
    if (gates.empty()) return "<none>";
    std::int64_t met = 0;
    for (const auto& gate : gates) {
        for (const auto& condition : pod.status().conditions()) {
            if (condition.type() == gate.conditiontype() && condition.status() == "True") ++met;
        }
    }
    return fmt::format("{}/{}", met, gates.size());
}

class PodStrategy final : public TypedStrategy<corev1::Pod> {
public:
    PodStrategy(const codec::KindInfo& kind, const DefaultTolerations& tolerations)
        : TypedStrategy(kind), tolerations_(tolerations) {}
    Answer<void> admit(Message* object, const Message* old) const override {
        return admit_pod(kind(), tolerations_, old == nullptr, static_cast<corev1::Pod*>(object));
    }
    // The class of service was decided at creation, and a kubelet does not undo a deletion.
    void prepare_for_status_update(Message* object, const Message& old) const override {
        TypedStrategy::prepare_for_status_update(object, old);
        const auto& status = static_cast<const corev1::Pod&>(old).status();
        if (!status.qosclass().empty()) {
            static_cast<corev1::Pod*>(object)->mutable_status()->set_qosclass(status.qosclass());
        }
    }
    // The subresource ephemeralcontainers adds containers, and changes nothing else.
    void prepare_for_approval(Message* object, const Message& old) const override {
        auto* pod = static_cast<corev1::Pod*>(object);
        corev1::Pod kept = static_cast<const corev1::Pod&>(old);
        *kept.mutable_spec()->mutable_ephemeralcontainers() = pod->spec().ephemeralcontainers();
        // The record of who owns what is the write's own.
        *kept.mutable_metadata()->mutable_managedfields() = pod->metadata().managedfields();
        kept.mutable_metadata()->set_resourceversion(pod->metadata().resourceversion());
        *pod = std::move(kept);
    }
    void validate_approval(const Message& object, const Message& old,
                           FieldErrors* errors) const override {
        const auto& pod = static_cast<const corev1::Pod&>(object);
        Strategy::validate_approval(object, old, errors);
        validate_ephemeral_containers(pod, errors);
        validate_ephemeral_update(pod, static_cast<const corev1::Pod&>(old), errors);
    }
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }

    [[nodiscard]] DeletionTerms deletion_terms(const Message& message,
                                               std::optional<std::int64_t> grace) const override {
        const auto& pod = static_cast<const corev1::Pod&>(message);
        // What no kubelet runs has nobody to wait for.
        const std::string& phase = pod.status().phase();
        if (pod.spec().nodename().empty() || phase == "Failed" || phase == "Succeeded") return {};
        std::int64_t seconds = grace.value_or(pod.spec().terminationgraceperiodseconds());
        if (seconds < 0) seconds = 1;
        return {seconds, false};
    }

protected:
    void defaults(corev1::Pod* object) const override { default_pod(object); }
    void prepare_create(corev1::Pod* object) const override {
        object->mutable_status()->Clear();
        object->mutable_status()->set_phase("Pending");
        object->mutable_status()->set_qosclass(qos_class(*object));
        if (object->spec().schedulinggates_size() > 0) {
            auto* condition = object->mutable_status()->add_conditions();
            condition->set_type("PodScheduled");
            condition->set_status("False");
            condition->set_reason("SchedulingGated");
            condition->set_message("Scheduling is blocked due to non-empty scheduling gates");
        }
    }
    void prepare_update(corev1::Pod* object, const corev1::Pod& old) const override {
        copy_field(old, object, "status");
    }
    void check(const corev1::Pod& object, FieldErrors* errors) const override {
        check_common(object, errors);
        if (object.spec().ephemeralcontainers_size() > 0) {
            errors->forbidden("spec.ephemeralContainers", "cannot be set on create");
        }
    }
    void check_update(const corev1::Pod& object, const corev1::Pod& old,
                      FieldErrors* errors) const override {
        check_common(object, errors);
        validate_pod_update(object, old, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::Pod& object) const override {
        const Summary summary = summarize(object);
        std::string restarts = std::to_string(summary.restarts);
        if (summary.restarts != 0 && summary.last_restart != 0) {
            restarts += fmt::format(" ({} ago)", age_since(summary.last_restart));
        }
        const auto& before = object.spec().initcontainers();
        const auto sidecars = std::count_if(before.begin(), before.end(), [](const auto& container) {
            return is_sidecar(container);
        });
        return {object.metadata().name(),
                fmt::format("{}/{}", summary.ready, object.spec().containers_size() + sidecars),
                summary.status,
                restarts,
                age_cell(object.metadata()),
                or_none(object.status().podip()),
                or_none(object.spec().nodename()),
                or_none(object.status().nominatednodename()),
                gates_cell(object)};
    }
    [[nodiscard]] std::string field_of(const corev1::Pod& object,
                                       std::string_view field) const override {
        const auto& spec = object.spec();
        const auto& status = object.status();
        if (field == "spec.nodeName") return spec.nodename();
        if (field == "spec.restartPolicy") return spec.restartpolicy();
        if (field == "spec.schedulerName") return spec.schedulername();
        if (field == "spec.serviceAccountName") return spec.serviceaccountname();
        if (field == "spec.hostNetwork") return spec.hostnetwork() ? "true" : "false";
        if (field == "status.phase") return status.phase();
        if (field == "status.podIP") return status.podip();
        if (field == "status.podIPs") {
            return status.podips_size() > 0 ? status.podips(0).ip() : std::string();
        }
        if (field == "status.nominatedNodeName") return status.nominatednodename();
        return {};
    }

private:
    void check_common(const corev1::Pod& object, FieldErrors* errors) const {
        TypedStrategy::check(object, errors);
        validate_pod(object, errors);
    }

    const DefaultTolerations tolerations_;
};

}  // namespace

std::unique_ptr<Strategy> make_pod_strategy(const codec::KindInfo& kind,
                                            std::int64_t not_ready_toleration_s,
                                            std::int64_t unreachable_toleration_s) {
    return std::make_unique<PodStrategy>(
        kind, DefaultTolerations{not_ready_toleration_s, unreachable_toleration_s});
}

}  // namespace sluice::registry
