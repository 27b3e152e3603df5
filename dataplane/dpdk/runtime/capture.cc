#include "dataplane/dpdk/runtime/capture.h"

#include <rte_errno.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "dataplane/dpdk/runtime/capture_internal.h"

namespace sluice::dpdk {
namespace {

struct Ends {
    IpAddress source, destination;
    std::uint16_t source_port = 0, destination_port = 0;
    std::uint8_t protocol = 0;
};

std::uint16_t word_at(const std::uint8_t* data) {
    return static_cast<std::uint16_t>(data[0] << 8 | data[1]);
}

bool has_ports(std::uint8_t protocol) {
    return protocol == 6 || protocol == 17 || protocol == 132;
}

// The outermost IP header of a frame. Ports of a later fragment stay 0.
bool ends_of(const std::uint8_t* data, std::size_t length, Ends* out) {
    std::size_t at = 12;
    for (int tags = 0; tags < 2 && length >= at + 6; ++tags) {
        const std::uint16_t type = word_at(data + at);
        if (type != 0x8100 && type != 0x88a8) break;
        at += 4;
    }
    if (length < at + 2) return false;
    const std::uint16_t type = word_at(data + at);
    const std::uint8_t* ip = data + at + 2;
    const std::size_t left = length - at - 2;
    std::size_t header = 0;
    bool first = true;
    if (type == 0x0800 && left >= 20) {
        std::uint32_t word = 0;
        std::memcpy(&word, ip + 12, 4);
        out->source = IpAddress::from_v4_be(word);
        std::memcpy(&word, ip + 16, 4);
        out->destination = IpAddress::from_v4_be(word);
        out->protocol = ip[9];
        header = (ip[0] & 0xfU) * 4U;
        first = (word_at(ip + 6) & 0x1fff) == 0;
    } else if (type == 0x86dd && left >= 40) {
        std::array<std::uint8_t, 16> bytes{};
        std::copy_n(ip + 8, 16, bytes.begin());
        out->source = IpAddress::from_v6(bytes);
        std::copy_n(ip + 24, 16, bytes.begin());
        out->destination = IpAddress::from_v6(bytes);
        out->protocol = ip[6];
        header = 40;
        if (out->protocol == 44 && left >= 48) {  // a fragment header
            out->protocol = ip[40];
            first = (word_at(ip + 42) & 0xfff8) == 0;
            header = 48;
        }
    } else {
        return false;
    }
    if (first && has_ports(out->protocol) && left >= header + 4) {
        out->source_port = word_at(ip + header);
        out->destination_port = word_at(ip + header + 2);
    }
    return true;
}

bool one_way(const CaptureFilter& filter, const Ends& ends) {
    return (filter.source.is_unspecified() || filter.source == ends.source) &&
           (filter.destination.is_unspecified() || filter.destination == ends.destination) &&
           (filter.source_port == 0 || filter.source_port == ends.source_port) &&
           (filter.destination_port == 0 || filter.destination_port == ends.destination_port);
}

void append(std::string* out, const void* bytes, std::size_t count) {
    out->append(static_cast<const char*>(bytes), count);
}
void append_u16(std::string* out, std::uint16_t value) {
    append(out, &value, sizeof(value));
}
void append_u32(std::string* out, std::uint32_t value) {
    append(out, &value, sizeof(value));
}
void pad(std::string* out) {
    out->append((4 - out->size() % 4) % 4, '\0');
}
void append_option(std::string* out, std::uint16_t code, std::string_view value) {
    append_u16(out, code);
    append_u16(out, static_cast<std::uint16_t>(value.size()));
    out->append(value);
    pad(out);
}
// A block: type, length, body, length.
std::string block(std::uint32_t type, const std::string& body) {
    std::string out;
    const auto length = static_cast<std::uint32_t>(body.size() + 12);
    append_u32(&out, type);
    append_u32(&out, length);
    out += body;
    append_u32(&out, length);
    return out;
}

// No frame is longer than a buffer, so a slot need not be either.
constexpr std::uint32_t kMostBytes = 9728;

constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr std::uint32_t kInterfaceDescription = 1;
constexpr std::uint32_t kEnhancedPacket = 6;
constexpr std::uint16_t kOptionName = 2;        // if_name
constexpr std::uint16_t kOptionResolution = 9;  // if_tsresol
constexpr std::uint16_t kOptionFlags = 2;       // epb_flags
constexpr std::uint16_t kEthernet = 1;          // LINKTYPE_ETHERNET

rte_ring* make_ring(const char* what) {
    static std::atomic<unsigned> number{0};
    const std::string name = fmt::format("sluice_{}_{}", what, number.fetch_add(1));
    return rte_ring_create(name.c_str(), kCaptureSlots * 2, SOCKET_ID_ANY, 0);
}

}  // namespace

bool matches(const CaptureFilter& filter, const std::uint8_t* data, std::size_t length) {
    Ends ends;
    if (!ends_of(data, length, &ends)) {
        return filter.source.is_unspecified() && filter.destination.is_unspecified() && filter.source_port == 0 &&
               filter.destination_port == 0 && filter.protocol == 0;
    }
    if (filter.protocol != 0 && filter.protocol != ends.protocol) return false;
    if (one_way(filter, ends)) return true;
    std::swap(ends.source, ends.destination);
    std::swap(ends.source_port, ends.destination_port);
    return one_way(filter, ends);
}

std::string pcapng_header(const std::vector<std::string>& interfaces, std::uint32_t snap_length) {
    std::string body;
    append_u32(&body, 0x1a2b3c4d);  // tells the byte order
    append_u16(&body, 1);           // version 1.0
    append_u16(&body, 0);
    const std::int64_t unknown = -1;  // the section's length
    append(&body, &unknown, sizeof(unknown));
    std::string out = block(kSectionHeader, body);
    for (const auto& name : interfaces) {
        body.clear();
        append_u16(&body, kEthernet);
        append_u16(&body, 0);
        append_u32(&body, snap_length);
        append_option(&body, kOptionName, name);
        append_option(&body, kOptionResolution, std::string_view("\x09", 1));  // 10^-9 s
        append_option(&body, 0, {});
        out += block(kInterfaceDescription, body);
    }
    return out;
}

void append_pcapng_packet(std::string* out, std::uint32_t interface, std::uint64_t time_ns, const std::uint8_t* data,
                          std::uint32_t captured, std::uint32_t length, unsigned direction) {
    std::string body;
    append_u32(&body, interface);
    append_u32(&body, static_cast<std::uint32_t>(time_ns >> 32U));
    append_u32(&body, static_cast<std::uint32_t>(time_ns));
    append_u32(&body, captured);
    append_u32(&body, length);
    append(&body, data, captured);
    pad(&body);
    std::string flags;
    append_u32(&flags, direction);
    append_option(&body, kOptionFlags, flags);
    append_option(&body, 0, {});
    *out += block(kEnhancedPacket, body);
}

Result<std::unique_ptr<Capture>> Capture::make(const CaptureFilter& filter, std::uint32_t snap_length) {
    std::unique_ptr<Capture> out(new Capture());
    out->filter_ = filter;
    out->snap_length_ = std::min(snap_length, kMostBytes);
    out->slot_bytes_ = static_cast<std::uint32_t>((sizeof(CaptureRecord) + out->snap_length_ + 63U) / 64U * 64U);
    out->slots_ = std::make_unique<std::uint8_t[]>(std::size_t{out->slot_bytes_} * kCaptureSlots);
    out->ready_ = make_ring("captured");
    out->free_ = make_ring("capturing");
    if (out->ready_ == nullptr || out->free_ == nullptr) {
        return make_error(Code::kResourceExhausted, "no memory for the rings of a capture: {}",
                          rte_strerror(rte_errno));
    }
    for (std::uint32_t slot = 0; slot < kCaptureSlots; ++slot) {
        rte_ring_enqueue(out->free_, out->slots_.get() + std::size_t{slot} * out->slot_bytes_);
    }
    return out;
}

Capture::~Capture() {
    rte_ring_free(ready_);
    rte_ring_free(free_);
}

void Capture::offer(const rte_mbuf* packet, std::uint16_t port, bool sent) {
    const auto* data = rte_pktmbuf_mtod(packet, const std::uint8_t*);
    if (!matches(filter_, data, packet->data_len)) return;
    void* slot = nullptr;
    if (rte_ring_dequeue(free_, &slot) != 0) {
        missed_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    timespec time{};
    clock_gettime(CLOCK_REALTIME, &time);
    auto* record = static_cast<CaptureRecord*>(slot);
    record->time_ns =
        static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(time.tv_nsec);
    record->length = packet->data_len;
    record->captured = std::min<std::uint32_t>(packet->data_len, snap_length_);
    record->port = port;
    record->sent = sent ? 1 : 0;
    std::memcpy(record + 1, data, record->captured);
    rte_ring_enqueue(ready_, record);  // has room for every slot
}

CaptureRecord* Capture::take() {
    void* record = nullptr;
    return rte_ring_dequeue(ready_, &record) == 0 ? static_cast<CaptureRecord*>(record) : nullptr;
}

void Capture::done(CaptureRecord* record) {
    rte_ring_enqueue(free_, record);
}

}  // namespace sluice::dpdk
