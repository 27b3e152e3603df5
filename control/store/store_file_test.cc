// The store and its file: what is refused and left untouched, who may open it, and what happens
// when the disk does not do what it is asked.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "control/store/test_util.h"

namespace sluice::store {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::open_or_fail;
using testing::put;
using testing::read_file;
using testing::submit;
using testing::TemporaryFolder;
using testing::write_file;

// Offsets in the header of a database, from SQLite's description of its file format.
constexpr std::size_t kUserVersionOffset = 60;
constexpr std::size_t kApplicationIdOffset = 68;
constexpr std::size_t kPageBytes = 4'096;

class StoreFileTest : public ::testing::Test {
protected:
    // A closed store with `count` values of `bytes` each, k0000, k0001, ...
    void fill(int count, std::size_t bytes) {
        auto store = open_or_fail(options_);
        ASSERT_NE(store, nullptr);
        std::vector<std::future<Result<WriteResult>>> pending;
        for (int i = 0; i < count; ++i) {
            pending.push_back(submit(
                *store, {fmt::format("k{:04}", i),
                         std::string(bytes, static_cast<char>('a' + i % 26)), std::nullopt}));
        }
        for (auto& result : pending) {
            ASSERT_TRUE(result.get());
        }
    }
    // Opening must fail with one of the codes the interface allows, name the path, and change
    // nothing.
    Error refused() {
        const std::string before = read_file(path_);
        auto store = open_sqlite(options_);
        if (store) {
            ADD_FAILURE() << "a damaged store was opened";
            return {};
        }
        EXPECT_THAT(store.error().code, AnyOf(Code::kDataLoss, Code::kFailedPrecondition))
            << store.error().to_string();
        EXPECT_THAT(store.error().message, HasSubstr(path_));
        EXPECT_TRUE(read_file(path_) == before) << "the file was changed";
        return store.error();
    }

