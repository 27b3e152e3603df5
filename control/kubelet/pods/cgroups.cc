// Pod cgroups by mkdir and writes; no library, since the files are the interface.
#include "control/kubelet/pods/cgroups.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "control/kubelet/pods/resources.h"

namespace sluice::kubelet {

namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 3> kClasses{"", "/burstable", "/besteffort"};
constexpr int kRemoveAttempts = 3;

Result<void> make_folder(const std::string& path) {
    if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return {};
    return errno_error(errno, "cannot make the cgroup {}", path);
}

Result<void> write_file(const std::string& path, const std::string& value) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return errno_error(errno, "cannot open {}", path);
    const auto written = ::write(fd, value.data(), value.size());
    const int error = errno;
    ::close(fd);
    if (written < 0) return errno_error(error, "cannot write {} to {}", value, path);
    return {};
}

bool has(const std::string& controllers, std::string_view name) {
    std::stringstream words(controllers);
    std::string word;
    while (std::getline(words, word, ',')) {
        if (word == name) return true;
    }
    return false;
}

// A new cpuset cgroup of v1 has no CPUs, and none below it can have any.
void inherit_cpuset(const std::string& path) {
    for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
        std::ifstream own(path + file);
        std::string value;
        if (std::getline(own, value) && !value.empty()) continue;
        std::ifstream parent(fs::path(path).parent_path().string() + file);
        if (std::getline(parent, value) && !value.empty()) {
            static_cast<void>(write_file(path + file, value));
        }
    }
}

// Makes every part of the path below the hierarchy's root; in v2 hands the controllers down.
Result<void> make_path(const std::string& mount, const std::string& path, bool unified, bool cpuset) {
    std::string at = mount;
    std::stringstream parts(path);
    std::string part;
    while (std::getline(parts, part, '/')) {
        if (part.empty()) continue;
        if (unified) {
            // One at a time: a controller that is not there must not keep the others away.
            for (const char* controller : {"+cpu", "+memory", "+pids", "+cpuset", "+io"}) {
                static_cast<void>(write_file(at + "/cgroup.subtree_control", controller));
            }
        }
        at += "/" + part;
        SLUICE_TRY(make_folder(at));
        if (cpuset) inherit_cpuset(at);
    }
    return {};
}

void remove_tree(const fs::path& path) {
    std::error_code error;
    for (fs::directory_iterator entry(path, fs::directory_options::skip_permission_denied, error), end;
         !error && entry != end; entry.increment(error)) {
        if (entry->is_directory(error)) remove_tree(entry->path());
    }
    std::ifstream processes(path / "cgroup.procs");
    long pid = 0;
    while (processes >> pid) {
        if (pid > 1) ::kill(static_cast<pid_t>(pid), SIGKILL);
    }
    ::rmdir(path.c_str());
}

}  // namespace

Cgroups::Cgroups(std::string root, std::string_view mounts) : root_(std::move(root)) {
    while (!root_.empty() && root_.back() == '/') root_.pop_back();
    if (!root_.empty() && root_.front() != '/') root_.insert(0, "/");
    std::stringstream lines{std::string(mounts)};
    std::string line;
    std::string unified;
    while (std::getline(lines, line)) {
        std::stringstream fields(line);
        std::string device, mount, type, options;
        fields >> device >> mount >> type >> options;
        if (type == "cgroup") {
            hierarchies_.push_back({mount, options});
        } else if (type == "cgroup2" && unified.empty()) {
            unified = mount;
        }
    }
    unified_ = hierarchies_.empty() && !unified.empty();
    if (!unified.empty()) hierarchies_.push_back({unified, ""});
}

Result<Cgroups> Cgroups::open(const std::string& root) {
    if (root.find("..") != std::string::npos) {
        return make_error(Code::kInvalidArgument, "cgroup root \"{}\" must not hold \"..\"", root);
    }
    std::ifstream file("/proc/self/mounts");
    std::stringstream text;
    text << file.rdbuf();
    Cgroups cgroups(root, text.str());
    if (cgroups.hierarchies_.empty()) {
        return make_error(Code::kFailedPrecondition, "no cgroup hierarchy is mounted");
    }
    return cgroups;
}

