// Who may run now, who waits, and who is sent away: seats for each priority level, fair queues for its flows.
//
//   admit(request) -> exempt, or a free seat: run at once
//                  -> a queue of the flow's hand (shuffle sharding), the shortest: run when a seat comes free
//                  -> the queue is full, or waiting took too long: rejected
//
// A level has its share of the seats; what it may lend and does not use, others borrow. kube-apiserver moves such
// seats every ten seconds; here a seat is lent for one request, so that no estimate of demand is needed. Between the
// queues of a level, time served decides (start-time fair queuing): the queue that has been given least goes first.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control/apiserver/authorization/attributes.h"
#include "control/apiserver/flowcontrol/estimate.h"
#include "control/apiserver/flowcontrol/types.h"

namespace sluice::flowcontrol {

inline constexpr std::uint32_t kDefaultSeats = 600;  // 400 requests and 200 changes, as kube-apiserver
// Upper bounds of the histogram of seats that requests take; the last bucket is +Inf.
inline constexpr std::array<std::uint32_t, 4> kSeatBuckets = {1, 2, 4, kMaxRequestSeats};
// Upper bounds of the waiting times' histogram in milliseconds; the last bucket is +Inf.
inline constexpr std::array<std::uint32_t, 13> kWaitBucketsMs = {
    0, 5, 20, 50, 100, 200, 500, 1'000, 2'000, 5'000, 10'000, 15'000, 30'000};

enum class Refusal : std::uint8_t { kQueueFull, kConcurrencyLimit, kTimeOut, kCancelled };
inline constexpr std::size_t kRefusals = 4;
[[nodiscard]] std::string_view refusal_name(Refusal refusal);

struct Level;

// A FlowSchema in use, with what it has seen. Counters may be read at any time.
struct Schema {
    FlowSchema config;
    std::string level_uid;
    std::shared_ptr<Level> level;
    std::atomic<std::uint64_t> dispatched{0};
    std::atomic<std::int64_t> waiting{0};
    std::atomic<std::int64_t> executing{0};
    std::atomic<std::int64_t> seats{0};
    std::array<std::atomic<std::uint64_t>, kRefusals> refused{};
    std::array<std::atomic<std::uint64_t>, kWaitBucketsMs.size() + 1> waits{};
    std::atomic<std::uint64_t> wait_sum_us{0};
    std::array<std::atomic<std::uint64_t>, kSeatBuckets.size() + 1> widths{};
    std::atomic<std::uint64_t> width_sum{0};

    void note_width(std::uint32_t width) {
        std::size_t bucket = 0;
        while (bucket < kSeatBuckets.size() && width > kSeatBuckets[bucket]) ++bucket;
        widths[bucket].fetch_add(1, std::memory_order_relaxed);
        width_sum.fetch_add(width, std::memory_order_relaxed);
    }
};

struct Queue;
class Dispatcher;

// The seats of one request, given back when it goes, or a while after (Width::after).
class Seats {
public:
    Seats(std::shared_ptr<Dispatcher> dispatcher, std::shared_ptr<Schema> schema,
          std::shared_ptr<Queue> queue, Width width);
    ~Seats();
    Seats(const Seats&) = delete;
    Seats& operator=(const Seats&) = delete;
    [[nodiscard]] const Schema& schema() const { return *schema_; }

private:
    const std::shared_ptr<Dispatcher> dispatcher_;
    const std::shared_ptr<Schema> schema_;
    const std::shared_ptr<Queue> queue_;  // null: it did not wait in one
    const Width width_;
    const std::chrono::steady_clock::time_point start_;
};

// The seats of a request that may run, or why it may not; the schema is set either way.
struct Verdict {
    std::shared_ptr<Schema> schema;
    std::unique_ptr<Seats> seats;
    Refusal refusal = Refusal::kQueueFull;  // when there are no seats
};

// Thread-safe.
class Dispatcher : public std::enable_shared_from_this<Dispatcher> {
public:
    using Clock = std::chrono::steady_clock;
    using Then = std::function<void(Verdict)>;
    // A request in a queue. cancel() when its client is gone: then nothing is run for it.
    struct Waiting;

    // seats: of all levels together. max_wait: in a queue.
    static std::shared_ptr<Dispatcher> make(const Configuration& configuration,
                                            std::uint32_t seats = kDefaultSeats,
                                            std::chrono::milliseconds max_wait =
                                                std::chrono::seconds(15));
    ~Dispatcher();
    Dispatcher(const Dispatcher&) = delete;
    Dispatcher& operator=(const Dispatcher&) = delete;

    // Levels and schemas from now on. Requests that run or wait keep their places where level and queue still exist.
    void configure(const Configuration& configuration);

    // Calls then at once, on this thread, or later on one that gives seats back or on the dispatcher's own. Returns
    // the place of a request that waits, else null. Costs below a microsecond without waiting.
    std::shared_ptr<Waiting> admit(const authorization::Attributes& request, const Work& work, Then then);
    void cancel(const std::shared_ptr<Waiting>& waiting);
    // Refuses what waits and runs no more of it. The owner calls it before it lets the dispatcher go, and never from
    // inside of `then`.
    void stop();

    // Prometheus text of the metrics that kube-apiserver names apiserver_flowcontrol_*.
    [[nodiscard]] std::string metrics() const;

private:
    friend class Seats;

    Dispatcher(std::uint32_t seats, std::chrono::milliseconds max_wait);
    [[nodiscard]] bool fits(const Level& level, std::uint32_t width) const;
    // Of a request that is over, now or when its watches were told.
    void give_back(const std::shared_ptr<Schema>& schema, const std::shared_ptr<Queue>& queue, Width width,
                   Clock::time_point start);
    void free_locked(Schema& schema, Queue* queue, std::uint32_t seats, Clock::time_point start);
    // Frees the seats whose time has come.
    void free_late_ones_locked(Clock::time_point now);
    // Runs what waits and fits; nested calls leave it to the outermost one.
    void run_waiting();
    std::shared_ptr<Waiting> next_locked(std::unique_ptr<Seats>* seats);
    void take_locked(Schema& schema, Queue* queue, std::uint32_t width);
    void watch_time();
    void refuse(const std::shared_ptr<Waiting>& waiting, Refusal why);

    const std::uint32_t total_seats_;
    const std::chrono::milliseconds max_wait_;
    mutable std::mutex mutex_;
    std::vector<std::shared_ptr<Schema>> schemas_;
    std::vector<std::shared_ptr<Level>> levels_;
    std::uint32_t in_use_ = 0;
    std::deque<std::weak_ptr<Waiting>> arrivals_;  // oldest first, for the time limit
    std::size_t waiting_ = 0;
    // Seats of requests that are over, by when they come free. No more of them than there are seats.
    struct Late {
        std::shared_ptr<Schema> schema;
        std::shared_ptr<Queue> queue;
        std::uint32_t seats;
        Clock::time_point start;
    };
    std::multimap<Clock::time_point, Late> late_;
    bool stopping_ = false;
    std::condition_variable changed_;
    std::thread timekeeper_;
};

}  // namespace sluice::flowcontrol
