#include "control/controllers/controller.h"

#include <google/protobuf/message.h>

#include <exception>
#include <mutex>
#include <unordered_set>

#include "api/base/log.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers {
namespace {

// Kinds of failure that are remembered as told; beyond it all may be told once more.
constexpr std::size_t kMaxToldFailures = 512;
// One worker may not take more threads than a controller can use.
constexpr int kMaxWorkers = 16;

// Remembers which failures were told of. A failure that goes on is one line in the log, not one per
// retry.
class ToldOnce {
public:
    bool first(const std::string& what) {
        const std::scoped_lock lock(mutex_);
        if (told_.size() >= kMaxToldFailures) told_.clear();
        return told_.insert(what).second;
    }
    void forget(const std::string& key) {
        const std::scoped_lock lock(mutex_);
        std::erase_if(told_, [&](const std::string& entry) { return entry.starts_with(key); });
    }

private:
    std::mutex mutex_;
    std::unordered_set<std::string> told_;
};

ToldOnce& told() {
    static ToldOnce instance;
    return instance;
}

// The edge of a controller: whatever a library throws (memory, above all) becomes a failure of this
// one key.
Reconciled guarded(Controller& controller, const std::string& key) {
    try {
        return controller.reconcile(key);
    } catch (const std::exception& thrown) {
        return make_error(Code::kInternal, "{} {}: {}", controller.name(), key, thrown.what());
    }
}

}  // namespace

client::Informer& InformerSet::get(const codec::KindInfo& kind) {
    auto& entry = informers_[&kind];
    if (entry == nullptr) entry = std::make_unique<client::Informer>(client_, kind);
    return *entry;
}

void InformerSet::start() {
    for (const auto& [kind, informer] : informers_) informer->start();
}

bool InformerSet::wait_synced(const std::stop_token& stop) const {
    for (const auto& [kind, informer] : informers_) {
        if (!informer->wait_synced(stop)) return false;
    }
    return true;
}

void InformerSet::stop() {
    for (const auto& [kind, informer] : informers_) informer->stop();
}

std::optional<OwnerRef> controller_of(const google::protobuf::Message& object) {
    for (const auto& reference : codec::object_meta(object).ownerreferences()) {
        if (!reference.controller()) continue;
        return OwnerRef{reference.apiversion(), reference.kind(), reference.name(),
                        reference.uid()};
    }
    return std::nullopt;
}

Runner::Runner(Context& context, std::vector<std::unique_ptr<Controller>> controllers)
    : context_(context), controllers_(std::move(controllers)) {
    for (const auto& controller : controllers_) {
        const int workers = std::clamp(controller->workers(), 1, kMaxWorkers);
        for (int i = 0; i < workers; ++i) {
            threads_.emplace_back([this, raw = controller.get()](const std::stop_token& stop) {
                if (context_.informers.wait_synced(stop)) work(*raw, stop);
            });
        }
    }
}

Runner::~Runner() {
    for (auto& thread : threads_) thread.request_stop();
    threads_.clear();
    // Handlers point into the controllers, which end now.
    context_.informers.stop();
}

void Runner::work(Controller& controller, const std::stop_token& stop) {
    while (const auto key = controller.queue().get(stop)) {
        const Reconciled result = guarded(controller, *key);
        const std::string prefix = std::string(controller.name()) + " " + *key + ": ";
        if (result) {
            if (controller.queue().failures(*key) > 0) told().forget(prefix);
            controller.queue().forget(*key);
        } else {
            // Somebody else wrote first: the ordinary course of things, seen again at once.
            const bool ordinary = result.error().code == Code::kAborted ||
                                  result.error().code == Code::kCancelled;
            if (ordinary) {
                log::debug(controller.name(), "{}: {}", *key, result.error().to_string());
            } else if (told().first(prefix + std::string(code_name(result.error().code)))) {
                log::warn(controller.name(), "{}: {}; tried again", *key,
                          result.error().to_string());
            }
            controller.queue().add_rate_limited(*key);
        }
        controller.queue().done(*key);
    }
}

}  // namespace sluice::controllers
