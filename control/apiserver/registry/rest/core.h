// What every verb of the resource API works with, and the one way in which objects are changed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/http/server.h"
#include "control/apiserver/registry/rest/completions.h"
#include "control/apiserver/registry/rest/encode.h"
#include "control/apiserver/registry/rest/executor.h"
#include "control/apiserver/registry/rest/options.h"
#include "control/apiserver/registry/rest/request_info.h"
#include "control/apiserver/registry/rest/stored_object.h"
#include "control/apiserver/registry/rest/watch_frames.h"
#include "control/apiserver/registry/rest/watch_turns.h"
#include "control/apiserver/registry/strategies/strategies.h"

namespace sluice::registry {

namespace metav1 = ::sluice::codec::metav1;

class WatchStream;
class Admission;
class KindObservation;
class CustomKind;
class CustomKinds;

// Attempts of one read-modify-write before the client is told of the conflict.
inline constexpr int kMaxWriteAttempts = 32;

// Thread-safe, and shared by all requests; the store outlives it.
struct Core {
    Core(store::Store& store_in, const StrategySet& strategies_in);
    ~Core();

    store::Store& store;
    const StrategySet& strategies;
    ObjectCache cache;     // what each change made
    // What each change replaced, for watches with selectors.
    ObjectCache previous{ObjectCache::kMaxBytes / 4};
    WatchFrames watch_frames;
    const std::unique_ptr<CustomKinds> custom;
    std::atomic<bool> stopping{false};
    std::atomic<std::uint64_t> overflowed_watches{0};  // ended because their clients were too slow
    std::atomic<std::uint64_t> refused_custom_kinds{0};  // not served now, as there are kMaxCustomKinds
    std::atomic<std::uint64_t> claim_conflicts{0};  // writes that another server's claim came before
    std::atomic<std::uint64_t> repaired_claims{0};

    // Open watches and writes under way, which must end before the Core does.
    std::mutex mutex;
    std::condition_variable idle;
    std::unordered_map<const WatchStream*, std::shared_ptr<WatchStream>> watches;
    std::size_t writes = 0;
    // Those that acknowledgements wait for; under the mutex.
    std::vector<std::weak_ptr<KindObservation>> observations;

    // Null: every write that is permitted is admitted. Set before requests come.
    std::atomic<const Admission*> admission{nullptr};

    // Calls back once the observations of the kind have seen the revision; at once when there is none.
    void when_observed(const codec::KindInfo& kind, store::Revision revision,
                       std::function<void()> callback);
    // Goes on with a write on a thread where its admission, or a conversion of the kind's objects, may wait: here, if
    // neither does.
    void go_on(const codec::KindInfo& kind, std::function<void()> task);
    // Calls back once everything acknowledged by other servers on the same store can be read here, or
    // with why that cannot be known. At once for a store of one process, else on a worker.
    void when_newest(std::function<void(Answer<void>)> callback);
    // Ends the watches on kinds that are no longer served.
    void end_stale_watches();
    // Ends all watches and refuses new ones; returns at once.
    void stop();
    // Waits until no watch is open and no write is under way.
    void wait_until_idle();

    WatchTurns watch_turns;
    // Behind all that its threads use.
    Executor executor;
    // What is left to do for writes that are stored, kinds that a webhook converts apart. Its tasks hold it.
    const std::shared_ptr<Completions> completions = std::make_shared<Completions>(executor);
};

// Runs the task on a thread where conversion webhooks are waited for. False, and it is dropped, when too many wait.
[[nodiscard]] bool on_waiting_thread(Core& core, std::function<void()> task);
// Runs the task: of a kind that a webhook converts on such a thread (or, when too many wait, on a worker), else here.
void resume(Core& core, const codec::KindInfo& kind, std::function<void()> task);

// One request on its way through a verb.
struct Call {
    Core* core = nullptr;
    std::shared_ptr<const http::Request> request;
    std::shared_ptr<http::Responder> responder;
    RequestInfo info;
    const Strategy* strategy = nullptr;
    std::shared_ptr<const CustomKind> custom;  // what kind and strategy belong to, for a custom kind
    OutputFormat format;
    RowObject rows = RowObject::kMetadata;
    std::vector<std::string> warnings;
    bool dry_run = false;
    bool consulted = false;  // servers outside were asked about what was sent, which is not the object
    bool newest = false;  // what it reads was made sure to be the newest (Core::when_newest)

    void respond(StatusError error) const;
    void respond(int status, const StoredObject& object) const;
    void respond(int status, const metav1::Status& message) const;
    void respond_list(const ListPage& page) const;
    // The store's key of an object of this kind.
    [[nodiscard]] std::string key(std::string_view name_space, std::string_view name) const;

private:
    void send(int status, std::string body) const;
};
using CallPtr = std::shared_ptr<Call>;

// Refuses before a Call exists (no resource, no acceptable representation).
void respond_error(http::Responder& responder, const StatusError& error, Encoding encoding,
                   const std::vector<std::string>& warnings = {});
// As headers, the first ones only and none of them whole when they are many or long.
void add_warnings(const std::vector<std::string>& warnings, http::Response* response);

[[nodiscard]] std::string object_key(const Strategy& strategy, std::string_view name_space,
                                     std::string_view name);
Answer<ObjectPtr> read_object(Core& core, const Strategy& strategy, std::string_view name_space,
                              std::string_view name);

// What to do with one key, decided on its current value.
struct Change {
    enum class Kind { kNothing, kPut, kDelete };
    Kind kind = Kind::kNothing;
    std::unique_ptr<Message> object;           // kPut
    std::shared_ptr<Reservation> reservation;  // committed with the write
};
// Called again with the newer object when another write came between; existing is null when there is none.
using Transform = std::function<Answer<Change>(const ObjectPtr& existing)>;

struct Outcome {
    // As it now is; for a deletion as it was, with the deletion's version where the kind's clients are shown that.
    ObjectPtr object;
    bool created = false;
    bool deleted = false;
};
using Done = std::function<void(Answer<Outcome>)>;

// Reads, transforms and writes one object until no other write interferes. `done` runs on the calling thread or on
// a worker. dry_run: everything but the write.
void change_object(Core& core, const Strategy& strategy, std::string name_space, std::string name,
                   bool dry_run, Transform transform, Done done);

}  // namespace sluice::registry
