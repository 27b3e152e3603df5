// One file of shared memory: a SegmentHeader and its parts, mapped whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::dpdk {

// What a part holds. name: for errors.
struct PartShape {
    const char* name;
    std::uint32_t element;  // bytes
};

// Move-only; unmaps at the end.
class SegmentFile {
public:
    SegmentFile() = default;
    SegmentFile(SegmentFile&& other) noexcept;
    SegmentFile& operator=(SegmentFile&& other) noexcept;
    SegmentFile(const SegmentFile&) = delete;
    SegmentFile& operator=(const SegmentFile&) = delete;
    ~SegmentFile();

    // All zero, mapped for reading and writing; its memory is taken from the file system at once. Nobody can open it
    // before publish(): whoever dies in between leaves a file that is no segment. kAlreadyExists.
    static Result<SegmentFile> create(const std::string& path, SegmentKind kind, std::uint32_t layout_version,
                                      std::span<const PartShape> shapes, std::span<const std::uint64_t> counts);
    void publish();
    // Maps all of it now, so that whoever uses it first does not wait for it, in huge pages where the file system is a
    // tmpfs and the kernel can make them: looks at places far apart are a tenth to a quarter cheaper. Best effort.
    void populate() const;
    // Gives a part's memory back, whose content is lost: who reads it from here on finds zeros.
    void release(std::size_t index) const;

    // kNotFound; kDataLoss: truncated, broken or not a segment; kFailedPrecondition: of another version;
    // kPermissionDenied: somebody else's, or writable by others.
    static Result<SegmentFile> open(const std::string& path, SegmentKind kind, std::uint32_t layout_version,
                                    std::span<const PartShape> shapes, Access access);

    template <class T>
    [[nodiscard]] T* part(std::size_t index) const {
        return static_cast<T*>(at(index));
    }
    [[nodiscard]] void* at(std::size_t index) const { return static_cast<std::byte*>(address_) + offsets_[index]; }
    [[nodiscard]] std::uint64_t count(std::size_t index) const { return counts_[index]; }
    // A word of the header for the kind's own use, as it was when the file was opened.
    [[nodiscard]] std::uint32_t note() const { return note_; }
    void set_note(std::uint32_t note);

private:
    Result<void> map(const std::string& path, int fd, std::size_t length, Access access);
    // From a copy of the header, so that nothing changes after it was checked.
    Result<void> check(const std::string& path, const SegmentHeader& header, SegmentKind kind,
                       std::uint32_t layout_version, std::span<const PartShape> shapes);

    void* address_ = nullptr;
    std::size_t length_ = 0;
    std::vector<std::uint64_t> offsets_;
    std::vector<std::uint64_t> counts_;
    std::uint32_t note_ = 0;
};

}  // namespace sluice::dpdk
