// Attachments in real network namespaces: the test's own is the node's, each pod's is held by a
// child. What is there is asked of ip(8), not of the code under test. Needs root; skips visibly
// without it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "control/cni/attachment.h"
#include "control/cni/plugin.h"

namespace sluice::cni {
namespace {

namespace fs = std::filesystem;

// Both outputs of a shell command.
std::string shell(const std::string& command) {
    std::string out;
    FILE* const pipe = ::popen((command + " 2>&1").c_str(), "re");  // NOLINT
    if (pipe == nullptr) return "popen failed";
    std::array<char, 4096> buffer{};
    while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) out += buffer.data();
    ::pclose(pipe);
    return out;
}

// A network namespace that lives as long as a process of its own.
class PodNamespace {
public:
    PodNamespace() {
        std::array<int, 2> ready{};
        SLUICE_ASSERT(::pipe2(ready.data(), O_CLOEXEC) == 0);
        pid_ = ::fork();
        SLUICE_ASSERT(pid_ >= 0);
        if (pid_ == 0) {
            const char done = ::unshare(CLONE_NEWNET) == 0 ? '1' : '0';
            if (::write(ready[1], &done, 1) != 1) ::_exit(1);
            for (;;) ::pause();
        }
        char done = 0;
        SLUICE_ASSERT(::read(ready[0], &done, 1) == 1 && done == '1');
        ::close(ready[0]);
        ::close(ready[1]);
    }
    PodNamespace(const PodNamespace&) = delete;
    PodNamespace& operator=(const PodNamespace&) = delete;
    ~PodNamespace() { end(); }

    void end() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }
    [[nodiscard]] std::string path() const { return "/proc/" + std::to_string(pid_) + "/ns/net"; }
    std::string run(const std::string& command) const {
        return shell("nsenter --net=" + path() + " " + command);
    }

private:
    pid_t pid_ = -1;
};

// Passes everything on, and fails the operation of the given number with EIO, before or after it
// took effect.
class FailingNetwork final : public Network {
public:
    FailingNetwork(std::unique_ptr<Network> real, int fail_at)
        : real_(std::move(real)), left_(fail_at) {}
    [[nodiscard]] bool failed() const { return failed_; }

    Result<void> create_pair(const PairSpec& spec) override {
        // Making the pair is atomic in the kernel, so that it fails before it took effect.
        if (due()) return errno_error(EIO, "injected");
        return real_->create_pair(spec);
    }
    Result<bool> delete_link(const std::string& name) override { return real_->delete_link(name); }
    Result<std::optional<Link>> find_link(Side side, const std::string& name) override {
        if (due()) return errno_error(EIO, "injected");
        return real_->find_link(side, name);
    }
    Result<void> set_alias(int ifindex, const std::string& alias) override {
        return after(real_->set_alias(ifindex, alias));
    }
    Result<void> set_up(Side side, int ifindex) override {
        return after(real_->set_up(side, ifindex));
    }
    Result<void> enable_ipv6(Side side, const std::string& name) override {
        return after(real_->enable_ipv6(side, name));
    }
    Result<void> add_address(Side side, int ifindex, const LinkAddress& address) override {
        return after(real_->add_address(side, ifindex, address));
    }
    Result<void> add_neighbour(Side side, int ifindex, const Neighbour& neighbour) override {
        return after(real_->add_neighbour(side, ifindex, neighbour));
    }
    Result<void> add_route(Side side, int ifindex, const Route& route) override {
        return after(real_->add_route(side, ifindex, route));
    }
    Result<std::vector<LinkAddress>> addresses(Side side, int ifindex) override {
        return real_->addresses(side, ifindex);
    }
    Result<std::vector<Neighbour>> neighbours(Side side, int ifindex) override {
        return real_->neighbours(side, ifindex);
    }
    Result<std::vector<Route>> routes(Side side, int ifindex) override {
        return real_->routes(side, ifindex);
    }

private:
    bool due() {
        if (--left_ != 0) return false;
        failed_ = true;
        return true;
    }
    Result<void> after(Result<void> done) {
        if (due()) return errno_error(EIO, "injected");
        return done;
    }

