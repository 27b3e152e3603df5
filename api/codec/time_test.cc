// Expectations: date(1) for the seconds, Go's documentation of time for texts and errors.
#include "api/codec/time.h"

#include <gtest/gtest.h>

#include <limits>

namespace sluice::codec {
namespace {

TEST(Time, SecondsOfKnownInstants) {
    struct Row {
        const char* text;
        std::int64_t seconds;
    };
    for (const auto& row : {Row{"1970-01-01T00:00:00Z", 0}, Row{"2000-02-29T12:34:56Z", 951'827'696},
                            Row{"1969-12-31T23:59:59Z", -1}, Row{"2038-01-19T03:14:08Z", 2'147'483'648},
                            Row{"1900-03-01T00:00:00Z", -2'203'891'200},
                            Row{"0001-01-01T00:00:00Z", kMinTimeSeconds},
                            Row{"9999-12-31T23:59:59Z", kMaxTimeSeconds}}) {
        EXPECT_EQ(parse_time(row.text)->seconds, row.seconds) << row.text;
        EXPECT_EQ(format_time(row.seconds), row.text);
    }
}

TEST(Time, OffsetsAndFractions) {
    EXPECT_EQ(*parse_time("1970-01-01T01:30:00+01:30"), (Timestamp{0, 0}));
    EXPECT_EQ(*parse_time("1969-12-31T19:00:00-05:00"), (Timestamp{0, 0}));
    EXPECT_EQ(*parse_time("1970-01-01T00:00:00.25Z"), (Timestamp{0, 250'000'000}));
    EXPECT_EQ(*parse_time("1970-01-01T00:00:00.1234567899Z"), (Timestamp{0, 123'456'789}));
    EXPECT_EQ(*parse_micro_time("1970-01-01T00:00:01.000012Z"), (Timestamp{1, 12'000}));
    EXPECT_EQ(format_micro_time({1, 12'999}), "1970-01-01T00:00:01.000012Z");
}

TEST(Time, Refusals) {
    for (const char* text :
         {"", "2026", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
          "2026-01-32T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
          "2026-01-01T00:00:60Z", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00z",
          "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00+0100", "2026-01-01T00:00:00.Z",
          "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "-026-01-01T00:00:00Z",
          "2026-01-01T00:00:00+25:00"}) {
        EXPECT_FALSE(parse_time(text).has_value()) << text;
    }
    for (const char* text : {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00.00001Z",
                             "1970-01-01T00:00:00.0000001Z"}) {
        EXPECT_FALSE(parse_micro_time(text).has_value()) << text;
    }
    EXPECT_EQ(parse_time("2026-02-30T00:00:00Z").error().message,
              R"(parsing time "2026-02-30T00:00:00Z": day out of range)");
}

TEST(Duration, TextsOfGo) {
    struct Row {
        const char* text;
        std::int64_t ns;
    };
    constexpr std::int64_t kSecond = 1'000'000'000;
    for (const auto& row :
         {Row{"0s", 0}, Row{"1ns", 1}, Row{"1.1\xC2\xB5s", 1'100}, Row{"2.2ms", 2'200'000},
          Row{"3.3s", 3'300'000'000}, Row{"4m5s", 245 * kSecond}, Row{"4m5.001s", 245'001'000'000},
          Row{"5h6m7.001s", 18'367'001'000'000}, Row{"8m0.000000001s", 480'000'000'001},
          Row{"-1h0m0s", -3'600 * kSecond},
          Row{"2562047h47m16.854775807s", std::numeric_limits<std::int64_t>::max()}}) {
        EXPECT_EQ(format_duration_ns(row.ns), row.text);
        EXPECT_EQ(*parse_duration_ns(row.text), row.ns) << row.text;
    }
    EXPECT_EQ(format_duration_ns(std::numeric_limits<std::int64_t>::min()),
              "-2562047h47m16.854775808s");
    EXPECT_EQ(*parse_duration_ns("1.5h"), 5'400 * kSecond);
    EXPECT_EQ(*parse_duration_ns("+5s"), 5 * kSecond);
    EXPECT_EQ(*parse_duration_ns("1us"), 1'000);
    EXPECT_EQ(*parse_duration_ns(".5s"), kSecond / 2);
    EXPECT_EQ(*parse_duration_ns("0"), 0);
    for (const char* text : {"", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "\x85\x85", "1e3s",
                             "3000000h", "9223372036854775810ns", "1h 2m"}) {
        EXPECT_FALSE(parse_duration_ns(text).has_value()) << text;
    }
}

}  // namespace
}  // namespace sluice::codec
