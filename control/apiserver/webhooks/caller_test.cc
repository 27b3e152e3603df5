// Where webhooks are, as their configurations say. Calls themselves are tested with what makes them (admission).
#include "control/apiserver/webhooks/caller.h"

#include <gtest/gtest.h>

namespace sluice::webhooks {
namespace {

TEST(WebhookUrl, Parts) {
    struct Case {
        const char* text;
        const char* host;
        int port;
        const char* path;
        bool has_port;
    };
    for (const Case& one : {Case{"https://a.example.com", "a.example.com", 443, "", false},
                            Case{"https://a.example.com:8443/x/y", "a.example.com", 8443, "/x/y", true},
                            Case{"https://10.0.0.1/x", "10.0.0.1", 443, "/x", false},
                            Case{"https://[fd00::1]:9443/", "fd00::1", 9443, "/", true},
                            Case{"https://[::1]", "::1", 443, "", false}}) {
        const auto url = parse_url(one.text);
        ASSERT_TRUE(url) << one.text;
        EXPECT_EQ(url->host, one.host) << one.text;
        EXPECT_EQ(url->port, one.port) << one.text;
        EXPECT_EQ(url->path, one.path) << one.text;
        EXPECT_EQ(url->has_port, one.has_port) << one.text;
    }
}

TEST(WebhookUrl, OnlyPlainOnesOfHttps) {
    for (const char* text : {"", "http://a/", "https://", "https:///x", "https://u@a/x", "https://a/x?y", "https://a/x#y",
                             "https://a?y", "https://a:/", "https://a:0/", "https://a:65536/", "https://a:1x/",
                             "https://[::1", "https://[::1]x/"}) {
        const auto url = parse_url(text);
        ASSERT_FALSE(url) << text;
        EXPECT_EQ(url.error().code, Code::kInvalidArgument) << text;
    }
}

}  // namespace
}  // namespace sluice::webhooks
