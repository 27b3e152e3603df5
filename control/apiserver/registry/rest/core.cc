#include "control/apiserver/registry/rest/core.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <thread>
#include <utility>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/custom/versions/hooks.h"
#include "control/apiserver/registry/observe/observation.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/busy.h"
#include "control/apiserver/registry/rest/watch.h"

namespace sluice::registry {

namespace {

// One worker less than the CPUs would starve small machines; more than a few only contend on the store's lock.
std::size_t worker_count() {
    const std::size_t cpus = std::thread::hardware_concurrency();
    return cpus < 2 ? 2 : (cpus > 8 ? 8 : cpus);
}

// A warning longer than this is cut, as kube-apiserver does.
constexpr std::size_t kMaxWarningBytes = 256;
constexpr std::size_t kMaxWarnings = 32;

std::string warning_value(const std::string& text) {
    return fmt::format("299 - {}", go_quote(std::string_view(text).substr(0, kMaxWarningBytes)));
}

// The state of one change_object between its attempts.
struct Attempt : std::enable_shared_from_this<Attempt> {
    Attempt(Core& core_in, const Strategy& strategy_in) : core(core_in), strategy(strategy_in) {}

    Core& core;
    const Strategy& strategy;
    std::string name_space;
    std::string name;
    std::string key;
    bool dry_run = false;
    Transform transform;
    Done done;
    int attempts = 0;
    bool newest = false;  // the store was made to show the newest before this attempt

