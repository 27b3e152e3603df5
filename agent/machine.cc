// See machine.h.
#include "agent/machine.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>

#include "api/base/fd.h"
#include "api/base/log.h"
#include "api/client/kubeconfig.h"
#include "dataplane/netlink/links.h"

namespace sluice::agent {
namespace {

constexpr char kComponent[] = "agent";

// Mount points are escaped in octal: "\040" is a space.
std::string unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto octal = [&](std::size_t at) {
            return at < text.size() && text[at] >= '0' && text[at] <= '7';
        };
        if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
            out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                            (text[i + 3] - '0')));
            i += 3;
        } else {
            out.push_back(text[i]);
        }
    }
    return out;
}

std::string_view next_word(std::string_view* line) {
    const auto space = line->find(' ');
    const std::string_view word = line->substr(0, space);
    line->remove_prefix(space == std::string_view::npos ? line->size() : space + 1);
    return word;
}

// With forwarding on, the kernel takes advertisements only on links whose accept_ra is 2; a node
// that learned its default route that way would lose it.
void keep_router_advertisements() {
    const auto links = netlink::list_links();
    if (!links) return;
    for (const auto& link : *links) {
        std::string name = link.name;
        for (char& c : name) {
            if (c == '.') c = '/';
        }
        const std::string setting = "net.ipv6.conf." + name + ".accept_ra";
        const auto value = netlink::read_sysctl(setting);
        if (!value || *value != "1") continue;
        if (auto written = netlink::write_sysctl(setting, "2"); !written) {
            log::warn(kComponent, "{} stays 1: {}", setting, written.error().to_string());
        }
    }
}

}  // namespace

Result<std::string> find_cgroup2(std::string_view mounts) {
    std::string found;
    while (!mounts.empty()) {
        const auto newline = mounts.find('\n');
        std::string_view line = mounts.substr(0, newline);
        mounts.remove_prefix(newline == std::string_view::npos ? mounts.size() : newline + 1);
        next_word(&line);
        const std::string_view place = next_word(&line);
        const std::string_view type = next_word(&line);
        if (type != "cgroup2") continue;
        std::string path = unescape(place);
        if (path == "/sys/fs/cgroup") return path;
        if (found.empty()) found = std::move(path);
    }
    if (!found.empty()) return found;
    return make_error(Code::kFailedPrecondition,
                      "no cgroup2 file system is mounted, and the socket hooks attach to one; run `mount -t "
                      "cgroup2 none /sys/fs/cgroup/unified` after making the directory, or name one with "
                      "--cgroup-root");
}

Result<std::string> detect_cgroup_root() {
    SLUICE_TRY_ASSIGN(const std::string mounts, client::read_file("/proc/self/mounts"));
    return find_cgroup2(mounts);
}

Result<std::string> find_object_dir(const std::string& installed) {
    std::array<char, 4096> buffer{};
    const ssize_t size = ::readlink("/proc/self/exe", buffer.data(), buffer.size() - 1);
    std::string beside;
    if (size > 0) {
        const std::string exe(buffer.data(), static_cast<std::size_t>(size));
        beside = exe.substr(0, exe.rfind('/')) + "/../lib/bpf";
        if (::access(beside.c_str(), R_OK | X_OK) == 0) return beside;
    }
    if (::access(installed.c_str(), R_OK | X_OK) == 0) return installed;
    return make_error(Code::kNotFound,
                      "the BPF objects are neither in {} nor in {}; name their directory with --object-dir",
                      beside, installed);
}

Result<std::string> default_node_name() {
    std::array<char, 256> buffer{};
    if (::gethostname(buffer.data(), buffer.size() - 1) != 0) return errno_error(errno, "host name");
    std::string name(buffer.data());
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (name.empty()) {
        return make_error(Code::kFailedPrecondition, "the host has no name; set one with --node-name");
    }
    return name;
}

Result<void> enable_forwarding() {
    for (const IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        const char* name = family == IpFamily::kIpv4 ? "IPv4" : "IPv6";
        const auto before = netlink::forwarding(family);
        // A kernel without IPv6 has no such setting, and nothing to forward.
        if (!before && family == IpFamily::kIpv6 && before.error().code == Code::kNotFound) continue;
        if (before && *before) continue;
        if (family == IpFamily::kIpv6) keep_router_advertisements();
        if (auto set = netlink::set_forwarding(family, true); !set) {
            return set.error().with_context(fmt::format("enabling {} forwarding", name));
        }
        log::info(kComponent, "{} forwarding was off in this network namespace and is on now", name);
    }
    return {};
}

void set_oom_score(int adjustment) {
    constexpr char kPath[] = "/proc/self/oom_score_adj";
    const Fd file(::open(kPath, O_WRONLY | O_CLOEXEC));
    const std::string text = std::to_string(adjustment);
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        log::warn(kComponent, "{} stays as it is: {}", kPath,
                  errno_error(errno, "oomScoreAdj {}", adjustment).to_string());
    }
}

void raise_open_files_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    // Without it there are fewer such ports, and the log names those that could not be opened.
    static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

}  // namespace sluice::agent
