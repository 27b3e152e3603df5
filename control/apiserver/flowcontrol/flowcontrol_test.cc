// Priority and fairness: which schema a request gets, who waits for whom, and who is sent away. Expectations from
// Kubernetes' documentation of API Priority and Fairness and the objects that kube-apiserver 1.32 starts with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "control/apiserver/flowcontrol/classify.h"
#include "control/apiserver/flowcontrol/defaults.h"
#include "control/apiserver/flowcontrol/dispatcher.h"
#include "control/apiserver/flowcontrol/gate.h"

namespace sluice::flowcontrol {
namespace {

using ::testing::HasSubstr;
using authorization::Attributes;

Attributes ask(const std::string& user, std::vector<std::string> groups, const std::string& verb,
               const std::string& resource, const std::string& name_space = "default",
               const std::string& group = "") {
    Attributes out;
    out.user.user = user;
    out.user.groups = std::move(groups);
    out.verb = verb;
    out.is_resource = true;
    out.group = group;
    out.version = "v1";
    out.resource = resource;
    out.namespace_name = name_space;
    return out;
}

Attributes ask_path(const std::string& user, std::vector<std::string> groups,
                    const std::string& path) {
    Attributes out;
    out.user.user = user;
    out.user.groups = std::move(groups);
    out.verb = "get";
    out.path = path;
    return out;
}

std::string schema_of(const Attributes& request) {
    for (const auto& schema : complete(defaults()).schemas) {
        if (matches(schema, request)) return schema.name;
    }
    return "none";
}

TEST(Classify, DefaultsTakeEachClientWhereKubernetesDoes) {
    const std::string everybody = "system:authenticated";
    const std::string account = "system:serviceaccount:kube-system:replicaset-controller";
    EXPECT_EQ(schema_of(ask("admin", {"system:masters", everybody}, "get", "pods")), "exempt");
    EXPECT_EQ(schema_of(ask_path("system:anonymous", {"system:unauthenticated"}, "/readyz")),
              "probes");
    EXPECT_EQ(schema_of(ask_path("system:anonymous", {"system:unauthenticated"}, "/version")),
              "global-default");
    EXPECT_EQ(schema_of(ask("system:kube-scheduler", {everybody}, "update", "leases", "kube-system",
                            "coordination.k8s.io")),
              "system-leader-election");
    EXPECT_EQ(schema_of(ask("system:kube-scheduler", {everybody}, "create", "pods")),
              "kube-scheduler");
    EXPECT_EQ(schema_of(ask("system:node:a", {"system:nodes", everybody}, "update", "leases",
                            "kube-node-lease", "coordination.k8s.io")),
              "system-node-high");
    Attributes status = ask("system:node:a", {"system:nodes", everybody}, "patch", "nodes", "");
    status.subresource = "status";
    EXPECT_EQ(schema_of(status), "system-node-high");
    EXPECT_EQ(schema_of(ask("system:node:a", {"system:nodes", everybody}, "list", "pods")),
              "system-nodes");
    EXPECT_EQ(schema_of(ask(account, {"system:serviceaccounts", everybody}, "create", "pods")),
              "kube-system-service-accounts");
    EXPECT_EQ(schema_of(ask("system:serviceaccount:a:b", {"system:serviceaccounts", everybody},
                            "list", "pods")),
              "service-accounts");
    EXPECT_EQ(schema_of(ask("jane", {everybody}, "list", "pods")), "global-default");
}

TEST(Classify, RulesOfResourcesAndPaths) {
    FlowSchema schema;
    Rules rules;
    rules.subjects = {{Subject::Kind::kUser, "jane", {}}};
    rules.resource_rules = {{{"list"}, {"apps"}, {"deployments"}, false, {"a", "b"}}};
    rules.non_resource_rules = {{{"get"}, {"/logs/*"}}};
    schema.rules = {rules};
    EXPECT_TRUE(matches(schema, ask("jane", {}, "list", "deployments", "a", "apps")));
    EXPECT_FALSE(matches(schema, ask("jim", {}, "list", "deployments", "a", "apps")));
    EXPECT_FALSE(matches(schema, ask("jane", {}, "get", "deployments", "a", "apps")));
    EXPECT_FALSE(matches(schema, ask("jane", {}, "list", "deployments", "c", "apps")));
    EXPECT_FALSE(matches(schema, ask("jane", {}, "list", "deployments", "a", "")));
    // All namespaces at once is cluster scope.
    EXPECT_FALSE(matches(schema, ask("jane", {}, "list", "deployments", "", "apps")));
    schema.rules[0].resource_rules[0].cluster_scope = true;
    EXPECT_TRUE(matches(schema, ask("jane", {}, "list", "deployments", "", "apps")));
    EXPECT_TRUE(matches(schema, ask_path("jane", {}, "/logs/a/b")));
    EXPECT_FALSE(matches(schema, ask_path("jane", {}, "/logs")));
}

TEST(Classify, WhatIsMissingIsMandatoryAndWhatPointsNowhereIsDropped) {
    Configuration odd;
    odd.schemas.push_back({});
    odd.schemas[0].name = "lost";
    odd.schemas[0].level = "nowhere";
    const Configuration whole = complete(odd);
    ASSERT_EQ(whole.schemas.size(), 2U);
    EXPECT_EQ(whole.schemas[0].name, "exempt");
    EXPECT_EQ(whole.schemas[1].name, "catch-all");
    EXPECT_EQ(whole.levels.size(), 2U);
}

// One level "level" that queues, for everybody; seats of it as said, none to borrow.
Configuration one_level(std::uint32_t queues, std::uint32_t length) {
    Configuration out;
    PriorityLevel level;
    level.name = "level";
    level.nominal_shares = 1'000'000;
    level.queues_requests = queues > 0;
    level.queues = queues;
    level.hand_size = 1;
    level.queue_length_limit = length;
    level.borrowing_limited = true;
    out.levels.push_back(level);
    PriorityLevel last = level;
    last.name = "catch-all";
    last.nominal_shares = 0;
    out.levels.push_back(last);
    FlowSchema schema;
    schema.name = "all";
    schema.level = "level";
    schema.precedence = 5;
    schema.distinguisher = FlowSchema::Distinguisher::kByUser;
    Rules rules;
    rules.subjects = {{Subject::Kind::kUser, "*", {}}};
    rules.resource_rules = {{{"*"}, {"*"}, {"*"}, true, {"*"}}};
    schema.rules = {rules};
    out.schemas.push_back(schema);
    return out;
}

// What became of requests, in order.
struct Log {
    std::vector<std::string> ran;
    std::vector<std::string> refused;
    std::vector<std::unique_ptr<Seats>> seats;
    Dispatcher::Then note(const std::string& name) {
        return [this, name](Verdict verdict) {
            if (verdict.seats) {
                ran.push_back(name);
                seats.push_back(std::move(verdict.seats));
            } else {
                refused.push_back(name + ":" + std::string(refusal_name(verdict.refusal)));
            }
        };
    }
    void finish(std::size_t index) {
        const auto gone = std::move(seats[index]);
    }
};

TEST(Dispatcher, WaitsForASeatAndRunsInOrder) {
    Log log;
    const auto dispatcher = Dispatcher::make(one_level(1, 2), 1);
    const auto jane = ask("jane", {}, "get", "pods");
    for (const char* name : {"1", "2", "3", "4"}) dispatcher->admit(jane, {}, log.note(name));
    EXPECT_THAT(log.ran, ::testing::ElementsAre("1"));
    EXPECT_THAT(log.refused, ::testing::ElementsAre("4:queue-full"));
    EXPECT_THAT(dispatcher->metrics(),
                HasSubstr("current_inqueue_requests{flow_schema=\"all\",priority_level=\"level\"} 2\n"));
    log.finish(0);
    EXPECT_THAT(log.ran, ::testing::ElementsAre("1", "2"));
    log.finish(1);
    EXPECT_THAT(log.ran, ::testing::ElementsAre("1", "2", "3"));
    log.finish(2);
    EXPECT_THAT(dispatcher->metrics(),
                HasSubstr("apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"all\","
                          "priority_level=\"level\"} 3\n"));
    EXPECT_THAT(dispatcher->metrics(),
                HasSubstr("apiserver_flowcontrol_rejected_requests_total{flow_schema=\"all\","
                          "priority_level=\"level\",reason=\"queue-full\"} 1\n"));
    dispatcher->stop();
}

TEST(Dispatcher, ALevelWithoutQueuesRejects) {
    Log log;
    const auto dispatcher = Dispatcher::make(one_level(0, 0), 1);
    dispatcher->admit(ask("jane", {}, "get", "pods"), {}, log.note("1"));
    dispatcher->admit(ask("jane", {}, "get", "pods"), {}, log.note("2"));
    EXPECT_THAT(log.refused, ::testing::ElementsAre("2:concurrency-limit"));
    log.seats.clear();
    dispatcher->stop();
}

TEST(Dispatcher, WaitingEndsInTime) {
    const auto dispatcher =
        Dispatcher::make(one_level(1, 5), 1, std::chrono::milliseconds(50));
    Log log;
    dispatcher->admit(ask("jane", {}, "get", "pods"), {}, log.note("1"));
    std::atomic<int> refusal{-1};
    dispatcher->admit(ask("jane", {}, "get", "pods"), {},
                      [&](Verdict verdict) { refusal = static_cast<int>(verdict.refusal); });
    for (int i = 0; i < 1'000 && refusal < 0; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(refusal, static_cast<int>(Refusal::kTimeOut));
    log.seats.clear();
    dispatcher->stop();
}

TEST(Dispatcher, WhoGoesAwayIsNotRun) {
    Log log;
    const auto dispatcher = Dispatcher::make(one_level(1, 5), 1);
    const auto jane = ask("jane", {}, "get", "pods");
    dispatcher->admit(jane, {}, log.note("1"));
    const auto second = dispatcher->admit(jane, {}, log.note("2"));
    dispatcher->admit(jane, {}, log.note("3"));
    dispatcher->cancel(second);
    log.finish(0);
    EXPECT_THAT(log.ran, ::testing::ElementsAre("1", "3"));
    log.seats.clear();
    dispatcher->stop();
}

// An elephant that fills its queue must not keep a mouse of another flow waiting behind all of it.
TEST(Dispatcher, AMouseGoesBeforeTheRestOfAnElephant) {
    Log log;
    const auto dispatcher = Dispatcher::make(one_level(64, 50), 1);
    for (int i = 0; i < 20; ++i) {
        dispatcher->admit(ask("elephant", {}, "list", "pods"), {}, log.note("elephant"));
    }
    dispatcher->admit(ask("mouse", {}, "get", "pods"), {}, log.note("mouse"));
    log.finish(0);
    EXPECT_EQ(log.ran.back(), "mouse");
    for (std::size_t i = 1; i < 21; ++i) log.finish(i);
    EXPECT_EQ(log.ran.size(), 21U);
    dispatcher->stop();
}

Work wide(std::uint64_t seats) { return {seats, 0}; }

TEST(Dispatcher, WideRequestsTakeManySeats) {
    Log log;
    const auto dispatcher = Dispatcher::make(one_level(1, 50), 100);
    const auto jane = ask("jane", {}, "list", "pods");
    for (int i = 0; i < 9; ++i) dispatcher->admit(jane, wide(10), log.note("wide"));
    dispatcher->admit(jane, wide(8), log.note("less wide"));
    dispatcher->admit(jane, wide(2), log.note("narrow"));
    dispatcher->admit(jane, {}, log.note("late"));
    ASSERT_EQ(log.ran.size(), 11U);
    EXPECT_EQ(log.ran.back(), "narrow");
    log.finish(9);
    EXPECT_EQ(log.ran.back(), "late");
    log.seats.clear();
    dispatcher->stop();
    // Wider than all there is: it runs alone rather than never.
    const auto tiny = Dispatcher::make(one_level(0, 0), 2);
    tiny->admit(jane, wide(10), log.note("giant"));
    EXPECT_EQ(log.ran.back(), "giant");
    tiny->admit(jane, {}, log.note("dwarf"));
    EXPECT_EQ(log.refused.back(), "dwarf:concurrency-limit");
    log.seats.clear();
    tiny->stop();
}

// The figure behind a metric of the only level.
std::string figure(const std::string& metrics, const std::string& name) {
    const std::string begin = "apiserver_flowcontrol_" + name;
    const std::size_t line = metrics.find("\n" + begin);
    if (line == std::string::npos) return "absent";
    const std::size_t at = metrics.find("} ", line) + 2;
    return metrics.substr(at, metrics.find('\n', at) - at);
}
constexpr char kInUse[] = "seats_in_use{priority_level=\"level\"}";

// kube-apiserver's rule: 15 % of the level's seats, no more than the level has for each queue of a hand, one at least
// and ten at most.
TEST(Dispatcher, OneRequestGetsAPartOfItsLevel) {
    const auto widest = [](std::uint32_t seats, std::uint32_t hand) {
        Configuration one = one_level(8, 0);
        one.levels[0].hand_size = hand;
        const auto dispatcher = Dispatcher::make(one, seats);
        Log log;
        dispatcher->admit(ask("jane", {}, "list", "pods"), wide(1'000), log.note("widest"));
        const std::string out = figure(dispatcher->metrics(), kInUse);
        log.seats.clear();
        dispatcher->stop();
        return out;
    };
    EXPECT_EQ(widest(600, 1), "10");
    EXPECT_EQ(widest(60, 1), "9");
    EXPECT_EQ(widest(41, 1), "7");  // 6.15
    EXPECT_EQ(widest(60, 8), "7");  // 60 / 8
    EXPECT_EQ(widest(5, 6), "1");
    EXPECT_EQ(widest(1, 1), "1");
}

// The answer is sent, but for a while the server is still busy with telling watches of the change.
TEST(Dispatcher, SeatsOfAChangeAreHeldWhileWatchesAreTold) {
    const auto dispatcher = Dispatcher::make(one_level(1, 50), 20);
    const auto jane = ask("jane", {}, "update", "pods");
    std::unique_ptr<Seats> seats;
    // 2,000 watches: 200 seats for 5 ms, which with the three there are for one request is a third of a second.
    dispatcher->admit(jane, Work{1, 200}, [&](Verdict verdict) { seats = std::move(verdict.seats); });
    EXPECT_EQ(figure(dispatcher->metrics(), kInUse), "3");
    std::vector<std::unique_ptr<Seats>> others;
    for (int i = 0; i < 17; ++i) {
        dispatcher->admit(jane, {}, [&](Verdict verdict) { others.push_back(std::move(verdict.seats)); });
    }
    ASSERT_EQ(others.size(), 17U);
    const auto over = std::chrono::steady_clock::now();
    std::atomic<bool> ran{false};
    std::atomic<bool> early{false};
    dispatcher->admit(jane, {}, [&](Verdict verdict) {
        early = std::chrono::steady_clock::now() - over < std::chrono::milliseconds(333);
        verdict.seats.reset();
        ran = true;
    });
    seats.reset();
    EXPECT_EQ(figure(dispatcher->metrics(), "current_executing_requests{flow_schema=\"all\""), "17");
    for (int i = 0; i < 1'000 && !ran; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(ran);
    EXPECT_FALSE(early);  // not before its time
    others.clear();
    // Nobody waits for them at the end.
    dispatcher->admit(jane, Work{1, 1'000'000}, [&](Verdict verdict) { seats = std::move(verdict.seats); });
    seats.reset();
    EXPECT_EQ(figure(dispatcher->metrics(), kInUse), "3");
    dispatcher->stop();
    EXPECT_EQ(figure(dispatcher->metrics(), kInUse), "0");
}

TEST(Dispatcher, IdleSeatsAreLentAndKeptOnesAreNot) {
    Configuration two = one_level(1, 50);
    two.levels[0].nominal_shares = 10;
    two.levels[0].borrowing_limited = false;
    two.levels[1].nominal_shares = 10;
    two.levels[1].lendable_percent = 50;
    Log log;
    const auto dispatcher = Dispatcher::make(two, 20);
    const auto jane = ask("jane", {}, "get", "pods");
    for (int i = 0; i < 20; ++i) dispatcher->admit(jane, {}, log.note("jane"));
    // Ten of its own, and half of the other level's ten.
    EXPECT_EQ(log.ran.size(), 15U);
    dispatcher->stop();  // those that wait are refused, before seats come free
    EXPECT_EQ(log.refused.size(), 5U);
    log.seats.clear();
}

TEST(Dispatcher, TheExemptAreNeverHeldUp) {
    Log log;
    const auto dispatcher = Dispatcher::make(one_level(1, 1), 1);
    const auto admin = ask("admin", {"system:masters"}, "get", "pods");
    for (int i = 0; i < 50; ++i) dispatcher->admit(admin, {}, log.note("admin"));
    EXPECT_EQ(log.ran.size(), 50U);
    log.seats.clear();
    dispatcher->stop();
}

TEST(Dispatcher, ANewConfigurationKeepsWhoWaits) {
    Log log;
    const auto dispatcher = Dispatcher::make(one_level(1, 50), 1);
    const auto jane = ask("jane", {}, "get", "pods");
    for (const char* name : {"1", "2", "3"}) dispatcher->admit(jane, {}, log.note(name));
    dispatcher->configure(one_level(8, 50));
    log.finish(0);
    EXPECT_THAT(log.ran, ::testing::ElementsAre("1", "2"));
    // The level goes, those in it do not.
    dispatcher->configure({});
    log.finish(1);
    EXPECT_THAT(log.ran, ::testing::ElementsAre("1", "2", "3"));
    log.seats.clear();
    dispatcher->stop();
}

// Each request gives its seat back from inside of the one before: a chain of thousands must not be a stack of them.
TEST(Dispatcher, LongQueuesDoNotGrowTheStack) {
    constexpr int kRequests = 10'000;
    const auto dispatcher = Dispatcher::make(one_level(1, kRequests), 1);
    const auto jane = ask("jane", {}, "get", "pods");
    std::unique_ptr<Seats> first;
    dispatcher->admit(jane, {}, [&](Verdict verdict) { first = std::move(verdict.seats); });
    int ran = 0;
    for (int i = 0; i < kRequests; ++i) {
        dispatcher->admit(jane, {}, [&ran](Verdict verdict) {
            verdict.seats.reset();
            ++ran;
        });
    }
    first.reset();
    EXPECT_EQ(ran, kRequests);
    dispatcher->stop();
}

// What a request cost: printed, not judged.
TEST(Dispatcher, Cost) {
    const auto dispatcher = Dispatcher::make(defaults());
    const auto time = [&](const Attributes& request) {
        constexpr int kRounds = 200'000;
        const auto now = [] {  // of this thread's CPU, as others may want it too
            timespec spent{};
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
            return static_cast<double>(spent.tv_sec) * 1e9 + static_cast<double>(spent.tv_nsec);
        };
        const double start = now();
        for (int i = 0; i < kRounds; ++i) dispatcher->admit(request, {}, [](const Verdict&) {});
        return static_cast<int>((now() - start) / kRounds);
    };
    RecordProperty("exempt_ns", time(ask("admin", {"system:masters"}, "get", "pods")));
    const int last = time(ask("jane", {"system:authenticated"}, "get", "pods"));
    RecordProperty("global_default_ns", last);
    EXPECT_GT(last, 0);
    dispatcher->stop();
}

// Keeps what it was answered.
struct Recorder final : http::Responder {
    http::Response response;
    bool streaming = false;
    std::function<void()> closed;
    void send(http::Response r) override { response = std::move(r); }
    void begin_stream(http::Response head) override {
        response = std::move(head);
        streaming = true;
    }
    bool write(std::string) override { return true; }
    void end_stream() override {}
    void on_close(std::function<void()> callback) override { closed = std::move(callback); }
    [[nodiscard]] std::string header(const std::string& name) const {
        for (const auto& [key, value] : response.headers) {
            if (key == name) return value;
        }
        return {};
    }
};

TEST(Gate, AnswersSayByWhichRulesTheyWereTaken) {
    Gate gate({});
    const auto recorder = std::make_shared<Recorder>();
    gate.pass(std::make_shared<http::Request>(),
              ask("jane", {"system:authenticated"}, "get", "pods"), recorder,
              [](auto, auto responder) { responder->send({200, {}, "ok"}); });
    EXPECT_EQ(recorder->response.status, 200);
    EXPECT_EQ(recorder->header("X-Kubernetes-PF-FlowSchema-UID").size(), 36U);
    EXPECT_EQ(recorder->header("X-Kubernetes-PF-PriorityLevel-UID").size(), 36U);
    gate.stop();
}

TEST(Gate, FullIs429WithRetryAfter) {
    GateOptions options;
    options.fairness = false;
    options.max_requests = 1;
    options.max_mutating_requests = 1;
    Gate gate(options);
    std::shared_ptr<http::Responder> held;
    const auto hold = [&held](auto, auto responder) { held = responder; };
    const auto get = ask("jane", {}, "get", "pods");
    gate.pass(std::make_shared<http::Request>(), get, std::make_shared<Recorder>(), hold);
    const auto second = std::make_shared<Recorder>();
    gate.pass(std::make_shared<http::Request>(), get, second, hold);
    EXPECT_EQ(second->response.status, 429);
    EXPECT_EQ(second->response.body, "Too many requests, please try again later.\n");
    EXPECT_EQ(second->header("Retry-After"), "1");
    // Changes are counted apart, and masters are always heard.
    for (const auto& other : {ask("jane", {}, "create", "pods"),
                              ask("admin", {"system:masters"}, "get", "pods")}) {
        const auto third = std::make_shared<Recorder>();
        gate.pass(std::make_shared<http::Request>(), other, third,
                  [](auto, auto responder) { responder->send({200, {}, ""}); });
        EXPECT_EQ(third->response.status, 200);
    }
    held.reset();
    const auto fourth = std::make_shared<Recorder>();
    gate.pass(std::make_shared<http::Request>(), get, fourth,
              [](auto, auto responder) { responder->send({200, {}, ""}); });
    EXPECT_EQ(fourth->response.status, 200);
    EXPECT_THAT(gate.metrics(), HasSubstr("apiserver_dropped_requests_total{request_kind=\"readOnly\"} 1"));
}

TEST(Gate, WatchesGiveTheirSeatBackWhenTheyBeginAndLogsNeedNone) {
    GateOptions options;
    options.max_requests = 1;
    options.max_mutating_requests = 0;
    Gate gate(options);
    gate.configure(one_level(0, 0));
    std::vector<std::shared_ptr<http::Responder>> held;
    const auto stream = [&held](auto, auto responder) {
        responder->begin_stream({});
        held.push_back(responder);
    };
    for (int i = 0; i < 3; ++i) {
        const auto recorder = std::make_shared<Recorder>();
        gate.pass(std::make_shared<http::Request>(), ask("jane", {}, "watch", "pods"), recorder,
                  stream);
        EXPECT_TRUE(recorder->streaming);
    }
    auto logs = ask("jane", {}, "get", "pods");
    logs.subresource = "log";
    for (int i = 0; i < 3; ++i) {
        const auto recorder = std::make_shared<Recorder>();
        gate.pass(std::make_shared<http::Request>(), logs, recorder,
                  [&held](auto, auto responder) { held.push_back(responder); });
        EXPECT_NE(recorder->response.status, 429);
    }
    EXPECT_EQ(held.size(), 6U);
    gate.stop();
}

TEST(Gate, AClientThatGoesWhileItWaitsIsNotServed) {
    GateOptions options;
    options.max_requests = 1;
    options.max_mutating_requests = 0;
    Gate gate(options);
    gate.configure(one_level(1, 5));
    const auto jane = ask("jane", {}, "get", "pods");
    std::shared_ptr<http::Responder> held;
    gate.pass(std::make_shared<http::Request>(), jane, std::make_shared<Recorder>(),
              [&held](auto, auto responder) { held = responder; });
    const auto gone = std::make_shared<Recorder>();
    bool served = false;
    gate.pass(std::make_shared<http::Request>(), jane, gone, [&](auto, auto) { served = true; });
    ASSERT_TRUE(gone->closed);
    gone->closed();
    held.reset();
    EXPECT_FALSE(served);
    gate.stop();
}

// Lists of 1,000 objects take all that one request may have, gets one seat.
TEST(Gate, UnderLoadListsOfManyObjectsAreRefusedWhereGetsAreNot) {
    GateOptions options;
    options.max_requests = 25;
    options.max_mutating_requests = 0;
    Gate gate(options);
    gate.configure(one_level(0, 0));
    gate.count_objects({{"pods", 1'000}, {"secrets", 0}});
    std::vector<std::shared_ptr<http::Responder>> held;
    const auto sent = [&](const std::string& verb, const std::string& resource,
                          std::vector<std::pair<std::string, std::string>> query = {}) {
        auto request = std::make_shared<http::Request>();
        request->query = std::move(query);
        const auto recorder = std::make_shared<Recorder>();
        recorder->response.status = 0;
        gate.pass(request, ask("jane", {}, verb, resource), recorder,
                  [&held](auto, auto responder) { held.push_back(responder); });
        return recorder;
    };
    EXPECT_EQ(sent("list", "pods")->response.status, 0);
    EXPECT_EQ(sent("list", "pods")->response.status, 0);
    const auto third = sent("list", "pods");
    EXPECT_EQ(third->response.status, 429);
    EXPECT_EQ(third->header("Retry-After"), "1");
    for (int i = 0; i < 5; ++i) EXPECT_EQ(sent("get", "pods")->response.status, 0);
    EXPECT_EQ(sent("get", "pods")->response.status, 429);
    held.clear();
    // A page of it, and a list of few, are cheap.
    for (int i = 0; i < 12; ++i) {
        EXPECT_EQ(sent("list", "pods", {{"limit", "50"}})->response.status, 0);
        EXPECT_EQ(sent("list", "secrets")->response.status, 0);
    }
    EXPECT_EQ(sent("get", "pods")->response.status, 0);
    EXPECT_EQ(sent("get", "pods")->response.status, 429);
    held.clear();
    const std::string schema = "{flow_schema=\"all\",priority_level=\"level\"";
    EXPECT_EQ(figure(gate.metrics(), "work_estimated_seats_bucket" + schema + ",le=\"4\""), "32");
    EXPECT_EQ(figure(gate.metrics(), "work_estimated_seats_count" + schema), "35");
    EXPECT_EQ(figure(gate.metrics(), "work_estimated_seats_sum" + schema), "62");
    gate.stop();
}

TEST(Gate, OpenWatchesMakeChangesWider) {
    GateOptions options;
    options.max_requests = 20;
    options.max_mutating_requests = 0;
    Gate gate(options);
    gate.configure(one_level(0, 0));
    std::vector<std::shared_ptr<http::Responder>> watches;
    // The seats that a change takes; when it is over they come free by themselves.
    const auto change = [&](const std::string& name_space) {
        std::shared_ptr<http::Responder> held;
        gate.pass(std::make_shared<http::Request>(), ask("jane", {}, "create", "pods", name_space),
                  std::make_shared<Recorder>(), [&held](auto, auto responder) { held = responder; });
        const std::string seats = figure(gate.metrics(), kInUse);
        held.reset();
        for (int i = 0; i < 1'000 && figure(gate.metrics(), kInUse) != "0"; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        EXPECT_EQ(figure(gate.metrics(), kInUse), "0");
        return seats;
    };
    for (int i = 0; i < 31; ++i) {
        gate.pass(std::make_shared<http::Request>(), ask("jane", {}, "watch", "pods", i < 25 ? "" : "a"),
                  std::make_shared<Recorder>(), [&](auto, auto responder) {
                      responder->begin_stream({});
                      watches.push_back(responder);
                  });
    }
    EXPECT_EQ(change("a"), "4");  // 31 are told
    EXPECT_EQ(change("b"), "3");  // 25
    watches[0]->end_stream();
    watches.erase(watches.begin() + 1, watches.begin() + 20);
    EXPECT_EQ(change("a"), "2");  // 11
    watches.clear();
    EXPECT_EQ(change("a"), "1");
    gate.stop();
}

}  // namespace
}  // namespace sluice::flowcontrol
