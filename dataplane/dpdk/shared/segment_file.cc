#include "dataplane/dpdk/shared/segment_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "api/base/fd.h"

namespace sluice::dpdk {
namespace {

constexpr std::uint64_t kPartAlignment = 64;
// Where a mapping must begin for the kernel to use pages of this size.
constexpr std::uint64_t kHugePage = 2ULL << 20U;
// Far above what the ceilings of any table add up to, and far below where sums of sizes would wrap.
constexpr std::uint64_t kMostSegmentBytes = 1ULL << 40U;

std::uint64_t align(std::uint64_t value, std::uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

// Pages of a hugetlbfs are as large as its blocks, and its files are made of whole ones.
std::uint64_t block_of(int fd) {
    struct statfs info {};
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    return fstatfs(fd, &info) == 0 ? std::max(page, static_cast<std::uint64_t>(info.f_bsize)) : page;
}

// A place for so many bytes, whole pages, that begins where a page of `unit` may; nullptr: wherever the kernel likes.
void* reserve_aligned(std::size_t length, std::uint64_t unit) {
    if (length < unit) return nullptr;
    void* const all = mmap(nullptr, length + unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return nullptr;
    auto* const begin = static_cast<std::byte*>(all);
    const auto at = reinterpret_cast<std::uintptr_t>(all);
    const std::uint64_t before = align(at, unit) - at;
    if (before != 0) munmap(begin, before);
    if (before != unit) munmap(begin + before + length, unit - before);
    return begin + before;
}

// That nobody else may have written it.
Result<void> check_owner(const std::string& path, const struct stat& info) {
    if (!S_ISREG(info.st_mode)) {
        return make_error(Code::kDataLoss, "{} is not a regular file", path);
    }
    if ((info.st_uid != geteuid() && info.st_uid != 0) || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return make_error(Code::kPermissionDenied, "{} belongs to user {} with mode {:o}: others may have written it",
                          path, info.st_uid, info.st_mode & 07777U);
    }
    return {};
}

}  // namespace

SegmentFile::SegmentFile(SegmentFile&& other) noexcept {
    *this = std::move(other);
}

SegmentFile& SegmentFile::operator=(SegmentFile&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(length_, other.length_);
    std::swap(offsets_, other.offsets_);
    std::swap(counts_, other.counts_);
    std::swap(note_, other.note_);
    return *this;
}

SegmentFile::~SegmentFile() {
    if (address_ != nullptr) {
        munmap(address_, length_);
    }
}

Result<void> SegmentFile::map(const std::string& path, int fd, std::size_t length, Access access) {
    const std::uint64_t block = block_of(fd);
    length_ = align(length, block);
    const int protection = access == Access::kReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
    void* const place = reserve_aligned(length_, std::max(kHugePage, block));
    void* address = mmap(place, length_, protection, place != nullptr ? MAP_SHARED | MAP_FIXED : MAP_SHARED, fd, 0);
    if (address == MAP_FAILED) {
        const int error = errno;
        if (place != nullptr) munmap(place, length_);
        return errno_error(error, "cannot map {} of {} bytes", path, length);
    }
    address_ = address;
    // Where the file system has huge pages on request; it has none otherwise, which is no error.
    madvise(address_, length_, MADV_HUGEPAGE);
    return {};
}

Result<SegmentFile> SegmentFile::create(const std::string& path, SegmentKind kind, std::uint32_t layout_version,
                                        std::span<const PartShape> shapes, std::span<const std::uint64_t> counts) {
    SLUICE_ASSERT(shapes.size() == counts.size() && shapes.size() <= kSegmentParts);
    SegmentHeader header{};
    header.version = kSegmentVersion;
    header.kind = kind;
    header.layout_version = layout_version;
    header.parts = static_cast<std::uint32_t>(shapes.size());
    std::uint64_t length = align(sizeof(SegmentHeader), kPartAlignment);
    SegmentFile out;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        header.part[i] = {length, counts[i] * shapes[i].element, shapes[i].element, 0};
        out.offsets_.push_back(length);
        out.counts_.push_back(counts[i]);
        length = align(length + header.part[i].bytes, kPartAlignment);
    }
    SLUICE_ASSERT(length <= kMostSegmentBytes);
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) {
        return errno_error(errno, "cannot create {}", path);
    }
    const auto size = static_cast<off_t>(align(length, block_of(fd.get())));
    // Not ftruncate: a store into a hole of a full file system is a SIGBUS.
    if (fallocate(fd.get(), 0, 0, size) != 0) {
        const int error = errno;
        unlink(path.c_str());
        if (error == ENOSPC || error == ENOMEM) {
            return make_error(Code::kResourceExhausted, "no room for {} of {} MiB in its file system", path,
                              (size >> 20) + 1);
        }
        return errno_error(error, "cannot allocate {} bytes for {}", size, path);
    }
    if (auto mapped = out.map(path, fd.get(), length, Access::kReadWrite); !mapped) {
        unlink(path.c_str());
        return mapped.error();
    }
    std::memcpy(out.address_, &header, sizeof(header));
    return out;
}

void SegmentFile::publish() {
    __atomic_store_n(&static_cast<SegmentHeader*>(address_)->magic, kSegmentMagic, __ATOMIC_RELEASE);
}

void SegmentFile::populate() const {
    constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE of Linux 5.14
    constexpr int kCollapse = 25;       // MADV_COLLAPSE of Linux 6.1, whatever the file system's pages are by default
    madvise(address_, length_, kPopulateWrite);
    madvise(address_, length_, kCollapse);
}

void SegmentFile::release(std::size_t index) const {
    // Pages that lie in it whole.
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    const SegmentHeader::Part& part = static_cast<const SegmentHeader*>(address_)->part[index];
    const std::uint64_t begin = align(offsets_[index], page);
    const std::uint64_t end = (offsets_[index] + counts_[index] * part.element) / page * page;
    if (begin < end) madvise(static_cast<std::byte*>(address_) + begin, end - begin, MADV_REMOVE);
}

void SegmentFile::set_note(std::uint32_t note) {
    note_ = note;
    static_cast<SegmentHeader*>(address_)->part[0].reserved = note;
}

Result<void> SegmentFile::check(const std::string& path, const SegmentHeader& header, SegmentKind kind,
                                std::uint32_t layout_version, std::span<const PartShape> shapes) {
    if (header.magic != kSegmentMagic) {
        return make_error(Code::kDataLoss, "{} is not a segment, or was not finished", path);
    }
    if (header.version != kSegmentVersion) {
        return make_error(Code::kFailedPrecondition, "{} is a segment of version {}, this program's is {}", path,
                          header.version, kSegmentVersion);
    }
    if (header.kind != kind) {
        return make_error(Code::kDataLoss, "{} is a segment of kind {}, not {}", path,
                          static_cast<std::uint32_t>(header.kind), static_cast<std::uint32_t>(kind));
    }
    if (header.layout_version != layout_version) {
        return make_error(Code::kFailedPrecondition, "{} has layout version {:#x}, this program's is {:#x}", path,
                          header.layout_version, layout_version);
    }
    if (header.parts != shapes.size()) {
        return make_error(Code::kDataLoss, "{} has {} parts, not {}", path, header.parts, shapes.size());
    }
    std::uint64_t end = sizeof(SegmentHeader);
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        const SegmentHeader::Part& part = header.part[i];
        if (part.element != shapes[i].element) {
            return make_error(Code::kDataLoss, "{}: an element of {} has {} bytes, not {}", path, shapes[i].name,
                              part.element, shapes[i].element);
        }
        if (part.offset < end || part.offset % kPartAlignment != 0 || part.bytes == 0 ||
            part.bytes % part.element != 0 || part.offset > length_ || part.bytes > length_ - part.offset) {
            return make_error(Code::kDataLoss, "{}: {} bytes of {} at {} do not lie in the file's {}", path, part.bytes,
                              shapes[i].name, part.offset, length_);
        }
        end = part.offset + part.bytes;
        offsets_.push_back(part.offset);
        counts_.push_back(part.bytes / part.element);
    }
    note_ = header.part[0].reserved;
    return {};
}

