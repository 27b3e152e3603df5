// The flow table's protocol under every schedule: the real code, with a switch between actors
// possible before each access
// to shared memory. Actors are fibers; schedules are enumerated depth first up to a number of
// preemptions, and each is run
// from the start. What is found wrong is a property of the code, not of luck.
//
// Every access counts as sequentially consistent here; what weaker order could do is argued in
// README.md.
#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace {

class Scheduler;
Scheduler* running = nullptr;  // NOLINT: reached from the macros below
bool torn_swap = false;        // the mistake that must be found: compare, and then swap
void switch_point();

template <typename T>
T swap_cell(T* cell, T before, T after) {
    switch_point();
    const T was = *static_cast<volatile T*>(cell);
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

}  // namespace

#define SLUICE_SHARED_ACCESS
#define SLUICE_READ_ONCE(x) (switch_point(), *(const volatile __typeof__(x)*)&(x))
#define SLUICE_WRITE_ONCE(x, value) write_cell<__typeof__(x)>(&(x), (__typeof__(x))(value))
#define SLUICE_COMPARE_AND_SWAP(cell, before, after) \
    swap_cell<__typeof__(*(cell))>(cell, (__typeof__(*(cell)))(before), (__typeof__(*(cell)))(after))
#define SLUICE_ABOUT_TO_READ(cell) switch_point()
#define SLUICE_ABOUT_TO_WRITE(cell) switch_point()
#define SLUICE_FLOW_ROOM_OF_ACTOR room_of_actor
#include "bpf/lib/test_flow_table.h"

