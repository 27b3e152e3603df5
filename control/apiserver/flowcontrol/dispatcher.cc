#include "control/apiserver/flowcontrol/dispatcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "control/apiserver/flowcontrol/classify.h"
#include "control/apiserver/flowcontrol/level_private.h"

namespace sluice::flowcontrol {
namespace {

// What a request is taken to need until it is over, in seconds of one seat.
constexpr double kGuessedSeconds = 0.003;

std::uint64_t hash_of(std::string_view schema, std::string_view flow) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    const auto add = [&hash](std::string_view text) {
        for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
        hash = (hash ^ 0xffU) * 0x100000001b3U;  // "a","bc" is not "ab","c"
    };
    add(schema);
    add(flow);
    // FNV's high bits are weak for short texts, and the hand is dealt from all of them.
    hash ^= hash >> 33U;
    hash *= 0xff51afd7ed558ccdU;
    return hash ^ (hash >> 33U);
}

// Shuffle sharding: of all queues the flow has a hand of its own, so that an elephant fills few of a mouse's.
std::shared_ptr<Queue> shortest_of_hand(const Level& level, std::uint64_t hash) {
    std::array<std::uint32_t, 64> dealt{};
    const std::uint32_t hand = std::min<std::uint32_t>(level.config.hand_size, dealt.size());
    const auto count = static_cast<std::uint32_t>(level.queues.size());
    std::shared_ptr<Queue> best;
    std::size_t best_length = 0;
    for (std::uint32_t i = 0; i < hand && i < count; ++i) {
        std::uint32_t card = static_cast<std::uint32_t>(hash % (count - i));
        hash = hash / (count - i) ^ (hash * 0x9e3779b97f4a7c15U);
        // The card counts what is still in the deck.
        std::uint32_t at = 0;
        for (; at < i && dealt[at] <= card; ++at) ++card;
        std::copy_backward(dealt.begin() + at, dealt.begin() + i, dealt.begin() + i + 1);
        dealt[at] = card;
        const auto& queue = level.queues[card];
        const std::size_t length = queue->waiting.size() + queue->executing;
        if (best == nullptr || length < best_length) {
            best = queue;
            best_length = length;
        }
    }
    return best;
}

thread_local const Dispatcher* running_here = nullptr;

}  // namespace

std::string_view refusal_name(Refusal refusal) {
    static constexpr std::array<std::string_view, kRefusals> kNames = {
        "queue-full", "concurrency-limit", "time-out", "cancelled"};
    return kNames.at(static_cast<std::size_t>(refusal));
}

Seats::Seats(std::shared_ptr<Dispatcher> dispatcher, std::shared_ptr<Schema> schema,
             std::shared_ptr<Queue> queue, Width width)
    : dispatcher_(std::move(dispatcher)),
      schema_(std::move(schema)),
      queue_(std::move(queue)),
      width_(width),
      start_(std::chrono::steady_clock::now()) {}

Seats::~Seats() { dispatcher_->give_back(schema_, queue_, width_, start_); }

Dispatcher::Dispatcher(std::uint32_t seats, std::chrono::milliseconds max_wait)
    : total_seats_(std::max(1U, seats)), max_wait_(max_wait) {}

std::shared_ptr<Dispatcher> Dispatcher::make(const Configuration& configuration,
                                             std::uint32_t seats,
                                             std::chrono::milliseconds max_wait) {
    std::shared_ptr<Dispatcher> out(new Dispatcher(seats, max_wait));
    out->configure(configuration);
    out->timekeeper_ = std::thread([raw = out.get()] { raw->watch_time(); });
    return out;
}

Dispatcher::~Dispatcher() { stop(); }

void Dispatcher::configure(const Configuration& configuration) {
    const Configuration complete_one = complete(configuration);
    double shares = 0;
    for (const auto& level : complete_one.levels) shares += level.nominal_shares;
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<Level>> levels;
    for (const PriorityLevel& config : complete_one.levels) {
        const auto found = std::find_if(levels_.begin(), levels_.end(), [&](const auto& level) {
            return level->config.name == config.name;
        });
        auto level = found == levels_.end() ? std::make_shared<Level>() : *found;
        const double part = shares > 0 ? config.nominal_shares / shares : 0;
        level->adopt(config, static_cast<std::uint32_t>(std::ceil(total_seats_ * part)),
                     [](const Level& of, std::uint64_t hash) { return shortest_of_hand(of, hash); });
        levels.push_back(std::move(level));
    }
    // What is no more goes when the last of its requests has gone.
    for (const auto& level : levels_) {
        const bool kept = std::find(levels.begin(), levels.end(), level) != levels.end();
        if (!kept && (level->queued > 0 || level->in_use > 0)) levels.push_back(level);
    }
    levels_ = std::move(levels);
    std::vector<std::shared_ptr<Schema>> schemas;
    for (const FlowSchema& config : complete_one.schemas) {
        auto schema = std::make_shared<Schema>();
        schema->config = config;
        schema->level = *std::find_if(levels_.begin(), levels_.end(), [&](const auto& level) {
            return level->config.name == config.level;
        });
        schema->level_uid = schema->level->config.uid;
        for (const auto& old : schemas_) {
            if (old->config.name != config.name) continue;
            schema->dispatched = old->dispatched.load();
            schema->wait_sum_us = old->wait_sum_us.load();
            for (std::size_t i = 0; i < kRefusals; ++i) schema->refused[i] = old->refused[i].load();
            for (std::size_t i = 0; i < schema->waits.size(); ++i) {
                schema->waits[i] = old->waits[i].load();
            }
            schema->width_sum = old->width_sum.load();
            for (std::size_t i = 0; i < schema->widths.size(); ++i) schema->widths[i] = old->widths[i].load();
        }
        schemas.push_back(std::move(schema));
    }
    schemas_ = std::move(schemas);
}