    std::unique_ptr<Network> real_;
    int left_;
    bool failed_ = false;
};

class AttachmentTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        shell("ip link set lo up");
        std::string pattern = (fs::temp_directory_path() / "sluice-cni-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    void TearDown() override {
        if (!folder_.empty()) fs::remove_all(folder_);
    }

    [[nodiscard]] std::string config(const std::string& more = "",
                                     const char* version = "1.0.0") const {
        return std::string(R"({"cniVersion":")") + version +
               R"(","name":"net","type":"sluice-cni","podCIDRs":["10.99.0.0/24","fd00:99::/64"],)"
               R"("mtu":1450,"dataDir":")" +
               folder_.string() + "\"" + more + "}";
    }
    [[nodiscard]] Answer call(const char* command, const std::string& netns,
                              const std::string& more = "", const std::string& container = "abc",
                              const char* version = "1.0.0") const {
        return run({command, container, netns, "eth0"}, config(more, version));
    }
    [[nodiscard]] std::set<std::string> files() const {
        std::set<std::string> names;
        if (!fs::exists(folder_ / "net")) return names;
        for (const auto& entry : fs::directory_iterator(folder_ / "net")) {
            const std::string name = entry.path().filename().string();
            if (!name.starts_with('.')) names.insert(name);
        }
        return names;
    }
    static int host_links() { return std::stoi(shell("ip -o link show type veth | wc -l")); }

    fs::path folder_;
};

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST_F(AttachmentTest, AddLaysEverythingAndDelTakesItAway) {
    const PodNamespace pod;
    const Answer added = call("ADD", pod.path());
    ASSERT_FALSE(added.failed) << added.output;
    EXPECT_TRUE(has(added.output, R"("address":"10.99.0.1/32")")) << added.output;

    const std::string addresses = pod.run("ip addr show dev eth0");
    EXPECT_TRUE(has(addresses, "inet 10.99.0.1/32 scope global")) << addresses;
    EXPECT_TRUE(has(addresses, "inet6 fd00:99::1/128 scope global nodad")) << addresses;
    EXPECT_TRUE(has(addresses, "mtu 1450")) << addresses;
    EXPECT_TRUE(has(pod.run("ip link show dev lo"), "LOOPBACK,UP"));
    EXPECT_TRUE(has(pod.run("ip route"), "default via 169.254.1.1 dev eth0"));
    EXPECT_TRUE(has(pod.run("ip -6 route"), "default via fe80::1 dev eth0"));
    for (const char* gateway : {"169.254.1.1", "fe80::1"}) {
        EXPECT_TRUE(has(pod.run("ip neigh"), std::string(gateway) + " dev eth0 lladdr 06:"));
    }
    const std::string name = host_link_name({"abc", "eth0"});
    const std::string host = shell("ip -d addr show dev " + name);
    EXPECT_TRUE(has(host, "inet 169.254.1.1/32 scope link")) << host;
    EXPECT_TRUE(has(host, "inet6 fe80::1/64 scope link")) << host;
    EXPECT_TRUE(has(host, "alias sluice-cni net/abc/eth0")) << host;
    EXPECT_TRUE(has(shell("ip route"), "10.99.0.1 dev " + name));
    EXPECT_TRUE(has(shell("ip -6 route"), "fd00:99::1 dev " + name));
    EXPECT_TRUE(has(shell("ip neigh"), "10.99.0.1 dev " + name + " lladdr 02:"));
    EXPECT_TRUE(has(shell("ip neigh"), "fd00:99::1 dev " + name + " lladdr 02:"));

    const Answer again = call("ADD", pod.path());
    EXPECT_TRUE(again.failed);
    EXPECT_TRUE(has(again.output, R"("code":100)")) << again.output;
    EXPECT_FALSE(call("CHECK", pod.path(), ",\"prevResult\":" + added.output).failed)
        << "a refused ADD must not touch the first one";

    for (int i = 0; i < 2; ++i) {
        const Answer deleted = call("DEL", pod.path());
        EXPECT_FALSE(deleted.failed) << deleted.output;
        EXPECT_EQ(deleted.output, "");
        EXPECT_EQ(host_links(), 0);
        EXPECT_TRUE(files().empty());
        EXPECT_TRUE(has(pod.run("ip link show dev eth0"), "does not exist"));
    }
}

