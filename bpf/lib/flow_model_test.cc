// The flow table's protocol under every schedule: the real code, with a switch between actors possible before each
// access to shared memory. What is found wrong is a property of the code, not of luck.
//
// Every access counts as sequentially consistent here; what weaker order could do is argued in README.md.
#include "bpf/lib/test_schedules.h"

#include "bpf/lib/test_flow_sound.h"

namespace sluice {
namespace {

using Actors = std::vector<std::function<void()>>;

constexpr std::uint64_t kMost = 200000;

// A small world: one table, its flows numbered, and another table for those that move.
struct World {
    explicit World(std::uint32_t buckets = 1) : old(1), table(buckets) {}
    static sluice_flow_pair flow(std::uint16_t n, std::uint32_t backend) {
        sluice_flow_pair pair = pair_of(false, static_cast<std::uint16_t>(2000 + n));
        pair.backend = backend;
        pair.incarnation = backend;
        pair.fixed_port = 1;
        pair.reverse.src.word_be[3] = SLUICE_HTON32(0x0af40000U + backend);
        return pair;
    }
    [[nodiscard]] std::uint32_t bucket(const sluice_tuple& tuple) {
        const sluice_flow_view* view = &table.view();
        return sluice_flow_bucket_of(view, sluice_flow_hash(view, &tuple, 0), 0);
    }
    // A flow with its forward and its reverse half in these buckets.
    sluice_flow_pair flow_in(std::uint32_t forward, std::uint32_t reverse, std::uint32_t backend) {
        for (std::uint16_t n = 0; n < 10000; ++n) {
            sluice_flow_pair pair = flow(n, backend);
            if (bucket(pair.forward) == forward && bucket(pair.reverse) == reverse) {
                return pair;
            }
        }
        ADD_FAILURE() << "no such flow";
        return {};
    }
    // A flow of one half with this home and this second bucket; `skip`: the so manieth of them.
    sluice_flow_pair flow_between(std::uint32_t home, std::uint32_t second, std::uint32_t backend, int skip = 0) {
        for (std::uint16_t n = 0; n < 10000; ++n) {
            sluice_flow_pair pair = flow(n, backend);
            pair.flags = SLUICE_FLOW_TUNNEL;
            const sluice_flow_view* view = &table.view();
            if (bucket(pair.forward) == home &&
                sluice_flow_second_of(view, sluice_flow_hash(view, &pair.forward, 0), 0) == second && skip-- == 0) {
                return pair;
            }
        }
        ADD_FAILURE() << "no such flow";
        return {};
    }
    // Flows of one half, in use, until the bucket has room for `left` halves.
    void crowd(std::uint32_t index, int left) {
        int made = 0;
        for (std::uint16_t n = 10000; made < SLUICE_FLOW_WAYS - left; ++n) {
            sluice_flow_pair pair = flow(n, n);
            if (bucket(pair.forward) != index) {
                continue;
            }
            pair.flags = SLUICE_FLOW_TUNNEL;
            pair.state = SLUICE_FLOW_ESTABLISHED;
            ASSERT_EQ(table.insert(pair, false), SLUICE_FLOW_INSERTED);
            ++made;
        }
    }
    int insert(sluice_flow_pair& pair) { return table.insert(pair, false); }
    // Finds the half of the tuple and does as a packet does. False if there is no flow.
    bool packet(const sluice_tuple& tuple, std::uint8_t tcp_flags, std::uint32_t backend) {
        sluice_flow_hit hit{};
        return table.find(tuple, hit, false) && hit.meta.backend == backend &&
               table.follow(hit, tcp_flags, false) != 0;
    }
    void forget(const sluice_tuple& tuple) {
        sluice_flow_hit hit{};
        if (table.find(tuple, hit, false)) {
            sluice_flow_forget(&table.view(), &hit, 0);
        }
    }
    // Both halves there with this backend, or neither.
    [[nodiscard]] bool whole(const sluice_flow_pair& pair, bool there) const {
        sluice_flow_hit hit{};
        for (const auto& tuple : {pair.forward, pair.reverse}) {
            const bool found = table.find(tuple, hit, false) && hit.meta.backend == pair.backend;
            if (found != there) {
                return false;
            }
        }
        return true;
    }
    Table old;
    Table table;
};

bool sound(Table& table) { return flow_fault(table.view(), 0).empty(); }

bool inserted(int result) { return result == SLUICE_FLOW_INSERTED; }

// Two actors insert what `first` and `second` say; `check` gets the world and both results.
class Inserts {
public:
    using Stage = std::function<void(World&, std::array<sluice_flow_pair, 2>&)>;
    using Check = std::function<bool(World&, std::array<sluice_flow_pair, 2>&, const std::array<int, 2>&)>;