Result<SegmentFile> SegmentFile::open(const std::string& path, SegmentKind kind, std::uint32_t layout_version,
                                      std::span<const PartShape> shapes, Access access) {
    const int flags = access == Access::kReadWrite ? O_RDWR : O_RDONLY;
    const Fd fd(::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) {
        return errno == ELOOP ? make_error(Code::kDataLoss, "{} is a symbolic link", path)
                              : errno_error(errno, "cannot open {}", path);
    }
    struct stat info {};
    if (fstat(fd.get(), &info) != 0) {
        return errno_error(errno, "cannot look at {}", path);
    }
    SLUICE_TRY(check_owner(path, info));
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size < sizeof(SegmentHeader) || size > kMostSegmentBytes || size % block_of(fd.get()) != 0) {
        return make_error(Code::kDataLoss, "{} has {} bytes, which no segment has", path, size);
    }
    // Memory that is not there yet might not be there when it is written to.
    if (static_cast<std::uint64_t>(info.st_blocks) * 512 < size) {
        return make_error(Code::kDataLoss, "{} has {} bytes of which {} are there", path, size, info.st_blocks * 512);
    }
    SegmentFile out;
    SLUICE_TRY(out.map(path, fd.get(), size, access));
    SegmentHeader header;
    header.magic = __atomic_load_n(&static_cast<SegmentHeader*>(out.address_)->magic, __ATOMIC_ACQUIRE);
    const std::uint64_t magic = header.magic;
    std::memcpy(&header, out.address_, sizeof(header));
    header.magic = magic;
    SLUICE_TRY(out.check(path, header, kind, layout_version, shapes));
    return out;
}

}  // namespace sluice::dpdk
