#include "control/apiserver/registry/namespace_deletion/namespace_deletion.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/stopping_handle.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kComponent = "namespace-deletion";
// Before a watch that ended is begun anew.
constexpr std::chrono::milliseconds kFollowInterval{200};

// What was found in a namespace that is being emptied.
struct Left {
    std::map<std::string, std::size_t> resources;  // "deployments.apps", objects
    std::map<std::string, std::size_t> finalizers;
};

std::string listed(const std::map<std::string, std::size_t>& counts, std::string_view between) {
    std::string out;
    for (const auto& [name, count] : counts) {
        out += fmt::format("{}{} {} {} resource instances", out.empty() ? "" : ", ", name, between,
                           count);
    }
    return out;
}

void set_condition(corev1::NamespaceStatus* status, const char* type, bool holds,
                   const char* reason, const std::string& message) {
    corev1::NamespaceCondition* condition = nullptr;
    for (auto& item : *status->mutable_conditions()) {
        if (item.type() == type) condition = &item;
    }
    if (condition == nullptr) {
        condition = status->add_conditions();
        condition->set_type(type);
    }
    const char* value = holds ? "True" : "False";
    if (condition->status() != value) {
        condition->mutable_lasttransitiontime()->set_seconds(unix_now());
    }
    condition->set_status(value);
    condition->set_reason(reason);
    condition->set_message(message);
}

class Emptier final : public NamespaceDeletion, public std::enable_shared_from_this<Emptier> {
public:
    explicit Emptier(Core& core)
        : core_(core), namespaces_(core.strategies.of(*codec::find_resource("", "v1", "namespaces"))) {}

    Result<void> start();
    void stop() override;

private:
    void start_again();
    void look_at(const store::KeyValue& item);
    // round: how often this namespace was looked at before.
    void empty(const std::string& name, int round);
    void empty_now(const std::string& name, int round);
    void tell(const std::string& name, const Left& left);
    void finalize(const std::string& name, int round);
    void retry(const std::string& name, int round);

    Core& core_;
    const Strategy& namespaces_;
    std::mutex mutex_;
    std::unique_ptr<store::Watch> watch_;  // under the mutex
    std::set<std::string> busy_;
    bool stopped_ = false;
};

Result<void> Emptier::start() {
    const std::string prefix = namespaces_.storage_prefix() + "/";
    SLUICE_TRY_ASSIGN(auto range, core_.store.range(prefix, "", 0));
    SLUICE_TRY_ASSIGN(
        auto watch, core_.store.watch(prefix, range.revision,
                                      [weak = weak_from_this()](const Result<store::EventBatch>& events,
                                                                store::Revision) {
                                          const auto self = weak.lock();
                                          if (self == nullptr) return;
                                          if (!events) return self->start_again();
                                          for (const store::Event& event : **events) {
                                              self->core_.executor.post(
                                                  [weak, item = event.current] {
                                                      if (const auto alive = weak.lock()) {
                                                          alive->look_at(item);
                                                      }
                                                  });
                                          }
                                      }));
    {
        const std::lock_guard lock(mutex_);
        if (!stopped_) watch_.swap(watch);
    }
    // What the watch took the place of ends here, outside of the lock.
    watch.reset();
    for (const store::KeyValue& item : range.items) look_at(item);
    return {};
}

// The history was lost while the store was away: namespaces may have been deleted meanwhile.
void Emptier::start_again() {
    core_.executor.post_at(std::chrono::steady_clock::now() + kFollowInterval, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (self == nullptr || self->core_.stopping) return;
        if (const auto started = self->start(); !started) {
            log::warn(kComponent, "namespaces cannot be followed: {}", started.error().message);
            self->start_again();
        }
    });
}

void Emptier::stop() {
    std::unique_ptr<store::Watch> ended;
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        ended.swap(watch_);
    }
}

void Emptier::look_at(const store::KeyValue& item) {
    if (item.value == nullptr) return;
    auto object = core_.cache.get(namespaces_.kind(), item.mod_revision, *item.value);
    if (!object || !(*object)->meta().has_deletiontimestamp()) return;
    const std::string name = (*object)->meta().name();
    {
        const std::lock_guard lock(mutex_);
        if (stopped_ || !busy_.insert(name).second) return;
    }
    empty(name, 0);
}

void Emptier::empty(const std::string& name, int round) {
    // Objects that a webhook converts are waited for elsewhere.
    const auto custom = core_.custom->snapshot();
    for (const auto& kind : custom->kinds) {
        if (converter_of(kind->kind()) == nullptr) continue;
        return resume(core_, kind->kind(), [weak = weak_from_this(), name, round] {
            if (const auto self = weak.lock()) self->empty_now(name, round);
        });
    }
    empty_now(name, round);
}

