// Shared memory between the agent, the engine and the engine's successor: files in one directory on a tmpfs.
//
//   DIR/image-N    the table image; the agent writes, the engine maps it read-only but for the counters
//   DIR/counts-N   its counters: services, backends, drops; the engine writes
//   DIR/flows-L    the flow tables of forwarding lcore L; the engine writes, the agent reads
//   DIR/shared     affinity and datagrams, shared by lcores
//   DIR/events     the flow log's rings; a follower reads, and says what it wants
//   DIR/larger-flows-L, DIR/larger-shared   tables that are about to take the place of those
//   DIR/current    a symbolic link to the image in force, replaced by rename(2): a new engine begins with it
//   DIR/lock       held (flock) by the engine that runs
//
// The file system may be a tmpfs or a hugetlbfs; the latter makes flow tables of huge pages.
//
// Each file begins with a struct SegmentHeader that says what lies where, so that either side can be another version.
// Nothing a file says is trusted: offsets and sizes are checked against the file's length when it is mapped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/base/fd.h"
#include "api/base/result.h"
#include "dataplane/dpdk/pipeline/pipeline.h"
#include "dataplane/image/layout.h"

namespace sluice::dpdk {

inline constexpr char kDefaultStateDirectory[] = "/dev/shm/sluice";
inline constexpr char kDefaultSocket[] = "/run/sluice/dpdk.sock";

inline constexpr std::uint64_t kSegmentMagic = 0x53454753454c4253ULL;
inline constexpr std::uint32_t kSegmentVersion = 1;
inline constexpr std::size_t kSegmentParts = 16;

enum class SegmentKind : std::uint32_t { kImage = 1, kCounts = 2, kFlows = 3, kShared = 4, kEvents = 5 };

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

// A mapped image with its counters. Unmaps at the end, and leaves the files.
class ImageSegment {
public:
    // All zero. kAlreadyExists, kResourceExhausted (no room in the file system, or beyond the ceilings of
    // image/layout.h), errno ones. The directory is made when there is none.
    static Result<std::unique_ptr<ImageSegment>> create(const std::string& directory, std::uint32_t number,
                                                        const image::Capacities& capacities);
    // image_access: of the image; counters are mapped for writing always. kDataLoss, kFailedPrecondition (another
    // layout version) name the file.
    static Result<std::unique_ptr<ImageSegment>> open(const std::string& directory, std::uint32_t number,
                                                      Access image_access);
    // Image and counters for reading alone, for who only looks.
    static Result<std::unique_ptr<ImageSegment>> open_to_read(const std::string& directory, std::uint32_t number);
    virtual ~ImageSegment() = default;
    [[nodiscard]] virtual const image::Tables& tables() const = 0;
    [[nodiscard]] virtual const image::Capacities& capacities() const = 0;
    [[nodiscard]] virtual std::uint32_t number() const = 0;
};

// Flows that a table may have room for, a power of two.
inline constexpr std::uint32_t kLeastLcoreFlows = 1U << 6U;
inline constexpr std::uint32_t kMostLcoreFlows = 1U << 26U;

// The flow tables of one lcore. An existing file made for the same number of lcores (flows are spread over lcores by
// that number) is taken over with its flows, whatever its sizes: a limit that they are beyond is for growth alone. What
// its former user had begun when it died is undone, but for the move of flows to a larger table, which goes on. Any
// other is replaced.
//
// Growth while lcores forward:
//
//   begin_growth   a larger table beside the one in use (mode BESIDE): others look for flows in both
//                  - every lcore has passed a quiescent state -
//   move           the larger one is in use; the lcore brings flows over (mode MOVE)
//                  - the lcore has carried all -
//   end_growth     the larger file takes the smaller one's place (mode ALONE)
//                  - every lcore has passed a quiescent state -
//   forget_smaller
//
// Each step changes what memory() says, which is then published to lcores. memory() is for any thread; the steps are
// for one, which sees to it that nobody uses the smaller table any more when it is forgotten.
class FlowSegment {
public:
    // flows4, flows6: to have room for; kLeastLcoreFlows to `most`, rounded up to a power of two.
    // REQUIRES: the lock of the directory; of several lcores, that SharedSegment::open_or_create went before.
    static Result<std::unique_ptr<FlowSegment>> open_or_create(const std::string& directory, std::uint32_t lcore,
                                                               std::uint32_t flows4, std::uint32_t flows6,
                                                               std::uint32_t lcores = 1,
                                                               std::uint32_t most = kMostLcoreFlows);
    static Result<std::unique_ptr<FlowSegment>> open_to_read(const std::string& directory, std::uint32_t lcore);
    virtual ~FlowSegment() = default;

