// What the cache of decoded objects keeps, and what it lets go; and the order of what the workers do.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>

#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/completions.h"
#include "control/apiserver/registry/rest/executor.h"
#include "control/apiserver/registry/rest/stored_object.h"

namespace sluice::registry {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::size_t kSmall = 1U << 20U;

const codec::KindInfo& kind() { return *codec::find_kind({"", "v1", "ConfigMap"}); }

std::unique_ptr<Message> message(store::Revision number) {
    auto out = std::make_unique<corev1::ConfigMap>();
    out->mutable_metadata()->set_name("map-" + std::to_string(number));
    (*out->mutable_data())["value"] = std::string(256, 'v');
    return out;
}

class ObjectCacheTest : public ::testing::Test {
protected:
    // The n-th change, as a list or a watch asks for it.
    void look_up(store::Revision number) {
        const auto object = cache.get(kind(), number, encode_stored(kind(), *message(number)));
        ASSERT_TRUE(object.has_value());
        EXPECT_EQ((*object)->meta().name(), "map-" + std::to_string(number));
        EXPECT_EQ((*object)->meta().resourceversion(), std::to_string(number));
    }
    // How many of them have to be decoded anew.
    std::uint64_t missing(store::Revision first, store::Revision last) {
        const std::uint64_t before = cache.misses();
        for (store::Revision number = first; number <= last; ++number) look_up(number);
        return cache.misses() - before;
    }

    ObjectCache cache{kSmall};
};

TEST_F(ObjectCacheTest, WhatIsLookedUpAgainOutlivesAFlood) {
    missing(1, 100);
    EXPECT_EQ(missing(1, 100), 0U);
    missing(1'000, 20'000);  // each once, some fifty times of what there is room for
    EXPECT_EQ(missing(1, 100), 0U);
}

TEST_F(ObjectCacheTest, AFloodIsBounded) {
    for (store::Revision number = 1; number <= 20'000; ++number) {
        look_up(number);
        ASSERT_LE(cache.bytes(), kSmall);
    }
    EXPECT_GT(cache.bytes(), kSmall / 2);
}

TEST_F(ObjectCacheTest, AWalkOverManyIsKeptTheSecondTime) {
    // Full of what was looked up again, so that little room is left for what is new.
    missing(1, 450);
    missing(1, 450);
    missing(1'000, 3'000);
    missing(30'001, 30'200);
    EXPECT_GT(missing(30'001, 30'200), 100U);
    EXPECT_EQ(missing(30'001, 30'200), 0U);
}

TEST_F(ObjectCacheTest, WhatWasWrittenIsWhatWouldBeRead) {
    const auto value = std::make_shared<const std::string>(encode_stored(kind(), *message(7)));
    const auto put = cache.put(kind(), 7, value, message(7));
    ASSERT_TRUE(put.has_value());
    const auto got = cache.get(kind(), 7, *value);
    ASSERT_TRUE(got.has_value());
    EXPECT_EQ(put->get(), got->get());
    EXPECT_EQ(cache.misses(), 0U);
    const auto read = decode_stored(kind(), *value, 7);
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ((*put)->raw(), (*read)->raw());
    EXPECT_EQ((*put)->json(), (*read)->json());
}

TEST_F(ObjectCacheTest, OneRevisionMayHaveChangedSeveralObjects) {
    const auto one = cache.get(kind(), 5, encode_stored(kind(), *message(1)));
    const auto other = cache.get(kind(), 5, encode_stored(kind(), *message(2)));
    ASSERT_TRUE(one && other);
    EXPECT_EQ((*one)->meta().name(), "map-1");
    EXPECT_EQ((*other)->meta().name(), "map-2");
}

TEST_F(ObjectCacheTest, AKindIsForgottenWhole) {
    missing(1, 50);
    missing(1, 25);
    missing(1'000, 3'000);  // so that some are fresh and some are kept
    cache.forget(kind());
    EXPECT_EQ(cache.bytes(), 0U);
    EXPECT_EQ(missing(1, 50), 50U);
}

TEST_F(ObjectCacheTest, FramesAreMadeOnce) {
    const auto object = cache.get(kind(), 1, encode_stored(kind(), *message(1)));
    ASSERT_TRUE(object.has_value());
    int made = 0;
    const auto make = [&made] { return std::to_string(++made); };
    EXPECT_EQ((*object)->frame(0, make), "1");
    EXPECT_EQ((*object)->frame(3, make), "2");
    EXPECT_EQ((*object)->frame(0, make), "1");
}

TEST(ExecutorTest, WhatSomebodyWaitsForComesFirstButNotForEver) {
    Executor executor(1);
    std::promise<void> begin;
    std::promise<std::string> done;
    std::string order;
    executor.post([&] { begin.get_future().wait(); });
    for (int i = 0; i < 2; ++i) executor.post_later([&] { order += 'l'; });
    for (int i = 0; i < 40; ++i) executor.post([&] { order += 'u'; });
    executor.post_later([&] { done.set_value(order); });
    begin.set_value();
    const std::string seen = done.get_future().get();
    EXPECT_TRUE(seen.starts_with("uuuuuuuuuuuuu")) << seen;
    EXPECT_LT(seen.find('l'), 20U) << seen;
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 'l'), 2) << seen;
}

struct Workers {
    explicit Workers(std::size_t threads) : executor(threads) {}
    Executor executor;
    std::shared_ptr<Completions> completions = std::make_shared<Completions>(executor);
};

TEST(CompletionsTest, AllAreDoneInTheirOrder) {
    std::string order;
    std::promise<void> begin;
    {
        Workers workers(1);
        workers.executor.post([&] { begin.get_future().wait(); });
        for (char c = 'a'; c <= 'z'; ++c) workers.completions->add([&order, c] { order += c; });
        begin.set_value();
    }
    EXPECT_EQ(order, "abcdefghijklmnopqrstuvwxyz");
}

// A write that is admitted anew may wait for another one.
TEST(CompletionsTest, OneThatWaitsForAnotherOneIsNotInItsWay) {
    std::promise<void> begin;
    std::promise<void> other;
    std::promise<void> done;
    Workers workers(2);
    const auto ready = begin.get_future().share();
    for (int i = 0; i < 2; ++i) workers.executor.post([ready] { ready.wait(); });
    workers.completions->add([&] {
        other.get_future().wait();
        done.set_value();
    });
    workers.completions->add([&] { other.set_value(); });
    begin.set_value();
    EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
}

TEST(CompletionsTest, OtherTasksHaveTheirTurn) {
    std::promise<void> begin;
    std::promise<std::string> seen;
    std::string order;
    Workers workers(1);
    workers.executor.post([&] { begin.get_future().wait(); });
    for (int i = 0; i < 40; ++i) workers.completions->add([&] { order += 'c'; });
    workers.executor.post([&] { order += 'u'; });
    workers.completions->add([&] { seen.set_value(order); });
    begin.set_value();
    EXPECT_LT(seen.get_future().get().find('u'), 40U);
}

}  // namespace
}  // namespace sluice::registry
