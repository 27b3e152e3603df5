// Who may enter the kubelet's server, what it routes, and how it refuses. End to end with kubectl:
// control/apiserver/proxy.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "control/http/test_client.h"
#include "control/kubelet/server/server.h"
#include "control/kubelet/server/test_runtime.h"
#include "control/pki/certificate.h"

namespace sluice::kubelet {
namespace {

using http::testing::get;
using http::testing::TlsClient;

class Backend final : public ServerBackend {
public:
    Result<LogFile> log_file(const std::string&, const std::string& pod,
                             const std::string& container, bool) override {
        if (pod != "web") return make_error(Code::kNotFound, "pod \"{}\" does not exist", pod);
        if (container == "slow") {
            return make_error(Code::kFailedPrecondition,
                              "container \"slow\" in pod \"web\" is waiting to start: ContainerCreating");
        }
        return LogFile{log, running.load(), "id-1"};
    }
    bool is_running(const std::string& id) override {
        EXPECT_EQ(id, "id-1");
        return running.load();
    }
    Result<std::string> exec_url(const std::string&, const std::string&, const std::string&,
                                 const ExecRequest& request) override {
        last = request;
        return runtime.exec(request);
    }
    Result<std::string> port_forward_url(const std::string&, const std::string&,
                                         const std::vector<std::int32_t>& wanted) override {
        ports = wanted;
        return std::string("http://127.0.0.1:1/portforward/x");
    }
    std::string pods_json() override { return R"({"kind":"PodList"})"; }
    std::string metrics() override { return "kubelet_x 1\n"; }

    testing::TestRuntime runtime;
    std::string log;
    std::atomic<bool> running{false};
    ExecRequest last;
    std::vector<std::int32_t> ports;
};

class KubeletServerTest : public ::testing::Test {
protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "kubelet-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        backend_.log = folder_ + "/0.log";
        std::ofstream(backend_.log) << "2026-01-02T03:04:05Z stdout F one\n";
        const auto& c = http::testing::credentials();
        pki::CertificateSpec spec;
        spec.common_name = "kube-apiserver-kubelet-client";
        spec.organizations = {"system:masters"};
        spec.lifetime_s = 3'600;
        auto pair = pki::issue(c.ca, spec, std::time(nullptr));
        ASSERT_TRUE(pair);
        api_server_ = *pair;
        auto server = KubeletServer::start({"127.0.0.1", 0, c.server.certificate_pem,
                                            c.server.private_key_pem, c.ca.certificate_pem},
                                           backend_);
        ASSERT_TRUE(server) << server.error().message;
        server_ = std::move(*server);
    }
    void TearDown() override {
        server_.reset();
        std::filesystem::remove_all(folder_);
    }
    std::unique_ptr<TlsClient> connect(const pki::KeyPair* pair) {
        TlsClient::Options options;
        options.client = pair;
        return TlsClient::connect(server_->port(), options);
    }
    http::testing::Reply ask(const std::string& target, const std::string& headers = "") {
        const auto client = connect(&api_server_);
        client->send(get(target, headers));
        return client->reply();
    }