TEST_F(AttachmentTest, NothingIsLeftWhicheverStepFails) {
    const PodNamespace pod;
    int steps = 0;
    for (int fail_at = 1;; ++fail_at) {
        auto real = open_network(pod.path());
        ASSERT_TRUE(real) << real.error().to_string();
        FailingNetwork network(std::move(*real), fail_at);
        Allocator allocator = Allocator::open(folder_.string(), "net").value();
        Config parsed;
        parsed.name = "net";
        parsed.pod_cidrs = {IpPrefix::parse("10.99.0.0/24").value(),
                            IpPrefix::parse("fd00:99::/64").value()};
        const auto attached = attach(network, allocator, parsed, {"abc", "eth0"});
        if (!network.failed()) {
            ASSERT_TRUE(attached) << attached.error().to_string();
            steps = fail_at - 1;
            break;
        }
        ASSERT_FALSE(attached) << "step " << fail_at;
        EXPECT_EQ(attached.error().message, "injected");
        EXPECT_EQ(host_links(), 0) << "step " << fail_at;
        EXPECT_TRUE(files().empty()) << "step " << fail_at;
        EXPECT_EQ(pod.run("ip -o link show type veth"), "") << "step " << fail_at;
        EXPECT_EQ(shell("ip route") + shell("ip -6 route show type unicast | grep -v fe80"), "");
    }
    // pair, 3 looks, name, 2 x IPv6, lo and both ends up, and 15 addresses, neighbours and routes
    EXPECT_GE(steps, 20);
    EXPECT_EQ(host_links(), 1);
}

TEST_F(AttachmentTest, CheckSeesEachThingMissing) {
    const std::string host = host_link_name({"abc", "eth0"});
    const std::vector<std::tuple<bool, std::string, std::string>> damages = {
        // in the pod?, the damage, what CHECK says
        {true, "ip addr del 10.99.0.1/32 dev eth0", "pod's link has no address 10.99.0.1/32"},
        {true, "ip -6 addr del fd00:99::1/128 dev eth0",
         "pod's link has no address fd00:99::1/128"},
        {true, "ip route del default", "pod's link has no route to 0.0.0.0/0 via 169.254.1.1"},
        {true, "ip -6 route del default", "pod's link has no route to ::/0 via fe80::1"},
        {true, "ip neigh del 169.254.1.1 dev eth0",
         "pod's link has no permanent neighbour 169.254.1.1"},
        {true, "ip neigh del fe80::1 dev eth0", "pod's link has no permanent neighbour fe80::1"},
        {true, "ip link set lo down", "lo is down"},
        {true, "ip link set eth0 mtu 1400", "mtu"},
        {true, "ip link set eth0 address 02:00:00:00:00:01", "hardware address"},
        {false, "ip link set " + host + " down", "host's link is down"},
        {false, "ip addr del 169.254.1.1/32 dev " + host,
         "host's link has no address 169.254.1.1/32"},
        {false, "ip -6 addr del fe80::1/64 dev " + host, "host's link has no address fe80::1/64"},
        {false, "ip route del 10.99.0.1", "host's link has no route to 10.99.0.1/32"},
        {false, "ip -6 route del fd00:99::1", "host's link has no route to fd00:99::1/128"},
        {false, "ip neigh del fd00:99::1 dev " + host,
         "host's link has no permanent neighbour fd00:99::1"},
        {false, "ip link del " + host, "host has no link " + host},
        {false, "rm " + folder_.string() + "/net/10.99.0.1", "10.99.0.1 is not container abc's"},
    };
    for (const auto& [in_pod, damage, says] : damages) {
        const PodNamespace pod;
        // Every round starts from the first address again.
        fs::remove_all(folder_ / "net");
        const Answer added = call("ADD", pod.path());
        ASSERT_FALSE(added.failed) << added.output;
        const std::string previous = ",\"prevResult\":" + added.output;
        ASSERT_FALSE(call("CHECK", pod.path(), previous).failed)
            << call("CHECK", pod.path(), previous).output;
        EXPECT_EQ(in_pod ? pod.run(damage) : shell(damage), "");
        const Answer checked = call("CHECK", pod.path(), previous);
        EXPECT_TRUE(checked.failed) << damage;
        EXPECT_TRUE(has(checked.output, says)) << damage << ": " << checked.output;
        EXPECT_FALSE(call("DEL", pod.path()).failed) << "DEL copes with all of it: " << damage;
        EXPECT_EQ(host_links(), 0) << damage;
    }
}

