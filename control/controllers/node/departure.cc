#include "control/controllers/node/departure.h"

#include "api/client/informer.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::nodes {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

struct Words {
    const char* reason;
    const char* message;
};

Words words_of(DepartureReason reason) {
    switch (reason) {
        case DepartureReason::kTaint:
            return {"DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"};
        case DepartureReason::kNodeGone:
            return {"DeletionByPodGC", "PodGC: node no longer exists"};
        case DepartureReason::kOutOfService:
            return {"DeletionByPodGC", "PodGC: node is out of service"};
        case DepartureReason::kUnscheduled: break;
    }
    return {"", ""};
}

void set_disruption(corev1::Pod* pod, const Words& words, std::int64_t now_s) {
    corev1::PodCondition* condition = nullptr;
    for (auto& candidate : *pod->mutable_status()->mutable_conditions()) {
        if (candidate.type() == "DisruptionTarget") condition = &candidate;
    }
    if (condition == nullptr) {
        condition = pod->mutable_status()->add_conditions();
        condition->set_type("DisruptionTarget");
    }
    if (condition->status() != "True") {
        condition->set_status("True");
        condition->mutable_lasttransitiontime()->set_seconds(now_s);
    }
    condition->set_reason(words.reason);
    condition->set_message(words.message);
}

}  // namespace

Result<void> send_away(client::Client& client, const corev1::Pod& pod, DepartureReason reason,
                       std::optional<std::int64_t> grace_s, std::int64_t now_s) {
    static const codec::KindInfo& kind = *codec::find_resource("", "v1", "pods");
    const auto fail = [&](const client::ApiError& error, const char* what) {
        return error.with_context(fmt::format("cannot {} pod {}", what, client::object_key(pod)));
    };
    const Words words = words_of(reason);
    const bool ended = pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
    if (*words.reason != '\0' && !ended) {
        corev1::Pod next = pod;
        set_disruption(&next, words, now_s);
        if (grace_s == 0) next.mutable_status()->set_phase("Failed");
        const auto stored = client.update(kind, next, "status");
        if (!stored) {
            if (stored.error().not_found()) return {};
            return fail(stored.error(), "write the status of");
        }
    }
    client::DeleteRequest request;
    request.uid = pod.metadata().uid();
    request.grace_seconds = grace_s;
    const auto gone =
        client.remove(kind, pod.metadata().namespace_(), pod.metadata().name(), request);
    if (!gone && !gone.error().not_found()) return fail(gone.error(), "delete");
    return {};
}

}  // namespace sluice::controllers::nodes
