// The class behind open_etcd(). One thread owns the completion queue and all state but the inbox;
// everything that callers ask for goes through the inbox and an alarm that wakes the thread.
#pragma once

#include <grpcpp/alarm.h>

#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "control/store/etcd/feed_private.h"
#include "control/store/indexed_store.h"
#include "control/store/watch_hub.h"

namespace sluice::store {

using Clock = std::chrono::steady_clock;

class EtcdStore final : public IndexedStore, private Feed::Listener {
public:
    EtcdStore(EtcdOptions options, std::unique_ptr<Cluster> cluster)
        : IndexedStore(kFirstRevision),
          options_(std::move(options)),
          space_(options_.local_prefix, options_.remote_prefix),
          cluster_(std::move(cluster)),
          feed_(queue_, *this) {}
    ~EtcdStore() override;
    EtcdStore(const EtcdStore&) = delete;
    EtcdStore& operator=(const EtcdStore&) = delete;

    Result<void> start();

    void write(Write write, std::function<void(Result<WriteResult>)> done) override;
    Result<std::unique_ptr<Watch>> watch(std::string prefix, Revision after,
                                         WatchSink sink) override;
    Result<void> compact(Revision revision) override;
    void fence(std::function<void(Result<Revision>)> done) override;
    [[nodiscard]] bool shared() const override { return true; }
    [[nodiscard]] Result<void> healthy() const override;
    [[nodiscard]] Stats stats() const override;

private:
    using WriteDone = std::function<void(Result<WriteResult>)>;
    using FenceDone = std::function<void(Result<Revision>)>;

    enum class WriteState { kWaiting, kSent, kCommitted };
    struct PendingWrite {
        std::string key;
        std::string remote_key;
        std::shared_ptr<const std::string> value;  // null deletes
        std::optional<Revision> expected;
        std::vector<Companion> also;  // with their keys as etcd has them
        WriteDone done;
        Clock::time_point deadline;
        Clock::time_point sent{};
        WriteState state = WriteState::kWaiting;
        WriteResult result;

        [[nodiscard]] std::size_t bytes() const {
            return key.size() + (value == nullptr ? 0 : value->size()) + companion_bytes(also);
        }
    };
    using Writes = std::list<PendingWrite>;
    struct Fence {
        FenceDone done;
        Clock::time_point deadline;
    };
    struct Compaction {
        Revision revision = 0;
        std::promise<Result<void>> done;
    };
    template <class Response>
    struct Call;
    class Waker final : public Tag {
    public:
        explicit Waker(EtcdStore& store) : store_(store) {}
        void complete(bool) override { store_.alarmed_.store(false); }

    private:
        EtcdStore& store_;
    };

    // etcd_store.cc: the thread.
    void wake();
    void run();
    void turn();
    void take_inbox();
    void tick(Clock::time_point now);
    [[nodiscard]] Clock::time_point next_turn(Clock::time_point now) const;
    void shut_down();
    Result<Picture> first_load();
    void deliver();
    // Stub: the part of a Member that the method belongs to.
    template <class Response, class Stub, class Request, class Method>
    void call_at(Stub& stub, Method method, const Request& request, Clock::time_point deadline,
                 std::function<void(const grpc::Status&, Response&)> then);
    template <class Response, class Request, class Method>
    void call(Method method, const Request& request, Clock::time_point deadline,
              std::function<void(const grpc::Status&, Response&)> then) {
        call_at<Response>(*cluster_->current().kv, method, request, deadline, std::move(then));
    }

    // etcd_feed.cc: the picture in memory.
    void feed_opened() override;
    void feed_received(pb::WatchResponse& response) override;
    void feed_ended(const Error& why, Revision compacted) override;
    void reconnect(Clock::time_point now);
    void reload();
    void lost_contact(const Error& why);

    // etcd_writes.cc
    void enqueue(PendingWrite write);
    void send_ready();
    void send(Writes::iterator write);
    void answered(Writes::iterator write, const grpc::Status& status, const pb::TxnResponse& answer);
    void leave_lane(Writes::iterator write);
    void finish_write(Writes::iterator write, Result<WriteResult> result);
    void complete_writes();
    void expire_writes(Clock::time_point now);

    // etcd_figures.cc: what the metrics show.
    void note_request(const char* operation, std::string type, Clock::time_point began, bool ok);
    void ask_for_size();

    // etcd_rounds.cc: fences and compaction.
    void begin_round(Clock::time_point now);
    void round_answered(const grpc::Status& status, const pb::RangeResponse& answer);
    void complete_fences();
    void expire_fences(Clock::time_point now);
    void refuse_fence(const Fence& fence, const Error& error);
    void begin_compaction(Compaction compaction);
    void take_compaction_turn();
    void compact_etcd(Revision revision, std::function<void(Result<void>)> then);

