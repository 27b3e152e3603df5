#include "control/apiserver/registry/custom/definitions.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "api/base/log.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/definition_private.h"
#include "control/apiserver/registry/custom/naming_private.h"
#include "control/apiserver/registry/custom/versions/converter.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/stopping_handle.h"

namespace sluice::registry {

namespace {

constexpr std::string_view kComponent = "custom-resources";
// Before a watch that ended is begun anew.
constexpr std::chrono::milliseconds kFollowInterval{200};

// The kinds of one definition, and what they were made of.
struct Made {
    std::string source;
    std::vector<CustomKindPtr> kinds;
};

// A definition as it lies in the store, and as it shall be.
struct Seen {
    ObjectPtr stored;
    Definition wanted;
    bool changed = false;
};

// What kinds depend on: all of the spec, the names, and whether it is going.
std::string source_of(const Definition& definition) {
    return codec::encode_protobuf_raw(definition.spec()) +
           codec::encode_protobuf_raw(definition.status().acceptednames()) +
           (definition.metadata().has_deletiontimestamp() ? "-" : "+");
}

class Keeper final : public std::enable_shared_from_this<Keeper> {
public:
    Keeper(Core& core, CustomKinds& kinds)
        : core_(core),
          kinds_(kinds),
          definitions_(core.strategies.of(*codec::find_resource(
              "apiextensions.k8s.io", "v1", "customresourcedefinitions"))) {}

    Result<void> start();
    Result<void> follow();
    void follow_again();
    void stop();

private:
    void wake();
    Result<void> resync();
    [[nodiscard]] Result<std::vector<Seen>> read_all();
    void settle_names(std::vector<Seen>* all);
    std::vector<CustomKindPtr> make_kinds(std::vector<Seen>* all);
    void write_status(const Seen& seen);
    void clean_up(const std::string& name, int round);
    void clean_up_objects(const CustomKindPtr& kind, const std::string& name, int round);
    void look_again(const std::string& name, int round);
    void let_go(const std::string& name, int round);
    [[nodiscard]] CustomKindPtr storage_kind(const std::string& definition) const;
    void delete_object(const CustomKindPtr& kind, const store::KeyValue& item);

