// What this machine has and how it is doing, read from /proc, /sys and /etc.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::kubelet {

struct Machine {
    std::int64_t cpus = 1;
    std::int64_t memory_bytes = 0;
    std::int64_t memory_available_bytes = 0;
    std::int64_t storage_bytes = 0;
    std::int64_t storage_available_bytes = 0;
    std::int64_t inodes = 0;
    std::int64_t inodes_free = 0;
    std::int64_t max_pids = 0;
    std::int64_t pids = 0;
    std::map<std::int64_t, std::int64_t> huge_pages;  // bytes of one -> bytes of all
    std::string machine_id;
    std::string system_uuid;
    std::string boot_id;
    std::string kernel_version;
    std::string os_image;
};

// What cannot be read is left as it is; the node then says that its capacity is missing.
[[nodiscard]] Machine read_machine(const std::string& root_directory);
// The value of a line "MemTotal:  123 kB" in bytes; 0 when there is none.
[[nodiscard]] std::int64_t meminfo_bytes(std::string_view text, std::string_view name);
// PRETTY_NAME of an os-release file, or "Linux".
[[nodiscard]] std::string pretty_name(std::string_view text);
// "amd64", as Go names it.
[[nodiscard]] const char* architecture();

}  // namespace sluice::kubelet