    const EtcdOptions options_;
    const KeySpace space_;
    std::unique_ptr<Cluster> cluster_;  // store's thread, once started
    grpc::CompletionQueue queue_;
    WatchHub hub_;

    // The inbox.
    mutable std::mutex mutex_;
    std::deque<PendingWrite> incoming_writes_;     // guarded by mutex_
    std::deque<Fence> incoming_fences_;            // guarded by mutex_
    std::deque<Compaction> incoming_compactions_;  // guarded by mutex_
    std::size_t open_writes_ = 0;                  // guarded by mutex_; not answered
    std::size_t open_bytes_ = 0;                   // guarded by mutex_; of these
    std::size_t open_fences_ = 0;                  // guarded by mutex_
    bool stopping_ = false;                        // guarded by mutex_
    std::string trouble_;                          // guarded by mutex_; empty: healthy
    std::map<std::string, RequestFigures> requests_;  // guarded by mutex_; by operation and type
    std::atomic<bool> alarmed_{false};
    grpc::Alarm alarm_;
    Waker waker_{*this};

    // Store's thread only, all below.
    Feed feed_;
    Clock::time_point reconnect_at_{};
    std::chrono::milliseconds backoff_{0};
    Clock::time_point feed_deadline_{};  // by which an opening feed must be open
    bool connected_ = false;
    bool must_reload_ = false;
    bool closing_ = false;
    std::vector<KeyValue> changes_;  // of a revision that may not be complete yet
    Revision feed_revision_ = 0;     // the newest of which something has come
    Clock::time_point last_trouble_log_{};

    Writes writes_;                                                 // in order of their deadlines
    std::unordered_map<std::string, std::deque<Writes::iterator>> lanes_;  // of one key, in order
    std::deque<Writes::iterator> ready_;                            // first of their lanes, not sent
    std::multimap<Revision, Writes::iterator> committed_;           // not yet visible here
    std::size_t in_flight_ = 0;

    std::deque<Fence> fences_;                    // wait for the next round
    std::vector<Fence> round_;                    // of the round under way
    bool round_under_way_ = false;
    Revision round_floor_ = 0;                    // what was visible when it was sent
    Clock::time_point round_at_{};                // not before, after a failure
    Clock::time_point last_round_{};
    std::multimap<Revision, Fence> fenced_;       // wait for the index
    Revision known_revision_ = 0;                 // the newest a round has told of
    Clock::time_point behind_since_{};            // the index is behind it since; zero: it is not

    Clock::time_point size_at_{};  // when to ask for it next
    std::atomic<std::uint64_t> size_bytes_{0};

    Clock::time_point compaction_at_{};
    std::int64_t compaction_version_ = 0;  // of compact_rev_key, as this server knows it
    Revision compaction_revision_ = 0;     // what to compact next
    std::vector<Revision> forgotten_;      // of no use here, the index asks for it

    bool behind_ = false;  // watches have history to replay
    Clock::time_point last_progress_{};
    std::unordered_set<grpc::ClientContext*> calls_;

    std::atomic<std::uint64_t> done_writes_{0};
    std::atomic<std::uint64_t> sent_writes_{0};
    std::atomic<std::uint64_t> failed_writes_{0};
    std::atomic<std::uint64_t> refused_writes_{0};
    std::atomic<std::uint64_t> fence_count_{0};
    std::atomic<std::uint64_t> fence_rounds_{0};
    std::atomic<std::uint64_t> refused_fences_{0};
    std::atomic<std::uint64_t> reconnects_{0};
    std::atomic<std::uint64_t> reloads_{0};
    std::atomic<std::uint64_t> history_{0};

    std::thread thread_;  // last: it uses everything above
};

template <class Response>
struct EtcdStore::Call final : public Tag {
    EtcdStore* store = nullptr;
    grpc::ClientContext context;
    Response response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
    std::function<void(const grpc::Status&, Response&)> then;

    void complete(bool /*ok: always true of Finish*/) override {
        const std::unique_ptr<Call> self(this);
        store->calls_.erase(&context);
        then(status, response);
    }
};

template <class Response, class Stub, class Request, class Method>
void EtcdStore::call_at(Stub& stub, Method method, const Request& request,
                        Clock::time_point deadline,
                        std::function<void(const grpc::Status&, Response&)> then) {
    auto owned = std::make_unique<Call<Response>>();
    Call<Response>* made = owned.release();  // complete() takes it back
    made->store = this;
    made->then = std::move(then);
    made->context.set_deadline(std::chrono::system_clock::now() + (deadline - Clock::now()));
    calls_.insert(&made->context);
    made->reader = (stub.*method)(&made->context, request, &queue_);
    made->reader->Finish(&made->response, &made->status, made);
}

inline constexpr std::chrono::milliseconds kEtcdTick{1'000};

}  // namespace sluice::store
