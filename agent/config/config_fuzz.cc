// Any text as a configuration file: read or refused, and what is read can be written and read again.
#include <cstdint>
#include <string_view>

#include "agent/config/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::config;  // NOLINT
    const auto parsed = parse_config({reinterpret_cast<const char*>(data), size});  // NOLINT
    if (!parsed) return 0;
    Config config;
    config.kube_proxy = *parsed;
    apply_defaults(&config.kube_proxy);
    if (!resolve(&config)) return 0;
    const auto text = to_yaml(config.kube_proxy);
    const auto again = parse_config(text);
    SLUICE_ASSERT(again);
    SLUICE_ASSERT(to_yaml(*again) == text);
    SLUICE_ASSERT(!configz(config).empty());
    return 0;
}
