// Kubernetes' libraries "ip" and "cidr". Zones and IPv4 mapped into IPv6 are refused, as there.
#include <charconv>

#include "api/codec/json_text.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions/net_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

std::string_view text(const Value& value) { return value.as_string()->view(); }

// An IPv4 address is stored as one mapped into IPv6: the text tells them apart.
Result<IpAddress> parse_ip(std::string_view raw) {
    if (const auto zone = raw.find('%'); zone != raw.npos && zone > 0) {
        if (IpAddress::parse(raw.substr(0, zone)) && zone + 1 < raw.size()) {
            return failed("IP address {} with zone value is not allowed", codec::quoted(raw));
        }
    }
    auto address = IpAddress::parse(raw);
    if (!address) {
        return failed("IP Address {} parse error during conversion from string: ParseAddr({}): "
                      "unable to parse IP",
                      codec::quoted(raw), codec::quoted(raw));
    }
    if (address->is_v4() && raw.find(':') != raw.npos) {
        return failed("IPv4-mapped IPv6 address {} is not allowed", codec::quoted(raw));
    }
    return std::move(*address);
}

Result<Value> parse_cidr(std::string_view raw) {
    const auto bad = [raw](std::string_view why) {
        constexpr std::string_view kWhat = "network address parse error during conversion from string";
        return failed("{}: {}: netip.ParsePrefix({}): {}", kWhat, kWhat, codec::quoted(raw), why);
    };
    const std::size_t slash = raw.rfind('/');
    if (slash == raw.npos) return bad("no '/'");
    const auto address = IpAddress::parse(raw.substr(0, slash));
    if (!address) return bad("unable to parse IP");
    const std::string_view digits = raw.substr(slash + 1);
    unsigned bits = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    const bool padded = digits.size() > 1 && digits[0] == '0';
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || padded) {
        return bad("bad bits after slash: " + codec::quoted(digits));
    }
    const bool mapped = address->is_v4() && raw.find(':') != raw.npos;
    if (bits > (address->is_v4() && !mapped ? 32U : 128U)) return bad("prefix length out of range");
    if (mapped) {
        return failed("network address parse error during conversion from string: IPv4-mapped IPv6 "
                      "address {} is not allowed",
                      codec::quoted(raw));
    }
    return Value::opaque(std::make_shared<CidrValue>(*address, static_cast<std::uint8_t>(bits)));
}

Value of_ip(const IpAddress& address) { return Value::opaque(std::make_shared<IpValue>(address)); }
const IpAddress& ip(const Value& value) { return value.as<IpValue>()->address; }
const CidrValue& cidr(const Value& value) { return *value.as<CidrValue>(); }

// The range without bits beyond its prefix.
IpPrefix masked_prefix(const CidrValue& range) {
    IpPrefix out{range.address, range.bits};
    const std::size_t from = (range.address.is_v4() ? 96U : 0U) + range.bits;
    for (std::size_t bit = from; bit < 128; ++bit) {
        out.address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> (bit % 8)));
    }
    return out;
}

Result<Value> to_ip(CallContext&, Args args) {
    SLUICE_TRY_ASSIGN(const IpAddress address, parse_ip(text(args[0])));
    return of_ip(address);
}
Result<Value> is_ip(CallContext&, Args args) {
    return Value::boolean(parse_ip(text(args[0])).has_value());
}
Result<Value> is_canonical(CallContext&, Args args) {
    SLUICE_TRY_ASSIGN(const IpAddress address, parse_ip(text(args[0])));
    return Value::boolean(address.to_string() == text(args[0]));
}
Result<Value> ip_text(CallContext&, Args args) { return Value::string(ip(args[0]).to_string()); }
Result<Value> family(CallContext&, Args args) {
    return Value::integer(ip(args[0]).is_v4() ? 4 : 6);
}

// The last four bytes of an IPv4 address, or all of an IPv6 address.
std::uint8_t byte(const IpAddress& address, std::size_t i) {
    return address.bytes[address.is_v4() ? 12 + i : i];
}

bool is_link_local_multicast(const IpAddress& address) {
    if (address.is_v4()) {
        return byte(address, 0) == 224 && byte(address, 1) == 0 && byte(address, 2) == 0;
    }
    return byte(address, 0) == 0xFF && (byte(address, 1) & 0x0FU) == 0x02;
}

bool is_global_unicast(const IpAddress& address) {
    const bool broadcast = address.is_v4() && address.to_string() == "255.255.255.255";
    return !broadcast && !address.is_unspecified() && !address.is_loopback() &&
           !address.is_multicast() && !address.is_link_local();
}

enum class Property : std::uint8_t {
    kUnspecified, kLoopback, kLinkLocalMulticast, kLinkLocalUnicast, kGlobalUnicast
};

template <Property property>
Result<Value> ip_is(CallContext&, Args args) {
    const IpAddress& address = ip(args[0]);
    switch (property) {
        case Property::kUnspecified: return Value::boolean(address.is_unspecified());
        case Property::kLoopback: return Value::boolean(address.is_loopback());
        case Property::kLinkLocalMulticast: return Value::boolean(is_link_local_multicast(address));
        case Property::kLinkLocalUnicast: return Value::boolean(address.is_link_local());
        case Property::kGlobalUnicast: return Value::boolean(is_global_unicast(address));
    }
    return no_such_overload();
}

