// See packed.h. Numbers are little-endian groups of 7 bits, the last without its top bit; lists and texts stand behind
// their lengths; IPv4 addresses take 4 bytes.
#include "agent/compile/packed.h"

#include <cstring>
#include <type_traits>
#include <utility>

#include "api/base/result.h"

namespace sluice::compile {
namespace {

constexpr unsigned kGroupBits = 7;
constexpr std::uint64_t kMore = 1U << kGroupBits;

class Writer {
public:
    template <class T>
    void number(T value) {
        static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
        auto rest = static_cast<std::uint64_t>(value);
        for (; rest >= kMore; rest >>= kGroupBits) out_.push_back(static_cast<char>(rest | kMore));
        out_.push_back(static_cast<char>(rest));
    }
    void text(std::string_view text) {
        number(text.size());
        out_.append(text);
    }
    void address(const IpAddress& address) {
        const bool v4 = address.is_v4();
        number(v4);
        address_of(address, v4);
    }
    // The family is told elsewhere.
    void address_of(const IpAddress& address, bool v4) {
        const std::size_t skipped = v4 ? 12 : 0;
        out_.append(reinterpret_cast<const char*>(address.bytes.data()) + skipped, 16 - skipped);
    }
    template <class List, class Each>
    void list(const List& list, const Each& each) {
        number(list.size());
        for (const auto& element : list) each(element);
    }
    [[nodiscard]] Packed packed() const { return Packed(out_); }

private:
    std::string out_;
};

class Reader {
public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}

    template <class T>
    T number() {
        std::uint64_t value = 0;
        for (unsigned shift = 0;; shift += kGroupBits) {
            const auto group = static_cast<std::uint8_t>(take(1).front());
            value |= (group & (kMore - 1)) << shift;
            if ((group & kMore) == 0) return static_cast<T>(value);
        }
    }
    void into(bool* value) { *value = number<std::uint8_t>() != 0; }
    template <class T>
    void into(T* value) {
        *value = number<T>();
    }
    std::string text() { return std::string(take(number<std::size_t>())); }
    IpAddress address() { return address_of(number<std::uint8_t>() != 0); }
    IpAddress address_of(bool v4) {
        IpAddress out;
        if (v4) out = IpAddress::from_v4_be(0);
        const std::size_t skipped = v4 ? 12 : 0;
        std::memcpy(out.bytes.data() + skipped, take(16 - skipped).data(), 16 - skipped);
        return out;
    }
    template <class Element, class Each>
    void list(std::vector<Element>* out, const Each& each) {
        const auto count = number<std::size_t>();
        out->reserve(count);
        for (std::size_t i = 0; i < count; ++i) out->push_back(each());
    }
    [[nodiscard]] bool done() const { return rest_.empty(); }

private:
    std::string_view take(std::size_t count) {
        SLUICE_ASSERT(count <= rest_.size());
        const std::string_view taken = rest_.substr(0, count);
        rest_.remove_prefix(count);
        return taken;
    }

    std::string_view rest_;
};

// An endpoint's first byte.
enum EndpointBit : std::uint8_t {
    kReady = 1U << 0U,
    kServing = 1U << 1U,
    kTerminating = 1U << 2U,
    kLocal = 1U << 3U,
    kNodeHints = 1U << 4U,
    kHintedHere = 1U << 5U,
    kV4 = 1U << 6U,
    kZones = 1U << 7U,
};

std::uint8_t bits_of(const Endpoint& endpoint) {
    unsigned bits = 0;
    if (endpoint.ready) bits |= kReady;
    if (endpoint.serving) bits |= kServing;
    if (endpoint.terminating) bits |= kTerminating;
    if (endpoint.local) bits |= kLocal;
    if (endpoint.has_node_hints) bits |= kNodeHints;
    if (endpoint.hinted_to_this_node) bits |= kHintedHere;
    if (endpoint.address.is_v4()) bits |= kV4;
    if (endpoint.zones != 0) bits |= kZones;
    return static_cast<std::uint8_t>(bits);
}

Endpoint endpoint_of(std::uint8_t bits) {
    Endpoint out;
    out.ready = (bits & kReady) != 0;
    out.serving = (bits & kServing) != 0;
    out.terminating = (bits & kTerminating) != 0;
    out.local = (bits & kLocal) != 0;
    out.has_node_hints = (bits & kNodeHints) != 0;
    out.hinted_to_this_node = (bits & kHintedHere) != 0;
    return out;
}

}  // namespace

