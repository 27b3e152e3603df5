// The syntax of names, labels, keys and addresses that every kind shares. Each check returns what is wrong in
// Kubernetes' words; an empty list means valid. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::registry {

using NameCheck = std::vector<std::string> (*)(std::string_view name);

std::vector<std::string> check_dns1123_label(std::string_view name);
std::vector<std::string> check_dns1123_subdomain(std::string_view name);
std::vector<std::string> check_dns1035_label(std::string_view name);
// "example.com/Name" or "Name".
std::vector<std::string> check_qualified_name(std::string_view name);
std::vector<std::string> check_label_value(std::string_view value);
// An IANA_SVC_NAME with at least one letter, 15 characters at most.
std::vector<std::string> check_port_name(std::string_view name);
std::vector<std::string> check_port_number(std::int64_t port);
// Keys of ConfigMap and Secret data.
std::vector<std::string> check_config_key(std::string_view key);
std::vector<std::string> check_env_var_name(std::string_view name);
// What may stand as one segment of a URL path.
std::vector<std::string> check_path_segment(std::string_view name);
// An IP address as Kubernetes accepts it in new objects.
std::vector<std::string> check_ip(std::string_view text);

// A generateName without its trailing hyphens, checked as the name would be.
[[nodiscard]] std::string masked_generate_name(std::string_view prefix);

}  // namespace sluice::registry
