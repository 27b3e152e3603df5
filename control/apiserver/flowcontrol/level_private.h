// A priority level's seats and queues. Private to this folder; all of it under the Dispatcher's mutex.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "control/apiserver/flowcontrol/dispatcher.h"

namespace sluice::flowcontrol {

struct Queue {
    std::deque<std::shared_ptr<Dispatcher::Waiting>> waiting;
    std::uint32_t executing = 0;
    double virtual_start = 0;  // seconds of seats that its requests have been given
};

struct Dispatcher::Waiting {
    std::shared_ptr<Schema> schema;
    std::shared_ptr<Queue> queue;
    std::uint64_t hash = 0;
    Width width;
    Then then;
    const Clock::time_point arrived = Clock::now();
    bool left = false;  // runs, or was refused

    void note_wait(std::chrono::microseconds waited) const {
        const auto* bound =
            std::lower_bound(kWaitBucketsMs.begin(), kWaitBucketsMs.end(), waited.count() / 1'000);
        schema->waits[static_cast<std::size_t>(bound - kWaitBucketsMs.begin())].fetch_add(
            1, std::memory_order_relaxed);
        schema->wait_sum_us.fetch_add(static_cast<std::uint64_t>(waited.count()),
                                      std::memory_order_relaxed);
    }
};

struct Level {
    PriorityLevel config;
    std::uint32_t nominal = 0;
    std::uint32_t lendable = 0;
    std::uint32_t limit = 0;  // with all it may borrow
    std::uint32_t request_seats = kMaxRequestSeats;  // for one request at most
    std::uint32_t in_use = 0;
    std::size_t queued = 0;
    double virtual_now = 0;
    std::vector<std::shared_ptr<Queue>> queues;

    // What it keeps for itself and does not use.
    [[nodiscard]] std::uint32_t reserved() const {
        const std::uint32_t own = nominal - lendable;
        return own > in_use ? own - in_use : 0;
    }

    template <class Choose>
    void adopt(const PriorityLevel& wanted, std::uint32_t seats, Choose choose) {
        config = wanted;
        nominal = seats;
        lendable = static_cast<std::uint32_t>(
            std::lround(static_cast<double>(seats) * wanted.lendable_percent / 100));
        const double borrowed = static_cast<double>(seats) * wanted.borrowing_limit_percent / 100;
        limit = wanted.borrowing_limited ? seats + static_cast<std::uint32_t>(std::lround(borrowed))
                                         : UINT32_MAX / 2;
        request_seats = kMaxRequestSeats;
        if (wanted.queues_requests) {
            // As kube-apiserver: 15 % of the level, and no more than leaves a seat for each queue of a hand.
            const std::uint32_t part = (seats * 15 + 99) / 100;
            request_seats = std::clamp(std::min(part, seats / std::max(1U, wanted.hand_size)), 1U, kMaxRequestSeats);
        }
        const std::size_t wanted_queues = wanted.queues_requests ? wanted.queues : 0;
        if (wanted_queues == queues.size()) return;
        std::vector<std::shared_ptr<Dispatcher::Waiting>> moved;
        for (const auto& queue : queues) {
            moved.insert(moved.end(), queue->waiting.begin(), queue->waiting.end());
            queue->waiting.clear();
        }
        // A level that no longer queues keeps one queue for those that are in it.
        queues.resize(wanted_queues == 0 && !moved.empty() ? 1 : wanted_queues);
        for (auto& queue : queues) {
            if (queue == nullptr) queue = std::make_shared<Queue>();
        }
        for (const auto& waiting : moved) {
            waiting->queue = choose(*this, waiting->hash);
            waiting->queue->waiting.push_back(waiting);
        }
    }
};

// A request has left its queue. waiting: the dispatcher's count.
inline void leave_locked(Dispatcher::Waiting& waiting, std::size_t* count) {
    waiting.left = true;
    --waiting.schema->level->queued;
    --*count;
    waiting.schema->waiting.fetch_sub(1, std::memory_order_relaxed);
}

[[nodiscard]] std::string metrics_text(const std::vector<std::shared_ptr<Schema>>& schemas,
                                       const std::vector<std::shared_ptr<Level>>& levels);

}  // namespace sluice::flowcontrol
