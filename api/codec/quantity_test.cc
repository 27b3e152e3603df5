// Expectations: the grammar, rules and examples in the documentation of Kubernetes' package resource.
#include "api/codec/quantity.h"

#include <gtest/gtest.h>

#include <limits>

namespace sluice::codec {
namespace {

std::string canonical(std::string_view text) {
    const auto quantity = Quantity::parse(text);
    return quantity ? quantity->to_string() : "error: " + quantity.error().message;
}

struct Row {
    const char* text;
    const char* canonical;
};

class QuantityText : public testing::TestWithParam<Row> {};

TEST_P(QuantityText, IsCanonical) {
    EXPECT_EQ(canonical(GetParam().text), GetParam().canonical) << GetParam().text;
    // A canonical text stays as it is.
    EXPECT_EQ(canonical(GetParam().canonical), GetParam().canonical);
}

INSTANTIATE_TEST_SUITE_P(
    Table, QuantityText,
    testing::Values(
        Row{"0", "0"}, Row{"0.0", "0"}, Row{"-0", "0"}, Row{"0Ki", "0"}, Row{"000", "0"},
        Row{"1", "1"}, Row{"+1", "1"}, Row{"-1", "-1"}, Row{"1.0", "1"}, Row{"1.", "1"},
        Row{".5", "500m"}, Row{"007", "7"}, Row{"1.5", "1500m"}, Row{"1500m", "1500m"},
        Row{"1000m", "1"}, Row{"2000", "2k"}, Row{"1000000", "1M"}, Row{"1234", "1234"},
        Row{"0.5Gi", "512Mi"}, Row{"1.5Gi", "1536Mi"}, Row{"1024Ki", "1Mi"}, Row{"1Ki", "1Ki"},
        Row{"0.5Ki", "512"}, Row{"1000Ki", "1000Ki"}, Row{"1023Mi", "1023Mi"}, Row{"1024Mi", "1Gi"},
        Row{"0.1Gi", "107374182400m"}, Row{"-1024Ki", "-1Mi"}, Row{"1e3", "1e3"}, Row{"1E3", "1e3"},
        Row{"12e6", "12e6"}, Row{"1e0", "1"}, Row{"1e1", "10"}, Row{"1.5e3", "1500"},
        Row{"1e-3", "1e-3"}, Row{"1e+3", "1e3"}, Row{"100e3", "100e3"}, Row{"1000e3", "1e6"},
        Row{"1E", "1E"}, Row{"1000P", "1E"}, Row{"1000E", "1e21"}, Row{"1n", "1n"},
        Row{"0.1n", "1n"}, Row{"0.9n", "1n"}, Row{"-0.1n", "-1n"}, Row{"1.1n", "2n"},
        Row{"1e-100", "1e-9"}, Row{"1u", "1u"}, Row{"1000u", "1m"}, Row{"1.2345", "1234500u"},
        Row{"123456789.123456789", "123456789123456789n"},
        Row{"123456789.1234567891", "123456789123456790n"},
        Row{"9223372036854775807", "9223372036854775807"},
        Row{"18446744073709551616", "18446744073709551616"},
        Row{"8Ei", "9223372036854775807"}, Row{"7Ei", "7Ei"}, Row{"1Ei", "1Ei"},
        Row{"99999999999999999999Ki", "9223372036854775807"},
        Row{"0.0001Ki", "102400u"}));

TEST(Quantity, RefusesWhatIsNone) {
    for (const char* text : {"", " ", "1 ", " 1", "m", "Ki", ".", "+", "-", "--1", "1.2.3", "1,5", "0x1",
                             "1KB", "1kI", "1ki", "1K", "1g", "1e", "1e1.5", "1em", "1mi", "1MiB",
                             "1e3Ki", "NaN", "inf", "1_000", "\xC2\xB5", "1e+", "1i"}) {
        const auto quantity = Quantity::parse(text);
        ASSERT_FALSE(quantity.has_value()) << text;
        EXPECT_EQ(quantity.error().code, Code::kInvalidArgument) << text;
    }
    EXPECT_EQ(canonical("1ki"), "error: unable to parse quantity's suffix");
    EXPECT_EQ(canonical("abc"),
              "error: quantities must match the regular expression "
              "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

TEST(Quantity, LimitsHold) {
    EXPECT_EQ(Quantity::parse("1e29").error().code, Code::kOutOfRange);
    EXPECT_EQ(Quantity::parse("1e99999999999999999999").error().code, Code::kOutOfRange);
    EXPECT_EQ(canonical("0e99999999999999999999"), "0");
    EXPECT_EQ(canonical("1e-99999999999999999999"), "1e-9");
    EXPECT_EQ(Quantity::parse(std::string(kMaxQuantityLength + 1, '1')).error().code,
              Code::kInvalidArgument);
    EXPECT_EQ(canonical("0." + std::string(kMaxQuantityLength - 3, '0') + "1"), "1n");
}

TEST(Quantity, UnitsAndMilliRoundUp) {
    const auto parsed = [](std::string_view text) { return *Quantity::parse(text); };
    EXPECT_EQ(parsed("1.5").units(), 2);
    EXPECT_EQ(parsed("-1.5").units(), -1);
    EXPECT_EQ(parsed("1.5").milli(), 1500);
    EXPECT_EQ(parsed("1n").milli(), 1);
    EXPECT_EQ(parsed("512Mi").units(), 536'870'912);
    EXPECT_EQ(parsed("1e20").units(), std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(parsed("-1e20").units(), std::numeric_limits<std::int64_t>::min());
}

TEST(Quantity, ArithmeticKeepsTheFirstFormat) {
    Quantity sum = *Quantity::parse("1Gi");
    sum += *Quantity::parse("512Mi");
    EXPECT_EQ(sum.to_string(), "1536Mi");
    sum -= *Quantity::parse("1536Mi");
    EXPECT_TRUE(sum.is_zero());
    Quantity none;
    none += *Quantity::parse("1Ki");
    EXPECT_EQ(none.to_string(), "1Ki");
    none -= *Quantity::parse("2Ki");
    EXPECT_TRUE(none.is_negative());
    EXPECT_EQ(none.to_string(), "-1Ki");
    Quantity most = *Quantity::parse("9e27");
    most += most;
    EXPECT_EQ(most.to_string(), "10e27");
    EXPECT_EQ(Quantity::from_milli(1500).to_string(), "1500m");
    EXPECT_EQ(Quantity::from_units(2048, Quantity::Format::kBinarySi).to_string(), "2Ki");
}

TEST(Quantity, ComparesByValue) {
    EXPECT_EQ(*Quantity::parse("1Ki"), *Quantity::parse("1024"));
    EXPECT_LT(*Quantity::parse("999m"), *Quantity::parse("1"));
    EXPECT_GT(*Quantity::parse("1Gi"), *Quantity::parse("1G"));
}

}  // namespace
}  // namespace sluice::codec
