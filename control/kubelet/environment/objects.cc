// See objects.h. One keeper thread starts watches, reads again what has none, and joins the threads
// of watches that ended; each watch is a reflector on a thread of its own.
#include "control/kubelet/objects.h"

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <ctime>
#include <mutex>
#include <random>
#include <set>
#include <stop_token>
#include <thread>
#include <vector>

#include "api/base/log.h"
#include "api/client/reflector.h"
#include "api/kubernetes/authentication/v1/authentication.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/kubelet/environment/object_references_private.h"
#include "control/kubelet/environment/tokens_private.h"

namespace sluice::kubelet {
namespace {

using Message = google::protobuf::Message;
using Shared = std::shared_ptr<const Message>;
using Clock = std::chrono::steady_clock;

const codec::KindInfo& kind_of_key(const ObjectKey& key) {
    static const codec::KindInfo* config_map = codec::find_kind({"", "v1", "ConfigMap"});
    static const codec::KindInfo* secret = codec::find_kind({"", "v1", "Secret"});
    const codec::KindInfo* kind = key.is_secret ? secret : config_map;
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

// A number, or 0: versions of one server grow with every write.
std::uint64_t version_of(const Message& object) {
    const std::string& text = codec::object_meta(object).resourceversion();
    return std::strtoull(text.c_str(), nullptr, 10);
}

bool is_immutable(const ObjectKey& key, const Message& object) {
    if (key.is_secret) return static_cast<const corev1::Secret&>(object).immutable();
    return static_cast<const corev1::ConfigMap&>(object).immutable();
}

Error not_found(const ObjectKey& key) {
    return make_error(Code::kNotFound, "{} \"{}\" not found", kind_of_key(key).singular, key.name);
}

Result<GrantedToken> request_token(client::Client& client, const TokenWish& wish) {
    namespace authenticationv1 = ::k8s::io::api::authentication::v1;
    static const codec::KindInfo* accounts = codec::find_resource("", "v1", "serviceaccounts");
    SLUICE_ASSERT(accounts != nullptr);
    authenticationv1::TokenRequest request;
    auto* spec = request.mutable_spec();
    if (!wish.audience.empty()) spec->add_audiences(wish.audience);
    spec->set_expirationseconds(wish.expiration_seconds);
    auto* bound = spec->mutable_boundobjectref();
    bound->set_apiversion("v1");
    bound->set_kind("Pod");
    bound->set_name(wish.pod_name);
    bound->set_uid(wish.pod_uid);
    auto answer = client.post_for_answer(*accounts, wish.namespace_name, wish.account, "token",
                                         {"authentication.k8s.io", "v1", "TokenRequest"}, request);
    if (!answer) return Error{answer.error().code, answer.error().message, answer.error().sys_errno};
    const auto& status = static_cast<const authenticationv1::TokenRequest&>(**answer).status();
    if (status.token().empty()) return make_error(Code::kDataLoss, "the server answered without a token");
    return GrantedToken{status.token(), status.expirationtimestamp().seconds()};
}

std::int64_t token_jitter_s() {
    thread_local std::minstd_rand random{std::random_device{}()};
    return std::uniform_int_distribution<std::int64_t>(0, kTokenJitterSeconds)(random);
}

// What is known of one object. Guarded by Source::mutex_.
struct Entry {
    std::set<std::string> pods;
    bool known = false;   // it was read once
    bool failed = false;  // somebody asked for it in vain
    Shared object;        // null: there is none
    Clock::time_point due;  // of the watch, or of the next reading when polled
    enum class Mode : std::uint8_t { kNew, kWatched, kPolled, kSettled } mode = Mode::kNew;
    std::uint64_t watch_id = 0;
};

class Source final : public ObjectSource {
public:
    explicit Source(client::Client& client)
        : client_(client),
          tokens_([&client](const TokenWish& wish) { return request_token(client, wish); },
                  [] { return static_cast<std::int64_t>(std::time(nullptr)); }, token_jitter_s) {
        keeper_ = std::jthread([this](const std::stop_token& stop) { keep(stop); });
    }
    ~Source() override {
        keeper_.request_stop();
        keeper_.join();
        std::vector<std::jthread> threads;
        {
            const std::scoped_lock lock(mutex_);
            threads.swap(stopping_);
            for (auto& [id, thread] : threads_) threads.push_back(std::move(thread));
            threads_.clear();
        }
        for (auto& thread : threads) thread.request_stop();
    }
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

    void follow_pod(const corev1::Pod& pod) override;
    void forget_pod(const std::string& uid) override;
    Result<std::shared_ptr<const corev1::ConfigMap>> config_map(const std::string& namespace_name,
                                                                const std::string& name) override {
        SLUICE_TRY_ASSIGN(Shared object, find({false, namespace_name, name}));
        return std::static_pointer_cast<const corev1::ConfigMap>(std::move(object));
    }
    Result<std::shared_ptr<const corev1::Secret>> secret(const std::string& namespace_name,
                                                         const std::string& name) override {
        SLUICE_TRY_ASSIGN(Shared object, find({true, namespace_name, name}));
        return std::static_pointer_cast<const corev1::Secret>(std::move(object));
    }
    Result<std::string> token(const corev1::Pod& pod, const std::string& audience,
                              std::int64_t expiration_seconds) override {
        // No token is due before the keeper's next round.
        return tokens_.get(pod, audience, expiration_seconds);
    }
    void on_change(std::function<void(const std::string& pod_uid)> callback) override {
        const std::scoped_lock lock(mutex_);
        callback_ = std::move(callback);
    }
    [[nodiscard]] ObjectCounts counts() const override;

private:
    Result<Shared> find(const ObjectKey& key);
    Result<Shared> read(const ObjectKey& key, std::stop_token stop);
    // Takes what was just seen into the entry, unless something newer is there, and tells the pods.
    void take(const ObjectKey& key, Shared object, bool by_watch, std::uint64_t watch_id);
    // seen: whether the object was in a batch of this watch.
    bool on_batch(const ObjectKey& key, std::uint64_t watch_id, const client::Batch& batch, bool* seen);
    void keep(const std::stop_token& stop);
    void start_watch_locked(const ObjectKey& key, Entry* entry);
    void drop_locked(std::map<ObjectKey, Entry>::iterator entry);
    void end_watch_locked(Entry* entry);

    // Tells the pods whose tokens are due; until the next ones are, at most kObjectPollMs.
    std::chrono::milliseconds renew_tokens();

    client::Client& client_;
    Tokens tokens_;
    mutable std::mutex mutex_;
    std::condition_variable_any wake_;
    std::map<ObjectKey, Entry> entries_;
    std::map<std::string, std::set<ObjectKey>> pods_;  // by uid
    std::map<std::uint64_t, std::jthread> threads_;    // by watch_id
    std::vector<std::uint64_t> ended_;                 // watches that ran to their end
    std::vector<std::jthread> stopping_;               // to be joined by the keeper
    std::function<void(const std::string&)> callback_;
    std::uint64_t next_watch_id_ = 1;
    std::size_t watched_ = 0;
    std::uint64_t changes_ = 0;  // wakes the keeper
    std::uint64_t watch_limit_hits_ = 0;
    std::uint64_t refused_ = 0;
    std::jthread keeper_;
};

void Source::follow_pod(const corev1::Pod& pod) {
    const std::string& uid = pod.metadata().uid();
    std::set<ObjectKey> wanted = objects_of(pod);
    const std::scoped_lock lock(mutex_);
    std::set<ObjectKey>& held = pods_[uid];
    // A pod may come to refer to more: debug containers are added to it while it runs.
    for (auto key = held.begin(); key != held.end();) {
        if (wanted.contains(*key)) {
            ++key;
            continue;
        }
        const auto entry = entries_.find(*key);
        entry->second.pods.erase(uid);
        drop_locked(entry);
        key = held.erase(key);
    }
    for (const ObjectKey& key : wanted) {
        if (held.contains(key)) continue;
        auto entry = entries_.find(key);
        if (entry == entries_.end()) {
            if (entries_.size() >= kMaxFollowedObjects) {
                ++refused_;
                log::warn("kubelet", "more than {} ConfigMaps and Secrets are in use; {}/{} is not followed",
                          kMaxFollowedObjects, key.namespace_name, key.name);
                continue;
            }
            entry = entries_.emplace(key, Entry{}).first;
            entry->second.due = Clock::now() + std::chrono::milliseconds(kObjectWatchDelayMs);
        } else if (entry->second.mode == Entry::Mode::kSettled) {
            // An immutable object has no watch. It may have been deleted and made anew since.
            entry->second.known = false;
            entry->second.mode = Entry::Mode::kNew;
            entry->second.due = Clock::now() + std::chrono::milliseconds(kObjectWatchDelayMs);
        }
        entry->second.pods.insert(uid);
        held.insert(key);
    }
    if (held.empty()) pods_.erase(uid);
    ++changes_;
    wake_.notify_all();
}

void Source::forget_pod(const std::string& uid) {
    tokens_.forget_pod(uid);
    const std::scoped_lock lock(mutex_);
    const auto pod = pods_.find(uid);
    if (pod == pods_.end()) return;
    for (const ObjectKey& key : pod->second) {
        const auto entry = entries_.find(key);
        entry->second.pods.erase(uid);
        drop_locked(entry);
    }
    pods_.erase(pod);
    ++changes_;
    wake_.notify_all();
}

void Source::drop_locked(std::map<ObjectKey, Entry>::iterator entry) {
    if (!entry->second.pods.empty()) return;
    end_watch_locked(&entry->second);
    entries_.erase(entry);
}

void Source::end_watch_locked(Entry* entry) {
    if (entry->mode != Entry::Mode::kWatched) return;
    --watched_;
    const auto thread = threads_.find(entry->watch_id);
    if (thread != threads_.end()) {
        thread->second.request_stop();
        stopping_.push_back(std::move(thread->second));
        threads_.erase(thread);
    }
    entry->watch_id = 0;
    entry->mode = Entry::Mode::kNew;
}

Result<Shared> Source::read(const ObjectKey& key, std::stop_token stop) {
    auto object = client_.get(kind_of_key(key), key.namespace_name, key.name, std::move(stop));
    if (object) return Shared(std::move(*object));
    if (object.error().not_found()) return Shared();
    return Error{object.error().code, object.error().message, object.error().sys_errno};
}

Result<Shared> Source::find(const ObjectKey& key) {
    {
        const std::scoped_lock lock(mutex_);
        const auto entry = entries_.find(key);
        if (entry != entries_.end() && entry->second.known && entry->second.object != nullptr) {
            return entry->second.object;
        }
        if (entry == entries_.end() && entries_.size() >= kMaxFollowedObjects) {
            return make_error(Code::kResourceExhausted,
                              "{} \"{}\" is one of more than {} objects that pods of this node refer to",
                              kind_of_key(key).singular, key.name, kMaxFollowedObjects);
        }
    }
    // What is said to be missing is asked for again: it is often made right after the pod, and a
    // watch tells late of it when the server is busy.
    auto object = read(key, {});
    if (object) take(key, *object, false, 0);
    const std::scoped_lock lock(mutex_);
    const auto entry = entries_.find(key);
    const bool is_known = entry != entries_.end() && entry->second.known;
    if (is_known && entry->second.object != nullptr) return entry->second.object;
    if (entry != entries_.end()) entry->second.failed = true;
    if (!object && !is_known) {
        return object.error().with_context(
            fmt::format("failed to sync {} cache", kind_of_key(key).singular));
    }
    if (object && *object != nullptr) return *object;
    return not_found(key);
}

void Source::take(const ObjectKey& key, Shared object, bool by_watch, std::uint64_t watch_id) {
    std::set<std::string> pods;
    std::function<void(const std::string&)> callback;
    {
        const std::scoped_lock lock(mutex_);
        const auto found = entries_.find(key);
        if (found == entries_.end()) return;
        Entry& entry = found->second;
        if (by_watch && entry.watch_id != watch_id) return;
        if (entry.known && entry.object != nullptr && object != nullptr) {
            const auto& before = codec::object_meta(*entry.object);
            const auto& after = codec::object_meta(*object);
            // A reading that set out earlier may come in later.
            if (before.uid() == after.uid() && version_of(*object) <= version_of(*entry.object)) return;
        }
        const bool is_same = entry.known && entry.object == nullptr && object == nullptr;
        const bool tell = (entry.known || entry.failed) && !is_same;
        entry.known = true;
        entry.object = std::move(object);
        if (entry.object != nullptr) entry.failed = false;
        if (!tell) return;
        pods = entry.pods;
        callback = callback_;
    }
    if (!callback) return;
    for (const std::string& uid : pods) callback(uid);
}

bool Source::on_batch(const ObjectKey& key, std::uint64_t watch_id, const client::Batch& batch, bool* seen) {
    bool immutable = false;
    for (const client::Delta& delta : batch.deltas) {
        // A server that does not know the selector sends other objects too.
        if (delta.key != key.namespace_name + "/" + key.name) continue;
        *seen = true;
        immutable = delta.object != nullptr && is_immutable(key, *delta.object);
        take(key, delta.object, true, watch_id);
    }
    if (batch.synced && !*seen) take(key, nullptr, true, watch_id);
    if (!immutable) return true;
    const std::scoped_lock lock(mutex_);
    const auto entry = entries_.find(key);
    if (entry == entries_.end() || entry->second.watch_id != watch_id) return false;
    entry->second.mode = Entry::Mode::kSettled;
    entry->second.watch_id = 0;
    --watched_;
    ended_.push_back(watch_id);
    ++changes_;
    wake_.notify_all();
    return false;
}

void Source::start_watch_locked(const ObjectKey& key, Entry* entry) {
    const std::uint64_t watch_id = next_watch_id_++;
    entry->mode = Entry::Mode::kWatched;
    entry->watch_id = watch_id;
    ++watched_;
    threads_[watch_id] = std::jthread([this, key, watch_id](const std::stop_token& stop) {
        client::ReflectorOptions options;
        options.selection.namespace_name = key.namespace_name;
        options.selection.field_selector = "metadata.name=" + key.name;
        client::run_reflector(
            client_, kind_of_key(key), options, client::ReflectorEnvironment::real(),
            [this, &key, watch_id, seen = false](const client::Batch& batch) mutable {
                return on_batch(key, watch_id, batch, &seen);
            },
            stop);
    });
}

std::chrono::milliseconds Source::renew_tokens() {
    const auto due = tokens_.due_pods();
    std::function<void(const std::string&)> callback;
    if (!due.empty()) {
        const std::scoped_lock lock(mutex_);
        callback = callback_;
    }
    if (callback) {
        for (const std::string& uid : due) callback(uid);
    }
    std::chrono::milliseconds wait(kObjectPollMs);
    if (const auto left = tokens_.seconds_until_due()) {
        wait = std::min<std::chrono::milliseconds>(wait, std::chrono::seconds(*left + 1));
    }
    return wait;
}

void Source::keep(const std::stop_token& stop) {
    std::unique_lock lock(mutex_, std::defer_lock);
    while (!stop.stop_requested()) {
        const auto wait = renew_tokens();
        lock.lock();
        std::vector<std::jthread> finished = std::move(stopping_);
        stopping_.clear();
        for (const std::uint64_t id : ended_) {
            const auto thread = threads_.find(id);
            if (thread == threads_.end()) continue;
            finished.push_back(std::move(thread->second));
            threads_.erase(thread);
        }
        ended_.clear();
        const auto now = Clock::now();
        auto next = now + wait;
        std::vector<ObjectKey> readings;
        for (auto& [key, entry] : entries_) {
            if (entry.mode == Entry::Mode::kWatched || entry.mode == Entry::Mode::kSettled) continue;
            if (entry.mode == Entry::Mode::kPolled && watched_ < kMaxObjectWatches) {
                start_watch_locked(key, &entry);
                continue;
            }
            if (entry.due > now) {
                next = std::min(next, entry.due);
                continue;
            }
            if (entry.mode == Entry::Mode::kNew && watched_ < kMaxObjectWatches) {
                start_watch_locked(key, &entry);
                continue;
            }
            if (entry.mode == Entry::Mode::kNew) {
                entry.mode = Entry::Mode::kPolled;
                ++watch_limit_hits_;
            }
            entry.due = now + std::chrono::milliseconds(kObjectPollMs);
            readings.push_back(key);
        }
        if (!finished.empty() || !readings.empty()) {
            lock.unlock();
            finished.clear();  // joins
            for (const ObjectKey& key : readings) {
                auto object = read(key, stop);
                if (stop.stop_requested()) return;
                if (!object) break;  // the server is away; the next round asks again
                take(key, std::move(*object), false, 0);
            }
            continue;
        }
        const std::uint64_t seen = changes_;
        wake_.wait_until(lock, stop, next, [&] { return changes_ != seen; });
        lock.unlock();
    }
}

ObjectCounts Source::counts() const {
    ObjectCounts counts;
    counts.tokens = tokens_.size();
    counts.token_failures = tokens_.failures();
    const std::scoped_lock lock(mutex_);
    counts.followed = entries_.size();
    counts.watched = watched_;
    for (const auto& [key, entry] : entries_) {
        if (entry.mode == Entry::Mode::kPolled) ++counts.polled;
    }
    counts.watch_limit_hits = watch_limit_hits_;
    counts.refused = refused_;
    return counts;
}

}  // namespace

std::unique_ptr<ObjectSource> ObjectSource::create(client::Client& client) {
    return std::make_unique<Source>(client);
}

}  // namespace sluice::kubelet
