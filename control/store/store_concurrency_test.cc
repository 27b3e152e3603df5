// Many threads at once: writers, readers, watchers that come and go, and compaction, over both
// stores. Run under TSan too.
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "control/store/test_backend.h"

namespace sluice::store {
namespace {

using testing::Collector;
using testing::put;
using testing::remove;
using testing::submit;

constexpr int kWriters = 8;

class StoreConcurrencyTest : public ::testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        if (GetParam() == "etcd" && !testing::have_etcd()) {
            GTEST_SKIP() << testing::kNoEtcd;
        }
        backend_ = testing::make_backend(GetParam());
    }
    std::unique_ptr<Store> open(std::size_t history_events) {
        auto store = backend_->open(history_events);
        EXPECT_TRUE(store) << (store ? "" : store.error().to_string());
        return store ? std::move(*store) : nullptr;
    }
    // Each write over etcd is a round trip and a consensus.
    [[nodiscard]] int times(int embedded, int etcd) const {
        return backend_->embedded() ? embedded : etcd;
    }

    std::unique_ptr<testing::Backend> backend_;
};

// Checks the order of what it is told as it comes; one for each watch.
class OrderChecker {
public:
    explicit OrderChecker(Revision after) : next_(after + 1) {}
    // For a watch of everything: the revisions must follow each other without a gap.
    void see(const Result<EventBatch>& events, Revision revision) {
        if (!events) {
            return;
        }
        for (const Event& event : **events) {
            wrong_ += event.current.mod_revision == next_ ? 0 : 1;
            next_ = event.current.mod_revision + 1;
        }
        wrong_ += revision + 1 == next_ ? 0 : 1;
        told_ = revision;
    }
    std::atomic<int> wrong_{0};
    std::atomic<Revision> told_{0};

private:
    Revision next_;
};

TEST_P(StoreConcurrencyTest, WatchesSeeEveryRevisionOnceInOrderWhileAllElseGoesOn) {
    const int writes_each = times(1'500, 100);
    auto store = open(1'000'000);
    ASSERT_NE(store, nullptr);
    std::atomic<bool> stop{false};
    std::atomic<int> failures{0};
    OrderChecker whole(1);
    auto watch = store->watch(
        "", 1, [&whole](const auto& events, Revision revision) { whole.see(events, revision); });
    ASSERT_TRUE(watch);

    std::vector<std::thread> writers;
    for (int writer = 0; writer < kWriters; ++writer) {
        writers.emplace_back([&, writer] {
            Revision last = 0;
            for (int i = 0; i < writes_each; ++i) {
                auto result =
                    put(*store, fmt::format("/{}/{}", writer, i % 50), fmt::format("{}", i));
                if (!result || result->revision <= last) {
                    ++failures;
                    continue;
                }
                last = result->revision;
                // What was acknowledged is visible.
                auto found = store->get(result->current.key);
                if (!found || !*found || *(*found)->value != fmt::format("{}", i)) {
                    ++failures;
                }
            }
        });
    }
    std::vector<std::thread> others;
    others.emplace_back(
        [&] {  // A state read in pieces is of one revision: it stays the same when read again.
            while (!stop) {
                auto first = store->range("/", "", 0);
                auto again = store->range("/", "", 0, first->revision);
                if (again->items.size() != first->items.size()) {
                    ++failures;
                    continue;
                }
                for (std::size_t i = 0; i < first->items.size(); ++i) {
                    if (first->items[i].mod_revision != again->items[i].mod_revision ||
                        first->items[i].mod_revision > first->revision) {
                        ++failures;
                    }
                }
            }
        });
    others.emplace_back([&] {  // Watches that come and go at any revision.
        std::mt19937 random(7);
        while (!stop) {
            const Revision after = 1 + random() % store->revision();
            auto checker = std::make_shared<OrderChecker>(after);
            auto brief = store->watch("", after, [checker](const auto& events, Revision revision) {
                checker->see(events, revision);
            });
            if (!brief) {
                ++failures;
                continue;
            }
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 3'000));
            brief->reset();
            failures += checker->wrong_;
        }
    });
    for (std::thread& writer : writers) {
        writer.join();
    }
    stop = true;
    for (std::thread& other : others) {
        other.join();
    }
    const auto expected = static_cast<Revision>(1 + kWriters * writes_each);
    EXPECT_EQ(store->revision(), expected);
    while (whole.told_ < expected && whole.wrong_ == 0) {
        std::this_thread::yield();
    }
    EXPECT_EQ(whole.wrong_, 0);
    EXPECT_EQ(failures, 0);
}

TEST_P(StoreConcurrencyTest, OnlyOneOfManyConditionalWritersWins) {
    const int increments = times(200, 20);
    auto store = open(100'000);
    ASSERT_NE(store, nullptr);
    // Each thread increments a counter by compare-and-swap; no increment may be lost.
    ASSERT_TRUE(put(*store, "counter", "0"));
    std::vector<std::thread> threads;
    for (int i = 0; i < kWriters; ++i) {
        threads.emplace_back([&store, increments] {
            for (int done = 0; done < increments;) {
                auto now = store->get("counter");
                auto result =
                    put(*store, "counter", fmt::format("{}", std::stoi(*(*now)->value) + 1),
                        (*now)->mod_revision);
                done += result && !result->condition_failed ? 1 : 0;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(*(*store->get("counter"))->value, fmt::format("{}", kWriters * increments));
}

TEST_P(StoreConcurrencyTest, CompactionUnderLoadLeavesTheNewestStateRight) {
    const int writes_each = times(1'000, 100);
    auto store = open(200);
    ASSERT_NE(store, nullptr);
    std::atomic<bool> stop{false};
    std::atomic<int> failures{0};
    std::thread compactor([&] {
        while (!stop) {
            if (!store->compact(store->revision())) {
                ++failures;
            }
            // A list of the newest state never fails, whatever is compacted meanwhile.
            auto all = store->range("", "", 0);
            failures += all ? 0 : 1;
        }
    });
    std::vector<std::map<std::string, std::string>> finals(4);
    std::vector<std::thread> writers;
    for (std::size_t writer = 0; writer < finals.size(); ++writer) {
        writers.emplace_back([&, writer] {
            auto& mine = finals[writer];
            for (int i = 0; i < writes_each; ++i) {
                const std::string key = fmt::format("{}/{:04}", writer, i * 7 % 900);
                if (i % 5 == 4) {
                    failures += remove(*store, key) ? 0 : 1;
                    mine.erase(key);
                } else {
                    failures += put(*store, key, fmt::format("{}", i)) ? 0 : 1;
                    mine[key] = fmt::format("{}", i);
                }
            }
        });
    }
    for (std::thread& writer : writers) {
        writer.join();
    }
    stop = true;
    compactor.join();
    EXPECT_EQ(failures, 0);
    for (int pass = 0; pass < 2; ++pass) {
        for (std::size_t writer = 0; writer < finals.size(); ++writer) {
            std::map<std::string, std::string> found;
            auto all = store->range(fmt::format("{}/", writer), "", 0);
            ASSERT_TRUE(all);
            for (const KeyValue& item : all->items) {
                found[item.key] = *item.value;
            }
            EXPECT_EQ(found, finals[writer]);
        }
        store.reset();
        store = open(200);
        ASSERT_NE(store, nullptr);
    }
}

INSTANTIATE_TEST_SUITE_P(Over, StoreConcurrencyTest, ::testing::Values("embedded", "etcd"),
                         [](const auto& kind) { return kind.param; });

}  // namespace
}  // namespace sluice::store
