// What the Node says of a machine, what the keeper asks of a server, and which options are refused.
#include "control/kubelet/node/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "api/client/fake_http.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "control/kubelet/node/node_status_private.h"

namespace sluice::kubelet {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Machine machine() {
    Machine made;
    made.cpus = 4;
    made.memory_bytes = 8LL << 30;
    made.memory_available_bytes = 4LL << 30;
    made.storage_bytes = 100LL << 30;
    made.storage_available_bytes = 50LL << 30;
    made.inodes = 1000;
    made.inodes_free = 500;
    made.max_pids = 10'000;
    made.pids = 100;
    made.huge_pages = {{2LL << 20, 0}};
    return made;
}

NodeOptions options() {
    NodeOptions made;
    made.name = "node-a";
    made.addresses = {"10.0.0.1", "fd00::1"};
    made.reserved_cpu_milli = 500;
    made.reserved_memory_bytes = 100LL << 20;
    return made;
}

const corev1::NodeCondition& condition(const corev1::NodeStatus& status, const std::string& type) {
    for (const auto& one : status.conditions()) {
        if (one.type() == type) return one;
    }
    static const corev1::NodeCondition none;
    return none;
}

TEST(NodeStatus, SaysWhatTheMachineHas) {
    corev1::NodeStatus status;
    const auto made = make_status(options(), machine(), {}, {"", "", "containerd://1.6.20"}, 1000, {}, &status);
    EXPECT_EQ(status.capacity().at("cpu").string(), "4");
    EXPECT_EQ(status.allocatable().at("cpu").string(), "3500m");
    EXPECT_EQ(status.capacity().at("memory").string(), "8Gi");
    EXPECT_EQ(status.allocatable().at("memory").string(), "7992Mi");
    EXPECT_EQ(status.capacity().at("ephemeral-storage").string(), "100Gi");
    EXPECT_EQ(status.capacity().at("pods").string(), "110");
    EXPECT_EQ(status.capacity().at("hugepages-2Mi").string(), "0");
    ASSERT_EQ(status.addresses_size(), 3);
    EXPECT_EQ(status.addresses(1).address(), "fd00::1");
    EXPECT_EQ(status.addresses(2).type(), "Hostname");
    EXPECT_EQ(status.daemonendpoints().kubeletendpoint().port(), 10250);
    EXPECT_EQ(status.nodeinfo().containerruntimeversion(), "containerd://1.6.20");
    EXPECT_THAT(status.nodeinfo().kubeletversion(), HasSubstr("v1.32.0+sluice."));
    EXPECT_EQ(condition(status, "Ready").status(), "True");
    EXPECT_EQ(condition(status, "Ready").reason(), "KubeletReady");
    EXPECT_EQ(condition(status, "Ready").message(), "kubelet is posting ready status");
    EXPECT_THAT(made.events, ElementsAre("NodeHasSufficientMemory", "NodeHasNoDiskPressure",
                                         "NodeHasSufficientPID", "NodeReady"));
    EXPECT_EQ(made.labels.at("kubernetes.io/hostname"), "node-a");
}

TEST(NodeStatus, TransitionsKeepTheirTime) {
    corev1::NodeStatus first;
    make_status(options(), machine(), {}, {"", "container runtime network not ready: x", ""}, 1000, {}, &first);
    EXPECT_EQ(condition(first, "Ready").status(), "False");
    EXPECT_EQ(condition(first, "Ready").reason(), "KubeletNotReady");
    EXPECT_EQ(condition(first, "Ready").message(), "container runtime network not ready: x");
    auto* other = first.add_conditions();
    other->set_type("NetworkUnavailable");
    other->set_status("False");

    corev1::NodeStatus second;
    const auto made = make_status(options(), machine(), {}, {}, 2000, first, &second);
    EXPECT_THAT(made.events, ElementsAre("NodeReady"));
    EXPECT_EQ(condition(second, "Ready").lasttransitiontime().seconds(), 2000);
    EXPECT_EQ(condition(second, "DiskPressure").lasttransitiontime().seconds(), 1000);
    EXPECT_EQ(condition(second, "DiskPressure").lastheartbeattime().seconds(), 2000);
    EXPECT_EQ(condition(second, "NetworkUnavailable").status(), "False") << "others' conditions stay";

    corev1::NodeStatus third;
    EXPECT_THAT(make_status(options(), machine(), {}, {}, 3000, second, &third).events, IsEmpty());
    EXPECT_FALSE(is_status_changed(second, third)) << "heartbeats are no change";
    EXPECT_TRUE(is_status_changed(first, second));
}

TEST(NodeStatus, Pressure) {
    EXPECT_FALSE(pressure_of(machine()).memory || pressure_of(machine()).disk || pressure_of(machine()).pids);
    Machine full = machine();
    full.memory_available_bytes = 99LL << 20;
    full.storage_available_bytes = 9LL << 30;
    full.pids = 9'950;
    const Pressure pressure = pressure_of(full);
    EXPECT_TRUE(pressure.memory && pressure.disk && pressure.pids);
    corev1::NodeStatus status;
    make_status(options(), full, pressure, {}, 1, {}, &status);
    EXPECT_EQ(condition(status, "MemoryPressure").reason(), "KubeletHasInsufficientMemory");
    EXPECT_EQ(condition(status, "DiskPressure").message(), "kubelet has disk pressure");
    EXPECT_EQ(condition(status, "PIDPressure").status(), "True");
}

TEST(NodeStatus, ThisMachineCanBeRead) {
    const Machine here = read_machine("/tmp/sluice-not-made-yet/x");
    EXPECT_GT(here.memory_bytes, here.memory_available_bytes);
    EXPECT_GT(here.storage_bytes, 0);
    EXPECT_GT(here.max_pids, here.pids);
    EXPECT_EQ(here.boot_id.size(), 36U);
    EXPECT_EQ(meminfo_bytes("MemTotalX: 1 kB\nMemTotal:  12 kB\n", "MemTotal"), 12 * 1024);
    EXPECT_EQ(pretty_name("A=b\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
}

TEST(Taints, AsTheFlagHasThem) {
    const auto made = parse_taints({"a=b:NoSchedule", "x/y:NoExecute"});
    ASSERT_TRUE(made);
    ASSERT_EQ(made->spec().taints_size(), 2);
    EXPECT_EQ(made->spec().taints(0).value(), "b");
    EXPECT_EQ(made->spec().taints(1).key(), "x/y");
    for (const std::string bad : {"a", "a=b", "a:Never", ":NoSchedule", "=b:NoSchedule"}) {
        const auto refused = parse_taints({bad});
        ASSERT_FALSE(refused) << bad;
        EXPECT_THAT(refused.error().message, HasSubstr(bad));
    }
    EXPECT_FALSE(parse_taints({"a=1:NoSchedule", "a=2:NoSchedule"}));
}

TEST(Labels, KubernetesOwnAreProtected) {
    EXPECT_TRUE(check_labels({{"zone", "a"}, {"example.org/x", ""}, {"node.kubernetes.io/x", ""},
                              {"a.node.kubernetes.io/x", ""}, {"topology.kubernetes.io/zone", "z"}}));
    for (const std::string bad : {"kubernetes.io/role", "x.k8s.io/y", "node-role.kubernetes.io/master"}) {
        const auto refused = check_labels({{bad, ""}});
        ASSERT_FALSE(refused) << bad;
        EXPECT_THAT(refused.error().message, HasSubstr(bad));
    }
}

// Remembers what it was asked; knows no node at first.
class Server final : public client::HttpClient {
public:
    Result<std::unique_ptr<client::HttpStream>> stream(const client::HttpRequest& request,
                                                       std::stop_token stop) override {
        std::unique_lock lock(mutex_);
        const std::string what = request.method + " " + request.target.substr(0, request.target.find('?'));
        asked_.push_back(what + " " + request.body);
        changed_.notify_all();
        client::FakeAnswer answer;
        const std::string node =
            R"({"kind":"Node","apiVersion":"v1","metadata":{"name":"node-a","uid":"uid-1",)"
            R"("resourceVersion":"7"},"spec":{"podCIDR":"10.1.0.0/24"}})";
        if (first_ && what == "GET /api/v1/nodes/node-a") {
            first_ = false;
            return make_error(Code::kUnavailable, "away");
        }
        if (request.target.find("watch=") != std::string::npos) {
            changed_.wait(lock, stop, [] { return false; });
            return make_error(Code::kCancelled, "stopped");
        }
        if (request.method == "GET" && what != "GET /api/v1/nodes") {
            answer.status = 404;
            answer.chunks = {R"({"kind":"Status","apiVersion":"v1","reason":"NotFound","code":404})"};
        } else if (what == "GET /api/v1/nodes") {
            answer.chunks = {
                R"({"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[)" +
                node + "]}"};
        } else if (request.target.find("/leases") != std::string::npos) {
            answer.chunks = {
                R"({"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"node-a",)"
                R"("resourceVersion":"3"}})"};
        } else {
            answer.chunks = {node};
        }
        return std::unique_ptr<client::HttpStream>(std::make_unique<client::FakeStream>(std::move(answer)));
    }
    Result<client::HttpResponse> request(const client::HttpRequest& request, std::stop_token stop) override {
        SLUICE_TRY_ASSIGN(auto answer, stream(request, std::move(stop)));
        client::HttpResponse response{answer->head(), ""};
        std::string chunk(65'536, '\0');
        while (true) {
            SLUICE_TRY_ASSIGN(const std::size_t got, answer->read(chunk.data(), chunk.size(), 1));
            if (got == 0) return response;
            response.body.append(chunk, 0, got);
        }
    }
    [[nodiscard]] const client::ClientConfig& config() const override { return config_; }
    // The first request that begins so; empty when there is none in time.
    std::string asked(const std::string& beginning) {
        std::unique_lock lock(mutex_);
        const std::string* found = nullptr;
        changed_.wait_for(lock, std::chrono::seconds(20), [&] {
            for (const auto& one : asked_) {
                if (one.starts_with(beginning)) found = &one;
            }
            return found != nullptr;
        });
        return found == nullptr ? "" : *found;
    }

private:
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::vector<std::string> asked_;
    bool first_ = true;
    client::ClientConfig config_;
};

class Events final : public client::EventRecorder {
public:
    void record(const google::protobuf::Message&, client::EventType, const std::string& reason,
                const std::string&, const std::string&) override {
        const std::scoped_lock lock(mutex);
        reasons.push_back(reason);
    }
    [[nodiscard]] std::uint64_t dropped() const override { return 0; }
    std::mutex mutex;
    std::vector<std::string> reasons;
};

TEST(NodeKeeper, RegistersReportsAndRenewsAfterAnOutage) {
    auto http = std::make_unique<Server>();
    Server& server = *http;
    client::Client client(std::move(http));
    Events events;
    {
        auto keeper = NodeKeeper::start(client, options(), [] { return RuntimeState(); }, events);
        ASSERT_TRUE(keeper) << keeper.error().message;
        EXPECT_THAT(server.asked("POST /api/v1/nodes "), HasSubstr("node-a"));
        EXPECT_THAT(server.asked("PATCH /api/v1/nodes/node-a/status "),
                    testing::AllOf(HasSubstr(R"("addresses":[{"$patch":"replace"},)"),
                                   HasSubstr("KubeletReady"), testing::Not(HasSubstr("podCIDR"))));
        EXPECT_THAT(server.asked("POST /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases "),
                    testing::AllOf(HasSubstr("uid-1"), HasSubstr("node-a")));
        ASSERT_NE((*keeper)->node(), nullptr);
        EXPECT_EQ((*keeper)->node()->spec().podcidr(), "10.1.0.0/24");
        EXPECT_GT((*keeper)->allocatable_memory_bytes(), 0);
    }
    const std::scoped_lock lock(events.mutex);
    EXPECT_THAT(events.reasons, testing::IsSupersetOf({"Starting", "NodeReady"}));
}

TEST(NodeKeeper, RefusesWhatCannotBe) {
    client::Client client(std::make_unique<Server>());
    Events events;
    const auto refused = [&](NodeOptions bad) {
        return !NodeKeeper::start(client, std::move(bad), [] { return RuntimeState(); }, events);
    };
    NodeOptions bad = options();
    bad.addresses = {"not an address"};
    EXPECT_TRUE(refused(bad));
    bad = options();
    bad.name.clear();
    EXPECT_TRUE(refused(bad));
    bad = options();
    bad.labels["kubernetes.io/mine"] = "x";
    EXPECT_TRUE(refused(bad));
}

}  // namespace
}  // namespace sluice::kubelet
