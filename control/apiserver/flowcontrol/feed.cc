#include "control/apiserver/flowcontrol/feed.h"

#include <google/protobuf/message.h>

#include <map>
#include <mutex>
#include <string>
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

constexpr char kGroup[] = "flowcontrol.apiserver.k8s.io";

class FeedImpl final : public Feed {
public:
    FeedImpl(registry::Api& api, Gate& gate) : api_(api), gate_(gate) {}
    ~FeedImpl() override { observations_.clear(); }
    FeedImpl(const FeedImpl&) = delete;
    FeedImpl& operator=(const FeedImpl&) = delete;

    Result<void> start();

private:
    template <class Object, class Item>
    Result<void> follow(const char* resource, std::map<std::string, Item>* items);
    void apply_locked();

    registry::Api& api_;
    Gate& gate_;
    std::mutex mutex_;
    bool complete_ = false;  // all that was there at the start has been seen
    std::map<std::string, FlowSchema> schemas_;
    std::map<std::string, PriorityLevel> levels_;
    std::vector<std::unique_ptr<registry::Observation>> observations_;
};

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
    return {};
}

}  // namespace

Result<std::unique_ptr<Feed>> start_feed(registry::Api& api, Gate& gate) {
    auto feed = std::make_unique<FeedImpl>(api, gate);
    SLUICE_TRY(feed->start());
    return std::unique_ptr<Feed>(std::move(feed));
}

}  // namespace sluice::flowcontrol
