#include "control/apiserver/registry/namespace_deletion/namespace_deletion.h"

#include <google/protobuf/message.h>

#include <mutex>
#include <set>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/lifecycle.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kComponent = "namespace-deletion";

class Emptier final : public NamespaceDeletion, public std::enable_shared_from_this<Emptier> {
public:
    explicit Emptier(Core& core)
        : core_(core), namespaces_(core.strategies.of(*codec::find_resource("", "v1", "namespaces"))) {}

    Result<void> start();
    void stop() override;

private:
    void look_at(const store::KeyValue& item);
    void empty(const std::string& name);
    void delete_all(const std::string& name);
    void finalize(const std::string& name);
    void retry(const std::string& name);

    Core& core_;
    const Strategy& namespaces_;
    std::unique_ptr<store::Watch> watch_;
    std::mutex mutex_;
    std::set<std::string> busy_;
    bool stopped_ = false;
};

Result<void> Emptier::start() {
    const std::string prefix = namespaces_.storage_prefix() + "/";
    SLUICE_TRY_ASSIGN(auto range, core_.store.range(prefix, "", 0));
    SLUICE_TRY_ASSIGN(
        watch_, core_.store.watch(prefix, range.revision,
                                  [weak = weak_from_this()](Result<std::vector<store::Event>> events,
                                                            store::Revision) {
                                      if (!events) return;
                                      const auto self = weak.lock();
                                      if (self == nullptr) return;
                                      for (store::Event& event : *events) {
                                          self->core_.executor.post(
                                              [weak, item = std::move(event.current)] {
                                                  if (const auto alive = weak.lock()) {
                                                      alive->look_at(item);
                                                  }
                                              });
                                      }
                                  }));
    for (const store::KeyValue& item : range.items) look_at(item);
    return {};
}

void Emptier::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
    }
    watch_.reset();
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
    empty(name);
}

void Emptier::empty(const std::string& name) {
    bool left = false;
    for (const auto& strategy : core_.strategies.all()) {
        if (!strategy->kind().namespaced) continue;
        auto range =
            core_.store.range(strategy->storage_prefix() + "/" + name + "/", "", 0);
        if (!range) return retry(name);
        for (const store::KeyValue& item : range->items) {
            left = true;
            const std::string object_name = item.key.substr(item.key.rfind('/') + 1);
            change_object(
                core_, *strategy, name, object_name, false,
                [strategy = strategy.get()](const ObjectPtr& existing) -> Answer<Change> {
                    if (existing == nullptr) return Change{};
                    DeleteOptions options;
                    options.propagation = Propagation::kBackground;
                    return prepare_deletion(*strategy, *existing, options);
                },
                [name, object_name](Answer<Outcome> outcome) {
                    if (!outcome) {
                        log::warn(kComponent, "namespace={} object={} cannot be deleted: {}", name,
                                  object_name, outcome.error().message);
                    }
                });
        }
    }
    if (left) return retry(name);
    finalize(name);
}

void Emptier::retry(const std::string& name) {
    core_.executor.post_at(std::chrono::steady_clock::now() + kNamespaceRetryInterval,
                           [weak = weak_from_this(), name] {
                               const auto self = weak.lock();
                               if (self == nullptr) return;
                               {
                                   const std::lock_guard lock(self->mutex_);
                                   if (self->stopped_) return;
                               }
                               self->empty(name);
                           });
}

void Emptier::finalize(const std::string& name) {
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
        [weak = weak_from_this(), name](Answer<Outcome> outcome) {
            const auto self = weak.lock();
            if (self == nullptr) return;
            if (!outcome) {
                log::warn(kComponent, "namespace={} cannot be finalized: {}", name,
                          outcome.error().message);
                return self->retry(name);
            }
            const std::lock_guard lock(self->mutex_);
            self->busy_.erase(name);
        });
}

// Shared inside, because the store's thread may still hold it; owned singly outside.
class Handle final : public NamespaceDeletion {
public:
    explicit Handle(std::shared_ptr<Emptier> emptier) : emptier_(std::move(emptier)) {}
    ~Handle() override { emptier_->stop(); }
    void stop() override { emptier_->stop(); }

private:
    std::shared_ptr<Emptier> emptier_;
};

}  // namespace

Result<std::unique_ptr<NamespaceDeletion>> start_namespace_deletion(Core& core) {
    auto emptier = std::make_shared<Emptier>(core);
    SLUICE_TRY(emptier->start());
    return std::unique_ptr<NamespaceDeletion>(std::make_unique<Handle>(std::move(emptier)));
}

}  // namespace sluice::registry
