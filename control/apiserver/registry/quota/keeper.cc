#include "control/apiserver/registry/quota/keeper.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>

#include <condition_variable>
#include <future>
#include <map>
#include <set>
#include <thread>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/resourcequota.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/observe/observation.h"
#include "control/apiserver/registry/quota/usage.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using Clock = std::chrono::steady_clock;

// Attempts of one count when others write the quota too; the next change or resync tries again.
constexpr int kMaxCountAttempts = 8;

// The scheme's kind of a group and resource, in its first version; null when there is none.
const codec::KindInfo* built_in(const Counted& counted) {
    for (const auto& kind : codec::all_kinds()) {
        if (kind.gvk.group == counted.group && kind.resource == counted.resource) return &kind;
    }
    return nullptr;
}

// All objects of a namespace that count for a name.
std::vector<ObjectPtr> objects_of(Core& core, const Counted& counted, const std::string& name_space,
                                  CustomKindPtr* held) {
    if (const auto* kind = built_in(counted)) {
        return kind->namespaced ? list_stored(core, *kind, name_space) : std::vector<ObjectPtr>();
    }
    for (const auto& custom : core.custom->snapshot()->kinds) {
        const auto& kind = custom->kind();
        if (kind.gvk.group != counted.group || kind.resource != counted.resource || !kind.namespaced) continue;
        *held = custom;
        return list_stored(core, custom->strategy(), name_space);
    }
    return {};
}

class Keeper final : public QuotaKeeper {
public:
    explicit Keeper(Core& core)
        : core_(core),
          kind_(kind_named("", "v1", "resourcequotas")),
          quotas_(std::make_shared<KindObservation>(core, core.strategies.of(kind_),
                                                    [this](const Observed& seen) { quota_changed(seen); })) {}
    ~Keeper() override { Keeper::stop(); }

    Result<void> start() {
        SLUICE_TRY(quotas_->start());
        thread_ = std::thread([this] { work(); });
        return {};
    }

    void stop() override {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
            wake_.notify_all();
        }
        if (thread_.joinable()) thread_.join();
        quotas_->stop();
        for (const auto& [kind, observation] : observed_) observation->stop();
        observed_.clear();
    }

private:
    void quota_changed(const Observed& seen) {
        const std::lock_guard lock(mutex_);
        auto& names = limits_[seen.name_space];
        names.erase(seen.name);
        const auto* quota = static_cast<const corev1::ResourceQuota*>(seen.object.get());
        if (quota != nullptr) {
            auto& hard = names[seen.name];
            for (const auto& [name, value] : quota->spec().hard()) hard.insert(name);
        }
        if (names.empty()) {
            limits_.erase(seen.name_space);
        } else if (quota != nullptr) {
            const bool only_used = quantities_of(quota->spec().hard()) == quantities_of(quota->status().hard());
            due_in(seen.name_space, only_used ? Clock::duration(kQuotaSettle) : Clock::duration(kQuotaGather));
        }
    }

    void object_changed(const Observed& seen) {
        const std::lock_guard lock(mutex_);
        if (!limits_.contains(seen.name_space)) return;
        due_in(seen.name_space, releases(seen) ? Clock::duration(kQuotaGather) : Clock::duration(kQuotaSettle));
    }

    // Under the mutex. What is due sooner already stays so.
    void due_in(const std::string& name_space, Clock::duration delay) {
        const auto at = Clock::now() + delay;
        const auto [found, fresh] = dirty_.try_emplace(name_space, at);
        if (!fresh && found->second <= at) return;
        found->second = at;
        wake_.notify_all();
    }

    // Whether it uses less than it did; what it uses more was charged by admission.
    static bool releases(const Observed& seen) {
        if (seen.object == nullptr) return true;
        if (seen.object->GetDescriptor() != corev1::Pod::descriptor()) return false;
        const std::string& phase = static_cast<const corev1::Pod&>(*seen.object).status().phase();
        return phase == "Succeeded" || phase == "Failed";
    }

    void work() {
        auto resync = Clock::now() + kQuotaResync;
        auto custom = Clock::now() + kQuotaCustomResync;
        while (true) {
            std::set<std::string> due;
            std::set<const codec::KindInfo*> kinds;
            {
                std::unique_lock lock(mutex_);
                if (stopped_) return;
                auto until = limits_.empty() ? resync : std::min(resync, custom);
                for (const auto& [name_space, at] : dirty_) until = std::min(until, at);
                wake_.wait_until(lock, until);
                if (stopped_) return;
                const auto now = Clock::now();
                std::erase_if(dirty_, [&](const auto& entry) {
                    if (entry.second > now) return false;
                    due.insert(entry.first);
                    return true;
                });
                const bool all = now >= resync;
                const bool customs = now >= custom;
                if (all) resync = now + kQuotaResync;
                if (customs) custom = now + kQuotaCustomResync;
                for (const auto& [name_space, quotas] : limits_) {
                    if (all) due.insert(name_space);
                    for (const auto& [quota, hard] : quotas) {
                        for (const std::string& name : hard) {
                            const auto* kind = built_in(counted_by(name));
                            if (kind != nullptr) kinds.insert(&core_.strategies.of(*kind).kind());
                            if (kind == nullptr && customs) due.insert(name_space);
                        }
                    }
                }
            }
            observe(kinds);
            for (const std::string& name_space : due) count(name_space);
        }
    }

    // What nobody counts any more stays observed: quotas come back.
    void observe(const std::set<const codec::KindInfo*>& kinds) {
        for (const auto* kind : kinds) {
            if (kind == &kind_ || observed_.contains(kind)) continue;
            auto made = std::make_shared<KindObservation>(core_, core_.strategies.of(*kind),
                                                          [this](const Observed& seen) { object_changed(seen); });
            if (const auto ok = made->start(); !ok) {
                log::warn("registry", "quotas: {} cannot be observed: {}", kind->resource, ok.error().message);
                made->stop();
                continue;
            }
            observed_.emplace(kind, std::move(made));
        }
    }

    void count(const std::string& name_space) {
        const Strategy& strategy = core_.strategies.of(kind_);
        for (const auto& listed : list_stored(core_, kind_, name_space)) {
            ObjectPtr quota = listed;
            for (int attempt = 0; quota != nullptr && attempt < kMaxCountAttempts; ++attempt) {
                const auto wanted = counted_quota(core_, *quota);
                if (google::protobuf::util::MessageDifferencer::Equals(*wanted, quota->message())) break;
                const auto written = write_and_wait(core_, strategy, *quota, *wanted);
                if (!written) {
                    log::warn("registry", "resourcequotas {}/{}: the status cannot be written: {}", name_space,
                              quota->meta().name(), written.error().message);
                    break;
                }
                if (*written) break;
                quota = read_stored(core_, kind_, name_space, quota->meta().name());
            }
        }
    }

    Core& core_;
    const codec::KindInfo& kind_;
    std::mutex mutex_;
    std::condition_variable wake_;
    // By namespace and quota: the names that it limits. Under the mutex, as the next two are.
    std::map<std::string, std::map<std::string, std::set<std::string>>> limits_;
    std::map<std::string, Clock::time_point> dirty_;  // namespaces, and when they are to be counted
    bool stopped_ = false;
    const std::shared_ptr<KindObservation> quotas_;
    std::map<const codec::KindInfo*, std::shared_ptr<KindObservation>> observed_;  // of the thread
    std::thread thread_;
};

}  // namespace

