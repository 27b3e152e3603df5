// Pod cgroups in this machine's own hierarchies, below a root that the test removes again.
#include "control/kubelet/pods/cgroups.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sluice::kubelet {
namespace {

namespace fs = std::filesystem;

class CgroupsTest : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        root_ = "/sluice-test-" + std::to_string(::getpid());
        auto opened = Cgroups::open(root_);
        ASSERT_TRUE(opened) << opened.error().message;
        if (const auto made = opened->set_up(); !made) GTEST_SKIP() << made.error().message;
        cgroups_.emplace(std::move(*opened));
        std::ifstream mounts("/proc/self/mounts");
        std::string device, mount, type, options, rest;
        while (mounts >> device >> mount >> type >> options && std::getline(mounts, rest)) {
            if (!type.starts_with("cgroup") || !fs::exists(mount + root_)) continue;
            mounts_.push_back(mount);
            v1_ = v1_ || (type == "cgroup" && options.find("cpu") != std::string::npos);
        }
        ASSERT_FALSE(mounts_.empty());
    }
    void TearDown() override {
        for (const auto& mount : mounts_) remove(mount + root_);
    }
    static void remove(const fs::path& path) {
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(path, error)) {
            if (entry.is_directory(error)) remove(entry.path());
        }
        ::rmdir(path.c_str());
    }
    // Of the hierarchy that has the file.
    [[nodiscard]] std::string read(const std::string& path) const {
        for (const auto& mount : mounts_) {
            std::ifstream file(mount + path);
            std::string line;
            if (file && std::getline(file, line)) return line;
        }
        return "no file";
    }
    static corev1::Pod pod(const std::string& uid, const std::string& request,
                           const std::string& limit) {
        corev1::Pod pod;
        pod.mutable_metadata()->set_uid(uid);
        auto* resources = pod.mutable_spec()->add_containers()->mutable_resources();
        if (!request.empty()) (*resources->mutable_requests())["cpu"].set_string(request);
        if (!limit.empty()) (*resources->mutable_limits())["cpu"].set_string(limit);
        return pod;
    }

    std::string root_;
    std::optional<Cgroups> cgroups_;
    std::vector<std::string> mounts_;
    bool v1_ = false;
};

TEST_F(CgroupsTest, APodsLimitsAreTheKernelsAndItsClassHasItsShare) {
    const auto object = pod("u1", "250m", "500m");
    ASSERT_EQ(cgroups_->path_of(object), root_ + "/kubepods/burstable/podu1");
    ASSERT_TRUE(cgroups_->create(object));
    ASSERT_TRUE(cgroups_->create(object));  // harmless to repeat
    ASSERT_TRUE(cgroups_->set_burstable_cpu(1'500));
    const auto at = cgroups_->path_of(object);
    if (v1_) {
        EXPECT_EQ(read(at + "/cpu.shares"), "256");
        EXPECT_EQ(read(at + "/cpu.cfs_quota_us"), "50000");
        EXPECT_EQ(read(at + "/cpu.cfs_period_us"), "100000");
        EXPECT_EQ(read(root_ + "/kubepods/burstable/cpu.shares"), "1536");
        EXPECT_EQ(read(root_ + "/kubepods/besteffort/cpu.shares"), "2");
    } else {
        // weight = 1 + (shares - 2) * 9999 / 262142, rounded down.
        EXPECT_EQ(read(at + "/cpu.weight"), "10");
        EXPECT_EQ(read(at + "/cpu.max"), "50000 100000");
        EXPECT_EQ(read(root_ + "/kubepods/burstable/cpu.weight"), "59");
        EXPECT_EQ(read(root_ + "/kubepods/besteffort/cpu.weight"), "1");
    }
    // None asks for anything: as little as can be.
    ASSERT_TRUE(cgroups_->set_burstable_cpu(0));
    EXPECT_EQ(read(root_ + "/kubepods/burstable" + (v1_ ? "/cpu.shares" : "/cpu.weight")),
              v1_ ? "2" : "1");
}

TEST_F(CgroupsTest, RemovalEndsWhatStillRunsAndLeavesOtherPodsAlone) {
    ASSERT_TRUE(cgroups_->create(pod("u1", "", "")));
    ASSERT_TRUE(cgroups_->create(pod("u2", "1", "")));
    auto pods = cgroups_->pods();
    EXPECT_EQ(pods, (std::vector<std::string>{"u1", "u2"}));

    const pid_t child = ::fork();
    if (child == 0) {
        while (true) ::pause();
    }
    // Below the pod's cgroup, as the runtime's containers are; in the first hierarchy that has it.
    bool joined = false;
    for (const auto& mount : mounts_) {
        const auto path = mount + root_ + "/kubepods/besteffort/podu1";
        if (joined || !fs::exists(path)) continue;
        fs::create_directory(path + "/container");
        std::ofstream procs(path + "/container/cgroup.procs");
        procs << child << std::flush;
        joined = procs.good();
    }
    EXPECT_TRUE(joined);
    bool gone = false;
    std::thread reaper([child] { ::waitpid(child, nullptr, 0); });
    for (int attempt = 0; attempt < 1'000 && !gone; ++attempt) gone = cgroups_->remove("u1");
    if (!gone) ::kill(child, SIGKILL);
    reaper.join();
    EXPECT_TRUE(gone);
    EXPECT_EQ(cgroups_->pods(), (std::vector<std::string>{"u2"}));
    EXPECT_TRUE(cgroups_->remove("never was"));
}

}  // namespace
}  // namespace sluice::kubelet
