// What the store costs: durable and other writes by closed-loop clients, the way to a watch, and
// reads. The files lie in TMPDIR (/tmp if unset): name a real disk there for figures of durable
// writes.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "control/store/store.h"

namespace sluice::store {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kValueBytes = 256;
constexpr int kKeys = 10'000;

class Fixture {
public:
    explicit Fixture(bool durable) {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "sluice-store-bench-XXXXXX").string();
        SLUICE_ASSERT(::mkdtemp(pattern.data()) != nullptr);
        folder_ = pattern;
        auto store = open_sqlite({(folder_ / "store.db").string(), durable, 100'000});
        SLUICE_ASSERT(store.has_value());
        store_ = std::move(*store);
    }
    ~Fixture() {
        store_.reset();
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    Fixture(const Fixture&) = delete;
    Fixture& operator=(const Fixture&) = delete;
    Store& operator*() { return *store_; }
    Store* operator->() { return store_.get(); }

    void fill(int keys) {
        std::atomic<int> left{keys};
        for (int i = 0; i < keys; ++i) {
            store_->write({key(i), std::string(kValueBytes, 'v'), std::nullopt},
                          [&left](const Result<WriteResult>& result) {
                              SLUICE_ASSERT(result.has_value());
                              --left;
                          });
            if (i % 10'000 == 9'999) {
                while (left > keys - i) {
                    std::this_thread::yield();
                }
            }
        }
        while (left > 0) {
            std::this_thread::yield();
        }
    }
    static std::string key(int i) { return fmt::format("/registry/pods/default/pod-{:06}", i); }

private:
    std::filesystem::path folder_;
    std::unique_ptr<Store> store_;
};

double microseconds(Clock::duration duration) {
    return std::chrono::duration<double, std::micro>(duration).count();
}

void report_percentiles(benchmark::State& state, std::vector<double>& samples) {
    if (samples.empty()) {
        return;
    }
    std::sort(samples.begin(), samples.end());
    state.counters["p50_us"] = samples[samples.size() / 2];
    state.counters["p99_us"] = samples[samples.size() * 99 / 100];
}

// Each client is a thread that waits for its write before the next one.
void write_clients(benchmark::State& state, bool durable) {
    const auto clients = static_cast<std::size_t>(state.range(0));
    Fixture store(durable);
    std::vector<std::vector<double>> samples(clients);
    std::int64_t writes = 0;
    const Stats before = store->stats();
    for (auto _ : state) {
        const int each = std::max(50, static_cast<int>(20'000 / clients));
        std::vector<std::thread> threads;
        for (std::size_t client = 0; client < clients; ++client) {
            threads.emplace_back([&, client] {
                std::binary_semaphore answered{0};
                for (int i = 0; i < each; ++i) {
                    const auto start = Clock::now();
                    store->write({Fixture::key((static_cast<int>(client) * 157 + i) % kKeys),
                                  std::string(kValueBytes, 'v'), std::nullopt},
                                 [&answered](const Result<WriteResult>& result) {
                                     SLUICE_ASSERT(result.has_value());
                                     answered.release();
                                 });
                    answered.acquire();
                    samples[client].push_back(microseconds(Clock::now() - start));
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        writes += static_cast<std::int64_t>(clients) * each;
    }
    state.SetItemsProcessed(writes);
    const Stats after = store->stats();
    state.counters["group"] = static_cast<double>(after.writes - before.writes) /
                              static_cast<double>(after.groups - before.groups);
    std::vector<double> all;
    for (const auto& part : samples) {
        all.insert(all.end(), part.begin(), part.end());
    }
    report_percentiles(state, all);
}

void durable_writes(benchmark::State& state) {
    write_clients(state, true);
}
void fast_writes(benchmark::State& state) {
    write_clients(state, false);
}
BENCHMARK(durable_writes)->Arg(1)->Arg(16)->Arg(64)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(fast_writes)->Arg(1)->Arg(16)->Arg(64)->UseRealTime()->Unit(benchmark::kMillisecond);

// From before a write is handed over until a watch's sink has it, and from its acknowledgement.
void watch_latency(benchmark::State& state) {
    const auto watches = static_cast<std::size_t>(state.range(0));
    Fixture store(true);
    std::atomic<Revision> told{0};
    Clock::time_point acknowledged;
    std::vector<double> after_commit;
    std::vector<std::unique_ptr<Watch>> handles;
    for (std::size_t i = 0; i < watches; ++i) {
        const bool last = i + 1 == watches;
        auto watch =
            store->watch("/registry/", 1,
                         [&, last](const Result<EventBatch>& events, Revision revision) {
                             if (last && events && !(*events)->empty()) {
                                 after_commit.push_back(microseconds(Clock::now() - acknowledged));
                                 told = revision;
                                 told.notify_one();
                             }
                         });
        SLUICE_ASSERT(watch.has_value());
        handles.push_back(std::move(*watch));
    }
    int i = 0;
    for (auto _ : state) {
        const Revision before = store->revision();
        store->write({Fixture::key(i++ % kKeys), std::string(kValueBytes, 'v'), std::nullopt},
                     [&acknowledged](const auto&) { acknowledged = Clock::now(); });
        Revision seen = told;
        while (seen <= before) {
            told.wait(seen);
            seen = told;
        }
    }
    handles.clear();
    report_percentiles(state, after_commit);
}
BENCHMARK(watch_latency)
    ->Arg(1)
    ->Arg(100)
    ->Arg(1'000)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void get(benchmark::State& state) {
    Fixture store(false);
    store.fill(kKeys);
    int i = 0;
    for (auto _ : state) {
        auto found = store->get(Fixture::key(i));
        benchmark::DoNotOptimize(found);
        i = (i + 7'919) % kKeys;
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(get);

void range_all(benchmark::State& state) {
    Fixture store(false);
    store.fill(static_cast<int>(state.range(0)));
    for (auto _ : state) {
        auto all = store->range("/registry/pods/", "", 0);
        benchmark::DoNotOptimize(all);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(range_all)->Arg(2'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

// A page of a long list: 500 items are copied, the rest is counted.
void range_page(benchmark::State& state) {
    Fixture store(false);
    store.fill(static_cast<int>(state.range(0)));
    for (auto _ : state) {
        auto page = store->range("/registry/pods/", "", 500);
        benchmark::DoNotOptimize(page);
    }
}
BENCHMARK(range_page)->Arg(2'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

// Reading a file of as many keys back, as at the start of the server.
void reopen(benchmark::State& state) {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "sluice-store-bench-XXXXXX").string();
    SLUICE_ASSERT(::mkdtemp(pattern.data()) != nullptr);
    const SqliteOptions options{pattern + "/store.db", false, 100'000};
    {
        auto store = open_sqlite(options);
        SLUICE_ASSERT(store.has_value());
        for (int i = 0; i < state.range(0); ++i) {
            std::binary_semaphore answered{0};
            const bool last = i + 1 == state.range(0) || i % 10'000 == 0;
            (*store)->write({Fixture::key(i), std::string(kValueBytes, 'v'), std::nullopt},
                            [&answered, last](const auto&) {
                                if (last) {
                                    answered.release();
                                }
                            });
            if (last) {
                answered.acquire();
            }
        }
    }
    for (auto _ : state) {
        auto store = open_sqlite(options);
        SLUICE_ASSERT(store.has_value());
    }
    std::error_code ignored;
    std::filesystem::remove_all(pattern, ignored);
}
BENCHMARK(reopen)->Arg(2'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::store
