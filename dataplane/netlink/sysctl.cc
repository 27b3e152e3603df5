// Kernel settings of the calling thread's namespaces, through /proc/sys.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>

#include "api/base/fd.h"
#include "dataplane/netlink/links.h"

namespace sluice::netlink {
namespace {

constexpr std::size_t kMaxSysctlBytes = 4096;

// Dots separate the levels; a name that could leave /proc/sys is refused.
Result<std::string> sysctl_path(std::string_view name) {
    const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    });
    if (name.empty() || !plain || name.front() == '.' || name.find("..") != std::string_view::npos) {
        return make_error(Code::kInvalidArgument, "sysctl name \"{}\" is not a dotted name", name);
    }
    std::string path = "/proc/sys/";
    for (const char c : name) {
        path += c == '.' ? '/' : c;
    }
    return path;
}

std::string_view forwarding_name(IpFamily family) {
    return family == IpFamily::kIpv4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding";
}

}  // namespace

Result<std::string> read_sysctl(std::string_view name) {
    SLUICE_TRY_ASSIGN(const std::string path, sysctl_path(name));
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) {
        return errno_error(errno, "sysctl {}: cannot open {}", name, path);
    }
    std::string text(kMaxSysctlBytes, '\0');
    const ssize_t got = ::read(file.get(), text.data(), text.size());
    if (got < 0) {
        return errno_error(errno, "sysctl {}: cannot read {}", name, path);
    }
    text.resize(static_cast<std::size_t>(got));
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text;
}

Result<void> write_sysctl(std::string_view name, std::string_view value) {
    SLUICE_TRY_ASSIGN(const std::string path, sysctl_path(name));
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.get() < 0) {
        return errno_error(errno, "sysctl {}: cannot open {} to set it to \"{}\"", name, path, value);
    }
    const ssize_t put = ::write(file.get(), value.data(), value.size());
    if (put < 0 || static_cast<std::size_t>(put) != value.size()) {
        return errno_error(put < 0 ? errno : EINVAL, "sysctl {}: the kernel refused \"{}\"", name,
                           value);
    }
    return {};
}

Result<bool> forwarding(IpFamily family) {
    const Result<std::string> text = read_sysctl(forwarding_name(family));
    if (!text) {
        return text.error();
    }
    return *text != "0";
}

Result<void> set_forwarding(IpFamily family, bool enabled) {
    return write_sysctl(forwarding_name(family), enabled ? "1" : "0");
}

Result<PortRange> local_port_range() {
    constexpr std::string_view kName = "net.ipv4.ip_local_port_range";
    SLUICE_TRY_ASSIGN(const std::string text, read_sysctl(kName));
    PortRange range;
    const char* const end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, range.min);
    const char* rest = first.ptr;
    while (rest != end && (*rest == ' ' || *rest == '\t')) {
        ++rest;
    }
    const auto second = std::from_chars(rest, end, range.max);
    if (first.ec != std::errc{} || second.ec != std::errc{} || range.min > range.max) {
        return make_error(Code::kInternal, "sysctl {}: \"{}\" is not two ports", kName, text);
    }
    return range;
}

}  // namespace sluice::netlink
