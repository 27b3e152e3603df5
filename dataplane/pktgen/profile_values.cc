// The values of a profile's fields, from text and back.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "dataplane/pktgen/profile_text.h"
#include "dataplane/pktgen/profile_text_internal.h"

namespace sluice::pktgen {

namespace {

// Weights and sizes are small numbers; more entries than this are a mistake.
constexpr std::size_t kMaxSizes = 64;
constexpr std::size_t kMaxAddressRanges = 64;

const std::vector<SizeShare>& imix() {
    static const std::vector<SizeShare> sizes{{64, 7}, {594, 4}, {1518, 1}};
    return sizes;
}

template <class Value, std::size_t N>
struct Names {
    std::array<std::pair<std::string_view, Value>, N> names;

    [[nodiscard]] Result<Value> parse(std::string_view text) const {
        std::string all;
        for (const auto& [name, value] : names) {
            if (name == text) {
                return value;
            }
            all += all.empty() ? "" : ", ";
            all += name;
        }
        return make_error(Code::kInvalidArgument, "\"{}\" is none of {}", text, all);
    }
    [[nodiscard]] std::string_view name_of(Value wanted) const {
        for (const auto& [name, value] : names) {
            if (value == wanted) {
                return name;
            }
        }
        return "unknown";
    }
};

constexpr Names<L4, 2> kL4Names{{{{"udp", L4::kUdp}, {"tcp", L4::kTcp}}}};
constexpr Names<Choice, 3> kChoiceNames{{{{"round-robin", Choice::kRoundRobin},
                                          {"uniform", Choice::kUniform},
                                          {"zipf", Choice::kZipf}}}};
constexpr Names<LifeCycle, 4> kLifeCycleNames{{{{"none", LifeCycle::kNone},
                                                {"syn", LifeCycle::kSynOnly},
                                                {"scripted", LifeCycle::kScripted},
                                                {"stateful", LifeCycle::kStateful}}}};

Result<std::uint32_t> parse_small(std::string_view text, const char* what) {
    std::uint32_t out = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (failed != std::errc() || end != text.data() + text.size() || text.empty()) {
        return make_error(Code::kInvalidArgument, "\"{}\" is not {}", text, what);
    }
    return out;
}

// The last address of a prefix: all host bits set.
IpAddress last_of(const IpPrefix& prefix) {
    IpAddress out = prefix.address;
    const unsigned first_host_bit = prefix.bits + (prefix.family() == IpFamily::kIpv4 ? 96U : 0U);
    for (unsigned bit = first_host_bit; bit < 128; ++bit) {
        out.bytes[bit / 8] = static_cast<std::uint8_t>(out.bytes[bit / 8] | 0x80U >> (bit % 8));
    }
    return out;
}

}  // namespace

Result<double> parse_quantity(std::string_view text) {
    std::string_view digits = text;
    double factor = 1;
    if (!digits.empty()) {
        switch (digits.back()) {
            case 'k': factor = 1e3; break;
            case 'M': factor = 1e6; break;
            case 'G': factor = 1e9; break;
            default: break;
        }
        digits.remove_suffix(factor == 1 ? 0 : 1);
    }
    double value = 0;
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    value *= factor;
    if (failed != std::errc() || end != digits.data() + digits.size() || digits.empty() ||
        !std::isfinite(value) || std::signbit(value)) {
        return make_error(Code::kInvalidArgument,
                          "\"{}\" is not a number from 0 on (k, M and G may follow it)", text);
    }
    return value;
}

Result<std::uint64_t> parse_count(std::string_view text) {
    std::uint64_t whole = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (failed == std::errc() && end == text.data() + text.size() && !text.empty()) {
        return whole;
    }
    SLUICE_TRY_ASSIGN(const double value, parse_quantity(text));
    // Up to here a double tells whole numbers apart.
    if (value != std::floor(value) || value > 9007199254740992.0) {
        return make_error(Code::kInvalidArgument, "\"{}\" is not a whole number", text);
    }
    return static_cast<std::uint64_t>(value);
}

Result<std::vector<SizeShare>> parse_sizes(std::string_view text) {
    if (text == "imix") {
        return imix();
    }
    std::vector<SizeShare> out;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        const std::string_view share = text.substr(at, comma - at);
        const std::size_t colon = share.find(':');
        SizeShare size;
        SLUICE_TRY_ASSIGN(size.frame_bytes,
                          parse_small(share.substr(0, colon), "a frame's size in bytes"));
        if (colon != std::string_view::npos) {
            SLUICE_TRY_ASSIGN(size.weight, parse_small(share.substr(colon + 1), "a size's weight"));
        }
        if (out.size() == kMaxSizes) {
            return make_error(Code::kInvalidArgument, "there are more than {} sizes", kMaxSizes);
        }
        out.push_back(size);
        at = comma + 1;
    }
    return out;
}

