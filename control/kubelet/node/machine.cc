#include "control/kubelet/node/machine_private.h"

#include <dirent.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace sluice::kubelet {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxSystemFileBytes = 1U << 20U;

// Empty when it cannot be read.
std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string out(kMaxSystemFileBytes, '\0');
    file.read(out.data(), static_cast<std::streamsize>(out.size()));
    out.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    return out;
}

std::string first_line(const std::string& path) {
    std::string text = content_of(path);
    text.resize(std::min(text.find('\n'), text.size()));
    return text;
}

std::int64_t number(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    std::int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

// "0.1 0.2 0.3 2/345 678": the tasks that there are.
std::int64_t task_count(const std::string& loadavg) {
    const std::size_t slash = loadavg.find('/');
    return slash == std::string::npos ? 0 : number(std::string_view(loadavg).substr(slash + 1));
}

void read_storage(std::string path, Machine* machine) {
    // The directory is made later than this is first asked for.
    std::error_code error;
    while (path.size() > 1 && !fs::exists(path, error)) path = fs::path(path).parent_path();
    struct statvfs system {};
    if (::statvfs(path.c_str(), &system) != 0) return;
    const auto bytes = [&](fsblkcnt_t blocks) {
        return static_cast<std::int64_t>(blocks) * static_cast<std::int64_t>(system.f_frsize);
    };
    machine->storage_bytes = bytes(system.f_blocks);
    machine->storage_available_bytes = bytes(system.f_bavail);
    machine->inodes = static_cast<std::int64_t>(system.f_files);
    machine->inodes_free = static_cast<std::int64_t>(system.f_ffree);
}

void read_huge_pages(Machine* machine) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/sys/kernel/mm/hugepages", error)) {
        const std::string name = entry.path().filename().string();  // "hugepages-2048kB"
        constexpr std::string_view kPrefix = "hugepages-";
        if (!name.starts_with(kPrefix)) continue;
        const std::int64_t page = number(std::string_view(name).substr(kPrefix.size())) * 1024;
        if (page <= 0) continue;
        machine->huge_pages[page] = page * number(first_line(entry.path() / "nr_hugepages"));
    }
}

}  // namespace

std::int64_t meminfo_bytes(std::string_view text, std::string_view name) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':') {
            return number(line.substr(name.size() + 1)) * 1024;
        }
    }
    return 0;
}

std::string pretty_name(std::string_view text) {
    constexpr std::string_view kName = "PRETTY_NAME=";
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (!line.starts_with(kName)) continue;
        line.remove_prefix(kName.size());
        if (line.size() >= 2 && (line.front() == '"' || line.front() == '\'') &&
            line.back() == line.front()) {
            line = line.substr(1, line.size() - 2);
        }
        return std::string(line);
    }
    return "Linux";
}

const char* architecture() {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#elif defined(__riscv)
    return "riscv64";
#else
#error "name this architecture as Go does, for the label kubernetes.io/arch"
#endif
}

Machine read_machine(const std::string& root_directory) {
    Machine machine;
    machine.cpus = std::max<std::int64_t>(1, ::sysconf(_SC_NPROCESSORS_ONLN));
    const std::string meminfo = content_of("/proc/meminfo");
    machine.memory_bytes = meminfo_bytes(meminfo, "MemTotal");
    machine.memory_available_bytes = meminfo_bytes(meminfo, "MemAvailable");
    read_storage(root_directory, &machine);
    const std::int64_t pid_max = number(first_line("/proc/sys/kernel/pid_max"));
    const std::int64_t threads_max = number(first_line("/proc/sys/kernel/threads-max"));
    machine.max_pids = threads_max > 0 ? std::min(pid_max, threads_max) : pid_max;
    machine.pids = task_count(first_line("/proc/loadavg"));
    read_huge_pages(&machine);
    machine.machine_id = first_line("/etc/machine-id");
    if (machine.machine_id.empty()) machine.machine_id = first_line("/var/lib/dbus/machine-id");
    machine.system_uuid = first_line("/sys/class/dmi/id/product_uuid");
    if (machine.system_uuid.empty()) machine.system_uuid = machine.machine_id;
    machine.boot_id = first_line("/proc/sys/kernel/random/boot_id");
    struct utsname name {};
    if (::uname(&name) == 0) machine.kernel_version = name.release;
    machine.os_image = pretty_name(content_of("/etc/os-release"));
    return machine;
}

}  // namespace sluice::kubelet