    Core& core_;
    CustomKinds& kinds_;
    const Strategy& definitions_;
    std::unique_ptr<store::Watch> watch_;
    std::map<std::string, Made> made_;  // touched by resync() only, which never runs twice at once
    std::mutex mutex_;
    std::set<std::string> going_;
    bool running_ = true;  // a resync is under way; start() does the first
    bool again_ = false;
    bool stopped_ = false;
};

Result<void> Keeper::follow() {
    const std::string prefix = definitions_.storage_prefix() + "/";
    SLUICE_TRY_ASSIGN(auto watch,
                      core_.store.watch(prefix, core_.store.revision(),
                                        [weak = weak_from_this()](
                                            const Result<store::EventBatch>& events, store::Revision) {
                                            const auto self = weak.lock();
                                            if (self == nullptr) return;
                                            if (!events) self->follow_again();
                                            self->wake();
                                        }));
    {
        const std::lock_guard lock(mutex_);
        if (!stopped_) watch_.swap(watch);
    }
    // What the watch took the place of ends with this function, outside of the lock, which its sink takes.
    return {};
}

// The history was lost while the store was away: definitions may have changed meanwhile.
void Keeper::follow_again() {
    core_.executor.post_at(std::chrono::steady_clock::now() + kFollowInterval, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (self == nullptr || self->core_.stopping) return;
        if (const auto done = self->follow(); !done) {
            log::warn(kComponent, "definitions cannot be followed: {}", done.error().message);
            self->follow_again();
        }
        self->wake();
    });
}

Result<void> Keeper::start() {
    SLUICE_TRY(follow());
    const auto done = resync();
    bool again = false;
    {
        const std::lock_guard lock(mutex_);
        running_ = false;
        again = std::exchange(again_, false);
    }
    // What came meanwhile, our own writes among it.
    if (again) wake();
    return done;
}

void Keeper::stop() {
    std::unique_ptr<store::Watch> ended;
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    ended.swap(watch_);
}

void Keeper::wake() {
    {
        const std::lock_guard lock(mutex_);
        if (stopped_) return;
        again_ = true;
        if (running_) return;
        running_ = true;
    }
    core_.executor.post([weak = weak_from_this()] {
        const auto self = weak.lock();
        if (self == nullptr) return;
        while (true) {
            {
                const std::lock_guard lock(self->mutex_);
                if (!self->again_ || self->stopped_) {
                    self->running_ = false;
                    return;
                }
                self->again_ = false;
            }
            if (const auto done = self->resync(); !done) {
                log::warn(kComponent, "definitions cannot be read: {}", done.error().message);
            }
        }
    });
}

Result<std::vector<Seen>> Keeper::read_all() {
    SLUICE_TRY_ASSIGN(auto range, core_.store.range(definitions_.storage_prefix() + "/", "", 0));
    std::vector<Seen> all;
    for (const store::KeyValue& item : range.items) {
        auto object = core_.cache.get(definitions_.kind(), item.mod_revision, *item.value);
        if (!object) {
            log::warn(kComponent, "{}: {}", item.key, object.error().message);
            continue;
        }
        Seen seen;
        seen.stored = std::move(*object);
        seen.wanted = static_cast<const Definition&>(seen.stored->message());
        all.push_back(std::move(seen));
    }
    return all;
}

// Accepted names stay with whom they were given to; for new ones, the older definition comes first.
void Keeper::settle_names(std::vector<Seen>* all) {
    std::vector<Seen*> order;
    for (Seen& seen : *all) order.push_back(&seen);
    std::ranges::stable_sort(order, {}, [](const Seen* seen) {
        return seen->wanted.metadata().creationtimestamp().seconds();
    });
    for (Seen* seen : order) {
        if (seen->wanted.metadata().has_deletiontimestamp()) continue;
        TakenNames taken;
        for (const Seen& other : *all) {
            if (&other == seen || other.wanted.spec().group() != seen->wanted.spec().group()) {
                continue;
            }
            taken.add(other.wanted.status().acceptednames());
        }
        seen->changed = accept_names(&seen->wanted, taken);
        const bool accepted = condition_holds(seen->wanted, "NamesAccepted");
        if (condition_holds(seen->wanted, "Established")) continue;
        // Once established, a definition stays so, whatever names it asks for later.
        bool changed = false;
        if (!accepted) {
            changed = set_condition(&seen->wanted, "Established", "False", "NotAccepted", "not all names are accepted");
        } else if (!check_conversion_authority(seen->wanted)) {
            changed = set_condition(&seen->wanted, "Established", "False", "InvalidCABundle",
                                    "The conversion webhook CABundle is invalid");
        } else {
            changed = set_condition(&seen->wanted, "Established", "True", "InitialNamesAccepted",
                                    "the initial names have been accepted");
        }
        seen->changed = seen->changed || changed;
    }
}

std::vector<CustomKindPtr> Keeper::make_kinds(std::vector<Seen>* all) {
    std::map<std::string, Made> made;
    std::vector<CustomKindPtr> out;
    std::uint64_t refused = 0;
    for (Seen& seen : *all) {
        if (!condition_holds(seen.wanted, "Established")) continue;
        const std::string& name = seen.wanted.metadata().name();
        Made one;
        one.source = source_of(seen.wanted);
        const auto known = made_.find(name);
        if (known != made_.end() && known->second.source == one.source) {
            one.kinds = known->second.kinds;
        }
        Error why;
        bool failed = false;
        const int versions = one.kinds.empty() ? seen.wanted.spec().versions_size() : 0;
        std::shared_ptr<Converter> converter;
        if (versions > 0 && seen.wanted.spec().conversion().strategy() == "Webhook") {
            converter = std::make_shared<Converter>(*kinds_.hooks(), seen.wanted);
        }
        for (int i = 0; i < versions; ++i) {
            auto kind = CustomKind::make(seen.wanted, i, converter);
            if (!kind) {
                why = kind.error();
                failed = true;
                break;
            }
            one.kinds.push_back(std::move(*kind));
        }
        if (!failed && out.size() + one.kinds.size() > kMaxCustomKinds) {
            why = make_error(Code::kResourceExhausted,
                             "the server serves {} versions of definitions, and no more",
                             kMaxCustomKinds);
            failed = true;
            refused += one.kinds.size();
        }
        if (failed) {
            log::warn(kComponent, "definition={} cannot be served: {}", name, why.message);
            const bool changed = set_condition(&seen.wanted, "Established", "False",
                                               "NotServed", why.message);
            seen.changed = seen.changed || changed;
            continue;
        }
        out.insert(out.end(), one.kinds.begin(), one.kinds.end());
        made.emplace(name, std::move(one));
    }
    core_.refused_custom_kinds.store(refused, std::memory_order_relaxed);
    made_ = std::move(made);
    return out;
}

Result<void> Keeper::resync() {
    SLUICE_TRY_ASSIGN(auto all, read_all());
    settle_names(&all);
    const auto before = kinds_.snapshot();
    auto kinds = make_kinds(&all);
    const std::set<CustomKindPtr> old(before->kinds.begin(), before->kinds.end());
    const std::set<CustomKindPtr> now(kinds.begin(), kinds.end());
    if (old != now) kinds_.replace(std::move(kinds));
    for (const Seen& seen : all) {
        if (seen.changed) write_status(seen);
        if (!seen.wanted.metadata().has_deletiontimestamp()) continue;
        const std::string& name = seen.wanted.metadata().name();
        {
            const std::lock_guard lock(mutex_);
            if (stopped_ || !going_.insert(name).second) continue;
        }
        core_.executor.post([weak = weak_from_this(), name] {
            if (const auto self = weak.lock()) self->clean_up(name, 0);
        });
    }
    return {};
}

void Keeper::write_status(const Seen& seen) {
    change_object(
        core_, definitions_, "", seen.wanted.metadata().name(), false,
        [this, stored = seen.stored, wanted = seen.wanted](
            const ObjectPtr& existing) -> Answer<Change> {
            // What changed in between wakes us again.
            if (existing == nullptr || existing->revision() != stored->revision()) return Change{};
            return prepare_update(definitions_, *existing, std::make_unique<Definition>(wanted),
                                  Part::kStatus);
        },
        [name = seen.wanted.metadata().name()](Answer<Outcome> outcome) {
            if (!outcome) {
                log::warn(kComponent, "definition={} status cannot be written: {}", name,
                          outcome.error().message);
            }
        });
}

CustomKindPtr Keeper::storage_kind(const std::string& definition) const {
    const auto snapshot = kinds_.snapshot();
    for (const CustomKindPtr& kind : snapshot->kinds) {
        if (kind->storage() && kind->definition() == definition) return kind;
    }
    return nullptr;
}

void Keeper::delete_object(const CustomKindPtr& kind, const store::KeyValue& item) {
    const std::string prefix = kind->strategy().storage_prefix() + "/";
    std::string name = item.key.substr(prefix.size());
    std::string name_space;
    if (const std::size_t slash = name.find('/'); slash != std::string::npos) {
        name_space = name.substr(0, slash);
        name.erase(0, slash + 1);
    }
    change_object(
        core_, kind->strategy(), name_space, name, false,
        [kind](const ObjectPtr& existing) -> Answer<Change> {
            if (existing == nullptr) return Change{};
            return prepare_deletion(kind->strategy(), *existing, DeleteOptions{});
        },
        [kind, key = item.key](Answer<Outcome> outcome) {
            if (!outcome) {
                log::warn(kComponent, "{} cannot be deleted: {}", key, outcome.error().message);
            }
        });
}

void Keeper::clean_up(const std::string& name, int round) {
    const CustomKindPtr kind = storage_kind(name);
    // A definition that was never served has no objects.
    if (kind == nullptr) return let_go(name, round);
    resume(core_, kind->kind(), [weak = weak_from_this(), kind, name, round] {
        if (const auto self = weak.lock()) self->clean_up_objects(kind, name, round);
    });
}

void Keeper::clean_up_objects(const CustomKindPtr& kind, const std::string& name, int round) {
    auto range = core_.store.range(kind->strategy().storage_prefix() + "/", "", 0);
    if (!range) return look_again(name, round);
    if (range->items.empty()) return let_go(name, round);
    for (const store::KeyValue& item : range->items) delete_object(kind, item);
    if (round == 1) {
        change_object(
            core_, definitions_, "", name, false,
            [this](const ObjectPtr& existing) -> Answer<Change> {
                if (existing == nullptr) return Change{};
                auto copy = std::make_unique<Definition>(
                    static_cast<const Definition&>(existing->message()));
                set_condition(copy.get(), "Terminating", "True", "InstanceDeletionInProgress",
                              "CustomResource deletion is in progress");
                return prepare_update(definitions_, *existing, std::move(copy), Part::kStatus);
            },
            [](Answer<Outcome>) {});
    }
    look_again(name, round);
}

void Keeper::look_again(const std::string& name, int round) {
    const auto wait = std::min(kCleanupRetryInterval * (1 << std::min(round, 10)),
                               kMaxCleanupRetryInterval);
    core_.executor.post_at(std::chrono::steady_clock::now() + wait,
                           [weak = weak_from_this(), name, round] {
                               const auto self = weak.lock();
                               if (self == nullptr) return;
                               {
                                   const std::lock_guard lock(self->mutex_);
                                   if (self->stopped_) return;
                               }
                               self->clean_up(name, round + 1);
                           });
}

// Removes our finalizer, and with the last finalizer the definition itself.
void Keeper::let_go(const std::string& name, int round) {
    change_object(
        core_, definitions_, "", name, false,
        [this](const ObjectPtr& existing) -> Answer<Change> {
            if (existing == nullptr) return Change{};
            auto copy =
                std::make_unique<Definition>(static_cast<const Definition&>(existing->message()));
            auto* finalizers = copy->mutable_metadata()->mutable_finalizers();
            finalizers->erase(
                std::remove(finalizers->begin(), finalizers->end(), kCleanupFinalizer),
                finalizers->end());
            return prepare_update(definitions_, *existing, std::move(copy), Part::kMain);
        },
        [weak = weak_from_this(), name, round](Answer<Outcome> outcome) {
            const auto self = weak.lock();
            if (self == nullptr) return;
            if (!outcome) {
                log::warn(kComponent, "definition={} cannot be finalized: {}", name,
                          outcome.error().message);
                return self->look_again(name, round);
            }
            const std::lock_guard lock(self->mutex_);
            self->going_.erase(name);
        });
}

}  // namespace

Result<std::unique_ptr<Definitions>> start_definitions(Core& core, CustomKinds& kinds) {
    kinds.set_hooks(std::make_unique<ConversionHooks>(services_of(core)));
    auto keeper = std::make_shared<Keeper>(core, kinds);
    SLUICE_TRY(keeper->start());
    return std::unique_ptr<Definitions>(
        std::make_unique<StoppingHandle<Definitions, Keeper>>(std::move(keeper)));
}

}  // namespace sluice::registry
