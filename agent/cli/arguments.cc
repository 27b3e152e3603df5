// See arguments.h.
#include "agent/cli/arguments.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace sluice::cli {

Result<Target> parse_target(const std::string& text) {
    const auto refuse = [&] {
        return make_error(Code::kInvalidArgument,
                          "\"{}\" is not ADDRESS, ADDRESS:PORT or [IPV6]:PORT", text);
    };
    std::string host = text;
    std::string port;
    if (!text.empty() && text.front() == '[') {
        const auto close = text.find(']');
        if (close == std::string::npos) return refuse();
        host = text.substr(1, close - 1);
        if (close + 1 < text.size()) {
            if (text[close + 1] != ':' || close + 2 == text.size()) return refuse();
            port = text.substr(close + 2);
        }
        if (host.find(':') == std::string::npos) return refuse();
    } else if (const auto colon = text.find(':');
               colon != std::string::npos && text.find(':', colon + 1) == std::string::npos) {
        host = text.substr(0, colon);
        port = text.substr(colon + 1);
        if (port.empty()) return refuse();
    }
    Target target;
    auto address = IpAddress::parse(host);
    if (!address) return refuse();
    target.address = *address;
    if (!port.empty()) {
        unsigned value = 0;
        const char* end = port.data() + port.size();
        const auto [stop, error] = std::from_chars(port.data(), end, value);
        if (error != std::errc() || stop != end || value < 1 || value > 65'535) return refuse();
        target.port = static_cast<std::uint16_t>(value);
    }
    return target;
}

Result<Protocol> parse_protocol_argument(const std::string& text) {
    std::string upper = text;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return parse_protocol(upper);
}

Result<dataplane::Origin> parse_origin(const std::string& text) {
    if (text.empty()) return dataplane::Origin::kGuess;
    if (text == "pod") return dataplane::Origin::kPod;
    if (text == "node") return dataplane::Origin::kNode;
    if (text == "outside") return dataplane::Origin::kOutside;
    return make_error(Code::kInvalidArgument, "--from: \"{}\" is none of pod, node, outside", text);
}

}  // namespace sluice::cli
