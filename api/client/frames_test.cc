#include "api/client/frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/client/kubeconfig.h"

namespace sluice::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The frames of the bytes given in pieces of a size; "!" stands for an error.
std::vector<std::string> cut(Encoding encoding, const std::string& bytes, std::size_t piece) {
    FrameReader reader(encoding);
    std::vector<std::string> out;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        reader.append(std::string_view(bytes).substr(at, piece));
        while (true) {
            const auto frame = reader.next();
            if (!frame) {
                out.emplace_back("!");
                return out;
            }
            if (!*frame) break;
            out.emplace_back(**frame);
        }
    }
    return out;
}

TEST(Frames, ProtobufIsCutByLengthWhateverThePieces) {
    const std::string bytes("\0\0\0\3abc\0\0\0\0\0\0\0\1x\0\0", 18);
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        EXPECT_THAT(cut(Encoding::kProtobuf, bytes, piece), ElementsAre("abc", "", "x"));
    }
}

TEST(Frames, JsonIsCutByBracesOutsideOfStrings) {
    const std::string bytes = "{\"a\":\"}\\\"{\"}\n {\"b\":{\"c\":[{}]}}\n{\"d";
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        EXPECT_THAT(cut(Encoding::kJson, bytes, piece),
                    ElementsAre("{\"a\":\"}\\\"{\"}", "{\"b\":{\"c\":[{}]}}"));
    }
}

TEST(Frames, WhatCannotBeAFrameIsAnError) {
    EXPECT_THAT(cut(Encoding::kJson, "[1]", 3), ElementsAre("!"));
    EXPECT_THAT(cut(Encoding::kProtobuf, "\xff\xff\xff\xff", 4), ElementsAre("!"));
}

TEST(Frames, AFrameBeyondTheLimitIsRefusedBeforeItIsRead) {
    FrameReader reader(Encoding::kJson);
    reader.append("{\"a\":\"");
    const std::string filler(1U << 20U, 'x');
    bool refused = false;
    for (int i = 0; i < 20 && !refused; ++i) {
        reader.append(filler);
        refused = !reader.next();
    }
    EXPECT_TRUE(refused);
}

constexpr char kConfig[] = R"(apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u, namespace: team}}]
clusters: [{name: k, cluster: {server: "https://[::1]:6443/p/", certificate-authority-data: Q0E=}}]
users: [{name: u, user: {USER}}]
)";

Result<ClientConfig> parse(const std::string& user) {
    std::string text = kConfig;
    text.replace(text.find("{USER}"), 6, "{" + user + "}");
    return parse_kubeconfig(text, "/nowhere");
}

TEST(Kubeconfig, ReadsServerAuthorityAndToken) {
    const auto config = parse("token: t");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->host, "::1");
    EXPECT_EQ(config->port, 6443);
    EXPECT_EQ(config->path_prefix, "/p");
    EXPECT_EQ(config->ca_pem, "CA");
    EXPECT_EQ(config->token, "t");
    EXPECT_EQ(config->namespace_name, "team");
    EXPECT_EQ(config->url(), "https://[::1]:6443/p");
}

TEST(Kubeconfig, RefusesWhatItCannotDoAndNamesTheField) {
    for (const auto& [user, field] : std::vector<std::pair<std::string, std::string>>{
             {"exec: {command: aws}", "users[u].user.exec"},
             {"auth-provider: {name: gcp}", "users[u].user.auth-provider"},
             {"client-certificate-data: Q0E=", "client-key"},
             {"client-certificate-data: '*'", "client-certificate-data"},
             {"tokenFile: missing", "users[u].user.tokenFile"},
             {"token: 5", "users[u].user.token"}}) {
        const auto config = parse(user);
        ASSERT_FALSE(config) << user;
        EXPECT_THAT(config.error().message, HasSubstr(field));
    }
    EXPECT_FALSE(parse_kubeconfig("[]", ""));
    EXPECT_FALSE(parse_kubeconfig("kind: Pod", ""));
    EXPECT_FALSE(parse_kubeconfig(kConfig, "", "other"));
}

TEST(Kubeconfig, ServerUrls) {
    ClientConfig config;
    for (const char* bad : {"", "ftp://a", "https://", "https://a:0", "https://a:65536", "https://a:x",
                            "https://::1:6443", "https://[::1", "https://[1.2.3.4]", "https://u@a",
                            "https://a?b", "https://a b", "https://a\r\nb"}) {
        EXPECT_FALSE(parse_server_url(bad, &config)) << bad;
    }
    ASSERT_TRUE(parse_server_url("10.0.0.1", &config));
    EXPECT_EQ(config.url(), "https://10.0.0.1:443");
    ASSERT_TRUE(parse_server_url("http://localhost:8080/", &config));
    EXPECT_EQ(config.url(), "http://localhost:8080");
}

}  // namespace
}  // namespace sluice::client