Result<Value> to_cidr(CallContext&, Args args) { return parse_cidr(text(args[0])); }
Result<Value> is_cidr(CallContext&, Args args) {
    return Value::boolean(parse_cidr(text(args[0])).has_value());
}
Result<Value> cidr_text(CallContext&, Args args) {
    const CidrValue& range = cidr(args[0]);
    return Value::string(range.address.to_string() + "/" + std::to_string(range.bits));
}
Result<Value> cidr_ip(CallContext&, Args args) { return of_ip(cidr(args[0]).address); }
Result<Value> prefix_length(CallContext&, Args args) {
    return Value::integer(cidr(args[0]).bits);
}
Result<Value> masked(CallContext&, Args args) {
    const IpPrefix prefix = masked_prefix(cidr(args[0]));
    return Value::opaque(std::make_shared<CidrValue>(prefix.address, prefix.bits));
}

bool contains(const CidrValue& range, const IpAddress& address) {
    return range.address.is_v4() == address.is_v4() && masked_prefix(range).contains(address);
}

Result<Value> contains_ip(CallContext&, Args args) {
    if (args[1].as_string() == nullptr) {
        return Value::boolean(contains(cidr(args[0]), ip(args[1])));
    }
    SLUICE_TRY_ASSIGN(const IpAddress address, parse_ip(text(args[1])));
    return Value::boolean(contains(cidr(args[0]), address));
}

Result<Value> contains_cidr(CallContext&, Args args) {
    Value other = args[1];
    if (other.as_string() != nullptr) {
        SLUICE_TRY_ASSIGN(other, parse_cidr(text(args[1])));
    }
    const CidrValue& outer = cidr(args[0]);
    const CidrValue& inner = cidr(other);
    return Value::boolean(outer.bits <= inner.bits && contains(outer, inner.address));
}

}  // namespace

const Type& ip_type() {
    static const Type type = Type::opaque("net.IP");
    return type;
}

const Type& cidr_type() {
    static const Type type = Type::opaque("net.CIDR");
    return type;
}

Result<bool> IpValue::equals(const OpaqueValue& other) const {
    return address == static_cast<const IpValue&>(other).address;
}

Result<bool> CidrValue::equals(const OpaqueValue& other) const {
    const auto& range = static_cast<const CidrValue&>(other);
    return address == range.address && bits == range.bits;
}

std::uint64_t opaque_size(const Value& value) {
    if (const auto* address = value.as<IpValue>()) return address->address.is_v4() ? 4 : 16;
    if (const auto* range = value.as<CidrValue>()) return (range->bits + 7U) / 8U;
    return 1;
}

void add_addresses(FunctionTable* table) {
    const Type s = Type::string();
    const Type boolean = Type::boolean();
    const Type i = Type::integer();
    table->global("ip", "string_to_ip", {s}, ip_type(), to_ip, CostRule::kParse);
    table->member("family", "ip_family", {ip_type()}, i, family);
    table->global("ip.isCanonical", "ip_is_canonical", {s}, boolean, is_canonical,
                  CostRule::kParseTwice);
    table->member("isUnspecified", "ip_is_unspecified", {ip_type()}, boolean,
                  ip_is<Property::kUnspecified>);
    table->member("isLoopback", "ip_is_loopback", {ip_type()}, boolean,
                  ip_is<Property::kLoopback>);
    table->member("isLinkLocalMulticast", "ip_is_link_local_multicast", {ip_type()}, boolean,
                  ip_is<Property::kLinkLocalMulticast>);
    table->member("isLinkLocalUnicast", "ip_is_link_local_unicast", {ip_type()}, boolean,
                  ip_is<Property::kLinkLocalUnicast>);
    table->member("isGlobalUnicast", "ip_is_global_unicast", {ip_type()}, boolean,
                  ip_is<Property::kGlobalUnicast>);
    table->global("isIP", "is_ip", {s}, boolean, is_ip, CostRule::kParse);
    table->global("string", "ip_to_string", {ip_type()}, s, ip_text);
    table->global("cidr", "string_to_cidr", {s}, cidr_type(), to_cidr, CostRule::kParse);
    table->member("containsIP", "cidr_contains_ip_string", {cidr_type(), s}, boolean, contains_ip,
                  CostRule::kContainsIpText);
    table->member("containsIP", "cidr_contains_ip_ip", {cidr_type(), ip_type()}, boolean,
                  contains_ip, CostRule::kContainsIp);
    table->member("containsCIDR", "cidr_contains_cidr_string", {cidr_type(), s}, boolean,
                  contains_cidr, CostRule::kContainsCidrText);
    table->member("containsCIDR", "cidr_contains_cidr", {cidr_type(), cidr_type()}, boolean,
                  contains_cidr, CostRule::kContainsCidr);
    table->member("ip", "cidr_ip", {cidr_type()}, ip_type(), cidr_ip);
    table->member("prefixLength", "cidr_prefix_length", {cidr_type()}, i, prefix_length);
    table->member("masked", "cidr_masked", {cidr_type()}, cidr_type(), masked);
    table->global("isCIDR", "is_cidr", {s}, boolean, is_cidr, CostRule::kParse);
    table->global("string", "cidr_to_string", {cidr_type()}, s, cidr_text);
}

}  // namespace sluice::cel
