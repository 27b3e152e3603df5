// Expectations are those of Kubernetes' documentation (concepts/workloads/controllers/deployment).
#include "control/controllers/deployment/rolling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>

namespace sluice::controllers {
namespace {

using ::testing::ElementsAre;

SetSize set(const std::string& name, int replicas, int available, int max_replicas = 0,
            std::int64_t created = 0) {
    return {name, replicas, available, max_replicas, created};
}

// "with 3 replicas, maxSurge 1 and maxUnavailable 0: one new Pod, and only when it is available one
// old Pod less."
TEST(RollingTest, SurgesByOneAndWaits) {
    const Bounds bounds{1, 0};
    EXPECT_EQ(next_new_size(3, bounds, set("new", 0, 0), {set("old", 3, 3)}), 1);
    EXPECT_THAT(next_old_sizes(3, bounds, set("new", 1, 0), {set("old", 3, 3)}), ElementsAre(3));
    EXPECT_EQ(next_new_size(3, bounds, set("new", 1, 0), {set("old", 3, 3)}), 1);
    EXPECT_THAT(next_old_sizes(3, bounds, set("new", 1, 1), {set("old", 3, 3)}), ElementsAre(2));
}

// 10 replicas, maxSurge 3, maxUnavailable 2 and an image that cannot be pulled: 8 old and 5 new.
TEST(RollingTest, ABadImageStopsTheRollout) {
    const Bounds bounds{3, 2};
    EXPECT_EQ(next_new_size(10, bounds, set("new", 0, 0), {set("old", 10, 10)}), 3);
    EXPECT_THAT(next_old_sizes(10, bounds, set("new", 3, 0), {set("old", 10, 10)}),
                ElementsAre(8));
    EXPECT_EQ(next_new_size(10, bounds, set("new", 3, 0), {set("old", 8, 8)}), 5);
    EXPECT_THAT(next_old_sizes(10, bounds, set("new", 5, 0), {set("old", 8, 8)}), ElementsAre(8));
}

// The same, then a node fails and takes an old pod: no more old pods go. After an undo the pods of
// the bad image go first, as many as keep 8 in place (the example in Kubernetes' rolling.go).
TEST(RollingTest, PodsThatNeverStartedGoFirst) {
    const Bounds bounds{3, 2};
    EXPECT_THAT(next_old_sizes(10, bounds, set("new", 5, 0), {set("old", 8, 7)}), ElementsAre(8));
    EXPECT_THAT(next_old_sizes(10, bounds, set("good", 8, 7), {set("bad", 5, 0)}),
                ElementsAre(1));
    EXPECT_THAT(next_old_sizes(10, bounds, set("newest", 0, 0),
                               {set("good", 8, 8, 0, 1), set("bad", 5, 0, 0, 2)}),
                ElementsAre(8, 0));
}

TEST(RollingTest, TheOldestOfTheOldSetsShrinksFirst) {
    EXPECT_THAT(next_old_sizes(4, {2, 0}, set("new", 2, 2),
                               {set("younger", 2, 2, 0, 20), set("older", 2, 2, 0, 10)}),
                ElementsAre(2, 0));
}

TEST(RollingTest, ASmallerDeploymentShrinksTheNewSetToo) {
    EXPECT_EQ(next_new_size(2, {1, 0}, set("new", 5, 5), {}), 2);
    EXPECT_EQ(next_new_size(0, {0, 0}, set("new", 5, 5), {}), 0);
}

// A set that was made smaller just now still shows the pods that it is about to lose.
TEST(RollingTest, StaleStatusDoesNotCountTwice) {
    EXPECT_THAT(next_old_sizes(10, {0, 2}, set("new", 2, 2), {set("old", 8, 10)}), ElementsAre(6));
}

// 10 replicas, maxSurge 3, maxUnavailable 2, in the middle of a bad rollout (8 old, 5 new), scaled
// to 15: 5 more pods, 3 to the old set and 2 to the new one.
TEST(ProportionalTest, TheDocumentedExample) {
    EXPECT_THAT(proportional_sizes(15, {3, 2}, 13,
                                   {set("old", 8, 8, 13, 1), set("new", 5, 0, 13, 2)}),
                ElementsAre(11, 7));
}

TEST(ProportionalTest, ShrinksInProportion) {
    EXPECT_THAT(proportional_sizes(5, {0, 0}, 10,
                                   {set("a", 8, 8, 10, 1), set("b", 2, 2, 10, 2)}),
                ElementsAre(4, 1));
    EXPECT_THAT(proportional_sizes(0, {3, 2}, 13,
                                   {set("a", 8, 8, 13, 1), set("b", 5, 5, 13, 2)}),
                ElementsAre(0, 0));
}

// Without the annotation the Deployment's own count stands in; without that the largest gets all.
TEST(ProportionalTest, UnknownSizesBefore) {
    EXPECT_THAT(proportional_sizes(20, {0, 0}, 10, {set("a", 6, 6), set("b", 4, 4)}),
                ElementsAre(12, 8));
    EXPECT_THAT(proportional_sizes(20, {0, 0}, 0, {set("a", 6, 6), set("b", 4, 4)}),
                ElementsAre(16, 4));
}

// Sizes that no machine has, as a user may write them; nothing overflows (the sanitizers' build).
TEST(RollingTest, HugeSizes) {
    constexpr int kHuge = INT32_MAX;
    const Bounds bounds{kHuge, kHuge};
    EXPECT_EQ(next_new_size(kHuge, bounds, set("new", 0, 0), {set("old", kHuge, 0)}), kHuge);
    EXPECT_THAT(next_old_sizes(kHuge, bounds, set("new", kHuge, kHuge),
                               {set("a", kHuge, 0), set("b", kHuge, kHuge)}),
                ElementsAre(0, 0));
    const auto sizes = proportional_sizes(kHuge, bounds, kHuge,
                                          {set("a", kHuge, 0, 1), set("b", kHuge, 0, 1)});
    for (const int size : sizes) EXPECT_GE(size, 0);
    EXPECT_THAT(proportional_sizes(kHuge, bounds, 1, {set("a", 1, 1, 1)}), ElementsAre(kHuge));
}

// One Deployment whose ReplicaSets do at once what they are told; readiness is chance.
struct Model {
    int wanted;
    Bounds bounds;
    SetSize fresh;
    std::vector<SetSize> old;

