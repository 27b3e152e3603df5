#include "control/apiserver/registry/table/cells.h"

#include <fmt/format.h>

#include <chrono>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::registry {

std::string human_duration(std::int64_t seconds) {
    if (seconds < -1) return "<invalid>";
    if (seconds < 0) return "0s";
    if (seconds < 60 * 2) return fmt::format("{}s", seconds);
    const std::int64_t minutes = seconds / 60;
    if (minutes < 10) {
        const std::int64_t rest = seconds % 60;
        return rest == 0 ? fmt::format("{}m", minutes) : fmt::format("{}m{}s", minutes, rest);
    }
    if (minutes < 60 * 3) return fmt::format("{}m", minutes);
    const std::int64_t hours = minutes / 60;
    if (hours < 8) {
        const std::int64_t rest = minutes % 60;
        return rest == 0 ? fmt::format("{}h", hours) : fmt::format("{}h{}m", hours, rest);
    }
    if (hours < 48) return fmt::format("{}h", hours);
    const std::int64_t days = hours / 24;
    if (hours < 24 * 8) {
        const std::int64_t rest = hours % 24;
        return rest == 0 ? fmt::format("{}d", days) : fmt::format("{}d{}h", days, rest);
    }
    if (days < 365 * 2) return fmt::format("{}d", days);
    const std::int64_t years = days / 365;
    if (years < 8) {
        const std::int64_t rest = days % 365;
        return rest == 0 ? fmt::format("{}y", years) : fmt::format("{}y{}d", years, rest);
    }
    return fmt::format("{}y", years);
}

std::string age_since(std::int64_t unix_seconds) {
    return unix_seconds == 0 ? "<unknown>" : human_duration(unix_now() - unix_seconds);
}

std::string age_cell(const codec::metav1::ObjectMeta& meta) {
    return age_since(meta.creationtimestamp().seconds());
}

std::string format_labels(const std::map<std::string, std::string>& labels) {
    if (labels.empty()) return "<none>";
    std::string out;
    for (const auto& [key, value] : labels) {
        if (!out.empty()) out += ',';
        out += key + "=" + value;
    }
    return out;
}

std::int64_t unix_now() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

}  // namespace sluice::registry
