#include "control/apiserver/flowcontrol/feed.h"

#include <google/protobuf/message.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/codec/scheme.h"
#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/flowcontrol/defaults.h"
#include "control/apiserver/flowcontrol/from_object.h"
#include "control/apiserver/flowcontrol/gate.h"
#include "control/apiserver/registry/api.h"

namespace sluice::flowcontrol {
namespace {

namespace flowv1 = ::k8s::io::api::flowcontrol::v1;

// As often as kube-apiserver counts; some milliseconds for 100,000 objects.
constexpr std::chrono::minutes kCountPeriod{1};

constexpr char kGroup[] = "flowcontrol.apiserver.k8s.io";

class FeedImpl final : public Feed {
public:
    FeedImpl(registry::Api& api, Gate& gate) : api_(api), gate_(gate) {}
    ~FeedImpl() override {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        stop_.notify_all();
        if (counter_.joinable()) counter_.join();
        observations_.clear();
    }
    FeedImpl(const FeedImpl&) = delete;
    FeedImpl& operator=(const FeedImpl&) = delete;

    Result<void> start();

private:
    template <class Object, class Item>
    Result<void> follow(const char* resource, std::map<std::string, Item>* items);
    void apply_locked();
    void count_now_and_then();

    registry::Api& api_;
    Gate& gate_;
    std::mutex mutex_;
    bool complete_ = false;  // all that was there at the start has been seen
    std::map<std::string, FlowSchema> schemas_;
    std::map<std::string, PriorityLevel> levels_;
    std::vector<std::unique_ptr<registry::Observation>> observations_;
    bool stopping_ = false;
    std::condition_variable stop_;
    std::thread counter_;
};

void FeedImpl::count_now_and_then() {
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, kCountPeriod, [this] { return stopping_; })) {
        lock.unlock();
        gate_.count_objects(api_.figures().objects);
        lock.lock();
    }
}

void FeedImpl::apply_locked() {
    if (!complete_) return;
    // What a cluster starts with stands in until it is stored.
    Configuration configuration = defaults();
    std::erase_if(configuration.levels,
                  [&](const auto& own) { return levels_.contains(own.name); });
    std::erase_if(configuration.schemas,
                  [&](const auto& own) { return schemas_.contains(own.name); });
    for (const auto& [name, level] : levels_) configuration.levels.push_back(level);
    for (const auto& [name, schema] : schemas_) configuration.schemas.push_back(schema);
    gate_.configure(configuration);
}

template <class Object, class Item>
Result<void> FeedImpl::follow(const char* resource, std::map<std::string, Item>* items) {
    const codec::KindInfo* kind = codec::find_resource(kGroup, "v1", resource);
    if (kind == nullptr) {
        return make_error(Code::kNotFound, "{} of {} are not served", resource, kGroup);
    }
    SLUICE_TRY_ASSIGN(
        auto observation,
        api_.observe(*kind, false, [this, items](const registry::Observed& seen) {
            const std::lock_guard lock(mutex_);
            if (seen.object == nullptr) {
                items->erase(seen.name);
            } else {
                (*items)[seen.name] = from_object(static_cast<const Object&>(*seen.object));
            }
            apply_locked();
        }));
    observations_.push_back(std::move(observation));
    return {};
}

Result<void> FeedImpl::start() {
    SLUICE_TRY((follow<flowv1::PriorityLevelConfiguration, PriorityLevel>(
        "prioritylevelconfigurations", &levels_)));
    SLUICE_TRY((follow<flowv1::FlowSchema, FlowSchema>("flowschemas", &schemas_)));
    {
        const std::lock_guard lock(mutex_);
        complete_ = true;
        apply_locked();
    }
    gate_.count_objects(api_.figures().objects);
    counter_ = std::thread([this] { count_now_and_then(); });
    return {};
}

}  // namespace

Result<std::unique_ptr<Feed>> start_feed(registry::Api& api, Gate& gate) {
    auto feed = std::make_unique<FeedImpl>(api, gate);
    SLUICE_TRY(feed->start());
    return std::unique_ptr<Feed>(std::move(feed));
}

}  // namespace sluice::flowcontrol