    // Of a segment opened to read: not to be written to.
    [[nodiscard]] virtual FlowMemory memory() const = 0;
    [[nodiscard]] virtual bool taken_over() const = 0;
    [[nodiscard]] virtual std::uint32_t lcores() const = 0;

    // Twice the size for the families named, the same for the other, which moves along. kResourceExhausted: no room in
    // the file system; then nothing has changed. REQUIRES: mode ALONE.
    virtual Result<void> begin_growth(bool v4, bool v6) = 0;
    virtual void move() = 0;
    // On error both files stay, and it may be tried again.
    virtual Result<void> end_growth() = 0;
    virtual void forget_smaller() = 0;
};

// What affinity may have room for, in clients.
inline constexpr std::uint32_t kLeastAffinity = 1U << 6U;
inline constexpr std::uint32_t kMostAffinity = 1U << 24U;

// What lcores share. Affinity grows likewise, but needs no second table: a larger one that knows all clients is put in
// force, and learns afterwards what lcores told the smaller one meanwhile.
//
//   begin_growth   a larger table that knows all clients, which takes a while
//   move           it learns of those that came in that while, and memory() is of it
//                  - every lcore has passed a quiescent state -
//   end_growth     returns how many clients came meanwhile
//   forget_smaller
class SharedSegment {
public:
    // Affinity is taken over with its seed, whatever its size; datagrams, which live for seconds, are forgotten. Where
    // that cannot be, a seed is drawn, by which frames are given to other lcores than before: of several lcores the
    // flows are removed first. affinity_entries is rounded up to a power of two. REQUIRES: the lock of the directory.
    static Result<std::unique_ptr<SharedSegment>> open_or_create(const std::string& directory,
                                                                 std::uint32_t affinity_entries,
                                                                 std::uint32_t lcores = 1,
                                                                 std::uint32_t most = kMostAffinity);
    static Result<std::unique_ptr<SharedSegment>> open_to_read(const std::string& directory);
    virtual ~SharedSegment() = default;

    [[nodiscard]] virtual SharedMemory memory() const = 0;
    [[nodiscard]] virtual bool taken_over() const = 0;

    virtual Result<void> begin_growth() = 0;
    virtual void move() = 0;
    virtual Result<std::uint64_t> end_growth() = 0;
    virtual void forget_smaller() = 0;
};

// The flow log of all lcores (pipeline/event_log.h).
class EventSegment {
public:
    // A file made for the same number of lcores is taken over, and who follows goes on following. REQUIRES: the lock
    // of the directory.
    static Result<std::unique_ptr<EventSegment>> open_or_create(const std::string& directory, std::uint32_t lcores);
    // For a follower, to write to its part. kNotFound.
    static Result<std::unique_ptr<EventSegment>> open_to_follow(const std::string& directory);
    virtual ~EventSegment() = default;

    [[nodiscard]] virtual EventMemory memory(std::uint32_t lcore) const = 0;
    [[nodiscard]] virtual std::uint32_t lcores() const = 0;
};

// The clock of flows and affinity: CLOCK_MONOTONIC, so that a successor and a reader mean the same by a tick. A tick is
// 2^30 ns, 1.07 s.
Now shared_now();

// Succeeds when it is there already. kPermissionDenied if others may write to it or it is somebody else's.
Result<void> make_state_directory(const std::string& directory);
// Of one engine, as long as the descriptor is open. kFailedPrecondition: another engine has it.
Result<Fd> lock_state_directory(const std::string& directory);
// Whether an engine has it, as far as can be told.
bool state_directory_in_use(const std::string& directory);
// Everything, the directory too, with what was removed, for people; nothing there is none. kFailedPrecondition while an
// engine has the lock. Files that are not ours stay, and so does the directory then.
Result<std::vector<std::string>> remove_state_directory(const std::string& directory);

// Memory of all files.
std::uint64_t state_directory_bytes(const std::string& directory);
// Numbers of the images that are there, or that something is left of, ascending.
std::vector<std::uint32_t> list_images(const std::string& directory);
// A number that none of them has; never 0.
std::uint32_t next_image_number(const std::string& directory);
// Lcores that there are flow tables of, ascending.
std::vector<std::uint32_t> list_flows(const std::string& directory);
// What is not there is no error.
Result<void> remove_flows(const std::string& directory, std::uint32_t lcore);

// The image in force. kNotFound: there is none.
Result<std::uint32_t> current_image(const std::string& directory);
Result<void> set_current_image(const std::string& directory, std::uint32_t number);
// With its counters. What is not there is no error.
Result<void> remove_image(const std::string& directory, std::uint32_t number);

}  // namespace sluice::dpdk
