// Files of shared memory: between processes, after deaths, and when somebody wrote nonsense into them.
#include "dataplane/dpdk/shared/segment.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>

#include "dataplane/image/publisher.h"

namespace sluice::dpdk {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Segments : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = "/dev/shm/segment-test-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        directory_ = root_ + "/sluice";
    }
    void TearDown() override { std::filesystem::remove_all(root_); }

    std::unique_ptr<ImageSegment> make_image(std::uint32_t number = 1) {
        auto made = ImageSegment::create(directory_, number, image::Capacities{});
        EXPECT_TRUE(made) << made.error().to_string();
        const image::HeaderFacts facts{{}, 1024, 29999, 7, 1};
        EXPECT_TRUE(write_header((*made)->tables(), (*made)->capacities(), facts, 4));
        return std::move(*made);
    }
    [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
    // Changes bytes of a file where it lies.
    void poke(const std::string& name, std::size_t offset, std::uint64_t value, std::size_t bytes) const {
        const Fd fd(::open(path(name).c_str(), O_RDWR));
        ASSERT_EQ(pwrite(fd.get(), &value, bytes, static_cast<off_t>(offset)), static_cast<ssize_t>(bytes));
    }
    [[nodiscard]] Error refused(std::uint32_t number = 1) const {
        auto opened = ImageSegment::open(directory_, number, Access::kReadOnly);
        EXPECT_FALSE(opened);
        return opened ? Error{} : opened.error();
    }
    // In another process; 0 if `check` said so.
    static int in_child(const std::function<bool()>& check) {
        const pid_t child = fork();
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL);  // a sanitizer would report it, and exit
            _exit(check() ? 0 : 1);
        }
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }

    std::string root_;
    std::string directory_;
};

TEST_F(Segments, AnImageIsSeenByAnotherProcessAsItIsWritten) {
    const auto mine = make_image();
    mine->tables().services[3].affinity_timeout_s = 77;
    EXPECT_EQ(in_child([&] {
                  const auto theirs = ImageSegment::open(directory_, 1, Access::kReadOnly);
                  if (!theirs || (*theirs)->tables().services[3].affinity_timeout_s != 77) {
                      return false;
                  }
                  // Counters are theirs to write.
                  (*theirs)->tables().drops[5] = 42;
                  (*theirs)->tables().served[1].packets = 43;
                  return (*theirs)->capacities() == image::Capacities{} && (*theirs)->number() == 1;
              }),
              0);
    EXPECT_EQ(mine->tables().drops[5], 42U);
    EXPECT_EQ(mine->tables().served[1].packets, 43U);
}

TEST_F(Segments, AnEngineCannotWriteTheImageNorAReaderTheCounters) {
    const auto mine = make_image();
    EXPECT_EQ(in_child([&] {
                  const auto theirs = ImageSegment::open(directory_, 1, Access::kReadOnly);
                  (*theirs)->tables().services[0].flags = 1;
                  return true;
              }),
              -SIGSEGV);
    EXPECT_EQ(in_child([&] {
                  const auto theirs = ImageSegment::open_to_read(directory_, 1);
                  (*theirs)->tables().drops[0] = 1;
                  return true;
              }),
              -SIGSEGV);
}

TEST_F(Segments, FilesAreForTheirOwnerAlone) {
    const auto mine = make_image();
    struct stat info {};
    for (const char* name : {"image-1", "counts-1"}) {
        ASSERT_EQ(stat(path(name).c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 07777U, 0600U) << name;
    }
    ASSERT_EQ(stat(directory_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0700U);
}

TEST_F(Segments, TheSameNumberIsNotTakenTwice) {
    const auto mine = make_image();
    const auto again = ImageSegment::create(directory_, 1, image::Capacities{});
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Code::kAlreadyExists);
    EXPECT_EQ(next_image_number(directory_), 2U);
    EXPECT_THAT(list_images(directory_), ElementsAre(1));
}

TEST_F(Segments, WhatIsLeftOfAnImageKeepsItsNumber) {
    make_image(6);
    std::filesystem::remove(path("image-6"));
    EXPECT_THAT(list_images(directory_), ElementsAre(6));
    EXPECT_EQ(next_image_number(directory_), 7U);
    ASSERT_TRUE(remove_image(directory_, 6));
    EXPECT_THAT(list_images(directory_), IsEmpty());
    EXPECT_TRUE(remove_image(directory_, 6));
}

TEST_F(Segments, CapacitiesBeyondTheLimitsAreRefused) {
    image::Capacities large;
    large.services = image::kMaxServices + 1;
    const auto made = ImageSegment::create(directory_, 1, large);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kResourceExhausted);
}

