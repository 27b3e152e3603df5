#include "api/base/log.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::log {
namespace {

// 2026-11-21T07:03:52.000042Z.
constexpr std::int64_t kTime = 1'795'244'632'000'042;

TEST(LogJson, ARecordIsOneObjectWithTimeLevelComponentAndMessage) {
    EXPECT_EQ(format_json(kTime, Level::kWarn, "agent", "service default/web: no port"),
              R"({"time":"2026-11-21T07:03:52.000042Z","level":"warn","component":"agent",)"
              R"("message":"service default/web: no port"})");
}

TEST(LogJson, WhatWouldBreakTheLineOrTheStringIsEscaped) {
    const std::string record = format_json(0, Level::kInfo, "a", "say \"x\\y\"\nand\tso\x01");
    EXPECT_EQ(record, R"({"time":"1970-01-01T00:00:00.000000Z","level":"info","component":"a",)"
                      R"("message":"say \"x\\y\"\nand\tso\u0001"})");
    EXPECT_EQ(record.find('\n'), std::string::npos);
}

TEST(LogJson, BytesThatAreNoUtf8AreReplacedAndTextBesideThemStays) {
    const auto message = [](std::string_view text) {
        const std::string record = format_json(0, Level::kError, "", text);
        return record.substr(record.find("\"message\":") + 9);
    };
    EXPECT_EQ(message("gr\xc3\xbc\xc3\x9f"), ":\"gr\xc3\xbc\xc3\x9f\"}");
    EXPECT_EQ(message("a\xff z"), R"(:"a\ufffd z"})");
    EXPECT_EQ(message("\xc0\xaf"), R"(:"\ufffd\ufffd"})");      // an overlong slash
    EXPECT_EQ(message("\xed\xa0\x80"), R"(:"\ufffd\ufffd\ufffd"})");  // a surrogate
    EXPECT_EQ(message("cut\xe2\x82"), R"(:"cut\ufffd\ufffd"})");
}

TEST(LogFormat, NamesOtherThanTextAndJsonAreRefused) {
    EXPECT_EQ(*parse_format("json"), Format::kJson);
    EXPECT_EQ(*parse_format("text"), Format::kText);
    const auto refused = parse_format("JSON");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("\"JSON\""), std::string::npos);
}

TEST(LogFormat, RecordsAreWrittenAsChosen) {
    testing::internal::CaptureStderr();
    set_format(Format::kJson);
    info("watch", "{} listed", "Services");
    set_format(Format::kText);
    info("watch", "{} listed", "Services");
    const std::string text = testing::internal::GetCapturedStderr();
    EXPECT_NE(text.find(R"("level":"info","component":"watch","message":"Services listed"})"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("info watch: Services listed\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace sluice::log