bool Dispatcher::fits(const Level& level, std::uint32_t width) const {
    // One request always finds a place, however wide it is and however few seats its level has.
    if (level.in_use == 0 || level.in_use + width <= level.nominal) return true;
    if (level.in_use + width > level.limit) return false;
    std::uint32_t kept = 0;
    for (const auto& other : levels_) {
        if (other.get() != &level) kept += other->reserved();
    }
    return in_use_ + width + kept <= total_seats_;
}

void Dispatcher::take_locked(Schema& schema, Queue* queue, std::uint32_t width) {
    Level& level = *schema.level;
    level.in_use += width;
    in_use_ += width;
    if (queue != nullptr) {
        level.virtual_now = std::max(level.virtual_now, queue->virtual_start);
        queue->virtual_start += kGuessedSeconds * width;
        ++queue->executing;
    }
    schema.executing.fetch_add(1, std::memory_order_relaxed);
    schema.seats.fetch_add(width, std::memory_order_relaxed);
    schema.dispatched.fetch_add(1, std::memory_order_relaxed);
}

std::shared_ptr<Dispatcher::Waiting> Dispatcher::admit(const authorization::Attributes& request,
                                                       const Work& work, Then then) {
    Verdict verdict;
    std::shared_ptr<Queue> queue;
    Width width;
    bool runs = true;
    {
        const std::lock_guard lock(mutex_);
        const auto found =
            std::find_if(schemas_.begin(), schemas_.end(),
                         [&](const auto& schema) { return matches(schema->config, request); });
        // Nobody is outside of all schemas, but for who is in neither of the two groups of all users.
        verdict.schema = found == schemas_.end() ? schemas_.back() : *found;
        Schema& schema = *verdict.schema;
        Level& level = *schema.level;
        width = width_of(work, level.request_seats);
        schema.note_width(width.seats);
        if (level.config.exempt) {
            schema.executing.fetch_add(1, std::memory_order_relaxed);
            schema.dispatched.fetch_add(1, std::memory_order_relaxed);
            width = {0, {}};
        } else {
            std::uint64_t hash = 0;
            if (level.config.queues_requests) {
                hash = hash_of(schema.config.name, distinguisher_of(schema.config, request));
                queue = shortest_of_hand(level, hash);
                if (queue->waiting.empty() && queue->executing == 0) {
                    queue->virtual_start = std::max(queue->virtual_start, level.virtual_now);
                }
            }
            if (stopping_) {
                verdict.refusal = Refusal::kCancelled;
                runs = false;
            } else if (level.queued == 0 && fits(level, width.seats)) {
                take_locked(schema, queue.get(), width.seats);
            } else if (queue == nullptr) {
                verdict.refusal = Refusal::kConcurrencyLimit;
                runs = false;
            } else if (queue->waiting.size() >= level.config.queue_length_limit) {
                verdict.refusal = Refusal::kQueueFull;
                runs = false;
            } else {
                auto waiting = std::make_shared<Waiting>();
                waiting->schema = verdict.schema;
                waiting->hash = hash;
                waiting->queue = queue;
                waiting->width = width;
                waiting->then = std::move(then);
                queue->waiting.push_back(waiting);
                ++level.queued;
                ++waiting_;
                arrivals_.push_back(waiting);
                schema.waiting.fetch_add(1, std::memory_order_relaxed);
                changed_.notify_one();
                return waiting;
            }
        }
        if (!runs) {
            schema.refused[static_cast<std::size_t>(verdict.refusal)].fetch_add(
                1, std::memory_order_relaxed);
        } else {
            schema.waits[0].fetch_add(1, std::memory_order_relaxed);
        }
    }
    if (runs) {
        verdict.seats = std::make_unique<Seats>(shared_from_this(), verdict.schema,
                                                std::move(queue), width);
    }
    then(std::move(verdict));
    return nullptr;
}

void Dispatcher::give_back(const std::shared_ptr<Schema>& schema, const std::shared_ptr<Queue>& queue, Width width,
                           Clock::time_point start) {
    schema->executing.fetch_sub(1, std::memory_order_relaxed);
    if (width.seats == 0) return;
    bool anybody = false;
    {
        const std::lock_guard lock(mutex_);
        if (width.after.count() > 0 && !stopping_) {
            const auto added = late_.emplace(Clock::now() + width.after, Late{schema, queue, width.seats, start});
            if (added == late_.begin()) changed_.notify_one();
            return;
        }
        free_locked(*schema, queue.get(), width.seats, start);
        anybody = waiting_ > 0;
    }
    if (anybody) run_waiting();
}

