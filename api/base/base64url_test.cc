// Vectors of RFC 4648, section 10, without their padding.
#include "api/base/base64url.h"

#include <gtest/gtest.h>

#include <utility>

namespace sluice {
namespace {

TEST(Base64Url, BothWays) {
    const std::pair<std::string, std::string> known[] = {
        {"", ""},           {"f", "Zg"},        {"fo", "Zm8"},         {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff", "-_8"}};
    for (const auto& [bytes, text] : known) {
        EXPECT_EQ(base64url(bytes), text);
        EXPECT_EQ(*from_base64url(text), bytes);
    }
    std::string all;
    for (int c = 0; c < 256; ++c) all.push_back(static_cast<char>(c));
    EXPECT_EQ(*from_base64url(base64url(all)), all);
}

TEST(Base64Url, WhatIsNoneIsNotTaken) {
    for (const char* wrong : {"Z", "Zg==", "Zh", "+/8", "Zm 9", "Zm9vY"}) {
        EXPECT_FALSE(from_base64url(wrong)) << wrong;
    }
    std::string out;
    EXPECT_EQ(decode_base64url("Zm9v!A", &out), 4U);
    EXPECT_EQ(out, "foo");
    out.clear();
    EXPECT_EQ(decode_base64url("Zm9vY", &out), 4U);
    out.clear();
    // Bits left over are somebody else's to mind.
    EXPECT_EQ(decode_base64url("Zh", &out), std::string_view::npos);
    EXPECT_EQ(out, "f");
}

}  // namespace
}  // namespace sluice