    void run();
    bool run_on_newest();
    void acknowledge(Outcome outcome, store::Revision revision);
    void written(const Result<store::WriteResult>& result, const ObjectPtr& existing,
                 Change::Kind kind, std::unique_ptr<Message> wanted,
                 const std::shared_ptr<Reservation>& reservation);
};

void Attempt::run() {
    auto current = core.store.get(key);
    if (!current) return done(refuse(from_error(current.error())));
    ObjectPtr existing;
    if (*current) {
        auto object = core.cache.get(strategy.kind(), (*current)->mod_revision, *(*current)->value);
        if (!object) return done(refuse(std::move(object).error()));
        existing = std::move(*object);
    }
    auto change = transform(existing);
    if (!change || change->kind == Change::Kind::kNothing) {
        // What was decided without a write nobody has checked yet: another server may have changed the object.
        if (run_on_newest()) return;
        if (!change) return done(refuse(std::move(change).error()));
        if (dry_run || !*current || !(*current)->stale) {
            return done(Outcome{existing, false, false});
        }
        // The same again, in the form that things are stored in now.
        change->kind = Change::Kind::kPut;
        change->object.reset(existing->message().New());
        change->object->CopyFrom(existing->message());
    }
    const bool deletes = change->kind == Change::Kind::kDelete;
    if (dry_run) {
        ObjectPtr object = existing;
        if (!deletes) {
            object = std::make_shared<const StoredObject>(strategy.kind(),
                                                          std::move(change->object), 0);
        }
        return done(Outcome{std::move(object), existing == nullptr, deletes});
    }
    store::Write write;
    write.key = key;
    write.expected = existing == nullptr ? 0 : existing->revision();
    // What the write puts in place; null for kinds whose objects are completed as they are read.
    std::shared_ptr<std::unique_ptr<Message>> wanted;
    if (!deletes) {
        // The version is the store's; without one there is nothing to copy for.
        codec::object_meta(*change->object).clear_resourceversion();
        auto value = value_to_store(strategy.kind(), *change->object);
        if (!value) {
            if (change->reservation != nullptr) change->reservation->rollback();
            return done(refuse(std::move(value).error()));
        }
        write.value = std::move(*value);
        if (strategy.kind().custom == nullptr) {
            wanted = std::make_shared<std::unique_ptr<Message>>(std::move(change->object));
        }
    }
    if (change->reservation != nullptr) write.also = change->reservation->claims();
    {
        const std::lock_guard lock(core.mutex);
        ++core.writes;
    }
    core.store.write(
        std::move(write),
        [self = shared_from_this(), existing, kind = change->kind, wanted = std::move(wanted),
         reservation = std::move(change->reservation)](Result<store::WriteResult> result) mutable {
            // The store's thread goes on with the next commit; the rest is for a worker. Nothing is left behind in
            // this closure, which the store may destroy when the Core, and what reservations point to, is gone.
            Core& owner = self->core;
            const codec::KindInfo& written_kind = self->strategy.kind();
            auto rest = [self = std::move(self), existing = std::move(existing), kind, wanted = std::move(wanted),
                         reservation = std::move(reservation), result = std::move(result)]() mutable {
                Core& waited_for = self->core;
                self->written(result, existing, kind, wanted == nullptr ? nullptr : std::move(*wanted), reservation);
                reservation.reset();
                self.reset();
                const std::lock_guard lock(waited_for.mutex);
                --waited_for.writes;
                waited_for.idle.notify_all();
            };
            if (converter_of(written_kind) == nullptr) return owner.completions->add(std::move(rest));
            // The object is read back, which may take another call of the webhook.
            resume(owner, written_kind, std::move(rest));
        });
}

// True when another attempt is under way, on what is then sure to be the newest.
bool Attempt::run_on_newest() {
    if (newest || !core.store.shared()) return false;
    newest = true;
    core.when_newest([self = shared_from_this()](Answer<void> ok) {
        if (!ok) return self->done(refuse(std::move(ok).error()));
        self->core.go_on(self->strategy.kind(), [self] { self->run(); });
    });
    return true;
}

void Attempt::written(const Result<store::WriteResult>& result, const ObjectPtr& existing,
                      Change::Kind kind, std::unique_ptr<Message> wanted,
                      const std::shared_ptr<Reservation>& reservation) {
    const bool condition_failed =
        result ? result->condition_failed : result.error().code == Code::kAborted;
    // Before another attempt, which may ask for the same values.
    if ((condition_failed || !result) && reservation != nullptr) reservation->rollback();
    if (condition_failed) {
        const store::Revision seen = existing == nullptr ? 0 : existing->revision();
        if (result && result->current.mod_revision == seen) {
            core.claim_conflicts.fetch_add(1, std::memory_order_relaxed);
        }
        if (++attempts >= kMaxWriteAttempts) {
            return done(refuse(object_modified(strategy.kind(), name)));
        }
        return core.go_on(strategy.kind(), [self = shared_from_this()] { self->run(); });
    }
    if (!result) return done(refuse(from_error(result.error())));
    if (reservation != nullptr) reservation->commit();
    if (kind == Change::Kind::kDelete) {
        ObjectPtr gone = existing;
        if (strategy.returns_deleted_object()) {
            std::unique_ptr<Message> copy(existing->message().New());
            copy->CopyFrom(existing->message());
            codec::object_meta(*copy).set_resourceversion(std::to_string(result->revision));
            gone = std::make_shared<const StoredObject>(strategy.kind(), std::move(copy), result->revision);
        }
        return acknowledge(Outcome{std::move(gone), false, true}, result->revision);
    }
    const codec::KindInfo& made = strategy.kind();
    const auto& value = result->current.value;
    auto object = wanted == nullptr ? core.cache.get(made, result->revision, *value)
                                    : core.cache.put(made, result->revision, value, std::move(wanted));
    if (!object) return done(refuse(std::move(object).error()));
    acknowledge(Outcome{std::move(*object), existing == nullptr, false}, result->revision);
}

void Attempt::acknowledge(Outcome outcome, store::Revision revision) {
    core.when_observed(strategy.kind(), revision,
                       [self = shared_from_this(), outcome = std::move(outcome)] {
                           self->done(outcome);
                       });
}

}  // namespace

Core::Core(store::Store& store_in, const StrategySet& strategies_in)
    : store(store_in),
      strategies(strategies_in),
      custom(std::make_unique<CustomKinds>([this](const codec::KindInfo& kind) {
          cache.forget(kind);
          previous.forget(kind);
      })),
      watch_turns(executor, worker_count()),
      executor(worker_count()) {
    custom->on_change([this](const CustomSnapshot&) { end_stale_watches(); });
}

Core::~Core() = default;

void Core::end_stale_watches() {
    std::vector<std::shared_ptr<WatchStream>> stale;
    {
        const std::lock_guard lock(mutex);
        for (const auto& [key, stream] : watches) {
            const Call& call = stream->call();
            const auto& gvk = call.info.kind->gvk;
            if (call.custom == nullptr) continue;
            const auto now = custom->find(gvk.group, gvk.version, call.info.kind->resource);
            // A webhook's definition may name another one by now, which alone is asked.
            const bool converts = converter_of(*call.info.kind) != nullptr;
            if (now == nullptr || (converts && now != call.custom)) stale.push_back(stream);
        }
    }
    for (const auto& stream : stale) stream->end();
}

bool on_waiting_thread(Core& core, std::function<void()> task) {
    ConversionHooks* hooks = core.custom->hooks();
    if (hooks == nullptr) return false;
    return hooks->run(while_busy(std::make_shared<Busy>(core), std::move(task)));
}

void resume(Core& core, const codec::KindInfo& kind, std::function<void()> task) {
    if (converter_of(kind) == nullptr) return task();
    // Nothing of the task is left here once another thread has it.
    const auto held = std::make_shared<std::function<void()>>(std::move(task));
    const auto run = [held] { std::exchange(*held, nullptr)(); };
    if (!on_waiting_thread(core, run)) core.executor.post(run);
}

void Core::go_on(const codec::KindInfo& kind, std::function<void()> task) {
    if (converter_of(kind) != nullptr) return resume(*this, kind, std::move(task));
    const Admission* asked = admission.load();
    if (asked == nullptr || !asked->blocks(kind)) return task();
    auto counted = while_busy(std::make_shared<Busy>(*this), std::move(task));
    // A write that is under way is not given up because others wait: it goes on here.
    if (!asked->run(counted)) counted();
}

void Core::when_newest(std::function<void(Answer<void>)> callback) {
    if (!store.shared()) return callback({});
    {
        const std::lock_guard lock(mutex);
        ++writes;
    }
    store.fence([this, callback = std::move(callback)](const Result<store::Revision>& at) mutable {
        // The store's thread goes on; what follows may read and write.
        executor.post([this, callback = std::move(callback),
                       error = at ? std::optional<Error>() : at.error()]() mutable {
            callback(error ? Answer<void>(refuse(from_error(*error))) : Answer<void>());
            callback = nullptr;
            const std::lock_guard lock(mutex);
            --writes;
            idle.notify_all();
        });
    });
}

void Core::stop() {
    stopping = true;
    std::vector<std::shared_ptr<WatchStream>> open;
    {
        const std::lock_guard lock(mutex);
        for (const auto& [key, stream] : watches) open.push_back(stream);
    }
    for (const auto& stream : open) stream->end();
}

void Core::when_observed(const codec::KindInfo& kind, store::Revision revision,
                         std::function<void()> callback) {
    std::shared_ptr<KindObservation> found;
    {
        const std::lock_guard lock(mutex);
        for (const auto& weak : observations) {
            const auto observation = weak.lock();
            if (observation != nullptr && &observation->kind() == &kind) found = observation;
        }
    }
    if (found == nullptr) return callback();
    found->when_reached(revision, std::move(callback));
}

void Core::wait_until_idle() {
    std::unique_lock lock(mutex);
    idle.wait(lock, [this] { return watches.empty() && writes == 0; });
}

void add_warnings(const std::vector<std::string>& warnings, http::Response* response) {
    for (std::size_t i = 0; i < warnings.size() && i < kMaxWarnings; ++i) {
        response->headers.emplace_back("Warning", warning_value(warnings[i]));
    }
}

void respond_error(http::Responder& responder, const StatusError& error, Encoding encoding,
                   const std::vector<std::string>& warnings) {
    metav1::Status status;
    fill_status(error, &status);
    http::Response response;
    response.status = error.code;
    response.headers.emplace_back("Content-Type", std::string(media_type(encoding)));
    if (error.retry_after_seconds > 0) {
        response.headers.emplace_back("Retry-After", std::to_string(error.retry_after_seconds));
    }
    add_warnings(warnings, &response);
    response.body = encode_status(status, encoding);
    responder.send(std::move(response));
}

void Call::respond(StatusError error) const {
    respond_error(*responder, error, format.encoding, warnings);
}

void Call::respond(int status, const StoredObject& object) const {
    send(status, encode_object(*strategy, object, format, rows));
}

void Call::respond(int status, const metav1::Status& message) const {
    send(status, encode_status(message, format.encoding));
}

void Call::respond_list(const ListPage& page) const {
    send(200, encode_list(*strategy, page, format, rows));
}

void Call::send(int status, std::string body) const {
    // Those who pass the answer on add some of their own.
    constexpr std::size_t kUsualHeaders = 8;
    http::Response response;
    response.status = status;
    response.headers.reserve(kUsualHeaders);
    response.headers.emplace_back("Content-Type", std::string(media_type(format.encoding)));
    add_warnings(warnings, &response);
    response.body = std::move(body);
    responder->send(std::move(response));
}

std::string object_key(const Strategy& strategy, std::string_view name_space,
                       std::string_view name) {
    if (!strategy.kind().namespaced) return fmt::format("{}/{}", strategy.storage_prefix(), name);
    return fmt::format("{}/{}/{}", strategy.storage_prefix(), name_space, name);
}

std::string Call::key(std::string_view name_space, std::string_view name) const {
    return object_key(*strategy, name_space, name);
}

Answer<ObjectPtr> read_object(Core& core, const Strategy& strategy, std::string_view name_space,
                              std::string_view name) {
    auto found = core.store.get(object_key(strategy, name_space, name));
    if (!found) return refuse(from_error(found.error()));
    if (!*found) return refuse(not_found(strategy.kind(), name));
    return core.cache.get(strategy.kind(), (*found)->mod_revision, *(*found)->value);
}

void change_object(Core& core, const Strategy& strategy, std::string name_space, std::string name,
                   bool dry_run, Transform transform, Done done) {
    const auto attempt = std::make_shared<Attempt>(core, strategy);
    attempt->key = object_key(strategy, name_space, name);
    attempt->name_space = std::move(name_space);
    attempt->name = std::move(name);
    attempt->dry_run = dry_run;
    attempt->transform = std::move(transform);
    attempt->done = std::move(done);
    attempt->run();
}

}  // namespace sluice::registry
