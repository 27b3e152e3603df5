// Snapshots: what was there comes back, and nothing damaged does.
#include <gmock/gmock.h>

#include "control/store/snapshot/snapshot.h"
#include "control/store/test_util.h"

namespace sluice::store {
namespace {

using ::testing::HasSubstr;
using testing::put;
using testing::remove;
using testing::TemporaryFolder;

std::string encoded(const Snapshot& snapshot) {
    std::string out;
    EXPECT_TRUE(encode_snapshot(snapshot, [&out](std::string_view piece) {
        out += piece;
        return Result<void>();
    }));
    return out;
}

class SnapshotTest : public ::testing::Test {
protected:
    void SetUp() override {
        store_ = testing::open_or_fail({folder_.file(), false, 1'000});
        for (int i = 0; i < 3'000; ++i) {
            ASSERT_TRUE(put(*store_, fmt::format("/registry/k{}", i % 500),
                            std::string(700, static_cast<char>('a' + i % 26))));
        }
        ASSERT_TRUE(remove(*store_, "/registry/k7"));
        ASSERT_TRUE(put(*store_, "/registry/bytes", std::string("\0\xff", 2)));
    }
    TemporaryFolder folder_;
    std::unique_ptr<Store> store_;
};

TEST_F(SnapshotTest, RestoredStoreHoldsTheSameAndGoesOn) {
    auto snapshot = take_snapshot(*store_);
    ASSERT_TRUE(snapshot);
    const std::string bytes = encoded(*snapshot);
    const std::string file = folder_.file("a.snapshot");
    ASSERT_TRUE(write_snapshot_file(file, bytes));
    EXPECT_EQ(write_snapshot_file(file, bytes).error().code, Code::kAlreadyExists);
    ASSERT_TRUE(put(*store_, "/registry/later", "not in it"));
    auto read = read_snapshot_file(file);
    ASSERT_TRUE(read);
    auto decoded = decode_snapshot(*read);
    ASSERT_TRUE(decoded) << decoded.error().to_string();
    const std::string path = folder_.file("restored.db");
    auto made = make_embedded_store(path, *decoded, kDefaultSkip);
    ASSERT_TRUE(made) << made.error().to_string();
    EXPECT_EQ(make_embedded_store(path, *decoded, 0).error().code, Code::kAlreadyExists);

    auto restored = testing::open_or_fail({path, false, 1'000});
    EXPECT_EQ(restored->revision(), snapshot->revision + kDefaultSkip);
    EXPECT_EQ(restored->compacted(), restored->revision());
    auto now = restored->range("", "", 0);
    ASSERT_TRUE(now);
    ASSERT_EQ(now->items.size(), snapshot->items.size());
    EXPECT_EQ(now->items.size(), 500u);
    for (std::size_t i = 0; i < now->items.size(); ++i) {
        EXPECT_EQ(now->items[i].key, snapshot->items[i].key);
        EXPECT_EQ(*now->items[i].value, *snapshot->items[i].value);
        EXPECT_EQ(now->items[i].mod_revision, snapshot->items[i].mod_revision);
        EXPECT_EQ(now->items[i].create_revision, snapshot->items[i].create_revision);
    }
    EXPECT_EQ(put(*restored, "/registry/next", "x")->revision,
              snapshot->revision + kDefaultSkip + 1);
}

TEST_F(SnapshotTest, AnyDamageIsRefused) {
    const std::string bytes = encoded(*take_snapshot(*store_));
    ASSERT_TRUE(decode_snapshot(bytes));
    for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 37) {
        std::string bad = bytes;
        bad[at] = static_cast<char>(bad[at] ^ 4);
        EXPECT_FALSE(decode_snapshot(bad)) << at;
        EXPECT_FALSE(decode_snapshot(bytes.substr(0, at))) << at;
    }
    EXPECT_FALSE(decode_snapshot(bytes + "x"));
    EXPECT_THAT(decode_snapshot("text").error().message, HasSubstr("the snapshot is damaged"));
}

TEST_F(SnapshotTest, KeysOfOneRevisionEachGetTheirOwn) {
    const auto value = std::make_shared<const std::string>("v");
    const Snapshot snapshot{{{"/a", value, 5, 9, false}, {"/b", value, 9, 9, false},
                             {"/c", value, 2, 3, false}}, 12};
    const std::string path = folder_.file("restored.db");
    ASSERT_TRUE(make_embedded_store(path, snapshot, 0));
    auto restored = testing::open_or_fail({path, false, 1'000});
    ASSERT_NE(restored, nullptr);
    EXPECT_EQ(restored->revision(), 13u);
    auto all = restored->range("", "", 0);
    ASSERT_EQ(all->items.size(), 3u);
    EXPECT_NE(all->items[0].mod_revision, all->items[1].mod_revision);
    EXPECT_EQ(all->items[2].mod_revision, 3u);
}

TEST_F(SnapshotTest, ImpossibleRevisionsAreRefusedAndLeaveNothing) {
    const auto value = std::make_shared<const std::string>("v");
    const std::string path = folder_.file("restored.db");
    EXPECT_FALSE(make_embedded_store(path, {{{"/a", value, 5, 19, false}}, 12}, 0));
    EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace sluice::store