TEST_F(Segments, TheImageInForceIsReplacedInOneStep) {
    const auto none = current_image(directory_);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::kNotFound);
    make_image(1);
    make_image(2);
    ASSERT_TRUE(set_current_image(directory_, 1));
    EXPECT_EQ(current_image(directory_).value(), 1U);
    ASSERT_TRUE(set_current_image(directory_, 2));
    EXPECT_EQ(current_image(directory_).value(), 2U);
    // Also after one who died before renaming.
    ASSERT_EQ(symlink("image-9", path("current." + std::to_string(getpid())).c_str()), 0);
    ASSERT_TRUE(set_current_image(directory_, 1));
    EXPECT_EQ(current_image(directory_).value(), 1U);
}

TEST_F(Segments, ACurrentThatNamesNoImageIsRefused) {
    make_image();
    for (const char* target : {"../image-1", "image-", "image-01", "image--1", "image-4294967296", "image-1x", "/x"}) {
        std::filesystem::remove(path("current"));
        ASSERT_EQ(symlink(target, path("current").c_str()), 0);
        const auto current = current_image(directory_);
        ASSERT_FALSE(current) << target;
        EXPECT_EQ(current.error().code, Code::kDataLoss);
        EXPECT_THAT(current.error().message, HasSubstr(target));
    }
    std::filesystem::remove(path("current"));
    std::ofstream(path("current")) << "image-1";
    EXPECT_EQ(current_image(directory_).error().code, Code::kDataLoss);
}

TEST_F(Segments, AMissingImageIsNotFound) {
    EXPECT_EQ(refused().code, Code::kNotFound);
    make_image();
    std::filesystem::remove(path("counts-1"));
    const Error error = refused();
    EXPECT_EQ(error.code, Code::kNotFound);
    EXPECT_THAT(error.message, HasSubstr("counts-1"));
}

TEST_F(Segments, ATruncatedFileIsRefused) {
    for (const char* name : {"image-1", "counts-1"}) {
        for (const std::uintmax_t size : {0UL, 100UL, 4096UL, 8192UL}) {
            std::filesystem::remove_all(directory_);
            make_image();
            std::filesystem::resize_file(path(name), size);
            const Error error = refused();
            EXPECT_EQ(error.code, Code::kDataLoss) << name << " " << size << ": " << error.to_string();
            EXPECT_THAT(error.message, HasSubstr(name));
        }
    }
}

TEST_F(Segments, AFileWithHolesIsRefused) {
    make_image();
    const auto size = std::filesystem::file_size(path("image-1"));
    std::filesystem::resize_file(path("image-1"), size + (1U << 20U));
    const Error error = refused();
    EXPECT_EQ(error.code, Code::kDataLoss);
    EXPECT_THAT(error.message, HasSubstr("are there"));
}

TEST_F(Segments, AnyOtherVersionIsRefusedByName) {
    make_image();
    poke("image-1", offsetof(SegmentHeader, version), kSegmentVersion + 1, 4);
    EXPECT_EQ(refused().code, Code::kFailedPrecondition);
    EXPECT_THAT(refused().message, HasSubstr("segment of version 2"));
    poke("image-1", offsetof(SegmentHeader, version), kSegmentVersion, 4);
    poke("image-1", offsetof(SegmentHeader, layout_version), SLUICE_LAYOUT_VERSION + 1, 4);
    EXPECT_EQ(refused().code, Code::kFailedPrecondition);
    EXPECT_THAT(refused().message, HasSubstr("layout version"));
}

