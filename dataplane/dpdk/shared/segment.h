// Shared memory between the agent, the engine and the engine's successor: files in one directory on a tmpfs.
//
//   DIR/image-N    the table image; the agent writes, the engine maps it read-only but for the counters
//   DIR/counts-N   its counters: services, backends, drops; the engine writes
//   DIR/flows-L    the flow tables of forwarding lcore L; the engine writes, the agent reads
//   DIR/shared     affinity and datagrams, shared by lcores
//   DIR/current    the name of the image in force, replaced by rename(2): a new engine begins with it
//
// Each file begins with a struct SegmentHeader that says what lies where, so that either side can be another version.
// Nothing a file says is trusted: offsets and sizes are checked against the file's length when it is mapped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "api/base/result.h"
#include "dataplane/dpdk/pipeline/pipeline.h"
#include "dataplane/image/layout.h"

namespace sluice::dpdk {

inline constexpr char kDefaultStateDirectory[] = "/dev/shm/sluice";
inline constexpr char kDefaultSocket[] = "/run/sluice/dpdk.sock";

inline constexpr std::uint64_t kSegmentMagic = 0x53454753454c4253ULL;
inline constexpr std::uint32_t kSegmentVersion = 1;
inline constexpr std::size_t kSegmentParts = 16;

enum class SegmentKind : std::uint32_t { kImage = 1, kCounts = 2, kFlows = 3, kShared = 4 };

// In host order; offsets from the file's beginning, multiples of 64.
struct SegmentHeader {
    std::uint64_t magic;
    std::uint32_t version;
    SegmentKind kind;
    std::uint32_t layout_version;  // SLUICE_LAYOUT_VERSION, or the shape of the state (api/abi/state.h)
    std::uint32_t parts;
    struct Part {
        std::uint64_t offset;
        std::uint64_t bytes;
        std::uint32_t element;  // bytes
        std::uint32_t reserved;
    } part[kSegmentParts];
};
static_assert(sizeof(SegmentHeader) == 24 + 24 * kSegmentParts);

enum class Access : std::uint8_t { kReadOnly, kReadWrite };

// A mapped image with its counters. Move-only; unmaps at the end, and leaves the files.
class ImageSegment {
public:
    // kAlreadyExists, kResourceExhausted (no room in the file system), errno ones.
    static Result<std::unique_ptr<ImageSegment>> create(const std::string& directory, std::uint32_t number,
                                                        const image::Capacities& capacities);
    // image_access: of the image; counters are mapped for writing always. kDataLoss, kFailedPrecondition (another
    // layout version) name the file.
    static Result<std::unique_ptr<ImageSegment>> open(const std::string& directory, std::uint32_t number,
                                                      Access image_access);
    virtual ~ImageSegment() = default;
    [[nodiscard]] virtual const image::Tables& tables() const = 0;
    [[nodiscard]] virtual const image::Capacities& capacities() const = 0;
    [[nodiscard]] virtual std::uint32_t number() const = 0;
};

// The flow tables of one lcore. An existing file of the same sizes and shape is taken over with its flows.
class FlowSegment {
public:
    struct Opened;
    static Result<std::unique_ptr<FlowSegment>> open_or_create(const std::string& directory, std::uint32_t lcore,
                                                               std::uint32_t flows4, std::uint32_t flows6);
    static Result<std::unique_ptr<FlowSegment>> open_to_read(const std::string& directory, std::uint32_t lcore);
    virtual ~FlowSegment() = default;
    [[nodiscard]] virtual FlowMemory memory() const = 0;
    [[nodiscard]] virtual bool taken_over() const = 0;
};

class SharedSegment {
public:
    static Result<std::unique_ptr<SharedSegment>> open_or_create(const std::string& directory,
                                                                 std::uint32_t affinity_entries);
    virtual ~SharedSegment() = default;
    [[nodiscard]] virtual SharedMemory memory() const = 0;
};

// The image in force. kNotFound: there is none.
Result<std::uint32_t> current_image(const std::string& directory);
Result<void> set_current_image(const std::string& directory, std::uint32_t number);
Result<void> remove_image(const std::string& directory, std::uint32_t number);

}  // namespace sluice::dpdk
