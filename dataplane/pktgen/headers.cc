#include "dataplane/pktgen/headers.h"

#include <charconv>

namespace sluice::pktgen {

Result<Mac> parse_mac(std::string_view text) {
    Mac out{};
    bool good = text.size() == 17;
    for (std::size_t i = 0; good && i < out.size(); ++i) {
        const char* first = text.data() + 3 * i;
        const auto [end, error] = std::from_chars(first, first + 2, out[i], 16);
        good = error == std::errc{} && end == first + 2 && (i == 5 || first[2] == ':');
    }
    if (!good) {
        return make_error(Code::kInvalidArgument, "\"{}\" is not a MAC such as 02:00:00:00:00:01",
                          text);
    }
    return out;
}

std::string mac_text(const Mac& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                       mac[4], mac[5]);
}

}  // namespace sluice::pktgen