void Emptier::empty_now(const std::string& name, int round) {
    Left left;
    // Custom kinds, each in the version that is stored, are held until their objects are gone.
    const auto custom = core_.custom->snapshot();
    std::vector<const Strategy*> all;
    for (const auto& strategy : core_.strategies.all()) all.push_back(strategy.get());
    for (const auto& kind : custom->kinds) {
        if (kind->storage()) all.push_back(&kind->strategy());
    }
    for (const Strategy* strategy : all) {
        if (!strategy->kind().namespaced) continue;
        auto range =
            core_.store.range(strategy->storage_prefix() + "/" + name + "/", "", 0);
        if (!range) return retry(name, round);
        const auto& kind = strategy->kind();
        for (const store::KeyValue& item : range->items) {
            ++left.resources[kind.resource + "." + kind.gvk.group];
            if (const auto object = core_.cache.get(kind, item.mod_revision, *item.value)) {
                for (const auto& finalizer : (*object)->meta().finalizers()) ++left.finalizers[finalizer];
            }
            const std::string object_name = item.key.substr(item.key.rfind('/') + 1);
            change_object(
                core_, *strategy, name, object_name, false,
                [strategy, custom](const ObjectPtr& existing) -> Answer<Change> {
                    if (existing == nullptr) return Change{};
                    DeleteOptions options;
                    options.propagation = Propagation::kBackground;
                    return prepare_deletion(*strategy, *existing, options);
                },
                [name, object_name, custom](Answer<Outcome> outcome) {
                    if (!outcome) {
                        log::warn(kComponent, "namespace={} object={} cannot be deleted: {}", name,
                                  object_name, outcome.error().message);
                    }
                });
        }
    }
    if (left.resources.empty()) return finalize(name, round);
    // Most namespaces are empty at the second look, and need no word about it.
    if (round > 0) tell(name, left);
    retry(name, round);
}

void Emptier::tell(const std::string& name, const Left& left) {
    change_object(
        core_, namespaces_, "", name, false,
        [this, left](const ObjectPtr& existing) -> Answer<Change> {
            if (existing == nullptr) return Change{};
            std::unique_ptr<Message> copy(existing->message().New());
            copy->CopyFrom(existing->message());
            auto* status = static_cast<corev1::Namespace&>(*copy).mutable_status();
            set_condition(status, "NamespaceContentRemaining", true, "SomeResourcesRemain",
                          "Some resources are remaining: " + listed(left.resources, "has"));
            const bool held = !left.finalizers.empty();
            set_condition(status, "NamespaceFinalizersRemaining", held,
                          held ? "SomeFinalizersRemain" : "ContentHasNoFinalizers",
                          held ? "Some content in the namespace has finalizers remaining: " +
                                     listed(left.finalizers, "in")
                               : "All content-preserving finalizers finished");
            return prepare_update(namespaces_, *existing, std::move(copy), Part::kStatus);
        },
        [name](Answer<Outcome> outcome) {
            if (!outcome) {
                log::warn(kComponent, "namespace={} conditions cannot be written: {}", name,
                          outcome.error().message);
            }
        });
}

void Emptier::retry(const std::string& name, int round) {
    // The shift is bounded for its own sake; the longest wait is reached long before.
    const auto wait =
        std::min(kNamespaceRetryInterval * (1 << std::min(round / 10, 10)), kMaxNamespaceRetryInterval);
    core_.executor.post_at(std::chrono::steady_clock::now() + wait,
                           [weak = weak_from_this(), name, round] {
                               const auto self = weak.lock();
                               if (self == nullptr) return;
                               {
                                   const std::lock_guard lock(self->mutex_);
                                   if (self->stopped_) return;
                               }
                               self->empty(name, round + 1);
                           });
}

void Emptier::finalize(const std::string& name, int round) {
    change_object(
        core_, namespaces_, "", name, false,
        [this](const ObjectPtr& existing) -> Answer<Change> {
            if (existing == nullptr) return Change{};
            std::unique_ptr<Message> copy(existing->message().New());
            copy->CopyFrom(existing->message());
            auto* finalizers =
                static_cast<corev1::Namespace&>(*copy).mutable_spec()->mutable_finalizers();
            for (int i = finalizers->size(); i > 0; --i) {
                if (finalizers->Get(i - 1) == "kubernetes") finalizers->DeleteSubrange(i - 1, 1);
            }
            return prepare_update(namespaces_, *existing, std::move(copy), Part::kFinalize);
        },
        [weak = weak_from_this(), name, round](Answer<Outcome> outcome) {
            const auto self = weak.lock();
            if (self == nullptr) return;
            if (!outcome) {
                log::warn(kComponent, "namespace={} cannot be finalized: {}", name,
                          outcome.error().message);
                return self->retry(name, round);
            }
            const std::lock_guard lock(self->mutex_);
            self->busy_.erase(name);
        });
}

}  // namespace

Result<std::unique_ptr<NamespaceDeletion>> start_namespace_deletion(Core& core) {
    auto emptier = std::make_shared<Emptier>(core);
    SLUICE_TRY(emptier->start());
    return std::unique_ptr<NamespaceDeletion>(
        std::make_unique<StoppingHandle<NamespaceDeletion, Emptier>>(std::move(emptier)));
}

}  // namespace sluice::registry