    template <class F>
    int sum(F&& of) const {
        return std::accumulate(old.begin(), old.end(), of(fresh),
                               [&](int total, const SetSize& entry) { return total + of(entry); });
    }
    int total() const {
        return sum([](const SetSize& entry) { return entry.replicas; });
    }
    int available() const {
        return sum([](const SetSize& entry) { return entry.available; });
    }
    // Pods that are not available are the first that a set gives up.
    static void resize(SetSize* entry, int size) {
        entry->replicas = size;
        entry->available = std::min(entry->available, size);
    }
    void step() {
        const int size = next_new_size(wanted, bounds, fresh, old);
        if (size != fresh.replicas) return resize(&fresh, size);
        const auto sizes = next_old_sizes(wanted, bounds, fresh, old);
        for (std::size_t i = 0; i < old.size(); ++i) resize(&old[i], sizes[i]);
    }
    bool complete() const { return fresh.available == wanted && total() == wanted; }
};

Model any_model() {
    Model model;
    model.wanted = *rc::gen::inRange(1, 30);
    model.bounds.surge = *rc::gen::inRange(0, 10);
    model.bounds.unavailable = *rc::gen::inRange(0, model.wanted + 1);
    if (model.bounds.surge == 0 && model.bounds.unavailable == 0) model.bounds.unavailable = 1;
    int room = model.wanted + model.bounds.surge;
    const int sets = *rc::gen::inRange(1, 4);
    for (int i = 0; i < sets; ++i) {
        const int size = *rc::gen::inRange(0, room + 1);
        room -= size;
        model.old.push_back(set("old" + std::to_string(i), size, size, 0, i));
    }
    model.fresh = set("new", 0, 0, 0, 100);
    return model;
}

RC_GTEST_PROP(RollingProperty, NeverBeyondItsBounds, ()) {
    Model model = any_model();
    const int most = model.wanted + model.bounds.surge;
    const int least = model.wanted - model.bounds.unavailable;
    for (int step = 0; step < 60; ++step) {
        for (SetSize* entry : {&model.fresh, &model.old.front(), &model.old.back()}) {
            entry->available = *rc::gen::inRange(0, entry->replicas + 1);
        }
        const int before = model.available();
        model.step();
        RC_ASSERT(model.total() <= most);
        // What fell below by itself is not made worse.
        RC_ASSERT(model.available() >= std::min(before, least));
    }
}

RC_GTEST_PROP(RollingProperty, CompletesOncePodsBecomeReady, ()) {
    Model model = any_model();
    for (int step = 0; step < *rc::gen::inRange(0, 20); ++step) {
        model.fresh.available = *rc::gen::inRange(0, model.fresh.replicas + 1);
        model.step();
    }
    // One pod becomes ready at a time; each is one step or two.
    for (int step = 0; step < 400 && !model.complete(); ++step) {
        if (model.fresh.available < model.fresh.replicas) ++model.fresh.available;
        model.step();
    }
    RC_ASSERT(model.complete());
}

}  // namespace
}  // namespace sluice::controllers
