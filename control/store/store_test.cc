// What the interface promises, one promise a test, of the embedded store and of the one over etcd.
// Revisions in the expectations are etcd's: a fresh store is at 1, and each change takes the next.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "control/store/test_backend.h"

namespace sluice::store {
namespace {

using testing::Collector;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::keys_of;
using testing::put;
using testing::remove;
using testing::submit;

class StoreTest : public ::testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        if (GetParam() == "etcd" && !testing::have_etcd()) {
            GTEST_SKIP() << testing::kNoEtcd;
        }
        backend_ = testing::make_backend(GetParam());
        open();
    }
    void open() {
        store_.reset();
        auto store = backend_->open(history_events_);
        ASSERT_TRUE(store) << store.error().to_string();
        store_ = std::move(*store);
    }
    void open_with_history(std::size_t events) {
        history_events_ = events;
        open();
    }
    [[nodiscard]] bool embedded() const { return backend_->embedded(); }
    // The value of a key, "-" if it does not exist.
    std::string value(const std::string& key, Revision at = 0) {
        auto result = store_->get(key, at);
        if (!result) {
            return result.error().to_string();
        }
        return *result ? *(*result)->value : "-";
    }

    std::unique_ptr<testing::Backend> backend_;
    std::size_t history_events_ = 100'000;
    std::unique_ptr<Store> store_;
};

TEST_P(StoreTest, FreshStoreIsAtRevisionOneAndItsFirstChangeIsTwo) {
    EXPECT_EQ(store_->revision(), 1u);
    EXPECT_EQ(store_->compacted(), 1u);
    auto result = put(*store_, "a", "1");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->revision, 2u);
    EXPECT_EQ(result->current.create_revision, 2u);
    EXPECT_EQ(result->current.mod_revision, 2u);
    EXPECT_EQ(result->previous, nullptr);
    EXPECT_EQ(store_->revision(), 2u);
}

TEST_P(StoreTest, UpdateKeepsCreateRevisionAndReturnsPrevious) {
    ASSERT_TRUE(put(*store_, "a", "1"));
    ASSERT_TRUE(put(*store_, "b", "1"));
    auto result = put(*store_, "a", "2");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->current.create_revision, 2u);
    EXPECT_EQ(result->current.mod_revision, 4u);
    ASSERT_NE(result->previous, nullptr);
    EXPECT_EQ(*result->previous, "1");
    auto read = store_->get("a");
    ASSERT_TRUE(read && *read);
    EXPECT_EQ((*read)->create_revision, 2u);
    EXPECT_EQ((*read)->mod_revision, 4u);
}

TEST_P(StoreTest, RecreatedKeyHasNewCreateRevision) {
    ASSERT_TRUE(put(*store_, "a", "1"));
    auto removed = remove(*store_, "a");
    ASSERT_TRUE(removed);
    EXPECT_EQ(removed->revision, 3u);
    EXPECT_EQ(removed->current.value, nullptr);
    EXPECT_EQ(removed->current.mod_revision, 0u);
    EXPECT_EQ(*removed->previous, "1");
    auto again = put(*store_, "a", "2");
    ASSERT_TRUE(again);
    EXPECT_EQ(again->current.create_revision, 4u);
    EXPECT_EQ(again->previous, nullptr);
}

TEST_P(StoreTest, ConditionsCompareModRevisionAndZeroMeansAbsent) {
    EXPECT_FALSE(put(*store_, "a", "1", 0)->condition_failed);
    auto exists = put(*store_, "a", "2", 0);
    ASSERT_TRUE(exists);
    EXPECT_TRUE(exists->condition_failed);
    EXPECT_EQ(*exists->current.value, "1");
    EXPECT_EQ(exists->current.mod_revision, 2u);
    EXPECT_TRUE(put(*store_, "a", "2", 7)->condition_failed);
    EXPECT_FALSE(put(*store_, "a", "2", 2)->condition_failed);
    auto absent = remove(*store_, "b", 2);
    EXPECT_TRUE(absent->condition_failed);
    EXPECT_EQ(absent->current.value, nullptr);
    EXPECT_TRUE(remove(*store_, "a", 2)->condition_failed);
    EXPECT_FALSE(remove(*store_, "a", 3)->condition_failed);
    EXPECT_EQ(store_->revision(), 4u) << "a failed condition takes no revision";
}

