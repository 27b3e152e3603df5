// What the store over etcd has beyond the interface's common promises (store_test): other writers,
// fences, an etcd that goes away, comes back, forgets, or starts over.
#include <gmock/gmock.h>

#include <map>
#include <thread>

#include "control/store/etcd/test_etcd.h"
#include "control/store/etcd/transfer.h"
#include "control/store/test_util.h"

namespace sluice::store {
namespace {

using testing::Collector;
using ::testing::HasSubstr;
using testing::put;
using testing::remove;
using testing::submit;
using testing::TestEtcd;

Result<Revision> fence_now(Store& store) {
    std::promise<Result<Revision>> promise;
    auto future = promise.get_future();
    store.fence([&promise](Result<Revision> at) { promise.set_value(std::move(at)); });
    return future.get();
}

std::string value_of(Store& store, const std::string& key) {
    auto found = store.get(key);
    return found && *found ? *(*found)->value : "-";
}

class EtcdTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (!testing::have_etcd()) {
            GTEST_SKIP() << "etcd is not installed (package etcd-server)";
        }
        etcd_ = std::make_unique<TestEtcd>();
        store_ = open(etcd_->options());
    }
    static std::unique_ptr<Store> open(const EtcdOptions& options) {
        auto store = open_etcd(options);
        EXPECT_TRUE(store) << (store ? "" : store.error().to_string());
        return store ? std::move(*store) : nullptr;
    }
    // As etcd has it.
    std::string in_etcd(const std::string& key) {
        return etcd_->etcdctl({"get", "--print-value-only", key});
    }
    bool wait_until(const std::function<bool()>& holds) {
        for (int i = 0; i < 6'000; ++i) {
            if (holds()) {
                return true;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return false;
    }

    std::unique_ptr<TestEtcd> etcd_;
    std::unique_ptr<Store> store_;
};

TEST_F(EtcdTest, KeysLieInEtcdAsTheyAre) {
    auto options = etcd_->options();
    options.local_prefix = "/registry/";
    options.remote_prefix = "/registry/";
    auto store = open(options);
    ASSERT_TRUE(put(*store, "/registry/configmaps/default/a", "bytes"));
    EXPECT_EQ(in_etcd("/registry/configmaps/default/a"), "bytes\n");
    auto other = put(*store, "elsewhere", "x");
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, Code::kInvalidArgument);
}

TEST_F(EtcdTest, FenceShowsWhatAnotherServerWrote) {
    auto second = open(etcd_->options());
    for (int i = 0; i < 50; ++i) {
        const std::string text = std::to_string(i);
        auto written = put(*store_, "a", text);
        ASSERT_TRUE(written);
        auto fenced = fence_now(*second);
        ASSERT_TRUE(fenced) << fenced.error().to_string();
        EXPECT_GE(*fenced, written->revision);
        EXPECT_EQ(value_of(*second, "a"), text);
    }
}

TEST_F(EtcdTest, FencesShareRoundTrips) {
    constexpr int kFences = 2'000;
    std::atomic<int> answered{0};
    for (int i = 0; i < kFences; ++i) {
        store_->fence([&answered](const Result<Revision>& at) { answered += at ? 1 : 0; });
    }
    ASSERT_TRUE(fence_now(*store_));
    EXPECT_EQ(answered, kFences);
    EXPECT_LT(store_->stats().fence_rounds, 200u);
}

TEST_F(EtcdTest, FenceIsNotHeldUpByChangesOfOthers) {
    // Revisions without an event of ours must not be waited for.
    etcd_->etcdctl({"put", "/elsewhere", "x"});
    auto fenced = fence_now(*store_);
    ASSERT_TRUE(fenced);
    EXPECT_EQ(*fenced, 2u);
    EXPECT_EQ(put(*store_, "a", "1")->revision, 3u);
    EXPECT_FALSE(*store_->get("/elsewhere"));
}

TEST_F(EtcdTest, ManyKeysDeletedInOneRevisionAreAllSeen) {
    for (const char* key : {"p/a", "p/b", "p/c", "q"}) {
        ASSERT_TRUE(put(*store_, key, key));
    }
    const Revision before = store_->revision();
    Collector collector;
    auto watch = store_->watch("p/", before, collector.sink());
    ASSERT_TRUE(watch);
    etcd_->etcdctl({"del", "--prefix", "/test/p/"});
    ASSERT_TRUE(collector.wait_for(before + 1));
    auto seen = collector.seen();
    ASSERT_EQ(seen.events.size(), 3u);
    for (const Event& event : seen.events) {
        EXPECT_EQ(event.current.mod_revision, before + 1);
        EXPECT_EQ(event.current.value, nullptr);
        EXPECT_EQ(*event.previous, event.current.key);
    }
    Collector late;
    auto replay = store_->watch("", before, late.sink());
    ASSERT_TRUE(replay && late.wait_for(before + 1));
    EXPECT_EQ(late.seen().events.size(), 3u);
    EXPECT_EQ(store_->range("", "", 0)->items.size(), 1u);
    EXPECT_EQ(store_->range("p/", "", 0, before)->items.size(), 3u);
    ASSERT_TRUE(store_->compact(before + 1));
    EXPECT_EQ(store_->stats().keys, 1u);
}

TEST_F(EtcdTest, TwoServersNeverBothWin) {
    auto second = open(etcd_->options());
    ASSERT_TRUE(put(*store_, "counter", "0"));
    std::vector<std::thread> threads;
    for (Store* store : {store_.get(), second.get()}) {
        threads.emplace_back([store] {
            for (int done = 0; done < 50;) {
                ASSERT_TRUE(fence_now(*store));
                auto now = store->get("counter");
                auto result =
                    put(*store, "counter", std::to_string(std::stoi(*(*now)->value) + 1),
                        (*now)->mod_revision);
                ASSERT_TRUE(result);
                if (result->condition_failed) {
                    // What is said to be there is there for a reader too.
                    auto seen = store->get("counter");
                    ASSERT_GE((*seen)->mod_revision, result->current.mod_revision);
                } else {
                    ++done;
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(in_etcd("/test/counter"), "100\n");
}

TEST_F(EtcdTest, AwayAndBackNothingIsLostOrRepeated) {
    Collector collector;
    auto watch = store_->watch("", 1, collector.sink());
    ASSERT_TRUE(put(*store_, "a", "1"));
    etcd_->kill();
    ASSERT_TRUE(wait_until([&] { return !store_->healthy(); }));
    EXPECT_EQ(value_of(*store_, "a"), "1") << "what is in memory can be read";
    auto waiting = submit(*store_, {"a", "2", std::nullopt});
    etcd_->start();
    auto answered = waiting.get();
    ASSERT_TRUE(answered) << answered.error().to_string();
    ASSERT_TRUE(fence_now(*store_));
    EXPECT_TRUE(store_->healthy());
    ASSERT_TRUE(put(*store_, "a", "3"));
    ASSERT_TRUE(collector.wait_for(4));
    auto seen = collector.seen();
    ASSERT_FALSE(seen.error);
    ASSERT_EQ(seen.events.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(seen.events[i].current.mod_revision, i + 2);
    }
    EXPECT_GE(store_->stats().reconnects, 1u);
}

TEST_F(EtcdTest, WithoutEtcdWritesAndFencesFailInTime) {
    auto options = etcd_->options();
    options.request_timeout = std::chrono::milliseconds(500);
    auto store = open(options);
    etcd_->freeze();
    auto written = put(*store, "a", "1");
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Code::kUnavailable);
    EXPECT_EQ(written.error().message, "etcdserver: request timed out");
    auto fenced = fence_now(*store);
    ASSERT_FALSE(fenced);
    EXPECT_EQ(fenced.error().code, Code::kUnavailable);
    EXPECT_EQ(store->stats().refused_fences, 1u);
    etcd_->unfreeze();
    ASSERT_TRUE(wait_until([&] { return fence_now(*store).has_value(); }));
    // The first write may have happened or not: what is seen is what etcd has.
    const std::string now = value_of(*store, "a");
    EXPECT_EQ(in_etcd("/test/a"), now == "-" ? "" : "1\n");
}

TEST_F(EtcdTest, HistoryCompactedWhileAwayEndsWatchesAndReadsAnew) {
    ASSERT_TRUE(put(*store_, "kept", "1"));  // 2
    ASSERT_TRUE(put(*store_, "gone", "1"));  // 3
    Collector collector;
    auto watch = store_->watch("", store_->revision(), collector.sink());
    etcd_->kill();
    etcd_->start_elsewhere();
    etcd_->etcdctl({"put", "/test/kept", "2"});  // 4
    etcd_->etcdctl({"del", "/test/gone"});       // 5
    etcd_->etcdctl({"put", "/test/new", "1"});   // 6
    etcd_->etcdctl({"compact", "6"});
    etcd_->kill();
    etcd_->start_at_home();
    ASSERT_TRUE(wait_until([&] { return value_of(*store_, "new") == "1"; }));
    EXPECT_EQ(value_of(*store_, "kept"), "2");
    EXPECT_EQ(value_of(*store_, "gone"), "-");
    EXPECT_EQ(store_->compacted(), 6u);
    EXPECT_EQ(store_->get("kept", 3).error().code, Code::kOutOfRange);
    ASSERT_TRUE(collector.wait_for_error());
    EXPECT_EQ(collector.seen().error->code, Code::kOutOfRange);
    EXPECT_TRUE(collector.seen().events.empty());
    EXPECT_EQ(store_->stats().reloads, 1u);
    EXPECT_EQ(put(*store_, "kept", "3")->revision, 7u);
}

TEST_F(EtcdTest, AnEtcdThatStartedOverIsReadAnew) {
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(put(*store_, "old", std::to_string(i)));
    }
    Collector collector;
    auto watch = store_->watch("", store_->revision(), collector.sink());
    etcd_->kill();
    etcd_->erase();
    etcd_->start();
    etcd_->etcdctl({"put", "/test/new", "1"});
    ASSERT_TRUE(wait_until([&] { return value_of(*store_, "new") == "1"; }));
    EXPECT_EQ(value_of(*store_, "old"), "-");
    ASSERT_TRUE(collector.wait_for_error());
    EXPECT_EQ(collector.seen().error->code, Code::kOutOfRange);
    EXPECT_EQ(store_->stats().reloads, 1u);
}

TEST_F(EtcdTest, ServersTakeTurnsToCompact) {
    auto options = etcd_->options();
    options.compaction_interval = std::chrono::milliseconds(200);
    auto first = open(options);
    auto second = open(options);
    const auto version = [&] {
        return etcd_->etcdctl({"get", "compact_rev_key", "--print-value-only"});
    };
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(put(*store_, "a", std::to_string(i)));
    }
    // Etcd refuses what is compacted.
    EXPECT_TRUE(wait_until([&] {
        return etcd_->etcdctl({"get", "/test/a", "--rev=2"}).find("compacted") !=
               std::string::npos;
    })) << version();
    EXPECT_EQ(in_etcd("/test/a"), "19\n");
}

TEST_F(EtcdTest, MigrationThereAndBackKeepsObjectsAndNeverGoesBack) {
    testing::TemporaryFolder folder;
    auto embedded = testing::open_or_fail({folder.file(), false, 1'000});
    for (int i = 0; i < 400; ++i) {
        ASSERT_TRUE(put(*embedded, fmt::format("k{}", i % 150), std::to_string(i)));
    }
    auto snapshot = take_snapshot(*embedded);
    ASSERT_TRUE(snapshot);
    store_.reset();
    auto moved = write_etcd(etcd_->options(), *snapshot);
    ASSERT_TRUE(moved) << moved.error().to_string();
    EXPECT_GE(*moved, snapshot->revision);
    auto again = write_etcd(etcd_->options(), *snapshot);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Code::kAlreadyExists);

    store_ = open(etcd_->options());
    auto all = store_->range("", "", 0);
    ASSERT_EQ(all->items.size(), 150u);
    for (std::size_t i = 0; i < 150; ++i) {
        EXPECT_EQ(all->items[i].key, snapshot->items[i].key);
        EXPECT_EQ(*all->items[i].value, *snapshot->items[i].value);
        EXPECT_GT(all->items[i].mod_revision, snapshot->revision);
    }
    auto watch = store_->watch("", snapshot->revision, [](auto, auto) {});
    ASSERT_FALSE(watch);
    EXPECT_EQ(watch.error().code, Code::kOutOfRange) << "who has an old version begins anew";

    ASSERT_TRUE(put(*store_, "k0", "changed in etcd"));
    auto back = read_etcd(etcd_->options());
    ASSERT_TRUE(back);
    ASSERT_TRUE(make_embedded_store(folder.file("back.db"), *back, 0));
    auto returned = testing::open_or_fail({folder.file("back.db"), false, 1'000});
    EXPECT_GE(returned->revision(), store_->revision());
    EXPECT_EQ(value_of(*returned, "k0"), "changed in etcd");
    EXPECT_EQ(returned->range("", "", 0)->items.size(), 150u);
}

TEST_F(EtcdTest, FiguresCountRequestsByOperationAndType) {
    auto options = etcd_->options();
    options.local_prefix = "/registry/";
    options.remote_prefix = "/registry/";
    auto store = open(options);
    ASSERT_TRUE(put(*store, "/registry/pods/default/a", "1", 0));
    ASSERT_TRUE(put(*store, "/registry/pods/default/a", "2", 0)) << "no error, a failed condition";
    ASSERT_TRUE(put(*store, "/registry/services/specs/default/a", "1"));
    ASSERT_TRUE(put(*store, "/registry/example.com/widgets/default/a", "1"));
    ASSERT_TRUE(remove(*store, "/registry/minions/n"));
    ASSERT_TRUE(fence_now(*store));
    std::map<std::string, std::uint64_t> seen;
    for (const RequestFigures& row : store->stats().requests) {
        std::uint64_t in_buckets = 0;
        for (const std::uint64_t count : row.buckets) in_buckets += count;
        EXPECT_EQ(in_buckets, row.requests);
        EXPECT_EQ(row.errors, 0u);
        EXPECT_GT(row.duration_us, 0u);
        seen[row.operation + " " + row.type] = row.requests;
    }
    EXPECT_EQ(seen["create pods"], 2u);
    EXPECT_EQ(seen["update services"], 1u);
    EXPECT_EQ(seen["update widgets.example.com"], 1u);
    EXPECT_EQ(seen["delete nodes"], 1u);
    EXPECT_GE(seen["count *"], 1u);
    EXPECT_TRUE(wait_until([&] { return store->stats().size_bytes > 0; }));
}

TEST_F(EtcdTest, WrongOptionsAreNamed) {
    auto options = etcd_->options();
    const auto refusal = [&options] {
        auto store = open_etcd(options);
        return store ? std::string() : store.error().message;
    };
    options.endpoints = {"127.0.0.1:2379"};
    EXPECT_THAT(refusal(), HasSubstr("etcd-servers: \"127.0.0.1:2379\""));
    options.endpoints = {"http://127.0.0.1:0"};
    EXPECT_THAT(refusal(), HasSubstr("http://127.0.0.1:0"));
    options.endpoints = {"https://127.0.0.1:2379"};
    options.ca_file = "/nowhere/ca.pem";
    EXPECT_THAT(refusal(), HasSubstr("etcd-cafile: the file /nowhere/ca.pem"));
    options.ca_file.clear();
    options.cert_file = "/nowhere/cert.pem";
    EXPECT_THAT(refusal(), HasSubstr("etcd-keyfile"));
    options.cert_file.clear();
    options.endpoints = {"http://127.0.0.1:1"};
    options.open_timeout = std::chrono::milliseconds(300);
    EXPECT_THAT(refusal(), HasSubstr("http://127.0.0.1:1"));
}

TEST_F(EtcdTest, ASecondEndpointServesWhenTheFirstIsDead) {
    auto options = etcd_->options();
    options.endpoints = {"http://127.0.0.1:1", etcd_->url()};
    auto store = open(options);
    ASSERT_NE(store, nullptr);
    EXPECT_TRUE(put(*store, "a", "1"));
}

}  // namespace
}  // namespace sluice::store