std::string sizes_text(const std::vector<SizeShare>& sizes) {
    std::string out;
    for (const SizeShare& size : sizes) {
        out += out.empty() ? "" : ",";
        out += std::to_string(size.frame_bytes);
        if (size.weight != 1 || sizes.size() > 1) {
            out += ':';
            out += std::to_string(size.weight);
        }
    }
    return out;
}

std::string_view l4_name(L4 l4) {
    return kL4Names.name_of(l4);
}
std::string_view choice_name(Choice choice) {
    return kChoiceNames.name_of(choice);
}
std::string_view life_cycle_name(LifeCycle life_cycle) {
    return kLifeCycleNames.name_of(life_cycle);
}

Result<L4> parse_l4(std::string_view text) {
    return kL4Names.parse(text);
}
Result<Choice> parse_choice(std::string_view text) {
    return kChoiceNames.parse(text);
}
Result<LifeCycle> parse_life_cycle(std::string_view text) {
    return kLifeCycleNames.parse(text);
}

Result<AddressRange> parse_addresses(std::string_view text) {
    if (text.find('/') != std::string_view::npos) {
        SLUICE_TRY_ASSIGN(const IpPrefix prefix, IpPrefix::parse(text));
        return AddressRange{prefix.address, last_of(prefix)};
    }
    const std::size_t dash = text.find('-');
    AddressRange out;
    SLUICE_TRY_ASSIGN(out.first, IpAddress::parse(text.substr(0, dash)));
    out.last = out.first;
    if (dash != std::string_view::npos) {
        SLUICE_TRY_ASSIGN(out.last, IpAddress::parse(text.substr(dash + 1)));
    }
    return out;
}

std::string addresses_text(const AddressRange& range) {
    return range.first == range.last ? range.first.to_string()
                                     : range.first.to_string() + "-" + range.last.to_string();
}

Result<std::vector<AddressRange>> parse_address_list(std::string_view text) {
    std::vector<AddressRange> out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        if (out.size() == kMaxAddressRanges) {
            return make_error(Code::kInvalidArgument, "there are more than {} ranges",
                              kMaxAddressRanges);
        }
        SLUICE_TRY_ASSIGN(AddressRange range, parse_addresses(text.substr(at, comma - at)));
        out.push_back(range);
        at = comma + 1;
    }
    return out;
}

std::string address_list_text(const std::vector<AddressRange>& ranges) {
    std::string out;
    for (const AddressRange& range : ranges) {
        out += out.empty() ? "" : ",";
        out += addresses_text(range);
    }
    return out;
}

Result<IpAddress> parse_address(std::string_view text) {
    return text.empty() ? Result<IpAddress>(IpAddress{}) : IpAddress::parse(text);
}

std::string address_text(const IpAddress& address) {
    return address == IpAddress{} ? std::string() : address.to_string();
}

Result<PortRange> parse_ports(std::string_view text) {
    const auto port = [&](std::string_view digits) -> Result<std::uint16_t> {
        const auto value = parse_small(digits, "");
        if (!value || *value > std::numeric_limits<std::uint16_t>::max()) {
            return make_error(Code::kInvalidArgument,
                              "\"{}\" is not a port or a range of ports (0 to 65535)", text);
        }
        return static_cast<std::uint16_t>(*value);
    };
    const std::size_t dash = text.find('-');
    PortRange out;
    SLUICE_TRY_ASSIGN(out.first, port(text.substr(0, dash)));
    out.last = out.first;
    if (dash != std::string_view::npos) {
        SLUICE_TRY_ASSIGN(out.last, port(text.substr(dash + 1)));
    }
    return out;
}

std::string ports_text(const PortRange& range) {
    return range.first == range.last ? std::to_string(range.first)
                                     : fmt::format("{}-{}", range.first, range.last);
}

Result<bool> parse_bool(std::string_view text) {
    if (text == "true" || text == "yes" || text == "on") return true;
    if (text == "false" || text == "no" || text == "off") return false;
    return make_error(Code::kInvalidArgument, "\"{}\" is neither true nor false", text);
}

Result<std::string> parse_mac(std::string_view text) {
    if (text.empty()) {
        return std::string();
    }
    bool right = text.size() == 17;
    for (std::size_t i = 0; right && i < text.size(); ++i) {
        right =
            i % 3 == 2 ? text[i] == ':' : std::isxdigit(static_cast<unsigned char>(text[i])) != 0;
    }
    if (!right) {
        return make_error(Code::kInvalidArgument,
                          "\"{}\" is not a MAC address such as 02:00:00:00:00:01", text);
    }
    return std::string(text);
}

}  // namespace sluice::pktgen