TEST_F(Segments, EachFieldOfAHeaderIsChecked) {
    struct Change {
        std::size_t offset;
        std::uint64_t value;
        std::size_t bytes;
    };
    constexpr std::size_t kPart = offsetof(SegmentHeader, part);
    using Part = SegmentHeader::Part;
    const std::vector<Change> changes{
        {offsetof(SegmentHeader, magic), 0, 8},
        {offsetof(SegmentHeader, kind), 3, 4},
        {offsetof(SegmentHeader, parts), 8, 4},
        {offsetof(SegmentHeader, parts), 0xffffffff, 4},
        {kPart + offsetof(Part, offset), 0, 8},                       // over the header itself
        {kPart + offsetof(Part, offset), 449, 8},                     // not aligned
        {kPart + offsetof(Part, bytes), 0, 8},
        {kPart + sizeof(Part) + offsetof(Part, offset), 448, 8},      // over the part before
        {kPart + sizeof(Part) + offsetof(Part, offset), ~63ULL, 8},   // far out
        {kPart + sizeof(Part) + offsetof(Part, bytes), ~63ULL, 8},    // wraps
        {kPart + sizeof(Part) + offsetof(Part, bytes), 1ULL << 39U, 8},
        {kPart + sizeof(Part) + offsetof(Part, bytes), 65, 8},        // no whole element
        {kPart + sizeof(Part) + offsetof(Part, bytes), 64 * 3, 8},    // no power of two
        {kPart + sizeof(Part) + offsetof(Part, element), 32, 4},
    };
    for (const Change& change : changes) {
        std::filesystem::remove_all(directory_);
        make_image();
        poke("image-1", change.offset, change.value, change.bytes);
        EXPECT_EQ(refused().code, Code::kDataLoss) << change.offset << " " << change.value;
    }
}

TEST_F(Segments, AHeaderThatDoesNotFitItsTablesIsRefused) {
    auto mine = make_image();
    mine->tables().header->backend_capacity *= 2;
    EXPECT_EQ(refused().code, Code::kFailedPrecondition);
    mine->tables().header->backend_capacity /= 2;
    EXPECT_TRUE(ImageSegment::open(directory_, 1, Access::kReadOnly));
    // Of another image, whose sizes differ.
    image::Capacities other;
    other.backends *= 2;
    ASSERT_TRUE(ImageSegment::create(directory_, 2, other));
    std::filesystem::rename(path("counts-2"), path("counts-1"));
    EXPECT_EQ(refused().code, Code::kDataLoss);
}

TEST_F(Segments, WhatOthersMayWriteIsRefused) {
    make_image();
    ASSERT_EQ(chmod(path("image-1").c_str(), 0666), 0);
    EXPECT_EQ(refused().code, Code::kPermissionDenied);
    std::filesystem::remove(path("image-1"));
    ASSERT_EQ(symlink("counts-1", path("image-1").c_str()), 0);
    EXPECT_EQ(refused().code, Code::kDataLoss);
    std::filesystem::remove(path("image-1"));
    ASSERT_EQ(mkfifo(path("image-1").c_str(), 0600), 0);
    EXPECT_EQ(refused().code, Code::kDataLoss);
    ASSERT_EQ(chmod(directory_.c_str(), 0777), 0);
    EXPECT_EQ(ImageSegment::create(directory_, 2, image::Capacities{}).error().code, Code::kPermissionDenied);
}

TEST_F(Segments, FlowsAreTakenOver) {
    {
        const auto first = FlowSegment::open_or_create(directory_, 2, 1000, 500, 4);
        ASSERT_TRUE(first) << first.error().to_string();
        EXPECT_FALSE((*first)->taken_over());
        const FlowMemory memory = (*first)->memory();
        EXPECT_EQ(memory.config->bucket_count4, 256U);
        EXPECT_EQ(memory.config->bucket_count6, 128U);
        EXPECT_NE(memory.config->seed, 0U);
        memory.buckets4[255].set.word[3] = 0xabcd0010U | SLUICE_FLOW_ESTABLISHED;
        memory.buckets4[255].entry[3].meta.backend = 99;
        // Died in the middle of two inserts.
        memory.buckets4[255].set.claim = 1;
        memory.buckets6[0].set.claim = 1;
        memory.buckets6[0].set.word[7] = 0x12340020U | SLUICE_FLOW_BUSY;
    }
    EXPECT_EQ(in_child([&] {
                  const auto next = FlowSegment::open_or_create(directory_, 2, 1024, 512, 4);
                  const FlowMemory memory = (*next)->memory();
                  return (*next)->taken_over() && (*next)->lcores() == 4 &&
                         memory.buckets4[255].set.word[3] == (0xabcd0010U | SLUICE_FLOW_ESTABLISHED) &&
                         memory.buckets4[255].entry[3].meta.backend == 99 && memory.buckets4[255].set.claim == 0 &&
                         memory.buckets6[0].set.claim == 0 && memory.buckets6[0].set.word[7] == 0x12340020U;
              }),
              0);
    const auto reader = FlowSegment::open_to_read(directory_, 2);
    ASSERT_TRUE(reader);
    EXPECT_EQ((*reader)->memory().buckets4[255].entry[3].meta.backend, 99U);
    EXPECT_THAT(list_flows(directory_), ElementsAre(2));
}

