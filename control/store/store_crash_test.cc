// SIGKILL at any moment: a child writes and tells its parent over a pipe what was acknowledged; the
// parent kills it, opens the file, and compares. The child is this program started anew, so that no
// thread is forked.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "control/store/test_util.h"

namespace sluice::store {
namespace {

using testing::open_or_fail;
using testing::submit;
using testing::TemporaryFolder;

constexpr int kWriters = 4;
constexpr int kRounds = 60;
constexpr std::chrono::seconds kBudget{8};
constexpr int kMaxLifeMs = 90;
constexpr std::size_t kHistory = 500;  // small, so that kills meet compaction too
constexpr const char* kChildVariable = "SLUICE_STORE_CRASH_CHILD";

// One acknowledged write; small enough for the pipe to take it whole.
struct Acknowledged {
    std::uint32_t writer;
    std::uint32_t deleted;
    std::uint64_t number;
    std::uint64_t revision;
};

std::string key_of(std::uint32_t writer, std::uint64_t number) {
    return fmt::format("w{}/{}", writer, number % 5);
}

// Long values make a group span many pages, so that a kill can fall between them.
std::string value_of(std::uint32_t writer, std::uint64_t number) {
    return fmt::format("{}:{}:", writer, number) + std::string(number % 7 * 1'500, 'v');
}

bool deletes(std::uint64_t number) {
    return number % 11 == 10;
}

// Never returns: writes until it is killed.
[[noreturn]] void child(const std::string& path, int pipe_fd) {
    auto store = open_sqlite({path, true, kHistory});
    if (!store) {
        ::_exit(3);
    }
    std::vector<std::thread> writers;
    // Numbers grow from round to round, so that every value differs. They begin at a multiple of
    // both periods above, so that a deletion always finds its key and thus takes a revision.
    const std::uint64_t base = (*store)->revision() * 55;
    for (std::uint32_t writer = 0; writer < kWriters; ++writer) {
        writers.emplace_back([&, writer] {
            for (std::uint64_t number = base;; ++number) {
                Write write{key_of(writer, number), value_of(writer, number), std::nullopt};
                if (deletes(number)) {
                    write.value.reset();
                }
                auto result = submit(**store, std::move(write)).get();
                if (!result) {
                    ::_exit(4);
                }
                const Acknowledged told{writer, deletes(number) ? 1u : 0u, number,
                                        result->revision};
                if (::write(pipe_fd, &told, sizeof(told)) != sizeof(told)) {
                    ::_exit(5);
                }
            }
        });
    }
    for (;;) {
        ::pause();
    }
}

struct Round {
    std::vector<Acknowledged> acknowledged;
    int status = 0;
};

Round run_child(const std::string& path, int life_ms) {
    Round round;
    int ends[2] = {-1, -1};
    SLUICE_ASSERT(::pipe(ends) == 0);
    const pid_t pid = ::fork();
    SLUICE_ASSERT(pid >= 0);
    if (pid == 0) {
        ::close(ends[0]);
        const std::string argument = fmt::format("{}:{}", ends[1], path);
        ::setenv(kChildVariable, argument.c_str(), 1);
        ::execl("/proc/self/exe", "store_crash_test", nullptr);
        ::_exit(2);
    }
    ::close(ends[1]);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(life_ms);
    bool killed = false;
    Acknowledged told{};
    for (;;) {
        if (!killed && std::chrono::steady_clock::now() >= deadline) {
            ::kill(pid, SIGKILL);
            killed = true;  // What is still in the pipe was acknowledged too.
        }
        pollfd ready{ends[0], POLLIN, 0};
        if (::poll(&ready, 1, killed ? -1 : 1) <= 0) {
            continue;
        }
        const ssize_t got = ::read(ends[0], &told, sizeof(told));
        if (got != sizeof(told)) {
            break;
        }
        round.acknowledged.push_back(told);
    }
    ::close(ends[0]);
    ::waitpid(pid, &round.status, 0);
    return round;
}

TEST(StoreCrashTest, KilledAtAnyMomentItKeepsWhatItAcknowledged) {
    TemporaryFolder folder;
    const std::string path = folder.file();
    const char* given = std::getenv("SLUICE_SEED");
    const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    SCOPED_TRACE(::testing::Message() << "SLUICE_SEED=" << seed);
    std::mt19937_64 random(seed);
    std::map<std::string, Acknowledged> last;  // by key
    Revision newest = 1;
    std::size_t total = 0;
    int rounds = 0;
    const auto end = std::chrono::steady_clock::now() + kBudget;
    for (; rounds < kRounds && std::chrono::steady_clock::now() < end; ++rounds) {
        const Round round = run_child(path, 5 + static_cast<int>(random() % kMaxLifeMs));
        ASSERT_TRUE(WIFSIGNALED(round.status)) << "the child ended with status " << round.status;
        for (const Acknowledged& told : round.acknowledged) {
            ASSERT_GT(told.revision, newest) << "a revision that was visible before was used again";
            last[key_of(told.writer, told.number)] = told;
        }
        total += round.acknowledged.size();
        auto store = open_or_fail({path, true, kHistory});
        ASSERT_NE(store, nullptr);
        for (const auto& [key, told] : last) {
            ASSERT_GE(store->revision(), told.revision) << key;
            auto found = store->get(key);
            ASSERT_TRUE(found);
            // Each writer has one write under way at most, so a key may be that one write ahead.
            if (!*found) {
                ASSERT_TRUE(told.deleted == 1 || store->revision() > told.revision) << key;
                continue;
            }
            const KeyValue& item = **found;
            ASSERT_GE(item.mod_revision, told.deleted == 1 ? told.revision + 1 : told.revision)
                << key;
            const std::uint64_t number = std::stoull(item.value->substr(item.value->find(':') + 1));
            ASSERT_EQ(*item.value, value_of(told.writer, number)) << "half a value";
            ASSERT_GE(number, told.number) << key << " went back";
            if (item.mod_revision == told.revision) {
                ASSERT_EQ(number, told.number) << key;
            }
        }
        // The history is whole: every revision after compaction is delivered once.
        testing::Collector collector;
        auto watch = store->watch("", store->compacted(), collector.sink());
        ASSERT_TRUE(watch && collector.wait_for(store->revision()));
        Revision next = store->compacted() + 1;
        for (const Event& event : collector.seen().events) {
            ASSERT_EQ(event.current.mod_revision, next++);
        }
        ASSERT_EQ(next, store->revision() + 1);
        newest = store->revision();
    }
    EXPECT_GT(total, 100u) << "the child hardly wrote";
    EXPECT_GT(rounds, 5);
    RecordProperty("rounds", rounds);
    RecordProperty("acknowledged", static_cast<int>(total));
    fmt::print("{} rounds, {} acknowledged writes, revision {}\n", rounds, total, newest);
}

}  // namespace
}  // namespace sluice::store

int main(int argc, char** argv) {
    if (const char* argument = std::getenv(sluice::store::kChildVariable)) {
        const std::string text = argument;
        const std::size_t colon = text.find(':');
        sluice::store::child(text.substr(colon + 1), std::atoi(text.c_str()));
    }
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
