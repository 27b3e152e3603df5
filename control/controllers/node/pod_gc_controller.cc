// Removes pods that nobody else will: one key, looked at periodically and when a node goes.
#include <algorithm>
#include <map>

#include "api/base/log.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/node/departure.h"
#include "control/controllers/node/health.h"
#include "control/controllers/node/node.h"

namespace sluice::controllers {
namespace {

namespace corev1 = nodes::corev1;
using nodes::DepartureReason;
using PodPtr = std::shared_ptr<const corev1::Pod>;

constexpr std::string_view kComponent = "pod-gc";
constexpr char kKey[] = "all";
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMillisecond = 1'000'000;

bool has_ended(const corev1::Pod& pod) {
    return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

bool is_out_of_service(const corev1::Node& node) {
    const auto& taints = node.spec().taints();
    return !nodes::is_ready(node) &&
           std::any_of(taints.begin(), taints.end(), [](const corev1::Taint& taint) {
               return taint.key() == nodes::kOutOfServiceTaint &&
                      taint.effect() == nodes::kNoExecute;
           });
}

class PodGcController final : public Controller {
public:
    PodGcController(Context& context, const PodGcOptions& options)
        : context_(context),
          options_(options),
          node_kind_(*codec::find_resource("", "v1", "nodes")),
          nodes_(context.informers.get(node_kind_)),
          pods_(context.informers.get(*codec::find_resource("", "v1", "pods"))) {
        nodes_.add_handler([this](const auto&, const auto& after) {
            if (after == nullptr) queue_.add(kKey);
        });
        queue_.add(kKey);
    }

    [[nodiscard]] const char* name() const override { return "pod-garbage-collector-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    [[nodiscard]] int workers() const override { return 1; }
    Reconciled reconcile(const std::string& key) override;

private:
    // True once the node has been missing for the quarantine and the server confirms it.
    bool is_gone(const std::string& node);
    void remove(const corev1::Pod& pod, DepartureReason reason);
    void remove_surplus(std::vector<PodPtr> ended);

    Context& context_;
    const PodGcOptions options_;
    const codec::KindInfo& node_kind_;
    client::Informer& nodes_;
    client::Informer& pods_;
    client::WorkQueue queue_;
    std::map<std::string, std::int64_t> missing_since_ns_;  // by node
};

bool PodGcController::is_gone(const std::string& node) {
    const std::int64_t now = context_.now_ns();
    const std::int64_t since = missing_since_ns_.try_emplace(node, now).first->second;
    const std::int64_t left = since + options_.quarantine_ms * kMillisecond - now;
    if (left > 0) {
        queue_.add_after(kKey, std::chrono::milliseconds(left / kMillisecond + 1));
        return false;
    }
    const auto found = context_.client.get(node_kind_, "", node);
    return !found && found.error().not_found();
}

void PodGcController::remove(const corev1::Pod& pod, DepartureReason reason) {
    const auto done =
        nodes::send_away(context_.client, pod, reason, 0, context_.now_ns() / kSecond);
    // The next round tries again; the others must not wait for this one.
    if (!done) log::warn(kComponent, "{}", done.error().to_string());
}

void PodGcController::remove_surplus(std::vector<PodPtr> ended) {
    if (ended.size() <= options_.terminated_pod_threshold) return;
    const std::size_t surplus = ended.size() - options_.terminated_pod_threshold;
    // Evicted pods first, then the oldest.
    std::sort(ended.begin(), ended.end(), [](const PodPtr& a, const PodPtr& b) {
        const bool evicted_a = a->status().reason() == "Evicted";
        const bool evicted_b = b->status().reason() == "Evicted";
        if (evicted_a != evicted_b) return evicted_a;
        const auto age_a = a->metadata().creationtimestamp().seconds();
        const auto age_b = b->metadata().creationtimestamp().seconds();
        if (age_a != age_b) return age_a < age_b;
        return client::object_key(*a) < client::object_key(*b);
    });
    log::info(kComponent, "removing {} of {} pods that have ended", surplus, ended.size());
    for (std::size_t i = 0; i < surplus; ++i) remove(*ended[i], DepartureReason::kUnscheduled);
}

Reconciled PodGcController::reconcile(const std::string& key) {
    queue_.add_after(key, std::chrono::milliseconds(options_.period_ms));
    std::vector<PodPtr> ended;
    std::map<std::string, std::vector<PodPtr>> orphans;
    for (const auto& object : pods_.list()) {
        auto pod = client::as<corev1::Pod>(object);
        const std::string& on = pod->spec().nodename();
        const bool terminating = pod->metadata().has_deletiontimestamp();
        if (on.empty()) {
            if (terminating) {
                remove(*pod, DepartureReason::kUnscheduled);
                continue;
            }
        } else if (const auto node = client::as<corev1::Node>(nodes_.get(on)); node == nullptr) {
            orphans[on].push_back(std::move(pod));
            continue;
        } else if (terminating && is_out_of_service(*node)) {
            remove(*pod, DepartureReason::kOutOfService);
            continue;
        }
        if (has_ended(*pod) && !terminating) ended.push_back(std::move(pod));
    }
    std::erase_if(missing_since_ns_,
                  [&](const auto& item) { return !orphans.contains(item.first); });
    for (const auto& [node, pods] : orphans) {
        if (!is_gone(node)) continue;
        for (const auto& pod : pods) remove(*pod, DepartureReason::kNodeGone);
    }
    remove_surplus(std::move(ended));
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_pod_gc_controller(Context& context, const PodGcOptions& options) {
    return std::make_unique<PodGcController>(context, options);
}

}  // namespace sluice::controllers