namespace {

constexpr int kActors = 3;
constexpr std::size_t kStack = 64U << 10U;

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

void switch_point() {
    if (running != nullptr) {
        running->yield();
    }
}

void* room_of_actor() {
    static std::array<std::uint64_t, SLUICE_FLOW_ROOM / 8> outside;
    return running != nullptr ? running->room() : outside.data();
}

using namespace sluice;  // NOLINT

// A small world: one table, its flows numbered, and another table for those that move.
struct World {
    World() : old(1), table(1) {}
    static sluice_flow_pair flow(std::uint16_t n, std::uint32_t backend) {
        sluice_flow_pair pair = pair_of(false, static_cast<std::uint16_t>(40000 + n));
        pair.backend = backend;
        pair.incarnation = backend;
        pair.reverse.src.word_be[3] = SLUICE_HTON32(0x0af40000U + backend);
        return pair;
    }
    // Fills slots with flows in use, so that `left` halves have room.
    void crowd(std::uint16_t left) {
        for (std::uint16_t n = 100; n < 100 + (SLUICE_FLOW_WAYS - left) / 2; ++n) {
            sluice_flow_pair pair = flow(n, n);
            pair.state = SLUICE_FLOW_ESTABLISHED;
            EXPECT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
        }
    }
    Table old;
    Table table;
};

// No key twice, each half's other half is there and points back, nothing busy or claimed.
bool sound(const Table& table) {
    const sluice_flow_view& view = const_cast<Table&>(table).view();
    bool good = true;
    for (__u32 b = 0; b < view.bucket_count4; ++b) {
        sluice_flow_bucket4& bucket = view.buckets4[b];
        good &= bucket.set.claim == 0;
        for (__u32 i = 0; i < SLUICE_FLOW_WAYS; ++i) {
            const __u32 state = bucket.set.word[i] & SLUICE_FLOW_STATE_MASK;
            good &= state != SLUICE_FLOW_BUSY;
            if (state <= SLUICE_FLOW_BUSY) {
                continue;
            }
            const sluice_flow_meta& meta = bucket.entry[i].meta;
            const sluice_flow_bucket4& other = view.buckets4[meta.peer / SLUICE_FLOW_WAYS];
            const __u32 slot = meta.peer % SLUICE_FLOW_WAYS;
            // A half whose other half is gone is noticed by whoever finds it, and is no flow; it
            // must not be half a flow
            // that somebody was told of, which the scenarios ask.
            if ((other.set.word[slot] & SLUICE_FLOW_ID_MASK) == meta.peer_id &&
                (other.set.word[slot] & SLUICE_FLOW_STATE_MASK) > SLUICE_FLOW_BUSY) {
                good &= other.entry[slot].meta.peer == b * SLUICE_FLOW_WAYS + i;
            }
            for (__u32 j = 0; j < i; ++j) {
                good &= (bucket.set.word[j] & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY ||
                        std::memcmp(&bucket.entry[j], &bucket.entry[i], 12) != 0 ||
                        bucket.entry[j].meta.protocol != meta.protocol;
            }
        }
    }
    return good;
}

struct Outcome {
    std::uint64_t schedules;
    bool failed;
    bool exhausted;
};

Outcome two_inserts_of_one_key(int preemptions, std::uint64_t most) {
    auto scheduler = std::make_unique<Scheduler>(preemptions);
    std::unique_ptr<World> world;
    std::array<int, 2> result{};
    std::array<sluice_flow_pair, 2> pairs{};
    const auto schedules = scheduler->explore(
        [&] {
            running = nullptr;
            world = std::make_unique<World>();
            std::vector<std::function<void()>> actors;
            for (std::uint32_t a = 0; a < 2; ++a) {
                pairs[a] = World::flow(1, a + 1);
                actors.emplace_back([&, a] { result[a] = world->table.insert(pairs[a], false); });
            }
            return actors;
        },
        [&] {
            running = nullptr;
            const int inserted = (result[0] == SLUICE_FLOW_INSERTED ? 1 : 0) +
                                 (result[1] == SLUICE_FLOW_INSERTED ? 1 : 0);
            sluice_flow_hit hit{};
            bool good = sound(world->table) && inserted <= 1 &&
                        world->table.occupied() == 2U * static_cast<unsigned>(inserted);
            for (std::size_t a = 0; a < 2; ++a) {
                good = good && (result[a] != SLUICE_FLOW_INSERTED ||
                                (world->table.find(pairs[a].forward, hit, false) &&
                                 hit.meta.backend == a + 1 &&
                                 world->table.find(pairs[a].reverse, hit, false)));
            }
            return good;
        },
        most);
    running = nullptr;
    return {schedules, scheduler->failed(), scheduler->exhausted()};
}

TEST(FlowModel, TwoInsertsOfOneKeyLeaveOneFlow) {
    const Outcome outcome = two_inserts_of_one_key(2, 200000);
    std::printf("%llu schedules, up to 2 preemptions%s\n",
                static_cast<unsigned long long>(outcome.schedules), outcome.exhausted ? ", all" : "");
    EXPECT_FALSE(outcome.failed);
    EXPECT_GT(outcome.schedules, 100U);
}

TEST(FlowModel, ASwapThatIsNotAtomicIsFound) {
    torn_swap = true;
    const Outcome outcome = two_inserts_of_one_key(2, 200000);
    torn_swap = false;
    std::printf("found in schedule %llu\n", static_cast<unsigned long long>(outcome.schedules));
    EXPECT_TRUE(outcome.failed);
}

// A packet of either direction is carried while the mover carries the same flow: one of them does,
// nobody loses it.
TEST(FlowModel, CarryingAndFindingAndFollowingLoseNothing) {
    auto scheduler = std::make_unique<Scheduler>(2);
    std::unique_ptr<World> world;
    sluice_flow_pair pair{};
    sluice_flow_view view{};
    bool found = false;
    bool followed = false;
    const auto schedules = scheduler->explore(
        [&] {
            running = nullptr;
            world = std::make_unique<World>();
            pair = World::flow(1, 7);
            EXPECT_EQ(world->old.insert(pair, false), SLUICE_FLOW_INSERTED);
            view = world->table.beside(world->old, SLUICE_FLOW_MOVE);
            found = followed = false;
            std::vector<std::function<void()>> actors;
            actors.emplace_back([&] {
                for (__u32 i = 0; i < SLUICE_FLOW_WAYS; ++i) {
                    sluice_flow_move4(&view, i);
                }
            });
            actors.emplace_back([&] {
                sluice_flow_hit hit{};
                found = sluice_flow_find_or_move(&view, &pair.reverse,
                                                 sluice_flow_hash(&view, &pair.reverse, 0), &hit,
                                                 0) != 0 &&
                        hit.meta.backend == 7;
                followed = found && sluice_flow_follow(&view, &hit, SLUICE_TCP_ACK, 0) != 0;
            });
            return actors;
        },
        [&] {
            running = nullptr;
            sluice_flow_hit hit{};
            const bool here = world->table.find(pair.forward, hit, false) &&
                              world->table.find(pair.reverse, hit, false);
            const bool there = world->old.find(pair.forward, hit, false);
            return sound(world->table) && found && followed && here != there;
        },
        60000);
    running = nullptr;
    std::printf("%llu schedules, up to 2 preemptions%s\n", static_cast<unsigned long long>(schedules),
                scheduler->exhausted() ? ", all" : "");
    EXPECT_FALSE(scheduler->failed());
}

}  // namespace
