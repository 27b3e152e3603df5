#include "control/apiserver/registry/validation/addresses.h"

#include <fmt/format.h>

#include "api/base/ip_address.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

namespace {

bool is_link_local_multicast(const IpAddress& address) {
    if (address.is_v4()) {
        return address.bytes[12] == 224 && address.bytes[13] == 0 && address.bytes[14] == 0;
    }
    return address.bytes[0] == 0xff && (address.bytes[1] & 0x0fU) == 0x02;
}

}  // namespace

void check_not_special(const std::string& text, const std::string& field, FieldErrors* errors) {
    const auto address = IpAddress::parse_sloppy(text);
    if (!address) {
        errors->invalid_all(field, text, check_ip(text));
        return;
    }
    if (address->is_unspecified()) {
        errors->invalid(field, text, fmt::format("may not be unspecified ({})", text));
    }
    if (address->is_loopback()) {
        errors->invalid(field, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if (address->is_link_local()) {
        errors->invalid(field, text,
                        "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if (is_link_local_multicast(*address)) {
        errors->invalid(field, text,
                        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

void check_cidr(const std::string& text, const std::string& field, FieldErrors* errors) {
    std::string_view trimmed = text;
    while (!trimmed.empty() && trimmed.front() == ' ') trimmed.remove_prefix(1);
    while (!trimmed.empty() && trimmed.back() == ' ') trimmed.remove_suffix(1);
    if (!IpPrefix::parse(trimmed, true)) {
        errors->invalid(field, text,
                        "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

}  // namespace sluice::registry