std::unique_ptr<Message> counted_quota(Core& core, const StoredObject& stored) {
    auto out = std::make_unique<corev1::ResourceQuota>(static_cast<const corev1::ResourceQuota&>(stored.message()));
    const std::string& name_space = out->metadata().namespace_();
    std::map<std::pair<std::string, std::string>, Amounts> sums;
    Amounts used;
    for (const auto& [name, value] : out->spec().hard()) {
        const Counted counted = counted_by(name);
        const auto [sum, fresh] = sums.try_emplace({counted.group, counted.resource});
        if (fresh) {
            CustomKindPtr held;
            for (const auto& object : objects_of(core, counted, name_space, &held)) {
                if (!in_scope(*out, object->message())) continue;
                for (const auto& [what, amount] : usage_of(object->kind(), object->message())) {
                    sum->second[what] += amount;
                }
            }
        }
        const auto found = sum->second.find(name);
        if (found != sum->second.end()) used[name] = found->second;
    }
    auto* status = out->mutable_status();
    // What is as it was keeps its text.
    const auto before = quantities_of(status->used());
    google::protobuf::Map<std::string, ::k8s::io::apimachinery::pkg::api::resource::Quantity> texts;
    for (const auto& [name, hard] : out->spec().hard()) {
        const auto found = before.find(name);
        if (found != before.end() && found->second == used[name]) {
            texts[name] = status->used().at(name);
        } else {
            texts[name].set_string(used[name].to_string());
        }
    }
    *status->mutable_hard() = out->spec().hard();
    *status->mutable_used() = std::move(texts);
    return out;
}

Answer<bool> write_and_wait(Core& core, const Strategy& strategy, const StoredObject& read, const Message& wanted) {
    store::Write write;
    write.key = object_key(strategy, read.meta().namespace_(), read.meta().name());
    write.expected = read.revision();
    write.value = encode_stored(strategy.kind(), wanted);
    // Shared, as the store may answer after this was destroyed in its own hands.
    const auto answer = std::make_shared<std::promise<Result<store::WriteResult>>>();
    auto waiting = answer->get_future();
    core.store.write(std::move(write),
                     [answer](Result<store::WriteResult> result) { answer->set_value(std::move(result)); });
    const auto result = waiting.get();
    if (result) return !result->condition_failed;
    if (result.error().code == Code::kAborted) return false;
    return refuse(from_error(result.error()));
}

Result<std::unique_ptr<QuotaKeeper>> start_quotas(Core& core) {
    auto keeper = std::make_unique<Keeper>(core);
    SLUICE_TRY(keeper->start());
    return std::unique_ptr<QuotaKeeper>(std::move(keeper));
}

}  // namespace sluice::registry