Packed::Packed(std::string_view bytes) {
    SLUICE_ASSERT(bytes.size() <= UINT32_MAX);
    const auto length = static_cast<std::uint32_t>(bytes.size());
    bytes_ = std::make_unique_for_overwrite<char[]>(sizeof length + bytes.size());
    std::memcpy(bytes_.get(), &length, sizeof length);
    std::memcpy(bytes_.get() + sizeof length, bytes.data(), bytes.size());
}

std::string_view Packed::bytes() const {
    if (!bytes_) return {};
    std::uint32_t length = 0;
    std::memcpy(&length, bytes_.get(), sizeof length);
    return {bytes_.get() + sizeof length, length};
}

Packed pack(const ServiceFacts& service) {
    Writer out;
    const auto address = [&](const IpAddress& each) { out.address(each); };
    out.number(service.created_s);
    out.list(service.cluster_ips, address);
    out.list(service.external_ips, address);
    out.list(service.load_balancer_ips, address);
    out.list(service.ports, [&](const ServicePort& port) {
        out.text(port.name);
        out.number(port.protocol);
        out.number(port.port);
        out.number(port.node_port);
    });
    out.number(service.internal_local);
    out.number(service.external_local);
    out.list(service.sources, [&](const IpPrefix& prefix) {
        out.address(prefix.address);
        out.number(prefix.bits);
    });
    out.number(service.health_check_port);
    out.number(service.choice);
    out.number(service.forwarding.has_value());
    if (service.forwarding) out.number(*service.forwarding);
    out.number(service.affinity_timeout_s);
    out.list(service.notes, [&](const std::string& note) { out.text(note); });
    return out.packed();
}

ServiceFacts unpack_service(const Packed& packed, std::string key) {
    Reader in(packed.bytes());
    const auto address = [&] { return in.address(); };
    ServiceFacts out;
    out.key = std::move(key);
    in.into(&out.created_s);
    in.list(&out.cluster_ips, address);
    in.list(&out.external_ips, address);
    in.list(&out.load_balancer_ips, address);
    in.list(&out.ports, [&] {
        ServicePort port;
        port.name = in.text();
        in.into(&port.protocol);
        in.into(&port.port);
        in.into(&port.node_port);
        return port;
    });
    in.into(&out.internal_local);
    in.into(&out.external_local);
    in.list(&out.sources, [&] {
        IpPrefix prefix;
        prefix.address = in.address();
        in.into(&prefix.bits);
        return prefix;
    });
    in.into(&out.health_check_port);
    in.into(&out.choice);
    if (in.number<std::uint8_t>() != 0) out.forwarding = in.number<image::Forwarding>();
    in.into(&out.affinity_timeout_s);
    in.list(&out.notes, [&] { return in.text(); });
    SLUICE_ASSERT(in.done());
    return out;
}

Packed pack(const Slice& slice) {
    Writer out;
    out.number(slice.family);
    out.number(slice.weight);
    out.list(slice.ports, [&](const SlicePort& port) {
        out.text(port.name);
        out.number(port.protocol);
        out.number(port.port);
    });
    out.list(slice.zone_hints, [&](const std::vector<std::string>& zones) {
        out.list(zones, [&](const std::string& zone) { out.text(zone); });
    });
    std::uint32_t target_begin = 0;
    out.list(slice.endpoints, [&](const Endpoint& endpoint) {
        const std::uint8_t bits = bits_of(endpoint);
        out.number(bits);
        out.address_of(endpoint.address, (bits & kV4) != 0);
        if (endpoint.zones != 0) out.number(endpoint.zones);
        out.number(endpoint.target_end - target_begin);
        target_begin = endpoint.target_end;
    });
    out.text(slice.targets);
    return out.packed();
}

Slice unpack_slice(const Packed& packed) {
    Reader in(packed.bytes());
    Slice out;
    in.into(&out.family);
    in.into(&out.weight);
    in.list(&out.ports, [&] {
        SlicePort port;
        port.name = in.text();
        in.into(&port.protocol);
        in.into(&port.port);
        return port;
    });
    in.list(&out.zone_hints, [&] {
        std::vector<std::string> zones;
        in.list(&zones, [&] { return in.text(); });
        return zones;
    });
    std::uint32_t target_end = 0;
    in.list(&out.endpoints, [&] {
        const auto bits = in.number<std::uint8_t>();
        Endpoint endpoint = endpoint_of(bits);
        endpoint.address = in.address_of((bits & kV4) != 0);
        if ((bits & kZones) != 0) in.into(&endpoint.zones);
        target_end += in.number<std::uint32_t>();
        endpoint.target_end = target_end;
        return endpoint;
    });
    out.targets = in.text();
    SLUICE_ASSERT(in.done());
    return out;
}

}  // namespace sluice::compile
