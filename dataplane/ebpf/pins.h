// Where things are pinned, and the steps that make and remove pins.
//
//   <bpffs>/sluice/
//     current -> image-v1-N   the image in force; replaced by renaming a symbolic link
//     image-v1-N/             one pin per table (dataplane/image/layout.h)
//     state-v1/               what outlives images: flows, socket storage, affinity
//     links/                  one pin per attachment; programs are exchanged inside a link
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"

namespace sluice::dataplane {

struct PinPaths {
    std::string root;
    std::string links;
    std::string state;
    std::string current;

    static PinPaths under(const std::string& bpffs);
    [[nodiscard]] std::string image(std::uint64_t number) const;
};

// Succeeds when it is there already.
Result<void> make_directory(const std::string& path);
// Names of what is in a directory, sorted; empty when there is none.
std::vector<std::string> list_directory(const std::string& path);
// Removes a directory of pins. What is not there is no error.
Result<void> remove_directory(const std::string& path);

// The directory that `current` names, as a full path; none when there is no image.
std::optional<std::string> current_image(const PinPaths& paths);
// Makes `current` name the directory, atomically.
Result<void> set_current_image(const PinPaths& paths, const std::string& directory);
// A number that no pinned image has.
std::uint64_t next_image_number(const PinPaths& paths);
// Image directories other than `keep`, of any layout version.
std::vector<std::string> stale_images(const PinPaths& paths, const std::string& keep);

// kFailedPrecondition says what is wrong and what to do.
Result<void> check_bpffs(const std::string& path);
Result<void> check_cgroup2(const std::string& path);

}  // namespace sluice::dataplane
