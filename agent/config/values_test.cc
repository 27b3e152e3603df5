#include "agent/config/values.h"

#include <gtest/gtest.h>

#include <limits>

namespace sluice::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(ConfigDuration, GoSpellingsAreUnderstood) {
    const std::pair<const char*, std::int64_t> cases[] = {
        {"0", 0},          {"0s", 0},           {"30s", 30'000'000'000},  {"1m30s", 90'000'000'000},
        {"2h22m", 8'520'000'000'000}, {"250ms", 250'000'000}, {"1.5h", 5'400'000'000'000}, {"-1s", -1'000'000'000},
        {"10us", 10'000},  {"3\u00b5s", 3'000}, {".5s", 500'000'000},     {"7ns", 7},
        {"1.1s", 1'100'000'000}, {"0.7ms", 700'000},
        {"-2562047h47m16.854775808s", std::numeric_limits<std::int64_t>::min()}};
    for (const auto& [text, ns] : cases) {
        const auto duration = parse_duration(text);
        ASSERT_TRUE(duration) << text;
        EXPECT_EQ(duration->count(), ns) << text;
    }
}

TEST(ConfigDuration, AnythingElseIsRefused) {
    for (const char* text : {"", "-", "30", "s", "1 s", "1s ", "1d", "1.2.3s", "1e3s", "300000h0h9999999h", "0x1s",
                             "2562047h47m16.854775808s"}) {
        EXPECT_FALSE(parse_duration(text)) << text;
    }
}

TEST(ConfigDuration, IsWrittenAsGoWritesIt) {
    const std::pair<std::int64_t, const char*> cases[] = {
        {0, "0s"}, {30'000'000'000, "30s"}, {900'000'000'000, "15m0s"}, {86'400'000'000'000, "24h0m0s"},
        {250'000'000, "250ms"}, {1'500'000'000, "1.5s"}, {-90'000'000'000, "-1m30s"}, {7, "7ns"}, {1'500, "1.5\u00b5s"}};
    for (const auto& [ns, text] : cases) EXPECT_EQ(format_duration(Duration(ns)), text);
}

TEST(ConfigValues, NumbersBeyondTheirTypeAreRefusedWithTheRange) {
    std::int32_t value = 7;
    const auto read = from_text("2147483648", &value);
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message.find("2147483647"), std::string::npos);
    EXPECT_EQ(value, 7);
    std::uint32_t natural = 0;
    EXPECT_FALSE(from_text("-1", &natural));
    EXPECT_FALSE(from_text("1x", &natural));
    EXPECT_TRUE(from_text("4294967295", &natural));
}

TEST(ConfigValues, ListsAndGatesAreSplitAtCommas) {
    std::vector<std::string> list;
    ASSERT_TRUE(from_text("10.0.0.0/8,fd00::/8", &list));
    ASSERT_TRUE(from_text("192.0.2.0/24", &list));
    EXPECT_EQ(list, (std::vector<std::string>{"10.0.0.0/8", "fd00::/8", "192.0.2.0/24"}));
    FeatureGates gates;
    ASSERT_TRUE(from_text("A=true,B=false", &gates));
    EXPECT_EQ(gates, (FeatureGates{{"A", true}, {"B", false}}));
    EXPECT_FALSE(from_text("A", &gates));
}

TEST(ConfigValues, AListOfTooManyEntriesIsRefused) {
    std::string text;
    for (std::size_t i = 0; i <= kMaxEntries; ++i) text += "x,";
    std::vector<std::string> list;
    EXPECT_FALSE(from_text(text, &list));
}

}  // namespace
}  // namespace sluice::config
