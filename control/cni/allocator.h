// The pods' addresses: one file an address under one folder a network, so that what is taken can be
// seen with ls and survives whoever wrote it.
//
//   DATADIR/NETWORK/            0700
//     10.244.0.5                "CONTAINERID\nIFNAME\n"; there exactly while the address is taken
//     .lock                     flock, held over each operation
//     .last-4, .last-6          the address given last: the next one is searched after it
//
// Crash safety: a file is written under a temporary name and linked to its address when it is
// whole, so that no reader sees half of one, and a process killed anywhere leaves either no address
// or one with its owner. A file that is not whole all the same (a power cut, a full disk) belongs
// to nobody and goes with the next release or sweep. The caller makes the container's link before
// it allocates and deletes the link before it releases; an owner without a link is therefore gone,
// which is what sweep() relies on. Thread and process-safe by the lock. Cost: an open, a link and a
// rename an address, all in memory where DATADIR is on tmpfs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "control/cni/types.h"

namespace sluice::cni {

// Of a larger range only so many addresses from its start are used.
inline constexpr std::uint32_t kMaxPoolSize = 65536;
// How long an operation waits for the lock before it gives up with kUnavailable.
inline constexpr int kLockTimeoutMs = 10000;

// The addresses of a range that pods may have: not the first (the network's own, the anycast
// address of routers in IPv6), nor the last of an IPv4 range (broadcast); all of a range with one
// host bit or none.
struct Pool {
    IpPrefix prefix;

    [[nodiscard]] std::uint32_t size() const;
    // REQUIRES: index < size().
    [[nodiscard]] IpAddress at(std::uint32_t index) const;
    // size() for an address that is not in the pool.
    [[nodiscard]] std::uint32_t index_of(const IpAddress& address) const;
};

class Allocator {
public:
    // Says whether the owner of an address still has its link.
    using IsAlive = std::function<bool(const AttachmentId&)>;

    // Makes the folder if it is not there. REQUIRES: network is a checked name.
    static Result<Allocator> open(const std::string& data_dir, const std::string& network);

    // One address of each range, in their order; all or none. An address that was released is given
    // again only after the rest of its range had its turn. kResourceExhausted names the range that
    // is full, after one sweep for leaked ones. kAlreadyExists: the owner has addresses.
    Result<std::vector<IpAddress>> allocate(const AttachmentId& owner,
                                            const std::vector<IpPrefix>& ranges,
                                            const IsAlive& is_alive);
    // Releases the owner's addresses, and those of owners that are not alive. Returns how many.
    Result<std::size_t> release(const AttachmentId& owner, const IsAlive& is_alive);
    // Releases the addresses of all owners that are not alive. Returns how many.
    Result<std::size_t> sweep(const IsAlive& is_alive);
    // The owner's addresses, IPv4 first.
    Result<std::vector<IpAddress>> addresses_of(const AttachmentId& owner);

    // Every owner of an address once, sorted.
    Result<std::vector<AttachmentId>> owners();

private:
    explicit Allocator(std::string folder) : folder_(std::move(folder)) {}
    Result<IpAddress> take(const AttachmentId& owner, const Pool& pool);
    Result<std::size_t> remove_if(const std::function<bool(const AttachmentId&)>& goes);

    std::string folder_;
};

}  // namespace sluice::cni