    static Explored run(const char* what, std::uint32_t buckets, const Stage& stage, const Check& check) {
        std::unique_ptr<World> world;
        std::array<sluice_flow_pair, 2> pairs{};
        std::array<int, 2> result{};
        return explore(
            what, 2, kMost,
            [&] {
                world = std::make_unique<World>(buckets);
                stage(*world, pairs);
                Actors actors;
                for (std::size_t a = 0; a < 2; ++a) {
                    actors.emplace_back([&, a] { result[a] = world->insert(pairs[a]); });
                }
                return actors;
            },
            [&] { return sound(world->table) && check(*world, pairs, result); });
    }
};

Explored two_inserts_of_one_key(const char* what, std::uint8_t flags) {
    return Inserts::run(
        what, 1,
        [&](World&, auto& pairs) {
            for (std::uint32_t a = 0; a < 2; ++a) {
                pairs[a] = World::flow(1, a + 1);
                pairs[a].flags = flags;
            }
        },
        [&](World& world, auto& pairs, const auto& result) {
            const unsigned halves = flags != 0 ? 1 : 2;
            bool good = inserted(result[0]) != inserted(result[1]) && world.table.occupied() == halves;
            for (std::size_t a = 0; a < 2; ++a) {
                sluice_flow_hit hit{};
                good = good && (!inserted(result[a]) ||
                                (world.table.find(pairs[a].forward, hit, false) &&
                                 hit.meta.backend == a + 1));
            }
            return good;
        });
}

TEST(FlowModel, TwoInsertsOfOneKeyLeaveOneFlow) {
    const Explored explored = two_inserts_of_one_key("one key", 0);
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
    EXPECT_GT(explored.schedules, 100U);
}

TEST(FlowModel, ASwapThatIsNotAtomicIsFound) {
    torn_swap = true;
    const Explored explored = two_inserts_of_one_key("compare, and then swap", 0);
    torn_swap = false;
    EXPECT_TRUE(explored.failed);
}

TEST(FlowModel, TwoInsertsOfOneOneWayKeyLeaveOneHalf) {
    const Explored explored = two_inserts_of_one_key("one key, one way", SLUICE_FLOW_TUNNEL);
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// Two services with one backend, and a client that asks both from one port: the answers would be the same.
TEST(FlowModel, TwoFlowsWithOneAnswerLeaveOne) {
    const Explored explored = Inserts::run(
        "one reverse tuple", 2,
        [](World& world, auto& pairs) {
            pairs[0] = world.flow_in(0, 1, 7);
            pairs[1] = pairs[0];
            do {
                pairs[1].forward.dst.word_be[3] += SLUICE_HTON32(1);
            } while (world.bucket(pairs[1].forward) != 1);
        },
        [](World& world, auto& pairs, const auto& result) {
            sluice_flow_hit hit{};
            const std::size_t winner = inserted(result[0]) ? 0 : 1;
            return inserted(result[0]) != inserted(result[1]) && world.table.occupied() == 2 &&
                   world.table.find(pairs[winner].forward, hit, false) &&
                   !world.table.find(pairs[1 - winner].forward, hit, false) &&
                   world.table.find(pairs[winner].reverse, hit, false) &&
                   same(hit.new_src, pairs[winner].forward.dst);
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// Each claims the bucket that the other wants next: one gives up, or both; nothing stays claimed, and they may come
// again.
TEST(FlowModel, InsertsThatCrossEndInRetriesAndInNoLockUp) {
    const Explored explored = Inserts::run(
        "crossing buckets", 2,
        [](World& world, auto& pairs) {
            pairs[0] = world.flow_in(0, 1, 1);
            pairs[1] = world.flow_in(1, 0, 2);
        },
        [](World& world, auto& pairs, const auto& result) {
            bool good = world.whole(pairs[0], inserted(result[0])) && world.whole(pairs[1], inserted(result[1]));
            for (std::size_t a = 0; a < 2; ++a) {
                good = good && (inserted(result[a]) || (result[a] == SLUICE_FLOW_CLAIMED &&
                                                        inserted(world.insert(pairs[a]))));
            }
            return good && sound(world.table) && world.whole(pairs[0], true) && world.whole(pairs[1], true);
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// The reverse half of one is displaced by the other, maybe before its forward half is published.
Explored displaced_between_its_halves(const char* what) {
    return Inserts::run(
        what, 2,
        [](World& world, auto& pairs) {
            world.crowd(1, 1);
            pairs[0] = world.flow_in(0, 1, 1);
            pairs[1] = world.flow_in(1, 0, 2);
            pairs[1].flags = SLUICE_FLOW_TUNNEL;
        },
        [](World& world, auto& pairs, const auto&) {
            sluice_flow_hit hit{};
            const bool other = world.table.find(pairs[1].forward, hit, false);
            return world.whole(pairs[0], !other) &&
                   world.table.occupied() == SLUICE_FLOW_WAYS + (other ? 0U : 1U);
        });
}

TEST(FlowModel, WhatIsDisplacedBetweenItsHalvesLeavesNone) {
    const Explored explored = displaced_between_its_halves("displaced between its halves");
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

TEST(FlowModel, APublishThatIsAPlainStoreIsFound) {
    stored_publish = true;
    const Explored explored = displaced_between_its_halves("publish by a store");
    stored_publish = false;
    EXPECT_TRUE(explored.failed);
}

// The key's home is full of connections: whoever comes first puts it into the second bucket, the other finds it there.
Explored two_inserts_of_one_key_that_spills(const char* what) {
    return Inserts::run(
        what, 2,
        [](World& world, auto& pairs) {
            world.crowd(0, 0);
            pairs[0] = world.flow_between(0, 1, 1);
            pairs[1] = pairs[0];
            pairs[1].backend = 2;
        },
        [](World& world, auto& pairs, const auto& result) {
            sluice_flow_hit hit{};
            const std::uint32_t winner = inserted(result[0]) ? 1 : 2;
            return inserted(result[0]) != inserted(result[1]) && world.table.occupied() == SLUICE_FLOW_WAYS + 1 &&
                   world.table.find(pairs[0].forward, hit, false) && hit.meta.backend == winner &&
                   hit.slot >= SLUICE_FLOW_WAYS;
        });
}

TEST(FlowModel, TwoInsertsOfOneKeyThatSpillsLeaveOneFlow) {
    const Explored explored = two_inserts_of_one_key_that_spills("one key, its home full");
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// As it is when its home was full once, and is no longer: the key may be in either.
TEST(FlowModel, OneKeyInBothItsBucketsIsFound) {
    const Explored explored = Inserts::run(
        "one key, its home full once", 2,
        [](World& world, auto& pairs) {
            world.crowd(0, 0);
            sluice_flow_pair first = world.flow_between(0, 1, 3, 1);
            ASSERT_EQ(world.insert(first), SLUICE_FLOW_INSERTED);
            pairs[0] = world.flow_between(0, 1, 1);
            ASSERT_EQ(world.insert(pairs[0]), SLUICE_FLOW_INSERTED);
            for (std::uint16_t n = 10000;; ++n) {
                const sluice_flow_pair crowding = World::flow(n, n);
                if (world.bucket(crowding.forward) == 0) {
                    world.forget(crowding.forward);
                    break;
                }
            }
            pairs[1] = pairs[0];
            pairs[1].backend = 2;
        },
        [](World& world, auto& pairs, const auto& result) {
            sluice_flow_hit hit{};
            return !inserted(result[0]) && !inserted(result[1]) && world.table.occupied() == SLUICE_FLOW_WAYS + 1 &&
                   world.table.find(pairs[0].forward, hit, false) && hit.meta.backend == 1;
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// One place is left in the bucket that is the one's home and the other's second.
TEST(FlowModel, SpilledAndHomeCompeteForOnePlace) {
    const Explored explored = Inserts::run(
        "one spills where the other is at home", 2,
        [](World& world, auto& pairs) {
            world.crowd(0, 0);
            world.crowd(1, 1);
            pairs[0] = world.flow_between(0, 1, 1);
            pairs[1] = world.flow_between(1, 1, 2);
            pairs[0].state = pairs[1].state = SLUICE_FLOW_ESTABLISHED;
        },
        [](World& world, auto& pairs, const auto& result) {
            sluice_flow_hit hit{};
            bool good = inserted(result[0]) != inserted(result[1]) &&
                        world.table.occupied() == 2 * SLUICE_FLOW_WAYS;
            for (std::size_t a = 0; a < 2; ++a) {
                good = good && world.table.find(pairs[a].forward, hit, false) == inserted(result[a]);
            }
            return good;
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// Both halves' homes are full, and the second bucket of each is the other's home or its own.
TEST(FlowModel, HalvesThatSpillAcrossEachOtherLeaveNoClaim) {
    const Explored explored = Inserts::run(
        "halves spill across each other", 3,
        [](World& world, auto& pairs) {
            world.crowd(0, 0);
            world.crowd(1, 0);
            pairs[0] = world.flow_in(0, 1, 1);
            pairs[1] = world.flow_in(1, 0, 2);
        },
        [](World& world, auto& pairs, const auto& result) {
            bool good = world.whole(pairs[0], inserted(result[0])) && world.whole(pairs[1], inserted(result[1]));
            for (std::size_t a = 0; a < 2; ++a) {
                if (result[a] == SLUICE_FLOW_CLAIMED) {
                    const int again = world.insert(pairs[a]);
                    good = good && again != SLUICE_FLOW_CLAIMED && world.whole(pairs[a], inserted(again));
                }
            }
            return good && sound(world.table);
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// The forward half spills into the bucket where the reverse half is at home: its claim covers both.
TEST(FlowModel, AHalfThatSpillsIntoTheOthersHomeIsNotInItsWay) {
    World world(2);
    world.crowd(0, 0);
    for (std::uint16_t n = 0;; ++n) {
        ASSERT_LT(n, 10000);
        sluice_flow_pair pair = World::flow(n, 1);
        const sluice_flow_view* view = &world.table.view();
        const std::uint64_t hash = sluice_flow_hash(view, &pair.forward, 0);
        if (sluice_flow_bucket_of(view, hash, 0) == 0 && sluice_flow_second_of(view, hash, 0) == 1 &&
            world.bucket(pair.reverse) == 1) {
            EXPECT_EQ(world.insert(pair), SLUICE_FLOW_INSERTED);
            EXPECT_TRUE(world.whole(pair, true));
            break;
        }
    }
    EXPECT_EQ(flow_fault(world.table.view(), 0), "");
}

// A packet of a flow while others make its home spill: it is found all the time.
TEST(FlowModel, WhatIsInItsHomeIsFoundWhileThatSpills) {
    std::unique_ptr<World> world;
    sluice_flow_pair pair{};
    sluice_flow_pair other{};
    bool found = false;
    const Explored explored = explore(
        "a packet, and one that spills", 3, kMost,
        [&] {
            world = std::make_unique<World>(2);
            pair = world->flow_between(0, 1, 1);
            pair.state = SLUICE_FLOW_ESTABLISHED;
            EXPECT_EQ(world->insert(pair), SLUICE_FLOW_INSERTED);
            world->crowd(0, 1);
            other = world->flow_between(0, 1, 2, 1);
            Actors actors;
            actors.emplace_back([&] { found = world->packet(pair.forward, SLUICE_TCP_ACK, 1); });
            actors.emplace_back([&] { EXPECT_EQ(world->insert(other), SLUICE_FLOW_INSERTED); });
            return actors;
        },
        [&] {
            sluice_flow_hit hit{};
            return sound(world->table) && found && world->table.find(other.forward, hit, false);
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// Two places are left, and a half-open flow holds them: both displace, and who is displaced goes as a whole.
TEST(FlowModel, EvictionInAFullBucketTakesBothHalves) {
    sluice_flow_pair idle{};
    const Explored explored = Inserts::run(
        "a full bucket", 1,
        [&](World& world, auto& pairs) {
            world.crowd(0, 2);
            idle = World::flow(3, 3);
            ASSERT_EQ(world.insert(idle), SLUICE_FLOW_INSERTED);
            pairs[0] = World::flow(1, 1);
            pairs[1] = World::flow(2, 2);
        },
        [&](World& world, auto& pairs, const auto& result) {
            sluice_flow_hit hit{};
            int there = 0;
            for (const auto& pair : {pairs[0], pairs[1], idle}) {
                there += world.table.find(pair.forward, hit, false) ? 1 : 0;
            }
            return there == 1 && world.whole(idle, false) && (inserted(result[0]) || inserted(result[1]));
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

// A flow in the table, of which a packet is found and followed while somebody forgets it.
TEST(FlowModel, WhatIsForgottenDoesNotComeBackByAPacket) {
    std::unique_ptr<World> world;
    sluice_flow_pair pair{};
    for (const bool reverse : {false, true}) {
        const Explored explored = explore(
            reverse ? "forget, and an answer" : "forget, and a packet", 3, kMost,
            [&] {
                world = std::make_unique<World>(2);
                pair = world->flow_in(0, 1, 1);
                pair.state = reverse ? SLUICE_FLOW_NEW : SLUICE_FLOW_ANSWERED;
                EXPECT_EQ(world->insert(pair), SLUICE_FLOW_INSERTED);
                Actors actors;
                actors.emplace_back([&] {
                    world->packet(reverse ? pair.reverse : pair.forward, SLUICE_TCP_ACK, 1);
                });
                actors.emplace_back([&] { world->forget(pair.forward); });
                return actors;
            },
            [&] { return sound(world->table) && world->table.occupied() == 0; });
        EXPECT_FALSE(explored.failed);
        EXPECT_TRUE(explored.exhausted);
    }
}

// As sluice_flow_follow with a step left out: it does not ask whether the other half is still being written.
void follow_without_a_look(const sluice_flow_view& view, const sluice_flow_hit& hit) {
    for (const auto& [index, id] : {std::pair{hit.slot, hit.id}, std::pair{hit.meta.peer, hit.meta.peer_id}}) {
        sluice_flow_set* set = sluice_flow_head(&view, index / SLUICE_FLOW_WAYS, 0);
        __u32* word = &set->word[index % SLUICE_FLOW_WAYS];
        const __u32 before = SLUICE_READ_ONCE(*word);
        if ((before & SLUICE_FLOW_ID_MASK) == id && (before & SLUICE_FLOW_STATE_MASK) != SLUICE_FLOW_FREE) {
            SLUICE_COMPARE_AND_SWAP(word, before, id | SLUICE_FLOW_ANSWERED);
        }
    }
}

// The reverse half is there first: an answer may be followed (of a flow that is carried) while the forward half is
// still being written.
Explored followed_while_inserted(const char* what, bool look) {
    static std::unique_ptr<World> world;
    static sluice_flow_pair pair;
    static int result;
    return explore(
        what, 2, kMost,
        [look] {
            world = std::make_unique<World>(2);
            pair = world->flow_in(0, 1, 1);
            Actors actors;
            actors.emplace_back([] { result = world->insert(pair); });
            actors.emplace_back([look] {
                sluice_flow_hit hit{};
                if (!world->table.find(pair.reverse, hit, false)) {
                    return;
                }
                if (look) {
                    world->table.follow(hit, SLUICE_TCP_SYN | SLUICE_TCP_ACK, false);
                } else {
                    follow_without_a_look(world->table.view(), hit);
                }
            });
            return actors;
        },
        [] { return sound(world->table) && inserted(result) && world->whole(pair, true); });
}

TEST(FlowModel, AnAnswerThatIsFollowedEarlyHarmsNoInsert) {
    const Explored explored = followed_while_inserted("insert, and an answer", true);
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

TEST(FlowModel, AFollowerThatPublishesABusyPeerIsFound) {
    EXPECT_TRUE(followed_while_inserted("a busy peer published", false).failed);
}

// Three actors, one preemption: two inserts of a key, and a packet that may belong to either.
TEST(FlowModel, ThreeActorsOfOneKey) {
    std::unique_ptr<World> world;
    std::array<sluice_flow_pair, 2> pairs{};
    std::array<int, 2> result{};
    const Explored explored = explore(
        "two inserts and a packet", 1, kMost,
        [&] {
            world = std::make_unique<World>(2);
            pairs[0] = world->flow_in(0, 1, 1);
            pairs[1] = pairs[0];
            pairs[1].backend = 2;
            Actors actors;
            for (std::size_t a = 0; a < 2; ++a) {
                actors.emplace_back([&, a] { result[a] = world->insert(pairs[a]); });
            }
            actors.emplace_back([&] {
                world->packet(pairs[0].reverse, SLUICE_TCP_SYN | SLUICE_TCP_ACK, 1);
                world->forget(pairs[0].forward);
            });
            return actors;
        },
        [&] {
            // Whether it was forgotten before or after, there is one flow at most, whole.
            const bool first = world->whole(pairs[0], true);
            const bool second = world->whole(pairs[1], true);
            return sound(world->table) && (inserted(result[0]) || inserted(result[1])) &&
                   world->table.occupied() == (first || second ? 2U : 0U) && !(first && second);
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

enum class Carriers { kMoverAndAnswer, kMoverAndTwo };

// Packets of a flow, in both directions, while the mover carries it: one of them does, nobody loses it.
void carry(const char* what, int preemptions, Carriers carriers, std::uint8_t flags) {
    std::unique_ptr<World> world;
    sluice_flow_pair pair{};
    sluice_flow_view view{};
    int lost = 0;
    const auto packet = [&](const sluice_tuple& tuple) {
        sluice_flow_hit hit{};
        const bool found = sluice_flow_find_or_move(&view, &tuple, sluice_flow_hash(&view, &tuple, 0),
                                                    &hit, 0) != 0 &&
                           hit.meta.backend == 7;
        lost += !found || sluice_flow_follow(&view, &hit, SLUICE_TCP_ACK, 0) == 0 ? 1 : 0;
    };
    const Explored explored = explore(
        what, preemptions, kMost,
        [&] {
            world = std::make_unique<World>();
            pair = World::flow(1, 7);
            pair.flags = flags;
            EXPECT_EQ(world->old.insert(pair, false), SLUICE_FLOW_INSERTED);
            view = world->table.beside(world->old, SLUICE_FLOW_MOVE);
            lost = 0;
            Actors actors;
            actors.emplace_back([&] {
                for (__u32 i = 0; i < SLUICE_FLOW_WAYS; ++i) {
                    sluice_flow_move4(&view, i);
                }
            });
            actors.emplace_back([&] { packet(flags == 0 ? pair.reverse : pair.forward); });
            if (carriers == Carriers::kMoverAndTwo) {
                actors.emplace_back([&] { packet(pair.forward); });
            }
            return actors;
        },
        [&] {
            sluice_flow_hit hit{};
            const bool here = world->table.find(pair.forward, hit, false) &&
                              (flags != 0 || world->table.find(pair.reverse, hit, false));
            const bool there = world->old.find(pair.forward, hit, false);
            return sound(world->table) && sound(world->old) && lost == 0 && here != there;
        });
    EXPECT_FALSE(explored.failed);
    EXPECT_TRUE(explored.exhausted);
}

TEST(FlowModel, CarryingAndFindingAndFollowingLoseNothing) {
    carry("mover, and an answer", 2, Carriers::kMoverAndAnswer, 0);
}

TEST(FlowModel, CarryingAOneWayFlowLosesNothing) {
    carry("mover, and a packet of a one-way flow", 2, Carriers::kMoverAndAnswer, SLUICE_FLOW_TUNNEL);
}

TEST(FlowModel, ThreeWhoCarryLoseNothing) {
    carry("mover, and a packet of each direction", 1, Carriers::kMoverAndTwo, 0);
}

}  // namespace
}  // namespace sluice
