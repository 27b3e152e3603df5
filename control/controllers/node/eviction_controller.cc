// Evicts pods from nodes with NoExecute taints.
#include <map>
#include <mutex>
#include <utility>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/node/departure.h"
#include "control/controllers/node/health.h"
#include "control/controllers/node/node.h"

namespace sluice::controllers {
namespace {

namespace corev1 = nodes::corev1;
using client::EventType;

constexpr char kByNode[] = "eviction/node";
constexpr std::int64_t kSecond = 1'000'000'000;

std::vector<corev1::Taint> eviction_taints(const corev1::Node& node) {
    std::vector<corev1::Taint> out;
    for (const auto& taint : node.spec().taints()) {
        if (taint.effect() == nodes::kNoExecute) out.push_back(taint);
    }
    return out;
}

class TaintEvictionController final : public Controller {
public:
    explicit TaintEvictionController(Context& context)
        : context_(context),
          nodes_(context.informers.get(*codec::find_resource("", "v1", "nodes"))),
          pods_(context.informers.get(*codec::find_resource("", "v1", "pods"))) {
        pods_.add_index(kByNode, [](const google::protobuf::Message& object) {
            return std::vector<std::string>{
                static_cast<const corev1::Pod&>(object).spec().nodename()};
        });
        pods_.add_handler([this](const auto& before, const auto& after) {
            if (after == nullptr) {
                queue_.add(client::object_key(*before));
            } else if (!static_cast<const corev1::Pod&>(*after).spec().nodename().empty()) {
                queue_.add(client::object_key(*after));
            }
        });
        nodes_.add_handler([this](const auto& before, const auto& after) {
            const auto count = [](const auto& object) {
                return object == nullptr
                           ? std::size_t{0}
                           : eviction_taints(static_cast<const corev1::Node&>(*object)).size();
            };
            if (count(before) == 0 && count(after) == 0) return;
            const auto& name = codec::object_meta(after != nullptr ? *after : *before).name();
            for (const auto& pod : pods_.by_index(kByNode, name)) {
                queue_.add(client::object_key(*pod));
            }
        });
    }

    [[nodiscard]] const char* name() const override { return "taint-eviction-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    Reconciled reconcile(const std::string& key) override;

private:
    void stay(const std::string& key, const corev1::Pod* pod);
    // Since when the pod is known to be on its way out; now when it was not.
    std::int64_t since(const std::string& key, const corev1::Pod& pod, std::int64_t now_s);

    Context& context_;
    client::Informer& nodes_;
    client::Informer& pods_;
    client::WorkQueue queue_;
    std::mutex mutex_;
    // Pods whose time runs: since when, by uid, for a pod of the same name may come after.
    std::map<std::string, std::pair<std::string, std::int64_t>> waiting_;
};

void TaintEvictionController::stay(const std::string& key, const corev1::Pod* pod) {
    {
        const std::scoped_lock lock(mutex_);
        if (waiting_.erase(key) == 0) return;
    }
    if (pod == nullptr || pod->metadata().has_deletiontimestamp()) return;
    context_.events.record(*pod, EventType::kNormal, "TaintManagerEviction",
                           fmt::format("Cancelling deletion of Pod {}", key));
}

std::int64_t TaintEvictionController::since(const std::string& key, const corev1::Pod& pod,
                                            std::int64_t now_s) {
    const std::scoped_lock lock(mutex_);
    const auto found = waiting_.find(key);
    return found == waiting_.end() || found->second.first != pod.metadata().uid()
               ? now_s
               : found->second.second;
}

Reconciled TaintEvictionController::reconcile(const std::string& key) {
    const auto pod = client::as<corev1::Pod>(pods_.get(key));
    if (pod == nullptr || pod->metadata().has_deletiontimestamp()) {
        stay(key, pod.get());
        return {};
    }
    const auto node = client::as<corev1::Node>(nodes_.get(pod->spec().nodename()));
    const std::int64_t now_s = context_.now_ns() / kSecond;
    const std::int64_t since_s = since(key, *pod, now_s);
    const auto when = node == nullptr ? std::nullopt
                                      : nodes::eviction_time(*pod, eviction_taints(*node), now_s,
                                                             since_s);
    if (!when) {
        stay(key, pod.get());
        return {};
    }
    if (*when > now_s) {
        {
            const std::scoped_lock lock(mutex_);
            waiting_[key] = {pod->metadata().uid(), since_s};
        }
        queue_.add_after(key, std::chrono::seconds(*when - now_s));
        return {};
    }
    context_.events.record(*pod, EventType::kNormal, "TaintManagerEviction",
                           fmt::format("Marking for deletion Pod {}", key));
    SLUICE_TRY(nodes::send_away(context_.client, *pod, nodes::DepartureReason::kTaint,
                                std::nullopt, now_s));
    const std::scoped_lock lock(mutex_);
    waiting_.erase(key);
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_taint_eviction_controller(Context& context) {
    return std::make_unique<TaintEvictionController>(context);
}

}  // namespace sluice::controllers