Result<void> Cgroups::set_up() const {
    for (const auto& hierarchy : hierarchies_) {
        for (const char* name : kClasses) {
            const auto path = root_ + "/kubepods" + name;
            const auto made = make_path(hierarchy.mount, path, unified_,
                                        has(hierarchy.controllers, "cpuset"));
            // In a hybrid hierarchy v2 holds no controller that pods need.
            if (!made && (unified_ || !hierarchy.controllers.empty())) return made.error();
        }
        const auto best_effort = hierarchy.mount + root_ + "/kubepods/besteffort";
        if (has(hierarchy.controllers, "cpu")) {
            SLUICE_TRY(write_file(best_effort + "/cpu.shares", std::to_string(kMinShares)));
        } else if (unified_) {
            SLUICE_TRY(write_file(best_effort + "/cpu.weight", "1"));
        }
    }
    return {};
}

Result<void> Cgroups::set_burstable_cpu(std::int64_t cpu_milli) const {
    const auto shares = shares_of(cpu_milli);
    for (const auto& hierarchy : hierarchies_) {
        const auto path = hierarchy.mount + root_ + "/kubepods/burstable";
        if (has(hierarchy.controllers, "cpu")) {
            SLUICE_TRY(write_file(path + "/cpu.shares", std::to_string(shares)));
        } else if (unified_) {
            SLUICE_TRY(write_file(path + "/cpu.weight", std::to_string(weight_of(shares))));
        }
    }
    return {};
}

std::string Cgroups::path_of(const corev1::Pod& pod) const {
    const auto qos = qos_class(pod);
    const char* part = qos == "Burstable" ? "/burstable" : qos == "BestEffort" ? "/besteffort" : "";
    return root_ + "/kubepods" + part + "/pod" + pod.metadata().uid();
}

Result<void> Cgroups::create(const corev1::Pod& pod) const {
    const auto path = path_of(pod);
    const auto amounts = amounts_of(pod);
    const auto shares = shares_of(amounts.requests.cpu_milli);
    const auto quota = amounts.cpu_limited ? quota_of(amounts.limits.cpu_milli) : 0;
    for (const auto& hierarchy : hierarchies_) {
        const auto at = hierarchy.mount + path;
        if (unified_) {
            SLUICE_TRY(make_path(hierarchy.mount, path, true, false));
            SLUICE_TRY(write_file(at + "/cpu.weight", std::to_string(weight_of(shares))));
            if (quota > 0) {
                SLUICE_TRY(write_file(at + "/cpu.max", fmt::format("{} {}", quota, kCpuPeriodUs)));
            }
            if (amounts.memory_limited) {
                SLUICE_TRY(write_file(at + "/memory.max",
                                      std::to_string(amounts.limits.memory_bytes)));
            }
            continue;
        }
        if (has(hierarchy.controllers, "cpu")) {
            SLUICE_TRY(make_path(hierarchy.mount, path, false, has(hierarchy.controllers, "cpuset")));
            SLUICE_TRY(write_file(at + "/cpu.shares", std::to_string(shares)));
            if (quota > 0) {
                SLUICE_TRY(write_file(at + "/cpu.cfs_period_us", std::to_string(kCpuPeriodUs)));
                SLUICE_TRY(write_file(at + "/cpu.cfs_quota_us", std::to_string(quota)));
            }
        }
        if (has(hierarchy.controllers, "memory")) {
            SLUICE_TRY(make_path(hierarchy.mount, path, false, false));
            if (amounts.memory_limited) {
                SLUICE_TRY(write_file(at + "/memory.limit_in_bytes",
                                      std::to_string(amounts.limits.memory_bytes)));
            }
        }
    }
    return {};
}

bool Cgroups::remove(const std::string& uid) const {
    bool left = false;
    for (const auto& hierarchy : hierarchies_) {
        for (const char* name : kClasses) {
            const fs::path path = hierarchy.mount + root_ + "/kubepods" + name + "/pod" + uid;
            for (int attempt = 0; attempt < kRemoveAttempts; ++attempt) {
                if (::access(path.c_str(), F_OK) != 0) break;
                remove_tree(path);
            }
            left = left || ::access(path.c_str(), F_OK) == 0;
        }
    }
    return !left;
}

std::vector<std::string> Cgroups::pods() const {
    std::set<std::string> uids;
    for (const auto& hierarchy : hierarchies_) {
        for (const char* name : kClasses) {
            std::error_code error;
            const fs::path path = hierarchy.mount + root_ + "/kubepods" + name;
            for (fs::directory_iterator entry(path, error), end; !error && entry != end;
                 entry.increment(error)) {
                const auto file = entry->path().filename().string();
                if (file.starts_with("pod")) uids.insert(file.substr(3));
            }
        }
    }
    return {uids.begin(), uids.end()};
}

}  // namespace sluice::kubelet