TEST_P(StoreTest, DeletingAnAbsentKeyChangesNothing) {
    auto result = remove(*store_, "a");
    ASSERT_TRUE(result);
    EXPECT_FALSE(result->condition_failed);
    EXPECT_EQ(result->revision, 1u);
    EXPECT_EQ(store_->revision(), 1u);
}

TEST_P(StoreTest, ConditionsOfOneGroupSeeTheWritesBeforeThem) {
    // Submitted together from a done, so that the store's thread finds them as one group.
    std::vector<std::future<Result<WriteResult>>> results;
    std::promise<void> submitted;
    store_->write({"first", "x", std::nullopt}, [&](Result<WriteResult>) {
        results.push_back(submit(*store_, {"a", "1", 0}));
        results.push_back(submit(*store_, {"a", "2", 0}));
        results.push_back(submit(*store_, {"a", std::nullopt, 3}));
        results.push_back(submit(*store_, {"a", "3", 3}));
        results.push_back(submit(*store_, {"a", "4", 0}));
        submitted.set_value();
    });
    submitted.get_future().wait();
    std::vector<WriteResult> got;
    for (auto& result : results) {
        auto answered = result.get();
        ASSERT_TRUE(answered);
        got.push_back(*answered);
    }
    EXPECT_EQ(got[0].revision, 3u);
    EXPECT_TRUE(got[1].condition_failed);
    EXPECT_EQ(got[1].current.mod_revision, 3u);
    EXPECT_EQ(got[2].revision, 4u);
    EXPECT_TRUE(got[3].condition_failed);
    EXPECT_EQ(got[3].current.value, nullptr);
    EXPECT_EQ(got[4].revision, 5u);
    EXPECT_EQ(got[4].current.create_revision, 5u);
    if (embedded()) {
        EXPECT_EQ(store_->stats().groups, 2u);
    }
}

TEST_P(StoreTest, OlderRevisionsStayReadable) {
    ASSERT_TRUE(put(*store_, "a", "1"));
    ASSERT_TRUE(put(*store_, "a", "2"));
    ASSERT_TRUE(remove(*store_, "a"));
    ASSERT_TRUE(put(*store_, "a", "4"));
    EXPECT_EQ(value("a", 1), "-");
    EXPECT_EQ(value("a", 2), "1");
    EXPECT_EQ(value("a", 3), "2");
    EXPECT_EQ(value("a", 4), "-");
    EXPECT_EQ(value("a", 5), "4");
    EXPECT_EQ(value("a"), "4");
    auto future = store_->get("a", 6);
    ASSERT_FALSE(future);
    EXPECT_EQ(future.error().code, Code::kFailedPrecondition);
}

TEST_P(StoreTest, RangesKnowPrefixAfterLimitAndWhatRemains) {
    for (const char* key : {"/a/1", "/a/2", "/a/3", "/a", "/b/1", "/a/4", "/a0"}) {
        ASSERT_TRUE(put(*store_, key, "x"));
    }
    EXPECT_THAT(keys_of(*store_->range("/a/", "", 0)), ElementsAre("/a/1", "/a/2", "/a/3", "/a/4"));
    EXPECT_EQ(keys_of(*store_->range("/a", "", 0)).front(), "/a")
        << "a key may be the prefix itself";
    auto page = store_->range("/a/", "", 3);
    EXPECT_THAT(keys_of(*page), ElementsAre("/a/1", "/a/2", "/a/3"));
    EXPECT_TRUE(page->more);
    EXPECT_EQ(page->remaining, 1u);
    EXPECT_EQ(page->revision, 8u);
    auto rest = store_->range("/a/", "/a/3", 3);
    EXPECT_THAT(keys_of(*rest), ElementsAre("/a/4"));
    EXPECT_FALSE(rest->more);
    EXPECT_EQ(rest->remaining, 0u);
    EXPECT_THAT(keys_of(*store_->range("/a/", "/", 1)), ElementsAre("/a/1"));
    EXPECT_THAT(keys_of(*store_->range("/a/", "/b", 0)), IsEmpty());
    EXPECT_THAT(keys_of(*store_->range("/a/", "", 0, 4)), ElementsAre("/a/1", "/a/2", "/a/3"));
    EXPECT_EQ(keys_of(*store_->range("", "", 0)).size(), 7u);
}

