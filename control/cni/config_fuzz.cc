// Hostile network configurations: each ends as a configuration within its limits or as an error
// that says why.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "control/cni/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::cni;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const Command command :
         {Command::kAdd, Command::kDel, Command::kCheck, Command::kStatus, Command::kGc}) {
        const auto config = parse_config(text, command);
        if (!config) {
            if (config.error().message.empty()) __builtin_trap();
            continue;
        }
        // The name and the folder become a path.
        if (config->name.empty() || config->name.size() > kMaxNetworkName ||
            config->name.find_first_of(std::string_view("/\0", 2)) != std::string::npos ||
            config->data_dir.find('\0') != std::string::npos || config->data_dir.front() != '/' ||
            config->pod_cidrs.size() > 2) {
            __builtin_trap();
        }
    }
    (void)version_of(text);
    return 0;
}
