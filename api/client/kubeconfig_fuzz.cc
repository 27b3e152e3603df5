// Hostile kubeconfigs: parsing ends with a config or an error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/client/kubeconfig.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto config = sluice::client::parse_kubeconfig(text, "/nonexistent");
    if (config && config->host.empty()) __builtin_trap();
    return 0;
}