TEST_P(StoreTest, RangeLongerThanOnePieceIsComplete) {
    constexpr int kKeys = 5'000;
    std::vector<std::future<Result<WriteResult>>> pending;
    for (int i = 0; i < kKeys; ++i) {
        pending.push_back(submit(*store_, {fmt::format("k{:05}", i), "v", std::nullopt}));
    }
    for (auto& result : pending) {
        ASSERT_TRUE(result.get());
    }
    auto all = store_->range("k", "", 0);
    ASSERT_EQ(all->items.size(), static_cast<std::size_t>(kKeys));
    for (int i = 0; i < kKeys; ++i) {
        ASSERT_EQ(all->items[static_cast<std::size_t>(i)].key, fmt::format("k{:05}", i));
    }
    EXPECT_EQ(store_->range("k", "k00009", 10)->remaining, 4'980u);
}

TEST_P(StoreTest, KeysAndValuesMayHoldAnyBytes) {
    const std::string key("k\0\xff", 3);
    const std::string bytes("\0\x01\xff\0", 4);
    ASSERT_TRUE(put(*store_, key, bytes));
    ASSERT_TRUE(put(*store_, "empty", ""));
    open();
    EXPECT_EQ(value(key), bytes);
    EXPECT_EQ(value("empty"), "");
}

TEST_P(StoreTest, LimitsAreRefusedByName) {
    auto empty = put(*store_, "", "x");
    ASSERT_FALSE(empty);
    EXPECT_EQ(empty.error().code, Code::kInvalidArgument);
    EXPECT_FALSE(put(*store_, std::string(kMaxKeyBytes + 1, 'k'), "x"));
    EXPECT_TRUE(put(*store_, std::string(kMaxKeyBytes, 'k'), "x"));
    auto large = put(*store_, "large", std::string(kMaxValueBytes + 1, 'x'));
    ASSERT_FALSE(large);
    EXPECT_EQ(large.error().code, Code::kInvalidArgument);
    EXPECT_THAT(large.error().message, HasSubstr("large"));
    // etcd's limit is of the whole request.
    const std::size_t allowed = embedded() ? kMaxValueBytes : kMaxValueBytes - 1'024;
    EXPECT_TRUE(put(*store_, "large", std::string(allowed, 'x')));
    EXPECT_EQ(store_->stats().refused_writes, 3u);
}

TEST_P(StoreTest, FullQueueIsRefusedAtOnceAndTheRestIsServed) {
    // The store's thread is held in a done while the queue fills.
    if (!embedded()) {
        GTEST_SKIP() << "etcd would have to do 65,536 writes; etcd_test has its own case";
    }
    std::promise<void> held;
    std::promise<void> release;
    auto released = release.get_future();
    store_->write({"hold", "x", std::nullopt}, [&](Result<WriteResult>) {
        held.set_value();
        released.wait();
    });
    held.get_future().wait();
    std::atomic<std::size_t> served{0};
    for (std::size_t i = 0; i < kMaxQueuedWrites; ++i) {
        store_->write({"k", "v", std::nullopt},
                      [&served](const Result<WriteResult>& result) { served += result ? 1 : 0; });
    }
    bool refused = false;
    store_->write({"k", "v", std::nullopt}, [&refused](Result<WriteResult> result) {
        refused = !result && result.error().code == Code::kResourceExhausted;
    });
    EXPECT_TRUE(refused);
    release.set_value();
    // The queue stays full until the store's thread has taken the next group.
    while (!put(*store_, "last", "x")) {
        std::this_thread::yield();
    }
    EXPECT_EQ(served, kMaxQueuedWrites);
}

TEST_P(StoreTest, QueueIsBoundedInBytesToo) {
    if (!embedded()) {
        GTEST_SKIP() << "the store over etcd counts the write that holds it";
    }
    std::promise<void> held;
    std::promise<void> release;
    auto released = release.get_future();
    store_->write({"hold", "x", std::nullopt}, [&](Result<WriteResult>) {
        held.set_value();
        released.wait();
    });
    held.get_future().wait();
    const std::size_t fitting = kMaxQueuedBytes / (kMaxValueBytes + 1);
    std::atomic<std::size_t> refused{0};
    for (std::size_t i = 0; i < fitting + 2; ++i) {
        store_->write({"k", std::string(kMaxValueBytes, 'v'), Revision{999'999}},
                      [&refused](const Result<WriteResult>& result) { refused += result ? 0 : 1; });
    }
    EXPECT_EQ(refused, 2u);
    release.set_value();
    // The dones refer to this frame; the answer to a last write shows that all have returned.
    ASSERT_TRUE(put(*store_, "last", "x"));
}

TEST_P(StoreTest, CompactionForgetsTheOldAndKeepsTheLive) {
    ASSERT_TRUE(put(*store_, "a", "1"));  // 2
    ASSERT_TRUE(put(*store_, "a", "2"));  // 3
    ASSERT_TRUE(put(*store_, "b", "1"));  // 4
    ASSERT_TRUE(remove(*store_, "b"));    // 5
    ASSERT_TRUE(put(*store_, "a", "3"));  // 6
    ASSERT_TRUE(store_->compact(5));
    EXPECT_EQ(store_->compacted(), 5u);
    auto old = store_->get("a", 4);
    ASSERT_FALSE(old);
    EXPECT_EQ(old.error().code, Code::kOutOfRange);
    EXPECT_EQ(value("a", 5), "2");
    EXPECT_EQ(value("b", 5), "-");
    EXPECT_EQ(value("a"), "3");
    EXPECT_EQ(store_->watch("", 4, [](auto, auto) {}).error().code, Code::kOutOfRange);
    EXPECT_EQ(store_->compact(7).error().code, Code::kFailedPrecondition);
    EXPECT_TRUE(store_->compact(2)) << "what is compacted already needs no work";
    EXPECT_EQ(store_->compacted(), 5u);
    EXPECT_EQ(store_->stats().keys, 1u);
    open();
    // etcd does not tell where it was compacted: a store that opens begins with the newest state.
    EXPECT_EQ(store_->compacted(), embedded() ? 5u : 6u);
    EXPECT_EQ(store_->revision(), 6u);
    if (embedded()) {
        EXPECT_EQ(value("a", 5), "2");
    }
    EXPECT_EQ(value("a"), "3");
}

TEST_P(StoreTest, RevisionSurvivesTheCompactionOfEverything) {
    ASSERT_TRUE(put(*store_, "a", "1"));
    ASSERT_TRUE(remove(*store_, "a"));
    ASSERT_TRUE(store_->compact(3));
    ASSERT_TRUE(put(*store_, "b", "1"));
    ASSERT_TRUE(remove(*store_, "b"));
    ASSERT_TRUE(store_->compact(5));
    for (int i = 0; i < 3; ++i) {
        open();
        EXPECT_EQ(store_->revision(), 5u);
        EXPECT_EQ(store_->stats().keys, 0u);
    }
    EXPECT_EQ(put(*store_, "c", "1")->revision, 6u);
}

TEST_P(StoreTest, HistoryIsBoundedByItself) {
    open_with_history(100);
    for (int i = 0; i < 500; ++i) {
        ASSERT_TRUE(put(*store_, fmt::format("k{}", i % 7), "v"));
    }
    EXPECT_EQ(store_->revision(), 501u);
    // One more write, whose answer shows that the compaction after the one before is done.
    ASSERT_TRUE(put(*store_, "k", "v"));
    EXPECT_GE(store_->compacted(), 400u);
    EXPECT_LT(store_->compacted(), 450u);
    EXPECT_EQ(store_->range("", "", 0)->items.size(), 8u);
}

TEST(EmbeddedStore, HistoryIsBoundedInBytesToo) {
    testing::TemporaryFolder folder;
    SqliteOptions options;
    options.path = folder.file();
    options.durable = false;
    options.history_bytes = std::uint64_t{1} << 20;
    auto opened = open_sqlite(options);
    ASSERT_TRUE(opened) << opened.error().to_string();
    std::unique_ptr<Store> store = std::move(*opened);
    const std::string large(64 << 10, 'x');
    ASSERT_TRUE(put(*store, "/steady", "stays"));
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(put(*store, "/k", large + std::to_string(i)));
        // It is trimmed behind the writes, a sixteenth at a time.
        ASSERT_LE(store->stats().history_bytes, options.history_bytes + 4 * large.size());
    }
    EXPECT_GT(store->stats().history_bytes, options.history_bytes / 2);
    EXPECT_GT(store->compacted(), 50u);
    EXPECT_EQ(*(*store->get("/k"))->value, large + "99");
    EXPECT_EQ(*(*store->get("/steady"))->value, "stays");
    // Keys that come and go leave nothing behind but the newest of it.
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(put(*store, "/gone", large));
        ASSERT_TRUE(remove(*store, "/gone"));
    }
    ASSERT_LE(store->stats().history_bytes, options.history_bytes + 4 * large.size());
    ASSERT_TRUE(store->compact(store->revision()));
    EXPECT_EQ(store->stats().history_bytes, 0u);
}

TEST_P(StoreTest, CompactFromTheStoresThreadIsRefused) {
    std::promise<Result<void>> result;
    store_->write({"a", "1", std::nullopt},
                  [&](Result<WriteResult>) { result.set_value(store_->compact(1)); });
    EXPECT_EQ(result.get_future().get().error().code, Code::kFailedPrecondition);
}

TEST_P(StoreTest, WatchReplaysThenFollows) {
    ASSERT_TRUE(put(*store_, "/a/1", "1"));  // 2
    ASSERT_TRUE(put(*store_, "/b/1", "1"));  // 3
    ASSERT_TRUE(put(*store_, "/a/1", "2"));  // 4
    Collector collector;
    auto watch = store_->watch("/a/", 2, collector.sink());
    ASSERT_TRUE(watch);
    ASSERT_TRUE(collector.wait_for(4));
    ASSERT_TRUE(put(*store_, "/b/1", "2"));  // 5
    ASSERT_TRUE(remove(*store_, "/a/1"));    // 6
    ASSERT_TRUE(collector.wait_for(6));
    auto seen = collector.seen();
    ASSERT_EQ(seen.events.size(), 2u);
    EXPECT_EQ(seen.events[0].current.mod_revision, 4u);
    EXPECT_EQ(seen.events[0].current.create_revision, 2u);
    EXPECT_EQ(*seen.events[0].current.value, "2");
    EXPECT_EQ(*seen.events[0].previous, "1");
    EXPECT_EQ(seen.events[1].current.mod_revision, 6u);
    EXPECT_EQ(seen.events[1].current.value, nullptr);
    EXPECT_EQ(*seen.events[1].previous, "2");
}

TEST_P(StoreTest, WatchFromNowOnIsToldThatItHasReachedThePresent) {
    ASSERT_TRUE(put(*store_, "a", "1"));
    Collector collector;
    auto watch = store_->watch("a", store_->revision(), collector.sink());
    ASSERT_TRUE(watch);
    ASSERT_TRUE(collector.wait_for(2));
    EXPECT_THAT(collector.seen().events, IsEmpty());
}

TEST_P(StoreTest, WatchHearsOfProgressByOtherKeys) {
    Collector collector;
    auto watch = store_->watch("a", 1, collector.sink());
    ASSERT_TRUE(watch);
    ASSERT_TRUE(put(*store_, "b", "1"));
    ASSERT_TRUE(collector.wait_for(2));
    EXPECT_THAT(collector.seen().events, IsEmpty());
}

TEST_P(StoreTest, WatchOfTheFutureIsRefused) {
    EXPECT_EQ(store_->watch("a", 2, [](auto, auto) {}).error().code, Code::kFailedPrecondition);
}

TEST_P(StoreTest, PreviousValueIsKnownAfterCompactionAndReopening) {
    ASSERT_TRUE(put(*store_, "a", "1"));
    ASSERT_TRUE(put(*store_, "a", "2"));
    ASSERT_TRUE(put(*store_, "a", "3"));
    ASSERT_TRUE(store_->compact(3));
    if (embedded()) {
        open();
    }
    Collector collector;
    auto watch = store_->watch("a", 3, collector.sink());
    ASSERT_TRUE(watch && collector.wait_for(4));
    auto seen = collector.seen();
    ASSERT_EQ(seen.events.size(), 1u);
    EXPECT_EQ(*seen.events[0].previous, "2");
}

TEST_P(StoreTest, LiveWatchMissesNothingWhenHistoryIsTiny) {
    open_with_history(1);
    Collector collector;
    auto watch = store_->watch("", 1, collector.sink());
    ASSERT_TRUE(watch && collector.wait_for(1));
    std::vector<std::future<Result<WriteResult>>> pending;
    for (int i = 0; i < 1'000; ++i) {
        pending.push_back(submit(*store_, {"k", fmt::format("{}", i), std::nullopt}));
    }
    pending.back().wait();
    ASSERT_TRUE(collector.wait_for(1'001));
    auto seen = collector.seen();
    ASSERT_FALSE(seen.error);
    ASSERT_EQ(seen.events.size(), 1'000u);
    for (std::size_t i = 0; i < 1'000; ++i) {
        ASSERT_EQ(seen.events[i].current.mod_revision, i + 2);
        ASSERT_EQ(*seen.events[i].current.value, fmt::format("{}", i));
    }
}

TEST_P(StoreTest, ReplayOfALongHistoryIsWhole) {
    // More than one piece of replay; which is the same code over etcd.
    const int writes = embedded() ? 30'000 : 1'000;
    for (int i = 0; i + 1 < writes; ++i) {
        store_->write({fmt::format("k{}", i % 100), "v", std::nullopt}, [](const auto&) {});
    }
    ASSERT_TRUE(put(*store_, "k0", "v"));
    Collector collector;
    auto watch = store_->watch("k", 1, collector.sink());
    ASSERT_TRUE(watch && collector.wait_for(writes + 1));
    auto seen = collector.seen();
    ASSERT_EQ(seen.events.size(), static_cast<std::size_t>(writes));
    for (std::size_t i = 0; i < seen.events.size(); ++i) {
        ASSERT_EQ(seen.events[i].current.mod_revision, i + 2);
    }
}

TEST_P(StoreTest, DestroyedWatchIsSilentAndLetsGoOfItsSink) {
    auto held = std::make_shared<int>(0);
    auto watch = store_->watch("", 1, [held](auto, auto) { ++*held; });
    ASSERT_TRUE(watch);
    EXPECT_EQ(store_->stats().watches, 1u);
    watch->reset();
    EXPECT_EQ(held.use_count(), 1);
    const int calls = *held;
    ASSERT_TRUE(put(*store_, "a", "1"));
    ASSERT_TRUE(put(*store_, "a", "1"));
    EXPECT_EQ(*held, calls);
    EXPECT_EQ(store_->stats().watches, 0u);
}

TEST_P(StoreTest, WatchMayBeDestroyedFromAnotherSink) {
    Collector victim;
    auto doomed = store_->watch("", 1, victim.sink());
    ASSERT_TRUE(doomed);
    std::promise<void> destroyed;
    auto killer = store_->watch("kill", 1, [&](const auto& events, auto) {
        if (events && !(*events)->empty() && *doomed) {
            doomed->reset();
            destroyed.set_value();
        }
    });
    ASSERT_TRUE(killer);
    ASSERT_TRUE(put(*store_, "kill", "x"));
    destroyed.get_future().wait();
    EXPECT_EQ(store_->stats().watches, 1u);
}

TEST_P(StoreTest, ClosingCommitsTheQueueAndEndsWatches) {
    Collector collector;
    auto watch = store_->watch("", 1, collector.sink());
    ASSERT_TRUE(watch);
    std::atomic<int> served{0};
    const int count = embedded() ? 10'000 : 300;
    for (int i = 0; i < count; ++i) {
        store_->write({fmt::format("k{}", i), "v", std::nullopt},
                      [&served](const Result<WriteResult>& result) { served += result ? 1 : 0; });
    }
    store_.reset();
    EXPECT_EQ(served, count);
    ASSERT_TRUE(collector.wait_for_error());
    EXPECT_EQ(collector.seen().error->code, Code::kUnavailable);
    EXPECT_EQ(collector.seen().events.size(), static_cast<std::size_t>(count));
    open();
    EXPECT_EQ(store_->revision(), static_cast<Revision>(count) + 1);
}

TEST_P(StoreTest, CompanionsAreWrittenWithTheirKeyOrNotAtAll) {
    ASSERT_TRUE(put(*store_, "old", "1"));
    const Revision old = store_->revision();
    auto made = testing::write_now(
        *store_, {"a", "1", 0, {{"claim", "a", 0}, {"old", std::nullopt, old}, {"free", "a", {}}}});
    ASSERT_TRUE(made) << made.error().to_string();
    EXPECT_FALSE(made->condition_failed);
    EXPECT_EQ(made->current.mod_revision, made->revision);
    EXPECT_EQ(value("claim"), "a");
    EXPECT_EQ(value("free"), "a");
    EXPECT_EQ(value("old"), "-");
    EXPECT_LE((*store_->get("claim"))->mod_revision, made->revision);

    const Revision before = store_->revision();
    auto second = testing::write_now(*store_, {"b", "1", 0, {{"free", "b", {}}, {"claim", "b", 0}}});
    ASSERT_TRUE(second);
    EXPECT_TRUE(second->condition_failed);
    EXPECT_EQ(second->current.value, nullptr) << "of the key itself";
    EXPECT_EQ(value("b"), "-");
    EXPECT_EQ(value("free"), "a");
    EXPECT_EQ(store_->revision(), before);

    // The key's own condition holds for its companions too.
    auto third = testing::write_now(*store_, {"a", "2", before - 1'000, {{"free", "c", {}}}});
    ASSERT_TRUE(third);
    EXPECT_TRUE(third->condition_failed);
    EXPECT_EQ(value("free"), "a");
    auto gone = testing::write_now(
        *store_, {"a", std::nullopt, made->revision, {{"claim", std::nullopt, {}}}});
    ASSERT_TRUE(gone);
    EXPECT_FALSE(gone->condition_failed);
    EXPECT_EQ(value("a"), "-");
    EXPECT_EQ(value("claim"), "-");
}

TEST_P(StoreTest, ACompanionMayOnlyBeACondition) {
    ASSERT_TRUE(put(*store_, "object", "1"));
    const Revision revision = store_->revision();
    auto made = testing::write_now(
        *store_, {"claim", "object", 0, {{"object", std::nullopt, revision, true}}});
    ASSERT_TRUE(made);
    EXPECT_FALSE(made->condition_failed);
    EXPECT_EQ(value("object"), "1");
    EXPECT_EQ((*store_->get("object"))->mod_revision, revision);
    ASSERT_TRUE(put(*store_, "object", "2"));
    auto late = testing::write_now(
        *store_, {"other", "object", 0, {{"object", std::nullopt, revision, true}}});
    ASSERT_TRUE(late);
    EXPECT_TRUE(late->condition_failed);
    EXPECT_EQ(value("other"), "-");
}

TEST_P(StoreTest, WatchesSeeCompanionsAndSoDoesTheNextOpening) {
    Collector collector;
    auto watch = store_->watch("", store_->revision(), collector.sink());
    ASSERT_TRUE(watch);
    auto made = testing::write_now(*store_, {"a", "1", 0, {{"x", "1", 0}, {"y", "1", 0}}});
    ASSERT_TRUE(made && collector.wait_for(made->revision));
    EXPECT_EQ(collector.seen().events.size(), 3u);
    open();
    EXPECT_EQ(value("a") + value("x") + value("y"), "111");
}

TEST_P(StoreTest, CompanionsHaveLimits) {
    Write write{"a", "1", std::nullopt};
    for (std::size_t i = 0; i < kMaxCompanions; ++i) {
        write.also.push_back({fmt::format("k{}", i), "v", 0});
    }
    ASSERT_TRUE(testing::write_now(*store_, write)) << "what the limit says, etcd takes";
    write.also.push_back({"one more", "v", 0});
    auto refused = testing::write_now(*store_, write);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    EXPECT_THAT(refused.error().message, HasSubstr("101 companions, at most 100"));
    auto twice = testing::write_now(*store_, {"a", "1", {}, {{"b", "1", {}}, {"b", "2", {}}}});
    ASSERT_FALSE(twice);
    EXPECT_THAT(twice.error().message, HasSubstr("names the key b twice"));
    auto itself = testing::write_now(*store_, {"a", "1", {}, {{"a", "2", {}}}});
    ASSERT_FALSE(itself);
    EXPECT_EQ(value("b"), "-");
}

TEST_P(StoreTest, FileIsPrivate) {
    if (!embedded()) {
        GTEST_SKIP() << "etcd's files are etcd's";
    }
    const std::string path = dynamic_cast<testing::EmbeddedBackend&>(*backend_).path();
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0600u);
    ASSERT_TRUE(put(*store_, "a", "1"));
    ASSERT_EQ(::stat((path + "-wal").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

INSTANTIATE_TEST_SUITE_P(Over, StoreTest, ::testing::Values("embedded", "etcd"),
                         [](const auto& kind) { return kind.param; });

}  // namespace
}  // namespace sluice::store
