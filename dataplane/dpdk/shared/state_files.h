// Where the files of a state directory lie (segment.h).
#pragma once

#include <cstdint>
#include <string>

namespace sluice::dpdk {

std::string image_path(const std::string& directory, std::uint32_t number);
std::string counts_path(const std::string& directory, std::uint32_t number);
std::string flows_path(const std::string& directory, std::uint32_t lcore);
std::string shared_path(const std::string& directory);
std::string events_path(const std::string& directory);
// Of a table that is about to take their place.
std::string larger_flows_path(const std::string& directory, std::uint32_t lcore);
std::string larger_shared_path(const std::string& directory);

}  // namespace sluice::dpdk
