// Puts a set of files into a directory so that a reader sees either all of the old ones or all of
// the new ones, with the layout that Kubernetes has and inotify users rely on:
//
//   page.html -> ..data/page.html
//   ..data -> ..2026_01_02_03_04_05.123456789     replaced by rename, the one moment of change
//   ..2026_01_02_03_04_05.123456789/page.html
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "api/base/result.h"

namespace sluice::kubelet {

struct ProjectedFile {
    std::string content;
    std::uint32_t mode = 0644;
    std::optional<std::int64_t> user;  // owner
};
using Payload = std::map<std::string, ProjectedFile>;  // by path relative to the volume

// Writes the payload; nothing happens when it is there already (false). group: fsGroup, which then
// owns the files and may read them. REQUIRES: the directory exists; one writer at a time. A crash
// at any point leaves the old or the new set; what is left over besides is cleared away by the next
// write.
Result<bool> write_atomically(const std::string& directory, const Payload& payload,
                              std::optional<std::int64_t> group);
// Whether a payload was ever written completely.
[[nodiscard]] bool has_payload(const std::string& directory);

}  // namespace sluice::kubelet