TEST_F(AttachmentTest, DelWithoutTheNamespace) {
    PodNamespace pod;
    ASSERT_FALSE(call("ADD", pod.path()).failed);
    const std::string path = pod.path();
    pod.end();
    EXPECT_FALSE(call("DEL", path).failed);
    EXPECT_FALSE(call("DEL", "").failed);
    EXPECT_EQ(host_links(), 0);
    EXPECT_TRUE(files().empty());
}

// Containers whose DEL never came: what they held goes with the DEL of another.
TEST_F(AttachmentTest, AddressesOfVanishedContainersAreReleased) {
    const PodNamespace living;
    const PodNamespace leaving;
    {
        const PodNamespace vanished;
        ASSERT_FALSE(call("ADD", vanished.path(), "", "vanished").failed);
    }
    ASSERT_FALSE(call("ADD", living.path(), "", "living").failed);
    ASSERT_FALSE(call("ADD", leaving.path(), "", "leaving").failed);
    // The kernel takes a dead namespace's links away in its own time.
    for (int i = 0; i < 500 && host_links() > 2; ++i) ::usleep(10000);
    ASSERT_EQ(host_links(), 2);
    ASSERT_EQ(files().size(), 6U);
    EXPECT_FALSE(call("DEL", leaving.path(), "", "leaving").failed);
    EXPECT_EQ(files(), (std::set<std::string>{"10.99.0.2", "fd00:99::2"}));
}

TEST_F(AttachmentTest, GcDetachesAllButTheValid) {
    const PodNamespace a;
    const PodNamespace b;
    ASSERT_FALSE(call("ADD", a.path(), "", "a").failed);
    ASSERT_FALSE(call("ADD", b.path(), "", "b").failed);
    const Answer collected =
        call("GC", "", R"(,"cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"}])", "",
             "1.1.0");
    EXPECT_FALSE(collected.failed) << collected.output;
    EXPECT_EQ(files(), (std::set<std::string>{"10.99.0.2", "fd00:99::2"}));
    EXPECT_TRUE(has(shell("ip -o link"), host_link_name({"b", "eth0"})));
    EXPECT_EQ(host_links(), 1);
    EXPECT_FALSE(call("STATUS", "", "", "", "1.1.0").failed);
}

TEST_F(AttachmentTest, WrongNamespacesAreRefusedWithNothingMade) {
    const std::string file = (folder_ / "plain").string();
    shell("touch " + file);
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"/run/netns/sluice-none", R"("code":3)"},
        {file, R"("code":3)"},
        {"/proc/self/ns/mnt", R"("code":4)"},
        {"/proc/thread-self/ns/net", R"("code":4)"}};
    for (const auto& [path, code] : cases) {
        const Answer refused = call("ADD", path);
        EXPECT_TRUE(refused.failed);
        EXPECT_TRUE(has(refused.output, code)) << refused.output;
        EXPECT_TRUE(has(refused.output, path)) << refused.output;
        EXPECT_TRUE(files().empty());
    }
}

