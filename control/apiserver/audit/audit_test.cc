// The audit log: what a policy takes, what a line says, and what a log that cannot keep up costs. Expectations from
// Kubernetes' documentation of auditing and of audit.k8s.io/v1.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "control/apiserver/audit/auditor.h"
#include "control/apiserver/audit/event.h"

namespace sluice::audit {
namespace {

using ::testing::HasSubstr;
using authorization::Attributes;

const std::string kHead = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";

Attributes pods(const std::string& verb, const std::string& name = "a",
                const std::string& subresource = "") {
    Attributes out;
    out.user.user = "jane";
    out.user.groups = {"dev", "system:authenticated"};
    out.verb = verb;
    out.is_resource = true;
    out.version = "v1";
    out.resource = "pods";
    out.subresource = subresource;
    out.namespace_name = "default";
    out.name = name;
    return out;
}

Level level_of(const std::string& rules, const Attributes& request) {
    auto policy = Policy::parse(kHead + "rules:\n" + rules);
    EXPECT_TRUE(policy) << policy.error().message;
    return policy->decide(request, request.user).level;
}

TEST(Policy, TheFirstRuleThatMatchesDecides) {
    EXPECT_EQ(level_of("- level: None\n  users: [jim]\n- level: Metadata\n", pods("get")),
              Level::kMetadata);
    EXPECT_EQ(level_of("- level: None\n  users: [jane]\n- level: Metadata\n", pods("get")),
              Level::kNone);
    EXPECT_EQ(level_of("- level: Request\n  verbs: [create]\n", pods("get")), Level::kNone);
    EXPECT_EQ(level_of("- level: Request\n  userGroups: [dev]\n", pods("get")), Level::kRequest);
    EXPECT_EQ(level_of("- level: Request\n  namespaces: [kube-system]\n", pods("get")),
              Level::kNone);
}

TEST(Policy, ResourcesSubresourcesAndNames) {
    const auto rule = [](const std::string& resources) {
        return "- level: RequestResponse\n  resources:\n  - group: \"\"\n    resources: [" + resources +
               "]\n";
    };
    const auto taken = [&](const std::string& resources, const Attributes& request) {
        return level_of(rule(resources), request) == Level::kRequestResponse;
    };
    EXPECT_TRUE(taken("pods", pods("get")));
    EXPECT_FALSE(taken("pods", pods("get", "a", "log")));
    EXPECT_TRUE(taken("pods/log", pods("get", "a", "log")));
    EXPECT_FALSE(taken("pods/log", pods("get")));
    EXPECT_TRUE(taken("pods/*", pods("get", "a", "log")));
    EXPECT_TRUE(taken("\"*/log\"", pods("get", "a", "log")));
    EXPECT_TRUE(taken("\"*\"", pods("get", "a", "log")));
    EXPECT_FALSE(taken("configmaps", pods("get")));
    const std::string named = rule("pods") + "    resourceNames: [b]\n";
    EXPECT_EQ(level_of(named, pods("get")), Level::kNone);
    EXPECT_EQ(level_of(named, pods("get", "b")), Level::kRequestResponse);
    EXPECT_EQ(level_of("- level: Metadata\n  resources:\n  - group: apps\n", pods("get")),
              Level::kNone);
}

TEST(Policy, PathsThatAreNoResources) {
    Attributes path;
    path.verb = "get";
    path.path = "/healthz/etcd";
    const std::string rule = "- level: Metadata\n  nonResourceURLs: [";
    EXPECT_EQ(level_of(rule + "\"/healthz*\"]\n", path), Level::kMetadata);
    EXPECT_EQ(level_of(rule + "\"/healthz\"]\n", path), Level::kNone);
    EXPECT_EQ(level_of(rule + "\"/healthz*\"]\n", pods("get")), Level::kNone);
    EXPECT_EQ(level_of("- level: Metadata\n  resources:\n  - group: \"\"\n", path), Level::kNone);
}

TEST(Policy, WhatItCannotMeanIsRefused) {
    const auto error = [](const std::string& text) {
        const auto policy = Policy::parse(text);
        return policy ? std::string("accepted") : policy.error().message;
    };
    EXPECT_THAT(error("kind: Policy\nrules: []\n"), HasSubstr("audit.k8s.io/v1"));
    EXPECT_THAT(error(kHead + "rules: []\n"), HasSubstr("0 rules"));
    EXPECT_THAT(error(kHead + "rules:\n- level: All\n"),
                HasSubstr("rules[0].level: Unsupported value: \"All\""));
    EXPECT_THAT(error(kHead + "rules:\n- users: [a]\n"), HasSubstr("rules[0].level: Required value"));
    EXPECT_THAT(error(kHead + "rules:\n- level: None\n  user: [a]\n"),
                HasSubstr("unknown field \"rules[0].user\""));
    EXPECT_THAT(error(kHead + "omitStages: [Done]\nrules:\n- level: None\n"),
                HasSubstr("policy.omitStages: Invalid value: \"Done\""));
    EXPECT_THAT(error(kHead + "rules:\n- level: None\n  nonResourceURLs: [/a]\n  namespaces: [b]\n"),
                HasSubstr("cannot apply to both"));
    EXPECT_THAT(error(kHead + "rules:\n- level: None\n  nonResourceURLs: [\"/a*b\"]\n"),
                HasSubstr("rules[0].nonResourceURLs[0]"));
    EXPECT_THAT(error("["), ::testing::Not("accepted"));
}

// Keeps what it was answered.
struct Recorder final : http::Responder {
    http::Response response;
    void send(http::Response r) override { response = std::move(r); }
    void begin_stream(http::Response head) override { response = std::move(head); }
    bool write(std::string) override { return true; }
    void end_stream() override {}
    void on_close(std::function<void()>) override {}
    [[nodiscard]] std::string audit_id() const {
        for (const auto& [name, value] : response.headers) {
            if (name == "Audit-ID") return value;
        }
        return {};
    }
};

class AuditTest : public ::testing::Test {
protected:
    void SetUp() override {
        directory_ = std::filesystem::path(::testing::TempDir()) / "sluice-audit-test";
        std::filesystem::remove_all(directory_);
        std::filesystem::create_directories(directory_);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::shared_ptr<Auditor> auditor(const std::string& rules) {
        const std::string policy = directory_ / "policy.yaml";
        std::ofstream(policy) << kHead << rules;
        AuditOptions options;
        options.policy_path = policy;
        options.log.path = directory_ / "audit.log";
        auto made = Auditor::create(options);
        EXPECT_TRUE(made) << made.error().message;
        return *made;
    }
    std::vector<boost::json::value> lines() const {
        std::ifstream file(directory_ / "audit.log");
        std::vector<boost::json::value> out;
        for (std::string line; std::getline(file, line);) out.push_back(boost::json::parse(line));
        return out;
    }
    static std::shared_ptr<http::Request> request(const std::string& body = {}) {
        auto out = std::make_shared<http::Request>();
        out->path = "/api/v1/namespaces/default/pods/a";
        out->target = out->path + "?x=%20y";
        out->remote = "127.0.0.1:40000";
        out->headers = {{"user-agent", "kubectl"}, {"content-type", "application/json"}};
        out->body = body;
        return out;
    }

    std::filesystem::path directory_;
};

TEST_F(AuditTest, ARequestHasTwoLines) {
    const auto log = auditor("rules:\n- level: RequestResponse\n");
    const auto recorder = std::make_shared<Recorder>();
    auto record = log->begin(request("{\n\"a\": 1}"), recorder);
    record->identified(pods("update"), pods("update").user);
    record->authorized(true, "RBAC: allowed");
    record->send({200, {{"Content-Type", "application/json"}}, "{\"b\":2}\n"});
    log->flush();
    const auto events = lines();
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].at("stage"), "RequestReceived");
    EXPECT_FALSE(events[0].as_object().contains("responseStatus"));
    const auto& done = events[1];
    EXPECT_EQ(done.at("kind"), "Event");
    EXPECT_EQ(done.at("apiVersion"), "audit.k8s.io/v1");
    EXPECT_EQ(done.at("level"), "RequestResponse");
    EXPECT_EQ(done.at("stage"), "ResponseComplete");
    EXPECT_EQ(done.at("requestURI"), "/api/v1/namespaces/default/pods/a?x=%20y");
    EXPECT_EQ(done.at("verb"), "update");
    EXPECT_EQ(boost::json::serialize(done.at("user")),
              R"({"username":"jane","groups":["dev","system:authenticated"]})");
    EXPECT_EQ(boost::json::serialize(done.at("sourceIPs")), R"(["127.0.0.1"])");
    EXPECT_EQ(done.at("userAgent"), "kubectl");
    EXPECT_EQ(boost::json::serialize(done.at("objectRef")),
              R"({"resource":"pods","namespace":"default","name":"a","apiVersion":"v1"})");
    EXPECT_EQ(boost::json::serialize(done.at("responseStatus")), R"({"metadata":{},"code":200})");
    EXPECT_EQ(boost::json::serialize(done.at("requestObject")), R"({"a":1})");
    EXPECT_EQ(boost::json::serialize(done.at("responseObject")), R"({"b":2})");
    EXPECT_EQ(boost::json::serialize(done.at("annotations")),
              R"({"authorization.k8s.io/decision":"allow",)"
              R"("authorization.k8s.io/reason":"RBAC: allowed"})");
    EXPECT_EQ(done.at("auditID").as_string(), recorder->audit_id());
    EXPECT_EQ(done.at("auditID").as_string().size(), 36U);
}

TEST_F(AuditTest, LevelsAndStagesAreKeptTo) {
    const auto log = auditor("omitStages: [RequestReceived]\nrules:\n- level: Metadata\n");
    auto record = log->begin(request("{}"), std::make_shared<Recorder>());
    record->identified(pods("create"), pods("create").user);
    record->send({403, {}, R"({"kind":"Status","status":"Failure","message":"no","reason":"Forbidden"})"});
    log->flush();
    const auto events = lines();
    ASSERT_EQ(events.size(), 1U);
    EXPECT_FALSE(events[0].as_object().contains("requestObject"));
    EXPECT_EQ(boost::json::serialize(events[0].at("responseStatus")),
              R"({"metadata":{},"status":"Failure","message":"no","reason":"Forbidden","code":403})");
}

TEST_F(AuditTest, AStreamStartsAndCompletes) {
    const auto log = auditor("rules:\n- level: Metadata\n");
    auto record = log->begin(request(), std::make_shared<Recorder>());
    record->identified(pods("watch"), pods("watch").user);
    record->begin_stream({});
    log->flush();
    EXPECT_EQ(lines().back().at("stage"), "ResponseStarted");
    record.reset();
    log->flush();
    const auto events = lines();
    ASSERT_EQ(events.size(), 3U);
    EXPECT_EQ(events[2].at("stage"), "ResponseComplete");
    EXPECT_EQ(events[2].at("responseStatus").at("code"), 200);
}

TEST_F(AuditTest, WhoImpersonatesIsNotedWithWhom) {
    const auto log = auditor("rules:\n- level: Metadata\n  users: [admin]\n");
    auto record = log->begin(request(), std::make_shared<Recorder>());
    record->identified(pods("get"), {"admin", {"system:masters"}});
    record->send({});
    log->flush();
    ASSERT_EQ(lines().size(), 2U);
    EXPECT_EQ(lines()[1].at("user").at("username"), "admin");
    EXPECT_EQ(lines()[1].at("impersonatedUser").at("username"), "jane");
}

TEST_F(AuditTest, ManagedFieldsAreOmittedWhenAsked) {
    const auto log = auditor("omitManagedFields: true\nrules:\n- level: RequestResponse\n");
    auto record = log->begin(request(), std::make_shared<Recorder>());
    record->identified(pods("list"), pods("list").user);
    record->send({200, {}, R"({"items":[{"metadata":{"name":"a","managedFields":[{}]}}]})"});
    log->flush();
    EXPECT_EQ(boost::json::serialize(lines().back().at("responseObject")),
              R"({"items":[{"metadata":{"name":"a"}}]})");
}

TEST_F(AuditTest, TheClientsOwnIdIsKeptAndHostileTextStaysInItsLine) {
    const auto log = auditor("rules:\n- level: RequestResponse\n");
    auto asked = request("{ not json\n");
    asked->headers.emplace_back("audit-id", std::string(100, 'i'));
    asked->headers[0].second = "a\"\n{}";
    const auto recorder = std::make_shared<Recorder>();
    auto record = log->begin(asked, recorder);
    record->identified(pods("get"), pods("get").user);
    record->send({200, {}, "text\n"});
    log->flush();
    ASSERT_EQ(lines().size(), 2U);
    EXPECT_EQ(recorder->audit_id(), std::string(kMaxAuditIdBytes, 'i'));
    EXPECT_EQ(lines()[1].at("userAgent"), "a\"\n{}");
    EXPECT_FALSE(lines()[1].as_object().contains("requestObject"));
}

TEST_F(AuditTest, WithoutAPolicyOnlyTheIdIsGiven) {
    auto log = Auditor::create({});
    ASSERT_TRUE(log);
    const auto recorder = std::make_shared<Recorder>();
    auto record = (*log)->begin(request(), recorder);
    record->identified(pods("get"), pods("get").user);
    record->send({});
    EXPECT_EQ(recorder->audit_id().size(), 36U);
    EXPECT_THAT((*log)->metrics(), HasSubstr("apiserver_audit_event_total 0\n"));
}

TEST_F(AuditTest, FilesAreRotatedAndTheOldestGo) {
    LogOptions options;
    options.path = directory_ / "audit.log";
    options.max_megabytes = 1;
    options.max_backups = 2;
    auto log = LogFile::open(options);
    ASSERT_TRUE(log);
    std::ofstream(directory_ / "audit-notes.log") << "not ours to remove";
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE((*log)->append(std::string(700'000, 'x') + "\n"));
        (*log)->flush();
    }
    EXPECT_EQ((*log)->stats().rotations, 4U);
    EXPECT_EQ((*log)->stats().written, 5U);
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory_)) ++files;
    EXPECT_EQ(files, 4U);  // the log, two backups, and the notes
}

// A disk that refuses: requests go on, what was lost is counted, and what comes later is written again.
TEST_F(AuditTest, ADiskThatIsFullCostsLinesAndNothingElse) {
    LogOptions options;
    options.path = directory_ / "audit.log";
    auto log = LogFile::open(options);
    ASSERT_TRUE(log);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    struct rlimit old {};
    getrlimit(RLIMIT_FSIZE, &old);
    struct rlimit small = old;
    small.rlim_cur = 10;
    setrlimit(RLIMIT_FSIZE, &small);
    EXPECT_TRUE((*log)->append("a line of more than ten bytes\n"));
    (*log)->flush();
    setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, old_handler);
    EXPECT_EQ((*log)->stats().failed, 1U);
    EXPECT_TRUE((*log)->append("later\n"));
    (*log)->flush();
    EXPECT_EQ((*log)->stats().written, 1U);
}

TEST_F(AuditTest, ALogThatCannotKeepUpDropsAndCounts) {
    // A pipe that nobody reads is the slowest of disks.
    LogOptions options;
    options.path = "/dev/full";
    EXPECT_FALSE(LogFile::open(options));  // not a file: rotation could not be kept
    options.path = directory_ / "audit.log";
    auto log = LogFile::open(options);
    ASSERT_TRUE(log);
    const std::string line(1U << 20U, 'x');
    std::uint64_t dropped = 0;
    for (int i = 0; i < 400; ++i) dropped += (*log)->append(line + "\n") ? 0 : 1;
    (*log)->flush();
    EXPECT_EQ((*log)->stats().dropped, dropped);
    EXPECT_EQ((*log)->stats().written + dropped, 400U);
}

}  // namespace
}  // namespace sluice::audit
