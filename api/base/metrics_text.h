// Lines of the Prometheus text format.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

namespace sluice::metrics_text {

inline void head(std::string* out, std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(*out), "# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

// A metric without labels.
inline void single(std::string* out, std::string_view name, std::string_view type, std::string_view help,
                   std::uint64_t value) {
    head(out, name, type, help);
    fmt::format_to(std::back_inserter(*out), "{} {}\n", name, value);
}

// A label's value; names come from others.
inline std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\\' || c == '"') out += '\\';
        if (c == '\n') {
            out += "\\n";
        } else {
            out += c;
        }
    }
    return out;
}

}  // namespace sluice::metrics_text