void Dispatcher::free_locked(Schema& schema, Queue* queue, std::uint32_t seats, Clock::time_point start) {
    schema.seats.fetch_sub(seats, std::memory_order_relaxed);
    schema.level->in_use -= seats;
    in_use_ -= seats;
    if (queue == nullptr) return;
    const double served = std::chrono::duration<double>(Clock::now() - start).count();
    queue->virtual_start += (served - kGuessedSeconds) * seats;
    --queue->executing;
}

void Dispatcher::free_late_ones_locked(Clock::time_point now) {
    while (!late_.empty() && late_.begin()->first <= now) {
        const Late late = std::move(late_.begin()->second);
        late_.erase(late_.begin());
        free_locked(*late.schema, late.queue.get(), late.seats, late.start);
    }
}

std::shared_ptr<Dispatcher::Waiting> Dispatcher::next_locked(std::unique_ptr<Seats>* seats) {
    if (stopping_) return nullptr;
    for (const auto& level : levels_) {
        if (level->queued == 0) continue;
        Queue* least = nullptr;
        for (const auto& queue : level->queues) {
            if (queue->waiting.empty()) continue;
            if (least == nullptr || queue->virtual_start < least->virtual_start) {
                least = queue.get();
            }
        }
        if (least == nullptr || !fits(*level, least->waiting.front()->width.seats)) continue;
        auto waiting = std::move(least->waiting.front());
        least->waiting.pop_front();
        leave_locked(*waiting, &waiting_);
        take_locked(*waiting->schema, least, waiting->width.seats);
        const auto waited = std::chrono::duration_cast<std::chrono::microseconds>(
            Clock::now() - waiting->arrived);
        waiting->note_wait(waited);
        *seats = std::make_unique<Seats>(shared_from_this(), waiting->schema, waiting->queue,
                                         waiting->width);
        return waiting;
    }
    return nullptr;
}

void Dispatcher::run_waiting() {
    // What runs may give its seats back at once: without this, each would run the next inside of itself.
    if (running_here == this) return;
    const Dispatcher* before = std::exchange(running_here, this);
    const auto self = shared_from_this();
    while (true) {
        std::unique_ptr<Seats> seats;
        std::shared_ptr<Waiting> waiting;
        {
            const std::lock_guard lock(mutex_);
            waiting = next_locked(&seats);
        }
        if (waiting == nullptr) break;
        const Then then = std::move(waiting->then);
        then(Verdict{waiting->schema, std::move(seats), {}});
    }
    running_here = before;
}

void Dispatcher::cancel(const std::shared_ptr<Waiting>& waiting) {
    refuse(waiting, Refusal::kCancelled);
}

void Dispatcher::refuse(const std::shared_ptr<Waiting>& waiting, Refusal why) {
    Then then;
    {
        const std::lock_guard lock(mutex_);
        if (waiting->left) return;
        std::erase(waiting->queue->waiting, waiting);
        leave_locked(*waiting, &waiting_);
        waiting->schema->refused[static_cast<std::size_t>(why)].fetch_add(
            1, std::memory_order_relaxed);
        then = std::move(waiting->then);
    }
    then(Verdict{waiting->schema, nullptr, why});
}

void Dispatcher::watch_time() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        const auto now = Clock::now();
        if (!late_.empty() && late_.begin()->first <= now) {
            free_late_ones_locked(now);
            if (waiting_ == 0) continue;
            lock.unlock();
            run_waiting();
            lock.lock();
            continue;
        }
        const auto first = arrivals_.empty() ? nullptr : arrivals_.front().lock();
        if (first != nullptr && !first->left && now >= first->arrived + max_wait_) {
            arrivals_.pop_front();
            lock.unlock();
            refuse(first, Refusal::kTimeOut);
            lock.lock();
        } else if (!arrivals_.empty() && (first == nullptr || first->left)) {
            arrivals_.pop_front();
        } else if (first == nullptr && late_.empty()) {
            changed_.wait(lock);
        } else {
            auto next = first == nullptr ? Clock::time_point::max() : first->arrived + max_wait_;
            if (!late_.empty()) next = std::min(next, late_.begin()->first);
            changed_.wait_until(lock, next);
        }
    }
}

void Dispatcher::stop() {
    std::vector<std::shared_ptr<Waiting>> left;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        free_late_ones_locked(Clock::time_point::max());
        for (const auto& level : levels_) {
            for (const auto& queue : level->queues) {
                left.insert(left.end(), queue->waiting.begin(), queue->waiting.end());
            }
        }
    }
    changed_.notify_all();
    for (const auto& waiting : left) refuse(waiting, Refusal::kCancelled);
    if (timekeeper_.joinable()) timekeeper_.join();
}

std::string Dispatcher::metrics() const {
    const std::lock_guard lock(mutex_);
    return metrics_text(schemas_, levels_);
}

}  // namespace sluice::flowcontrol
