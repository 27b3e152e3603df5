// The values of a profile's fields: what profile_values.cc gives to the table of fields in
// profile_text.cc. Errors are kInvalidArgument and do not name the field.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "dataplane/pktgen/profile.h"

namespace sluice::pktgen {

Result<L4> parse_l4(std::string_view text);
Result<Choice> parse_choice(std::string_view text);
Result<LifeCycle> parse_life_cycle(std::string_view text);
// "10.0.0.1", "10.0.0.1-10.0.0.9", "10.0.0.0/24" (all of its addresses).
Result<AddressRange> parse_addresses(std::string_view text);
[[nodiscard]] std::string addresses_text(const AddressRange& range);
// The same, separated by commas; nothing is none.
Result<std::vector<AddressRange>> parse_address_list(std::string_view text);
[[nodiscard]] std::string address_list_text(const std::vector<AddressRange>& ranges);
// Nothing stands for the unspecified address.
Result<IpAddress> parse_address(std::string_view text);
[[nodiscard]] std::string address_text(const IpAddress& address);
// "80", "1024-2047".
Result<PortRange> parse_ports(std::string_view text);
[[nodiscard]] std::string ports_text(const PortRange& range);
Result<bool> parse_bool(std::string_view text);
// Six pairs of hexadecimal digits, or nothing.
Result<std::string> parse_mac(std::string_view text);

}  // namespace sluice::pktgen
