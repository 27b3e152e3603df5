// For tests of protocols under every schedule: actors are fibers, and a switch between them is possible before each
// access to shared memory (bpf/lib/shared.h). Schedules are enumerated depth first up to a number of preemptions, and
// each is run from the start.
#pragma once

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace sluice {

class Scheduler;
inline Scheduler* running = nullptr;  // NOLINT: reached from the macros below
// Mistakes that must be found: compare, and then swap; publish by a store, whatever has become of the slot.
inline bool torn_swap = false;
inline bool stored_publish = false;
void switch_point();

template <typename T>
T swap_cell(T* cell, T before, T after) {
    switch_point();
    const T was = *static_cast<volatile T*>(cell);
    // Only a slot's word is above its state; a claim is 0 or 1.
    if (stored_publish && before > 0xf && (before & 0xf) == 1 && (after & 0xf) > 1) {
        *static_cast<volatile T*>(cell) = after;
        return before;
    }
    if (was == before) {
        if (torn_swap) {
            switch_point();
        }
        *static_cast<volatile T*>(cell) = after;
    }
    return was;
}
template <typename T>
void write_cell(T* cell, T value) {
    switch_point();
    *static_cast<volatile T*>(cell) = value;
}
void* room_of_actor();

}  // namespace sluice

#define SLUICE_SHARED_ACCESS
#define SLUICE_READ_ONCE(x) (sluice::switch_point(), *(const volatile __typeof__(x)*)&(x))
#define SLUICE_WRITE_ONCE(x, value) sluice::write_cell<__typeof__(x)>(&(x), (__typeof__(x))(value))
#define SLUICE_COMPARE_AND_SWAP(cell, before, after) \
    sluice::swap_cell<__typeof__(*(cell))>(cell, (__typeof__(*(cell)))(before), (__typeof__(*(cell)))(after))
#define SLUICE_STORE_OVER(cell, value) sluice::write_cell<__typeof__(*(cell))>(cell, (__typeof__(*(cell)))(value))
#define SLUICE_ABOUT_TO_READ(cell) sluice::switch_point()
#define SLUICE_ABOUT_TO_WRITE(cell) sluice::switch_point()
#define SLUICE_FLOW_ROOM_OF_ACTOR sluice::room_of_actor
#include "bpf/lib/test_flow_table.h"

namespace sluice {

inline constexpr int kActors = 3;
inline constexpr std::size_t kStack = 64U << 10U;

// Runs actors to their end under one schedule after another.
class Scheduler {
public:
    explicit Scheduler(int preemptions) : bound_(preemptions) {}

    // Runs all schedules, at most `most`: `make` sets the stage and gives the actors, `check` says
    // what is wrong.
    // Returns the number of schedules; stops at the first that `check` objects to.
    std::uint64_t explore(const std::function<std::vector<std::function<void()>>()>& make,
                          const std::function<bool()>& check, std::uint64_t most) {
        std::uint64_t schedules = 0;
        path_.clear();
        do {
            run(make());
            ++schedules;
            failed_ = !check();
        } while (!failed_ && schedules < most && next());
        exhausted_ = !failed_ && schedules < most;
        return schedules;
    }
    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] bool exhausted() const { return exhausted_; }

    void yield() {
        if (current_ >= 0) {
            swapcontext(&fibers_[static_cast<std::size_t>(current_)], &main_);
        }
    }
    void* room() {
        return rooms_[static_cast<std::size_t>(current_ < 0 ? kActors : current_)].data();
    }

private:
    struct Choice {
        int option;
        int options;
    };
    static void enter() {
        Scheduler& self = *running;
        const auto me = static_cast<std::size_t>(self.current_);
        self.actors_[me]();
        self.done_[me] = true;
        swapcontext(&self.fibers_[me], &self.main_);
    }
    void run(std::vector<std::function<void()>> actors) {
        running = this;
        actors_ = std::move(actors);
        done_.fill(true);
        for (std::size_t i = 0; i < actors_.size(); ++i) {
            done_[i] = false;
            getcontext(&fibers_[i]);
            fibers_[i].uc_stack.ss_sp = stacks_[i].data();
            fibers_[i].uc_stack.ss_size = stacks_[i].size();
            fibers_[i].uc_link = nullptr;
            makecontext(&fibers_[i], &Scheduler::enter, 0);
        }
        std::size_t depth = 0;
        int last = -1;
        int preempted = 0;
        while (true) {
            // Whoever ran goes first; to leave him while he could go on is a preemption.
            std::vector<int> enabled;
            const bool can_stay = last >= 0 && !done_[static_cast<std::size_t>(last)];
            if (can_stay) {
                enabled.push_back(last);
            }
            if (!can_stay || preempted < bound_) {
                for (int i = 0; i < static_cast<int>(actors_.size()); ++i) {
                    if (i != last && !done_[static_cast<std::size_t>(i)]) {
                        enabled.push_back(i);
                    }
                }
            }
            if (enabled.empty()) {
                break;
            }
            int option = 0;
            if (enabled.size() > 1) {
                if (depth == path_.size()) {
                    path_.push_back({0, static_cast<int>(enabled.size())});
                }
                option = path_[depth++].option;
            }
            preempted += can_stay && option != 0 ? 1 : 0;
            last = enabled[static_cast<std::size_t>(option)];
            current_ = last;
            swapcontext(&main_, &fibers_[static_cast<std::size_t>(last)]);
            current_ = -1;
        }
    }
    bool next() {
        while (!path_.empty() && path_.back().option + 1 == path_.back().options) {
            path_.pop_back();
        }
        if (path_.empty()) {
            return false;
        }
        ++path_.back().option;
        return true;
    }

    int bound_;
    int current_ = -1;
    bool failed_ = false;
    bool exhausted_ = false;
    std::vector<Choice> path_;
    std::vector<std::function<void()>> actors_;
    std::array<bool, kActors> done_{};
    std::array<ucontext_t, kActors> fibers_{};
    ucontext_t main_{};
    std::array<std::array<char, kStack>, kActors> stacks_{};
    std::array<std::array<std::uint64_t, SLUICE_FLOW_ROOM / 8>, kActors + 1> rooms_{};
};

inline void switch_point() {
    if (running != nullptr) {
        running->yield();
    }
}

inline void* room_of_actor() {
    static std::array<std::uint64_t, SLUICE_FLOW_ROOM / 8> outside;
    return running != nullptr ? running->room() : outside.data();
}

struct Explored {
    std::uint64_t schedules = 0;
    bool failed = false;
    bool exhausted = false;
};

// Runs a scenario and says what it took.
inline Explored explore(const char* what, int preemptions, std::uint64_t most,
                        const std::function<std::vector<std::function<void()>>()>& make,
                        const std::function<bool()>& check) {
    const auto scheduler = std::make_unique<Scheduler>(preemptions);
    Explored out;
    // What sets the stage and what looks at the end is nobody's turn.
    out.schedules = scheduler->explore(
        [&] {
            running = nullptr;
            return make();
        },
        [&] {
            running = nullptr;
            return check();
        },
        most);
    running = nullptr;
    out.failed = scheduler->failed();
    out.exhausted = scheduler->exhausted();
    std::printf("%s: %llu schedules, up to %d preemptions%s%s\n", what,
                static_cast<unsigned long long>(out.schedules), preemptions,
                out.exhausted ? ", all" : "", out.failed ? ", the last is wrong" : "");
    return out;
}

}  // namespace sluice
