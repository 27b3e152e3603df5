// Fuzzes request targets: nothing crashes, and what was decoded decodes to itself once encoded again.
#include <cstddef>
#include <cstdint>
#include <string>

#include "control/http/uri.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using sluice::http::parse_target;
    using sluice::http::percent_encode;
    const auto target = parse_target({reinterpret_cast<const char*>(data), size});
    if (!target) return 0;
    std::string again = "/" + percent_encode(target->path);
    for (std::size_t i = 0; i < target->query.size(); ++i) {
        again += i == 0 ? '?' : '&';
        again += percent_encode(target->query[i].first) + "=" +
                 percent_encode(target->query[i].second);
    }
    if (again.size() > sluice::http::kMaxTargetBytes) return 0;
    const auto second = parse_target(again);
    SLUICE_ASSERT(second && second->path == "/" + target->path && second->query == target->query);
    return 0;
}
