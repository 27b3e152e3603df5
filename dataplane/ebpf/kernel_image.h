// The table image in memory-mapped BPF arrays.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "api/base/fd.h"
#include "api/base/result.h"
#include "dataplane/image/layout.h"

namespace sluice::dataplane {

class KernelImage {
public:
    KernelImage(const KernelImage&) = delete;
    KernelImage& operator=(const KernelImage&) = delete;
    ~KernelImage();

    // All zero. kResourceExhausted beyond the ceilings of layout.h.
    static Result<std::unique_ptr<KernelImage>> create(const image::Capacities& capacities);
    // From pins; the header is checked against the maps' real sizes. writable: for the agent only.
    static Result<std::unique_ptr<KernelImage>> open(const std::string& directory, bool writable);

    Result<void> pin(const std::string& directory) const;
    [[nodiscard]] const image::Tables& tables() const { return tables_; }
    [[nodiscard]] const image::Capacities& capacities() const { return capacities_; }
    [[nodiscard]] int fd(image::Table table) const {
        return fds_[static_cast<std::size_t>(table)].get();
    }

private:
    KernelImage() = default;
    Result<void> map(const std::array<image::TableSpec, image::kTableCount>& specs, bool writable);

    image::Capacities capacities_;
    std::array<Fd, image::kTableCount> fds_;
    std::array<void*, image::kTableCount> addresses_{};
    std::array<std::size_t, image::kTableCount> lengths_{};
    image::Tables tables_;
};

// The memory that the kernel accounts to a map (fdinfo), 0 if it does not say.
std::uint64_t map_bytes(int fd);
// The same for all maps pinned in a directory.
std::uint64_t pinned_map_bytes(const std::string& directory);

}  // namespace sluice::dataplane