// Bytes of the mapping that `address` lies in that are mapped by huge pages; of /proc/self/smaps.
std::uint64_t huge_bytes_at(const void* address) {
    std::ifstream smaps("/proc/self/smaps");
    std::string line;
    bool inside = false;
    while (std::getline(smaps, line)) {
        unsigned long begin = 0, end = 0, kb = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
            const auto at = reinterpret_cast<std::uintptr_t>(address);
            inside = at >= begin && at < end;
        } else if (inside && std::sscanf(line.c_str(), "ShmemPmdMapped: %lu kB", &kb) == 1) {
            return kb * 1024;
        }
    }
    return 0;
}

// Whether this kernel makes huge pages of a tmpfs' memory when asked to (MADV_COLLAPSE, Linux 6.1).
bool kernel_collapses() {
    constexpr std::size_t kBytes = 2U << 20U;
    const Fd fd(memfd_create("probe", MFD_CLOEXEC));
    void* const all = mmap(nullptr, 2 * kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const auto at = (reinterpret_cast<std::uintptr_t>(all) + kBytes - 1) / kBytes * kBytes;
    auto* const place = reinterpret_cast<void*>(at);
    const bool can = ftruncate(fd.get(), kBytes) == 0 &&
                     mmap(place, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd.get(), 0) == place &&
                     madvise(place, kBytes, 23) == 0 && madvise(place, kBytes, 25) == 0;
    munmap(all, 2 * kBytes);
    return can;
}

TEST_F(Segments, FlowsLieInHugePages) {
    if (!kernel_collapses()) GTEST_SKIP() << "this kernel makes no huge pages of a tmpfs' memory (MADV_COLLAPSE)";
    constexpr std::uint32_t kFlows = 1U << 16U;  // 7 MiB of IPv4 and 13 of IPv6
    const std::uint64_t most_small = 2ULL << 20U;  // the last page is not whole
    for (const bool taken_over : {false, true}) {
        auto made = FlowSegment::open_or_create(directory_, 0, kFlows, kFlows, 1, kFlows);
        ASSERT_TRUE(made) << made.error().to_string();
        EXPECT_EQ((*made)->taken_over(), taken_over);
        const FlowMemory memory = (*made)->memory();
        EXPECT_GE(huge_bytes_at(memory.buckets6) + most_small,
                  memory.config->bucket_count4 * sizeof(sluice_flow_bucket4) +
                      memory.config->bucket_count6 * sizeof(sluice_flow_bucket6));
    }
}

TEST_F(Segments, FlowsOfOtherLcoresOrBrokenOnesBeginEmpty) {
    const auto begins_empty = [&](std::uint32_t flows4, std::uint32_t lcores) {
        const auto opened = FlowSegment::open_or_create(directory_, 0, flows4, 64, lcores);
        ASSERT_TRUE(opened) << opened.error().to_string();
        EXPECT_FALSE((*opened)->taken_over());
        EXPECT_EQ((*opened)->memory().buckets4[0].set.word[0], 0U);
        (*opened)->memory().buckets4[0].set.word[0] = 1;
    };
    begins_empty(128, 1);
    begins_empty(128, 2);
    poke("flows-0", offsetof(SegmentHeader, magic), 1, 8);
    begins_empty(128, 2);
    std::filesystem::resize_file(path("flows-0"), 4096);
    begins_empty(128, 2);
    {
        const auto opened = FlowSegment::open_or_create(directory_, 0, 128, 64, 2);
        ASSERT_TRUE((*opened)->taken_over());
        (*opened)->memory().config->bucket_count4 = 1U << 30U;
    }
    EXPECT_EQ(FlowSegment::open_to_read(directory_, 0).error().code, Code::kDataLoss);
    begins_empty(128, 2);
    ASSERT_TRUE(remove_flows(directory_, 0));
    EXPECT_EQ(FlowSegment::open_to_read(directory_, 0).error().code, Code::kNotFound);
    EXPECT_EQ(FlowSegment::open_or_create(directory_, 0, 63, 64).error().code, Code::kInvalidArgument);
    EXPECT_EQ(FlowSegment::open_or_create(directory_, 0, 64, (1U << 26U) + 1).error().code, Code::kInvalidArgument);
    EXPECT_EQ(FlowSegment::open_or_create(directory_, 0, 128, 64, 1, 64).error().code, Code::kInvalidArgument);
}

// A lower limit than before ends no connection: it is for what is made from there on.
TEST_F(Segments, FlowsBeyondTheLimitAreTakenOver) {
    constexpr std::uint32_t kFlow = 0x12340010U | SLUICE_FLOW_ESTABLISHED;
    {
        const auto first = FlowSegment::open_or_create(directory_, 0, 128, 128).value();
        first->memory().buckets4[31].set.word[3] = kFlow;
        ASSERT_TRUE(first->begin_growth(true, true));
        first->move();
        first->memory().buckets6[63].set.word[3] = kFlow;
    }
    const auto next = FlowSegment::open_or_create(directory_, 0, 64, 64, 1, 64).value();
    EXPECT_TRUE(next->taken_over());
    const FlowMemory memory = next->memory();
    ASSERT_EQ(memory.mode, SLUICE_FLOW_MOVE);
    EXPECT_EQ(memory.config->bucket_count6, 64U);
    EXPECT_EQ(memory.buckets6[63].set.word[3], kFlow);
    EXPECT_EQ(memory.other.buckets4[31].set.word[3], kFlow);
}

// Each of these is where an engine may die, and where its successor begins.
TEST_F(Segments, AGrowthGoesOnWhereItWasLeft) {
    constexpr std::uint32_t kOld = 0xabcd0010U | SLUICE_FLOW_ESTABLISHED;
    constexpr std::uint32_t kMoved = 0x12340020U | SLUICE_FLOW_ESTABLISHED;
    const auto open = [&] { return FlowSegment::open_or_create(directory_, 3, 64, 128, 4).value(); };
    {
        const auto first = open();
        first->memory().buckets4[15].set.word[3] = kOld;
        ASSERT_TRUE(first->begin_growth(true, false));
        const FlowMemory memory = first->memory();
        EXPECT_EQ(memory.mode, SLUICE_FLOW_BESIDE);
        EXPECT_EQ(memory.config->bucket_count4, 16U);
        EXPECT_EQ(memory.other.config->bucket_count4, 32U);
        EXPECT_EQ(memory.other.config->bucket_count6, 32U) << "as large as it was";
        EXPECT_EQ(memory.other.config->seed, memory.config->seed);
    }
    {
        // Nothing can be in the larger table yet.
        const auto second = open();
        EXPECT_TRUE(second->taken_over());
        EXPECT_EQ(second->memory().mode, SLUICE_FLOW_ALONE);
        EXPECT_FALSE(std::filesystem::exists(path("larger-flows-3")));
        ASSERT_TRUE(second->begin_growth(true, true));
        second->move();
        const FlowMemory memory = second->memory();
        EXPECT_EQ(memory.mode, SLUICE_FLOW_MOVE);
        EXPECT_EQ(memory.config->bucket_count6, 64U);
        EXPECT_EQ(memory.other.buckets4[15].set.word[3], kOld);
        memory.buckets4[31].set.word[0] = kMoved;
        memory.buckets4[31].set.claim = 1;
    }
    {
        const auto reader = FlowSegment::open_to_read(directory_, 3).value();
        EXPECT_EQ(reader->memory().mode, SLUICE_FLOW_MOVE);
        EXPECT_EQ(reader->memory().other.buckets4[15].set.word[3], kOld);
        const auto third = open();
        EXPECT_TRUE(third->taken_over());
        EXPECT_EQ(third->memory().mode, SLUICE_FLOW_MOVE);
        EXPECT_EQ(third->memory().buckets4[31].set.word[0], kMoved);
        EXPECT_EQ(third->memory().buckets4[31].set.claim, 0U);
        EXPECT_EQ(third->memory().other.buckets4[15].set.word[3], kOld);
        ASSERT_TRUE(third->end_growth());
        EXPECT_EQ(third->memory().mode, SLUICE_FLOW_ALONE);
        EXPECT_EQ(third->memory().other.config, nullptr);
        EXPECT_EQ(reader->memory().other.buckets4[15].set.word[3], kOld) << "mapped as long as it is read";
        third->forget_smaller();
    }
    // Died between the two parts of its end.
    FlowSegment::open_or_create(directory_, 3, 64, 128, 4).value()->memory().config->mode = SLUICE_FLOW_MOVE;
    const auto last = open();
    EXPECT_TRUE(last->taken_over());
    EXPECT_EQ(last->memory().mode, SLUICE_FLOW_ALONE);
    EXPECT_EQ(last->memory().config->bucket_count4, 32U);
    EXPECT_EQ(last->memory().buckets4[31].set.word[0], kMoved);
    EXPECT_THAT(list_flows(directory_), ElementsAre(3));
}

TEST_F(Segments, WithoutRoomForALargerTableNothingChanges) {
    ASSERT_EQ(mkdir(directory_.c_str(), 0700), 0);
    if (mount("tmpfs", directory_.c_str(), "tmpfs", 0, "size=256k,mode=0700") != 0) {
        GTEST_SKIP() << "needs CAP_SYS_ADMIN for a small tmpfs";
    }
    {
        const auto flows = FlowSegment::open_or_create(directory_, 0, 1024, 64).value();
        flows->memory().buckets4[0].set.word[0] = 0x10U | SLUICE_FLOW_ESTABLISHED;
        const auto grown = flows->begin_growth(true, false);
        EXPECT_EQ(grown ? Code::kUnknown : grown.error().code, Code::kResourceExhausted);
        EXPECT_EQ(flows->memory().mode, SLUICE_FLOW_ALONE);
        EXPECT_EQ(flows->memory().buckets4[0].set.word[0], 0x10U | SLUICE_FLOW_ESTABLISHED);
        EXPECT_FALSE(std::filesystem::exists(path("larger-flows-0")));
    }
    EXPECT_EQ(umount(directory_.c_str()), 0);
}

// A client in any bucket: its place is found anew in the larger table.
void remember(const SharedMemory& memory, std::uint32_t client, std::uint32_t backend) {
    const std::uint32_t bucket = client / SLUICE_AFFINITY_WAYS;
    const std::uint32_t slot = client % SLUICE_AFFINITY_WAYS;
    sluice_affinity& entry = memory.affinity[bucket].entry[slot];
    entry = {};
    entry.client.word_be[3] = client;
    entry.service = 1;
    entry.backend = backend;
    entry.timeout = 1U << 20U;
    memory.affinity[bucket].word[slot] =
        std::uint64_t{shared_now().affinity_time} << SLUICE_AFFINITY_USED_SHIFT | SLUICE_AFFINITY_LIVE;
}
// Backends by client.
std::map<std::uint32_t, std::uint32_t> remembered(const SharedMemory& memory) {
    std::map<std::uint32_t, std::uint32_t> out;
    for (std::uint32_t i = 0; i < memory.affinity_config->bucket_count; ++i) {
        for (std::uint32_t slot = 0; slot < SLUICE_AFFINITY_WAYS; ++slot) {
            if ((memory.affinity[i].word[slot] & SLUICE_AFFINITY_STATE_MASK) != SLUICE_AFFINITY_LIVE) continue;
            const sluice_affinity& entry = memory.affinity[i].entry[slot];
            EXPECT_TRUE(out.emplace(entry.client.word_be[3], entry.backend).second) << "known twice";
        }
    }
    return out;
}

TEST_F(Segments, ALargerAffinityTableKnowsAllClientsAndThoseThatCameMeanwhile) {
    const auto shared = SharedSegment::open_or_create(directory_, 1024).value();
    const SharedMemory before = shared->memory();
    before.affinity_config->seed = 77;  // by which no bucket gets more than it holds
    std::map<std::uint32_t, std::uint32_t> expected;
    for (std::uint32_t client = 0; client < 400; ++client) remember(before, client, expected[client] = client % 50);
    for (int growth = 0; growth < 2; ++growth) {
        const SharedMemory smaller = shared->memory();
        ASSERT_TRUE(shared->begin_growth());
        EXPECT_EQ(shared->memory().affinity, smaller.affinity) << "until it knows all";
        const auto remember_late = [&](std::uint32_t client) {
            std::uint32_t free = 1023;
            while ((smaller.affinity[free / 8].word[free % 8] & SLUICE_AFFINITY_STATE_MASK) != SLUICE_AFFINITY_FREE) {
                --free;
            }
            remember(smaller, free, 0);
            smaller.affinity[free / 8].entry[free % 8].client.word_be[3] = client;
            smaller.affinity[free / 8].entry[free % 8].backend = expected[client] = 77;
        };
        // While the larger one was made.
        remember_late(static_cast<std::uint32_t>(2000 + growth));
        shared->move();
        const SharedMemory larger = shared->memory();
        EXPECT_EQ(larger.affinity_config->bucket_count, smaller.affinity_config->bucket_count * 2);
        EXPECT_EQ(larger.affinity_config->seed, smaller.affinity_config->seed) << "lcores are chosen by it";
        EXPECT_EQ(larger.datagrams, before.datagrams) << "fragments on their way are known in one place";
        EXPECT_EQ(remembered(larger), expected);
        // By a lcore that has not seen the larger one yet.
        remember_late(static_cast<std::uint32_t>(1000 + growth));
        EXPECT_EQ(shared->end_growth().value(), 1U);
        EXPECT_EQ(remembered(larger), expected);
        shared->forget_smaller();
        EXPECT_FALSE(std::filesystem::exists(path("larger-shared")));
    }
    EXPECT_EQ(SharedSegment::open_or_create(directory_, 1024).value()->memory().affinity_config->bucket_count, 512U);
}

TEST_F(Segments, AffinityThatWasGrowingIsPutTogetherByTheNext) {
    std::map<std::uint32_t, std::uint32_t> expected;
    {
        const auto shared = SharedSegment::open_or_create(directory_, 1024).value();
        shared->memory().affinity_config->seed = 77;
        for (std::uint32_t client = 0; client < 400; ++client) remember(shared->memory(), client, expected[client] = 3);
        const SharedMemory smaller = shared->memory();
        ASSERT_TRUE(shared->begin_growth());
        // Of two lcores each knew one table.
        remember(smaller, 900, expected[900] = 4);
    }
    const auto next = SharedSegment::open_or_create(directory_, 1024).value();
    EXPECT_TRUE(next->taken_over());
    EXPECT_EQ(next->memory().affinity_config->bucket_count, 256U);
    EXPECT_EQ(remembered(next->memory()), expected);
    EXPECT_FALSE(std::filesystem::exists(path("larger-shared")));
}

TEST_F(Segments, AffinityIsTakenOverAndItsSeedStays) {
    std::uint64_t seed = 0;
    {
        const auto first = SharedSegment::open_or_create(directory_, 1000);
        ASSERT_TRUE(first) << first.error().to_string();
        EXPECT_FALSE((*first)->taken_over());
        const SharedMemory memory = (*first)->memory();
        EXPECT_EQ(memory.affinity_config->bucket_count, 128U);
        seed = memory.affinity_config->seed;
        EXPECT_NE(seed, 0U);
        memory.affinity[127].entry[7].backend = 5;
    }
    const auto next = SharedSegment::open_or_create(directory_, 1024);
    ASSERT_TRUE(next);
    EXPECT_TRUE((*next)->taken_over());
    EXPECT_EQ((*next)->memory().affinity_config->seed, seed);
    EXPECT_EQ((*next)->memory().affinity[127].entry[7].backend, 5U);
    EXPECT_TRUE(SharedSegment::open_to_read(directory_));
    // A lower limit is for what is made from there on.
    const auto limited = SharedSegment::open_or_create(directory_, 512, 1, 512);
    ASSERT_TRUE(limited);
    EXPECT_TRUE((*limited)->taken_over());
    EXPECT_EQ((*limited)->memory().affinity_config->seed, seed);
    EXPECT_EQ((*limited)->memory().affinity[127].entry[7].backend, 5U);
}

// By the seed frames are given to lcores: with another one, flows would lie where nobody looks for them, and be made
// once more elsewhere.
TEST_F(Segments, FlowsOfSeveralLcoresEndWithTheSeedThatSpreadThem) {
    const auto make = [&](std::uint32_t lcores) {
        ASSERT_TRUE(SharedSegment::open_or_create(directory_, 64, lcores));
        for (std::uint32_t lcore = 0; lcore < lcores; ++lcore) {
            const auto flows = FlowSegment::open_or_create(directory_, lcore, 64, 64, lcores).value();
            flows->memory().buckets4[0].set.word[0] = 0x10U | SLUICE_FLOW_ESTABLISHED;
            if (lcore == 0) {
                ASSERT_TRUE(flows->begin_growth(true, true));
                flows->move();
            }
        }
    };
    const auto taken_over = [&](std::uint32_t lcore, std::uint32_t lcores) {
        return FlowSegment::open_or_create(directory_, lcore, 64, 64, lcores).value()->taken_over();
    };
    make(2);
    EXPECT_TRUE(SharedSegment::open_or_create(directory_, 64, 2).value()->taken_over());
    EXPECT_TRUE(taken_over(0, 2) && taken_over(1, 2));
    poke("shared", offsetof(SegmentHeader, magic), 1, 8);
    EXPECT_FALSE(SharedSegment::open_or_create(directory_, 64, 2).value()->taken_over());
    EXPECT_FALSE(taken_over(0, 2) || taken_over(1, 2));
    // Gone, as if somebody had removed it.
    make(2);
    ASSERT_EQ(unlink(path("shared").c_str()), 0);
    ASSERT_TRUE(SharedSegment::open_or_create(directory_, 64, 2));
    EXPECT_FALSE(taken_over(0, 2) || taken_over(1, 2));
    ASSERT_TRUE(remove_flows(directory_, 1));
    make(1);
    poke("shared", offsetof(SegmentHeader, magic), 1, 8);
    EXPECT_FALSE(SharedSegment::open_or_create(directory_, 64).value()->taken_over());
    EXPECT_TRUE(taken_over(0, 1)) << "one lcore has all frames, whatever the seed";
}

TEST_F(Segments, OneEngineHasADirectory) {
    auto lock = lock_state_directory(directory_);
    ASSERT_TRUE(lock) << lock.error().to_string();
    EXPECT_EQ(in_child([&] { return lock_state_directory(directory_).error().code == Code::kFailedPrecondition; }), 0);
    EXPECT_TRUE(state_directory_in_use(directory_));
    make_image();
    EXPECT_EQ(remove_state_directory(directory_).error().code, Code::kFailedPrecondition);
    EXPECT_TRUE(ImageSegment::open(directory_, 1, Access::kReadOnly));
    *lock = Fd();
    EXPECT_FALSE(state_directory_in_use(directory_));
    EXPECT_EQ(in_child([&] { return lock_state_directory(directory_).has_value(); }), 0);
}

TEST_F(Segments, AllOfADirectoryIsRemovedButWhatIsNotOurs) {
    EXPECT_THAT(remove_state_directory(directory_).value(), IsEmpty());
    make_image();
    ASSERT_TRUE(set_current_image(directory_, 1));
    ASSERT_TRUE(FlowSegment::open_or_create(directory_, 0, 64, 64));
    ASSERT_TRUE(SharedSegment::open_or_create(directory_, 64));
    std::ofstream(path("notes")) << "mine";
    EXPECT_THAT(remove_state_directory(directory_).value(),
                ElementsAre(path("counts-1"), path("current"), path("flows-0"), path("image-1"), path("shared")));
    EXPECT_TRUE(std::filesystem::exists(path("notes")));
    std::filesystem::remove(path("notes"));
    EXPECT_THAT(remove_state_directory(directory_).value(), ElementsAre(directory_));
    EXPECT_FALSE(std::filesystem::exists(directory_));
}

TEST_F(Segments, AFullFileSystemIsAnErrorAndLeavesNothing) {
    ASSERT_EQ(mkdir(directory_.c_str(), 0700), 0);
    if (mount("tmpfs", directory_.c_str(), "tmpfs", 0, "size=256k,mode=0700") != 0) {
        GTEST_SKIP() << "mounting needs root";
    }
    const auto made = ImageSegment::create(directory_, 1, image::Capacities{});
    EXPECT_FALSE(made);
    EXPECT_EQ(made ? Code::kUnknown : made.error().code, Code::kResourceExhausted);
    const auto flows = FlowSegment::open_or_create(directory_, 0, 1U << 20U, 64);
    EXPECT_EQ(flows ? Code::kUnknown : flows.error().code, Code::kResourceExhausted);
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
    EXPECT_EQ(umount(directory_.c_str()), 0);
}

TEST(SharedClock, DoesNotGoBack) {
    const Now first = shared_now();
    const Now second = shared_now();
    EXPECT_LE(second.affinity_time - first.affinity_time, 64U);
    EXPECT_LE(static_cast<std::uint16_t>(second.tick - first.tick), 16U);
}

}  // namespace
}  // namespace sluice::dpdk