    std::string folder_;
    Backend backend_;
    pki::KeyPair api_server_;
    std::unique_ptr<KubeletServer> server_;
};

constexpr const char* kSpdy = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";

TEST_F(KubeletServerTest, OnlyTheApiServerMayEnter) {
    auto client = connect(nullptr);
    client->send(get("/healthz"));
    EXPECT_EQ(client->reply().body, "ok");
    client->send(get("/pods"));
    EXPECT_EQ(client->reply().status, 401);
    client = connect(&http::testing::credentials().alice);
    client->send(get("/containerLogs/ns/web/c"));
    EXPECT_EQ(client->reply().status, 403);
    EXPECT_EQ(ask("/pods").body, R"({"kind":"PodList"})");
    EXPECT_EQ(ask("/metrics").body, "kubelet_x 1\n");
    EXPECT_EQ(ask("/").status, 404);
    EXPECT_EQ(ask("/containerLogs/ns/web").status, 404);
}

TEST_F(KubeletServerTest, LogsAndTheirRefusals) {
    EXPECT_EQ(ask("/containerLogs/ns/web/c").body, "one\n");
    EXPECT_EQ(ask("/containerLogs/ns/none/c").status, 404);
    const auto waiting = ask("/containerLogs/ns/web/slow");
    EXPECT_EQ(waiting.status, 400);
    EXPECT_EQ(waiting.body,
              "container \"slow\" in pod \"web\" is waiting to start: ContainerCreating");
    for (const char* bad : {"tailLines=-1", "tailLines=x", "limitBytes=0", "sinceSeconds=0",
                            "sinceTime=now", "stream=Both",
                            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"}) {
        EXPECT_EQ(ask(std::string("/containerLogs/ns/web/c?") + bad).status, 400) << bad;
    }
}

TEST_F(KubeletServerTest, FollowingEndsWithTheContainer) {
    backend_.running.store(true);
    const auto client = connect(&api_server_);
    client->send(get("/containerLogs/ns/web/c?follow=true"));
    EXPECT_EQ(client->read_head().status, 200);
    EXPECT_EQ(client->chunk(), "one\n");
    std::ofstream(backend_.log, std::ios::app) << "2026-01-02T03:04:06Z stdout F two\n";
    EXPECT_EQ(client->chunk(), "two\n");
    // What is written last is not lost to the end.
    std::ofstream(backend_.log, std::ios::app) << "2026-01-02T03:04:07Z stdout F three\n";
    backend_.running.store(false);
    EXPECT_EQ(client->chunk(), "three\n");
    EXPECT_EQ(client->chunk(), std::nullopt);
}

TEST_F(KubeletServerTest, FollowersThatStayAreEndedWithTheServer) {
    backend_.running.store(true);
    std::vector<std::unique_ptr<TlsClient>> clients;
    for (int i = 0; i < 10; ++i) {
        clients.push_back(connect(&api_server_));
        clients.back()->send(get("/containerLogs/ns/web/c?follow=true"));
        EXPECT_EQ(clients.back()->read_head().status, 200);
    }
    server_.reset();
    for (const auto& client : clients) {
        while (client->chunk()) {
        }
    }
}

TEST_F(KubeletServerTest, StreamsNeedAnUpgradeAndAreAsked) {
    EXPECT_EQ(ask("/exec/ns/web/c?command=ls&output=1").status, 400);
    EXPECT_EQ(ask("/exec/ns/web/c?command=ls", kSpdy).body,
              "you must specify at least 1 of stdin, stdout, stderr");
    EXPECT_EQ(ask("/exec/ns/web/c?output=1", kSpdy).status, 400);
    EXPECT_EQ(ask("/portForward/ns/web?port=0", kSpdy).status, 400);
    // The runtime cannot be reached.
    EXPECT_EQ(ask("/portForward/ns/web/uid?port=80,81", kSpdy).status, 503);
    EXPECT_EQ(backend_.ports, (std::vector<std::int32_t>{80, 81}));
    const auto client = connect(&api_server_);
    client->send(get("/exec/ns/web/uid/c?command=a%20b&command=c&input=1&output=1&error=1&tty=1",
                     std::string(kSpdy) + "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"));
    const auto reply = client->read_head();
    EXPECT_EQ(reply.status, 101);
    EXPECT_EQ(reply.headers.at("x-stream-protocol-version"), "v4.channel.k8s.io");
    EXPECT_EQ(backend_.last.command, (std::vector<std::string>{"a b", "c"}));
    EXPECT_TRUE(backend_.last.tty);
    EXPECT_TRUE(backend_.last.stdin_stream);
    EXPECT_FALSE(backend_.last.stderr_stream);
    // A WebSocket that the runtime does not know is refused as it refuses it.
    EXPECT_EQ(ask("/exec/ns/web/c?command=a&output=1",
                  "Connection: Upgrade\r\nUpgrade: websocket\r\n")
                  .status,
              403);
}

}  // namespace
}  // namespace sluice::kubelet
