// The allocator on a folder of its own: ranges, order, crashes at any point, and many processes at
// once.
#include "control/cni/allocator.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

namespace sluice::cni {
namespace {

namespace fs = std::filesystem;

bool alive(const AttachmentId&) {
    return true;
}
bool gone(const AttachmentId&) {
    return false;
}

IpPrefix range(const char* text) {
    return IpPrefix::parse(text).value();
}

class AllocatorTest : public ::testing::Test {
protected:
    void SetUp() override {
        std::string pattern = (fs::temp_directory_path() / "sluice-cni-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override { fs::remove_all(folder_); }

    Allocator open() { return Allocator::open(folder_.string(), "net").value(); }
    std::string take(Allocator& allocator, const std::string& who, const char* from) {
        const auto got = allocator.allocate({who, "eth0"}, {range(from)}, alive);
        return got ? got->at(0).to_string() : got.error().message;
    }
    [[nodiscard]] std::set<std::string> files() const {
        std::set<std::string> names;
        for (const auto& entry : fs::directory_iterator(folder_ / "net")) {
            if (IpAddress::parse(entry.path().filename().string())) {
                names.insert(entry.path().filename().string());
            }
        }
        return names;
    }

    fs::path folder_;
};

TEST(Pool, LeavesOutNetworkAndBroadcast) {
    const Pool v4{range("10.0.0.0/29")};
    EXPECT_EQ(v4.size(), 6U);
    EXPECT_EQ(v4.at(0).to_string(), "10.0.0.1");
    EXPECT_EQ(v4.at(5).to_string(), "10.0.0.6");
    EXPECT_EQ(v4.index_of(*IpAddress::parse("10.0.0.6")), 5U);
    EXPECT_EQ(v4.index_of(*IpAddress::parse("10.0.0.7")), 6U);
    EXPECT_EQ(v4.index_of(*IpAddress::parse("10.0.0.0")), 6U);
    EXPECT_EQ(v4.index_of(*IpAddress::parse("fd00::1")), 6U);
    EXPECT_EQ(Pool{range("10.0.0.4/30")}.at(1).to_string(), "10.0.0.6");
    EXPECT_EQ(Pool{range("10.0.0.4/31")}.size(), 2U);
    EXPECT_EQ(Pool{range("10.0.0.4/31")}.at(0).to_string(), "10.0.0.4");
    EXPECT_EQ(Pool{range("10.0.0.4/32")}.size(), 1U);
    EXPECT_EQ(Pool{range("10.0.0.4/32")}.at(0).to_string(), "10.0.0.4");
    const Pool v6{range("fd00:1::/64")};
    EXPECT_EQ(v6.size(), 65535U);
    EXPECT_EQ(v6.at(0).to_string(), "fd00:1::1");
    EXPECT_EQ(v6.at(65534).to_string(), "fd00:1::ffff");
    EXPECT_EQ(v6.index_of(*IpAddress::parse("fd00:1::1:0")), v6.size());
    EXPECT_EQ(v6.index_of(*IpAddress::parse("fd00:1::ffff")), 65534U);
    const Pool wide{range("10.0.0.0/8")};
    EXPECT_EQ(wide.size(), 65535U);
    EXPECT_EQ(wide.at(65534).to_string(), "10.0.255.255");
    EXPECT_EQ(wide.index_of(*IpAddress::parse("10.1.0.1")), wide.size());
}

TEST_F(AllocatorTest, GivesBothFamiliesAndRecordsTheOwner) {
    Allocator allocator = open();
    const auto got =
        allocator.allocate({"abc", "eth0"}, {range("10.0.0.0/24"), range("fd00::/64")}, alive);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(files(), (std::set<std::string>{"10.0.0.1", "fd00::1"}));
    std::ifstream file(folder_ / "net" / "10.0.0.1");
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(text, "abc\neth0\n");
    EXPECT_EQ(*allocator.addresses_of({"abc", "eth0"}), *got);
    EXPECT_TRUE(allocator.addresses_of({"abc", "eth1"})->empty());
    EXPECT_EQ(allocator.allocate({"abc", "eth0"}, {range("10.0.0.0/24")}, alive).error().code,
              Code::kAlreadyExists);
}

TEST_F(AllocatorTest, AReleasedAddressComesBackLast) {
    Allocator allocator = open();
    EXPECT_EQ(take(allocator, "a", "10.0.0.0/29"), "10.0.0.1");
    EXPECT_EQ(*allocator.release({"a", "eth0"}, alive), 1U);
    for (const char* wanted :
         {"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.1"}) {
        EXPECT_EQ(take(allocator, std::string("owner-of-") + wanted, "10.0.0.0/29"), wanted);
    }
    const auto full = allocator.allocate({"z", "eth0"}, {range("10.0.0.0/29")}, alive);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().code, Code::kResourceExhausted);
    EXPECT_NE(full.error().message.find("10.0.0.0/29"), std::string::npos);
    EXPECT_EQ(*allocator.release({"a", "eth0"}, alive), 0U) << "a release is harmless twice";
}

TEST_F(AllocatorTest, AllOrNothing) {
    Allocator allocator = open();
    EXPECT_EQ(take(allocator, "a", "fd00::/128"), "fd00::");
    ASSERT_FALSE(
        allocator.allocate({"b", "eth0"}, {range("10.0.0.0/24"), range("fd00::/128")}, alive));
    EXPECT_EQ(files(), (std::set<std::string>{"fd00::"}));
}

TEST_F(AllocatorTest, LeakedAddressesGoWithTheNextDelOrWhenTheRangeIsFull) {
    Allocator allocator = open();
    take(allocator, "vanished", "10.0.0.0/24");
    take(allocator, "living", "10.0.0.0/24");
    take(allocator, "leaving", "10.0.0.0/24");
    EXPECT_EQ(
        *allocator.release({"leaving", "eth0"},
                           [](const AttachmentId& id) { return id.container_id == "living"; }),
        2U);
    EXPECT_EQ(files(), (std::set<std::string>{"10.0.0.2"}));

    take(allocator, "first", "10.1.0.0/32");
    const auto got = allocator.allocate({"second", "eth0"}, {range("10.1.0.0/32")}, gone);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->at(0).to_string(), "10.1.0.0");
}

TEST_F(AllocatorTest, ALeakedAddressDoesNotTakeTheOwnersOthersWithIt) {
    Allocator allocator = open();
    take(allocator, "old", "fd00::/128");
    // The IPv4 address is taken before the IPv6 range is found full; the sweep must not free it.
    const auto got =
        allocator.allocate({"new", "eth0"}, {range("10.0.0.0/24"), range("fd00::/128")}, gone);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(files(), (std::set<std::string>{"10.0.0.1", "fd00::"}));
}

TEST_F(AllocatorTest, FilesThatAreNotWholeBelongToNobody) {
    Allocator allocator = open();
    for (const auto& [name, text] : {std::pair{"10.0.0.7", ""}, std::pair{"10.0.0.8", "abc"},
                                     std::pair{"10.0.0.9", "abc\neth0\nmore\n"}}) {
        std::ofstream(folder_ / "net" / name) << text;
    }
    std::ofstream(folder_ / "net" / ".last-4") << "10.0.";
    EXPECT_EQ(take(allocator, "a", "10.0.0.0/24"), "10.0.0.1");
    EXPECT_EQ(*allocator.release({"none", "eth0"}, alive), 3U);
    EXPECT_EQ(files(), (std::set<std::string>{"10.0.0.1"}));
}

// A process killed between making an address and removing the temporary name leaves one file under
// two names.
TEST_F(AllocatorTest, ALeftTemporaryFileIsNotWrittenThrough) {
    Allocator allocator = open();
    take(allocator, "a", "10.0.0.0/24");
    fs::create_hard_link(folder_ / "net" / "10.0.0.1", folder_ / "net" / ".new");
    take(allocator, "b", "10.0.0.0/24");
    EXPECT_EQ(allocator.addresses_of({"a", "eth0"})->size(), 1U);
    EXPECT_EQ(allocator.addresses_of({"b", "eth0"})->size(), 1U);
}

// SIGKILL at arbitrary moments: whatever is left has whole owners, no address twice, and is usable.
TEST_F(AllocatorTest, KilledAnywhereLeavesAUsableFolder) {
    for (int round = 0; round < 40; ++round) {
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            Allocator allocator = open();
            for (int i = 0;; ++i) {
                const AttachmentId id{"r" + std::to_string(round) + "-" + std::to_string(i),
                                      "eth0"};
                if (!allocator.allocate(id, {range("10.0.0.0/28"), range("fd00::/64")}, alive))
                    ::_exit(1);
                if (!allocator.release(id, alive)) ::_exit(1);
            }
        }
        ::usleep(static_cast<useconds_t>(500 + 211 * round));
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the child met an error in round " << round;
        Allocator allocator = open();
        ASSERT_TRUE(allocator.sweep(gone));
        ASSERT_TRUE(files().empty());
    }
}

TEST_F(AllocatorTest, ThirtyProcessesAtOnce) {
    constexpr int kProcesses = 30;
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            Allocator allocator = open();
            const auto got = allocator.allocate({"c" + std::to_string(i), "eth0"},
                                                {range("10.0.0.0/24"), range("fd00::/64")}, alive);
            ::_exit(got ? 0 : 1);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        EXPECT_EQ(status, 0);
    }
    EXPECT_EQ(files().size(), 2U * kProcesses);
    std::set<IpAddress> given;
    Allocator allocator = open();
    for (int i = 0; i < kProcesses; ++i) {
        const auto own = allocator.addresses_of({"c" + std::to_string(i), "eth0"});
        ASSERT_TRUE(own);
        EXPECT_EQ(own->size(), 2U);
        given.insert(own->begin(), own->end());
    }
    EXPECT_EQ(given.size(), 2U * kProcesses);
    EXPECT_EQ(allocator.owners()->size(), static_cast<std::size_t>(kProcesses));
}

TEST_F(AllocatorTest, SaysWhatCannotBeMade) {
    std::ofstream(folder_ / "file") << "x";
    const auto opened = Allocator::open((folder_ / "file").string(), "net");
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("dataDir"), std::string::npos) << opened.error().message;
}

}  // namespace
}  // namespace sluice::cni