TEST_F(AttachmentTest, WhatOthersMadeIsNamedAndKept) {
    const PodNamespace pod;
    // Someone else's link under the name, and a route where the pod's would be.
    const std::string name = host_link_name({"abc", "eth0"});
    shell("ip link add " + name + " type veth peer name other && ip link set " + name +
          " alias theirs");
    const Answer refused = call("ADD", pod.path());
    EXPECT_TRUE(refused.failed);
    EXPECT_TRUE(has(refused.output, "another owner: theirs")) << refused.output;
    EXPECT_FALSE(call("DEL", pod.path()).failed);
    EXPECT_EQ(host_links(), 2) << "DEL removed what is not its own";
    shell("ip link del " + name);

    shell("ip link add up0 type bridge && ip link set up0 up && ip route add 10.99.0.1/32 dev up0");
    const Answer conflict = call("ADD", pod.path());
    EXPECT_TRUE(conflict.failed);
    EXPECT_TRUE(has(conflict.output, "10.99.0.1/32")) << conflict.output;
    EXPECT_TRUE(has(conflict.output, R"("code":5)")) << conflict.output;
    EXPECT_EQ(host_links(), 0);
    EXPECT_TRUE(files().empty());
    // The runtime's next attempt gets another address.
    const Answer second = call("ADD", pod.path());
    EXPECT_FALSE(second.failed) << second.output;
    EXPECT_TRUE(has(second.output, "10.99.0.2")) << second.output;

    const PodNamespace taken;
    taken.run("ip link add eth0 type bridge");
    const Answer occupied = call("ADD", taken.path(), "", "occupied");
    EXPECT_TRUE(has(occupied.output, "the pod has a link eth0 already")) << occupied.output;
    EXPECT_FALSE(call("DEL", taken.path(), "", "occupied").failed);
    EXPECT_TRUE(has(taken.run("ip -d link show dev eth0"), "bridge"));
}

TEST_F(AttachmentTest, EnablesIpv6WhereItIsOff) {
    const PodNamespace pod;
    pod.run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1");
    const Answer added = call("ADD", pod.path());
    ASSERT_FALSE(added.failed) << added.output;
    EXPECT_TRUE(has(pod.run("ip -6 addr show dev eth0"), "fd00:99::1/128"));
}

TEST_F(AttachmentTest, LoopbackForContainerd) {
    const PodNamespace pod;
    const std::string text = R"({"cniVersion":"0.4.0","name":"cni-loopback","type":"loopback")";
    const Answer added = run({"ADD", "abc", pod.path(), "lo"}, text + "}");
    ASSERT_FALSE(added.failed) << added.output;
    EXPECT_TRUE(has(added.output, R"("address":"127.0.0.1/8")")) << added.output;
    EXPECT_TRUE(has(pod.run("ip link show dev lo"), "LOOPBACK,UP"));
    const std::string checked = text + ",\"prevResult\":" + added.output + "}";
    EXPECT_FALSE(run({"CHECK", "abc", pod.path(), "lo"}, checked).failed);
    pod.run("ip link set lo down");
    EXPECT_TRUE(run({"CHECK", "abc", pod.path(), "lo"}, checked).failed);
    EXPECT_FALSE(run({"DEL", "abc", "", "lo"}, text + "}").failed);
    EXPECT_TRUE(files().empty());
}

TEST_F(AttachmentTest, ThirtyAtOnce) {
    constexpr int kPods = 30;
    std::vector<std::unique_ptr<PodNamespace>> pods;
    for (int i = 0; i < kPods; ++i) pods.push_back(std::make_unique<PodNamespace>());
    for (const char* command : {"ADD", "DEL"}) {
        std::vector<pid_t> children;
        for (int i = 0; i < kPods; ++i) {
            const pid_t child = ::fork();
            ASSERT_GE(child, 0);
            if (child == 0) {
                const Answer answer = call(command, pods[static_cast<std::size_t>(i)]->path(), "",
                                           "container-" + std::to_string(i));
                if (answer.failed) std::fputs(answer.output.c_str(), stderr);
                ::_exit(answer.failed ? 1 : 0);
            }
            children.push_back(child);
        }
        for (const pid_t child : children) {
            int status = 0;
            ::waitpid(child, &status, 0);
            EXPECT_EQ(status, 0) << command;
        }
        const bool there = std::string_view(command) == "ADD";
        EXPECT_EQ(host_links(), there ? kPods : 0);
        EXPECT_EQ(files().size(), there ? 2U * kPods : 0U);
        if (there) {
            std::set<std::string> seen;
            for (const auto& pod : pods)
                seen.insert(pod->run("ip -4 -o addr show dev eth0 | cut -d' ' -f7"));
            EXPECT_EQ(seen.size(), static_cast<std::size_t>(kPods)) << "an address was given twice";
        }
    }
}

}  // namespace
}  // namespace sluice::cni
