// Where things are pinned, and the steps that make and remove pins.
//
//   <bpffs>/sluice/
//     current -> image-v2-N   the image in force; replaced by renaming a symbolic link
//     image-v2-N/             one pin per table (dataplane/image/layout.h), of layout version 2
//     state-v1/               what outlives images: flows, socket storage, affinity (api/abi/state.h)
//     links/                  one pin per attachment; programs are exchanged inside a link
//
// `current`, state and links are shared by agents of all layout versions, so that one takes over from another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
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
// Of an image's directory, by its name; 0 if it is none.
std::uint32_t layout_version_of(const std::string& directory);
// A number that no pinned image has.
std::uint64_t next_image_number(const PinPaths& paths);
// Image directories other than `keep`, of any layout version.
std::vector<std::string> stale_images(const PinPaths& paths, const std::string& keep);
// Directories of state that are not paths.state.
std::vector<std::string> stale_states(const PinPaths& paths);
// The name under which a state map is pinned: tells the version of its shape, but for the first.
std::string state_pin_name(std::string_view map);
// The map's name, without what a pin's name adds to it.
std::string state_base_name(std::string_view pin);
// Gives a map a pin, in place of another of that name, atomically.
Result<void> replace_pin(int map, const std::string& path);
// What is not there is no error.
Result<void> remove_pin(const std::string& path);

// kFailedPrecondition says what is wrong and what to do.
Result<void> check_bpffs(const std::string& path);
Result<void> check_cgroup2(const std::string& path);

}  // namespace sluice::dataplane