    TemporaryFolder folder_;
    const std::string path_ = folder_.file();
    SqliteOptions options_{path_, false, 100'000};
};

TEST_F(StoreFileTest, CleanCloseLeavesOneFile) {
    fill(100, 100);
    EXPECT_FALSE(std::filesystem::exists(path_ + "-wal"));
    EXPECT_FALSE(std::filesystem::exists(path_ + "-new"));
}

TEST_F(StoreFileTest, TextFileIsNotAStore) {
    write_file(path_, std::string(10'000, 'x'));
    Error error = refused();
    EXPECT_EQ(error.code, Code::kFailedPrecondition);
    EXPECT_THAT(error.message, HasSubstr("not the file of a sluice store"));
}

TEST_F(StoreFileTest, EmptyFileIsADamagedStore) {
    write_file(path_, "");
    EXPECT_EQ(refused().code, Code::kDataLoss);
}

TEST_F(StoreFileTest, FolderIsNotAStore) {
    options_.path = folder_.path().string();
    auto store = open_sqlite(options_);
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code, Code::kFailedPrecondition);
    std::filesystem::remove(options_.path + "-lock");
}

TEST_F(StoreFileTest, MissingFolderIsNamed) {
    options_.path = folder_.file("absent/store.db");
    auto store = open_sqlite(options_);
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code, Code::kNotFound);
    EXPECT_THAT(store.error().message, HasSubstr(options_.path));
}

TEST_F(StoreFileTest, OtherProgramsDatabaseIsNotAStore) {
    fill(10, 100);
    std::string content = read_file(path_);
    content[kApplicationIdOffset] = 0;
    write_file(path_, content);
    EXPECT_EQ(refused().code, Code::kFailedPrecondition);
}

TEST_F(StoreFileTest, NewerFormatAsksForANewerProgram) {
    fill(10, 100);
    std::string content = read_file(path_);
    content[kUserVersionOffset + 3] = 2;
    write_file(path_, content);
    Error error = refused();
    EXPECT_EQ(error.code, Code::kFailedPrecondition);
    EXPECT_THAT(error.message, HasSubstr("format 2"));
    EXPECT_THAT(error.message, HasSubstr("newer"));
}

TEST_F(StoreFileTest, TruncationAtAnyPlaceIsSeen) {
    fill(400, 500);
    const std::string whole = read_file(path_);
    ASSERT_GT(whole.size(), 40 * kPageBytes);
    for (std::size_t size :
         {std::size_t{1}, std::size_t{99}, std::size_t{100}, std::size_t{3'000}, kPageBytes,
          5 * kPageBytes, 20 * kPageBytes + 17, whole.size() - kPageBytes, whole.size() - 1}) {
        SCOPED_TRACE(size);
        write_file(path_, whole.substr(0, size));
        EXPECT_EQ(refused().code, Code::kDataLoss);
    }
}

TEST_F(StoreFileTest, OverwrittenPagesAreSeenWhereverTheyAre) {
    // Values longer than a page live in overflow pages, whose content SQLite itself cannot judge.
    fill(20, 9'000);
    const std::string whole = read_file(path_);
    const std::size_t pages = whole.size() / kPageBytes;
    ASSERT_GT(pages, 40u);
    for (std::size_t page = 0; page < pages; ++page) {
        SCOPED_TRACE(page);
        std::string content = whole;
        content.replace(page * kPageBytes + 200, kPageBytes - 200, kPageBytes - 200, '\xa5');
        write_file(path_, content);
        if (page == 0) {
            // The first page ends in the tables' definitions and is mostly free.
            content = whole;
            content.replace(100, kPageBytes - 100, kPageBytes - 100, '\xa5');
            write_file(path_, content);
        }
        refused();
    }
    write_file(path_, whole);
    auto store = open_or_fail(options_);
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(store->range("k", "", 0)->items.size(), 20u);
}

TEST_F(StoreFileTest, OneFlippedBitInAValueIsSeen) {
    fill(1, 300);
    std::string content = read_file(path_);
    const std::size_t place = content.find(std::string(300, 'a'));
    ASSERT_NE(place, std::string::npos);
    content[place + 150] ^= 1;
    write_file(path_, content);
    Error error = refused();
    EXPECT_EQ(error.code, Code::kDataLoss);
    EXPECT_THAT(error.message, HasSubstr("checksum"));
}

TEST_F(StoreFileTest, RefusedFileKeepsItsLog) {
    // A store that was not closed: its changes are in the log only.
    {
        auto store = open_or_fail(options_);
        ASSERT_NE(store, nullptr);
        for (int i = 0; i < 50; ++i) {
            ASSERT_TRUE(put(*store, fmt::format("k{}", i), std::string(300, 'v')));
        }
        const std::string copy = folder_.file("copy.db");
        std::filesystem::copy(path_, copy);
        std::filesystem::copy(path_ + "-wal", copy + "-wal");
    }
    options_.path = folder_.file("copy.db");
    const std::string log = read_file(options_.path + "-wal");
    const std::string sound = read_file(options_.path);
    std::string content = sound;
    content[kApplicationIdOffset] = 0;
    write_file(options_.path, content);
    EXPECT_FALSE(open_sqlite(options_));
    EXPECT_TRUE(read_file(options_.path + "-wal") == log);
    // With the header as it was, all is there.
    write_file(options_.path, sound);
    auto store = open_or_fail(options_);
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(store->revision(), 51u);
}

TEST_F(StoreFileTest, DamagedStoreKeepsTheLogOfItsLastChanges) {
    fill(40,
         300);  // Several pages; the log rewrites the last of them, the damage goes into the first.
    const std::string copy = folder_.file("copy.db");
    {
        auto store = open_or_fail(options_);
        ASSERT_NE(store, nullptr);
        ASSERT_TRUE(put(*store, "later", "x"));
        std::filesystem::copy(path_, copy);
        std::filesystem::copy(path_ + "-wal", copy + "-wal");
    }
    // Damage that is found only when SQLite has the file open, in a value that the log does not
    // replace.
    std::string content = read_file(copy);
    const std::size_t place = content.find(std::string(300, 'a'));
    ASSERT_NE(place, std::string::npos);
    content[place + 150] ^= 1;
    write_file(copy, content);
    const std::string log = read_file(copy + "-wal");
    ASSERT_GT(log.size(), kPageBytes) << "the last change is not in the log";
    options_.path = copy;
    auto store = open_sqlite(options_);
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code, Code::kDataLoss);
    EXPECT_TRUE(read_file(copy) == content);
    EXPECT_TRUE(read_file(copy + "-wal") == log);
}

TEST_F(StoreFileTest, SecondOpenerIsRefused) {
    auto store = open_or_fail(options_);
    ASSERT_NE(store, nullptr);
    auto again = open_sqlite(options_);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Code::kFailedPrecondition);
    EXPECT_THAT(again.error().message, HasSubstr("another process"));
    ASSERT_TRUE(put(*store, "a", "1")) << "the first is not disturbed";
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        auto other = open_sqlite(options_);
        ::_exit(!other && other.error().code == Code::kFailedPrecondition ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    store.reset();
    EXPECT_NE(open_or_fail(options_), nullptr);
}

TEST_F(StoreFileTest, RemainsOfAnInterruptedCreationDoNotHinder) {
    write_file(path_ + "-new", "half a database");
    EXPECT_NE(open_or_fail(options_), nullptr);
    EXPECT_FALSE(std::filesystem::exists(path_ + "-new"));
}

// What a disk that refuses writes must look like, whatever the reason.
void expect_refusal_and_recovery(const SqliteOptions& options, Code code,
                                 const std::function<void()>& recover) {
    auto store = open_or_fail(options);
    ASSERT_NE(store, nullptr);
    ASSERT_TRUE(put(*store, "kept", "1"));
    const std::string large(100'000, 'x');
    Revision acknowledged = store->revision();
    std::optional<Error> error;
    int written = 0;
    for (; !error && written < 10'000; ++written) {
        auto result = put(*store, fmt::format("fill{}", written), large);
        if (result) {
            acknowledged = result->revision;
        } else {
            error = result.error();
        }
    }
    ASSERT_TRUE(error) << "the disk never refused";
    EXPECT_EQ(error->code, code) << error->to_string();
    EXPECT_THAT(error->message, HasSubstr(options.path));
    // Nothing of the failed write is in force, reads go on.
    EXPECT_EQ(store->revision(), acknowledged);
    EXPECT_EQ(*(*store->get("kept"))->value, "1");
    EXPECT_FALSE(*store->get(fmt::format("fill{}", written - 1)));
    // A failed condition needs no disk.
    EXPECT_TRUE(put(*store, "kept", "2", Revision{999})->condition_failed);
    EXPECT_GE(store->stats().failed_writes, 1u);
    recover();
    auto later = put(*store, "later", large);
    ASSERT_TRUE(later) << later.error().to_string();
    EXPECT_EQ(later->revision, acknowledged + 1);
    store.reset();
    store = open_or_fail(options);
    ASSERT_NE(store, nullptr);
    EXPECT_EQ(store->revision(), acknowledged + 1);
    EXPECT_EQ(store->range("fill", "", 0)->items.size(), static_cast<std::size_t>(written - 1));
    EXPECT_EQ((*store->get("later"))->value->size(), large.size());
}

TEST_F(StoreFileTest, FailingWritesAreRefusedAndRecoverWithTheDisk) {
    // A file size limit makes write() fail with EFBIG, which is an input/output error to SQLite.
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    struct sigaction old_action{};
    ASSERT_EQ(::sigaction(SIGXFSZ, &ignore, &old_action), 0);
    rlimit old_limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
    const rlimit limit{4 << 20, old_limit.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    auto recover = [&old_limit] { ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0); };
    options_.durable = true;
    expect_refusal_and_recovery(options_, Code::kUnavailable, recover);
    recover();
    ASSERT_EQ(::sigaction(SIGXFSZ, &old_action, nullptr), 0);
}

TEST_F(StoreFileTest, FullDiskIsRefusedAndRecoversWhenThereIsSpace) {
    const std::string disk = folder_.file("disk");
    std::filesystem::create_directory(disk);
    if (::mount("sluice-test", disk.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=12m,mode=0700") !=
        0) {
        GTEST_SKIP() << "needs root to mount a small tmpfs: " << std::strerror(errno);
    }
    {
        // Room that somebody frees later.
        write_file(disk + "/ballast", std::string(4 << 20, 'b'));
        SqliteOptions options{disk + "/store.db", true, 100'000};
        expect_refusal_and_recovery(options, Code::kResourceExhausted,
                                    [&disk] { std::filesystem::remove(disk + "/ballast"); });
    }
    EXPECT_EQ(::umount(disk.c_str()), 0);
}

}  // namespace
}  // namespace sluice::store
