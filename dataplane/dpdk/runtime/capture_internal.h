// The part of a capture that lcores and its writer share.
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/dpdk/runtime/capture.h"

namespace sluice::dpdk {

// In front of each copied packet.
struct CaptureRecord {
    std::uint64_t time_ns;
    std::uint32_t length;    // of the packet
    std::uint32_t captured;  // bytes that follow
    std::uint16_t port;
    std::uint16_t sent;      // 1, else received
};

class Capture {
public:
    // kResourceExhausted: no memory for its ring and slots.
    static Result<std::unique_ptr<Capture>> make(const CaptureFilter& filter, std::uint32_t snap_length);
    ~Capture();
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    // On lcores: copies the packet if it matches and there is a slot. Never blocks.
    void offer(const rte_mbuf* packet, std::uint16_t port, bool sent);
    // In the writer: the next packet or null. done() gives its slot back.
    CaptureRecord* take();
    void done(CaptureRecord* record);
    [[nodiscard]] std::uint64_t missed() const { return missed_.load(std::memory_order_relaxed); }

private:
    Capture() = default;
    CaptureFilter filter_;
    std::uint32_t snap_length_ = 0;
    std::uint32_t slot_bytes_ = 0;
    std::unique_ptr<std::uint8_t[]> slots_;
    rte_ring* ready_ = nullptr;  // records for the writer
    rte_ring* free_ = nullptr;
    std::atomic<std::uint64_t> missed_{0};  // written on a path that few packets take
};

}  // namespace sluice::dpdk
