// Logs as runtimes write them, and what clients get to see.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <utility>

#include "control/kubelet/logs/cri_log.h"
#include "control/kubelet/logs/log_reader.h"
#include "control/kubelet/logs/log_watch.h"

namespace sluice::kubelet::logs {
namespace {

class Logs : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "logs-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        path_ = folder_ + "/0.log";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    void append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }

    // All that is there now.
    static std::string drain(LogReader& reader) {
        std::string out;
        while (true) {
            const auto state = reader.read(&out);
            EXPECT_TRUE(state);
            if (!state || *state != LogReader::State::kMore) return out;
        }
    }
    std::string all(const ReadOptions& options = {}) {
        auto reader = LogReader::open(path_, options);
        EXPECT_TRUE(reader) << reader.error().message;
        return drain(*reader);
    }

    std::string folder_;
    std::string path_;
};

// Three whole lines, the second in three parts.
constexpr const char* kThree =
    "2026-01-02T03:04:05.000000001Z stdout F one\n"
    "2026-01-02T03:04:06.000000002Z stderr P tw\n"
    "2026-01-02T03:04:06.000000003Z stderr P o-\n"
    "2026-01-02T03:04:06.000000004Z stderr F two\n"
    "2026-01-02T03:04:07.5Z stdout F three\n";

TEST_F(Logs, PartsAreJoined) {
    append(kThree);
    EXPECT_EQ(all(), "one\ntwo-two\nthree\n");
}

TEST_F(Logs, TimestampsOncePerLine) {
    append(kThree);
    ReadOptions options;
    options.timestamps = true;
    EXPECT_EQ(all(options),
              "2026-01-02T03:04:05.000000001Z one\n"
              "2026-01-02T03:04:06.000000002Z two-two\n"
              "2026-01-02T03:04:07.5Z three\n");
}

TEST_F(Logs, TailCountsWhatWasPrintedAsOneLine) {
    append(kThree);
    const std::vector<std::string> expected = {"", "three\n", "two-two\nthree\n",
                                               "one\ntwo-two\nthree\n",
                                               "one\ntwo-two\nthree\n"};
    for (std::size_t i = 0; i < expected.size(); ++i) {
        ReadOptions options;
        options.tail_lines = static_cast<std::int64_t>(i);
        EXPECT_EQ(all(options), expected[i]) << i;
    }
}

TEST_F(Logs, TailOfALargeLog) {
    std::string text;
    for (int i = 0; i < 40'000; ++i) {
        text += "2026-01-02T03:04:05Z stdout F line " + std::to_string(i) + "\n";
    }
    append(text);
    ReadOptions options;
    options.tail_lines = 5'000;
    std::string expected;
    for (int i = 35'000; i < 40'000; ++i) expected += "line " + std::to_string(i) + "\n";
    EXPECT_EQ(all(options), expected);
}

TEST_F(Logs, SinceLimitAndStreams) {
    append(kThree);
    ReadOptions since;
    since.since_ns = *parse_time_ns("2026-01-02T04:04:06+01:00");
    EXPECT_EQ(all(since), "two-two\nthree\n");
    ReadOptions limit;
    limit.limit_bytes = 6;
    EXPECT_EQ(all(limit), "one\ntw");
    ReadOptions only_stderr;
    only_stderr.want_stdout = false;
    EXPECT_EQ(all(only_stderr), "two-two\n");
}

TEST_F(Logs, FollowsAcrossRotation) {
    append("2026-01-02T03:04:05Z stdout F old\n");
    auto reader = LogReader::open(path_, {});
    ASSERT_TRUE(reader);
    EXPECT_EQ(drain(*reader), "old\n");
    append("2026-01-02T03:04:06Z stdout F half");
    EXPECT_EQ(drain(*reader), "");
    append(" and half\n");
    EXPECT_EQ(drain(*reader), "half and half\n");
    append("2026-01-02T03:04:07Z stdout F last of the old\n");
    std::filesystem::rename(path_, path_ + ".20260102-030408");
    EXPECT_EQ(drain(*reader), "last of the old\n");
    append("2026-01-02T03:04:09Z stdout F new\n");
    EXPECT_EQ(drain(*reader), "new\n");
}

TEST_F(Logs, LinesWithoutEndHoldLittle) {
    const std::string long_text(5 * kMaxLineBytes + 17, 'x');
    append("2026-01-02T03:04:05Z stdout F " + long_text + "\n2026-01-02T03:04:05Z stdout F next\n");
    EXPECT_EQ(all(), long_text + "\nnext\n");
    ReadOptions only_stderr;
    only_stderr.want_stdout = false;
    EXPECT_EQ(all(only_stderr), "");
}

TEST_F(Logs, OtherLinesAreLeftOut) {
    append("garbage\n\n2026-01-02T03:04:05Z stdin F x\n2026-01-02T03:04:05Z stdout F good\n");
    EXPECT_EQ(all(), "good\n");
    EXPECT_FALSE(LogReader::open(folder_ + "/none.log", {}));
}

TEST_F(Logs, WatchTellsOfWrites) {
    append("");
    auto watch = LogWatch::create();
    ASSERT_TRUE(watch);
    ASSERT_TRUE((*watch)->start(path_));
    const auto seen = (*watch)->changes(path_);
    std::promise<void> told;
    (*watch)->wait(path_, seen, [&] { told.set_value(); });
    append("x");
    told.get_future().wait();
    while ((*watch)->changes(path_) == seen) {
    }
    // What was missed is told at once.
    bool at_once = false;
    (*watch)->wait(path_, seen, [&] { at_once = true; });
    EXPECT_TRUE(at_once);
    (*watch)->stop(path_);
    EXPECT_FALSE((*watch)->start(folder_ + "/none/0.log"));
}

TEST(Times, AreReadAsGoReadsThem) {
    EXPECT_EQ(*parse_time_ns("1970-01-01T00:00:01Z"), 1'000'000'000);
    EXPECT_EQ(*parse_time_ns("1970-01-01T01:00:00.25+01:00"), 250'000'000);
    EXPECT_EQ(*parse_time_ns("2024-02-29T00:00:00Z"), 1'709'164'800'000'000'000);
    for (const char* bad : {"", "today", "2023-02-29T00:00:00Z", "2024-01-01T00:00:00",
                            "2024-01-01T00:00:00.Z", "2024-01-01T24:00:00Z",
                            "2024-01-01T00:00:00Zx", "9999-01-01T00:00:00Z"}) {
        EXPECT_FALSE(parse_time_ns(bad)) << bad;
    }
}

}  // namespace
}  // namespace sluice::kubelet::logs
