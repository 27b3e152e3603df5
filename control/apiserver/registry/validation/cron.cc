#include "control/apiserver/registry/validation/cron.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <vector>

#include "api/base/result.h"
#include "api/codec/time.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

namespace {

constexpr const char* kZones = "/usr/share/zoneinfo/";

struct Bounds {
    std::uint64_t min;
    std::uint64_t max;
    std::span<const std::string_view> names;  // of the values from `first` on
    std::uint64_t first = 0;
};

constexpr std::string_view kMonths[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                        "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::string_view kDays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
constexpr Bounds kFields[] = {
    {0, 59, {}, 0}, {0, 23, {}, 0}, {1, 31, {}, 0}, {1, 12, kMonths, 1}, {0, 6, kDays, 0}};
constexpr std::string_view kDescriptors[] = {"@yearly", "@annually", "@monthly", "@weekly",
                                             "@daily",  "@midnight", "@hourly"};

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> out;
    while (true) {
        const std::size_t end = text.find(separator);
        out.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return out;
        text.remove_prefix(end + 1);
    }
}

std::vector<std::string_view> words(std::string_view text) {
    std::vector<std::string_view> out;
    while (true) {
        const std::size_t begin = text.find_first_not_of(" \t\n\v\f\r");
        if (begin == std::string_view::npos) return out;
        text.remove_prefix(begin);
        const std::size_t end = text.find_first_of(" \t\n\v\f\r");
        out.push_back(text.substr(0, end));
        text.remove_prefix(out.back().size());
    }
}

Result<std::uint64_t> parse_number(std::string_view text) {
    // Go's Atoi takes a sign.
    const std::string_view digits = text.starts_with('+') ? text.substr(1) : text;
    std::int64_t value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool whole = end == digits.data() + digits.size();
    if (error == std::errc::result_out_of_range && whole) {
        return make_error(Code::kInvalidArgument,
                          "failed to parse int from {}: strconv.Atoi: parsing {}: value out of range",
                          text, go_quote(text));
    }
    if (error != std::errc() || !whole || (text != digits && digits.starts_with('-'))) {
        return make_error(Code::kInvalidArgument,
                          "failed to parse int from {}: strconv.Atoi: parsing {}: invalid syntax",
                          text, go_quote(text));
    }
    if (value < 0) {
        return make_error(Code::kInvalidArgument, "negative number ({}) not allowed: {}", value,
                          text);
    }
    return static_cast<std::uint64_t>(value);
}

Result<std::uint64_t> parse_value(std::string_view text, const Bounds& bounds) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (std::size_t i = 0; i < bounds.names.size(); ++i) {
        if (bounds.names[i] == lower) return bounds.first + i;
    }
    return parse_number(text);
}

// One of "5", "1-5", "*", "*/15", "3/10".
Result<void> check_range(std::string_view text, const Bounds& bounds) {
    const auto parts = split(text, '/');
    const auto ends = split(parts[0], '-');
    std::uint64_t start = bounds.min;
    std::uint64_t end = bounds.max;
    if (ends[0] != "*" && ends[0] != "?") {
        SLUICE_TRY_ASSIGN(start, parse_value(ends[0], bounds));
        end = start;
        if (ends.size() == 2) {
            SLUICE_TRY_ASSIGN(end, parse_value(ends[1], bounds));
        } else if (ends.size() > 2) {
            return make_error(Code::kInvalidArgument, "too many hyphens: {}", text);
        }
    }
    std::uint64_t step = 1;
    if (parts.size() == 2) {
        SLUICE_TRY_ASSIGN(step, parse_number(parts[1]));
        if (ends.size() == 1) end = bounds.max;
    } else if (parts.size() > 2) {
        return make_error(Code::kInvalidArgument, "too many slashes: {}", text);
    }
    if (start < bounds.min) {
        return make_error(Code::kInvalidArgument,
                          "beginning of range ({}) below minimum ({}): {}", start, bounds.min, text);
    }
    if (end > bounds.max) {
        return make_error(Code::kInvalidArgument, "end of range ({}) above maximum ({}): {}", end,
                          bounds.max, text);
    }
    if (start > end) {
        return make_error(Code::kInvalidArgument,
                          "beginning of range ({}) beyond end of range ({}): {}", start, end, text);
    }
    if (step == 0) {
        return make_error(Code::kInvalidArgument, "step of range should be a positive number: {}",
                          text);
    }
    return {};
}

Result<void> check_field(std::string_view field, const Bounds& bounds) {
    for (const std::string_view range : split(field, ',')) {
        if (range.empty()) continue;
        SLUICE_TRY(check_range(range, bounds));
    }
    return {};
}

std::string check_descriptor(std::string_view descriptor) {
    if (std::find(std::begin(kDescriptors), std::end(kDescriptors), descriptor) !=
        std::end(kDescriptors)) {
        return {};
    }
    constexpr std::string_view kEvery = "@every ";
    if (!descriptor.starts_with(kEvery)) {
        return fmt::format("unrecognized descriptor: {}", descriptor);
    }
    const std::string_view duration = descriptor.substr(kEvery.size());
    const auto parsed = codec::parse_duration_ns(duration);
    if (parsed) return {};
    return fmt::format("failed to parse duration {}: {}", descriptor, parsed.error().message);
}

}  // namespace

std::string check_schedule(std::string_view schedule) {
    if (schedule.empty()) return "empty spec string";
    std::string_view rest = schedule;
    if (rest.starts_with("TZ=") || rest.starts_with("CRON_TZ=")) {
        const std::size_t space = rest.find(' ');
        const std::size_t begin = rest.find('=') + 1;
        const std::string zone(rest.substr(begin, space == std::string_view::npos
                                                      ? std::string_view::npos
                                                      : space - begin));
        if (std::string why = check_time_zone(zone); !why.empty() && !zone.empty()) {
            return fmt::format("provided bad location {}: {}", zone, why);
        }
        rest = space == std::string_view::npos ? std::string_view() : rest.substr(space);
        const std::size_t first = rest.find_first_not_of(' ');
        rest = first == std::string_view::npos ? std::string_view() : rest.substr(first);
    }
    if (rest.starts_with('@')) return check_descriptor(rest);
    const auto fields = words(rest);
    if (fields.size() != std::size(kFields)) {
        return fmt::format("expected exactly {} fields, found {}: [{}]", std::size(kFields),
                           fields.size(), fmt::join(fields, " "));
    }
    for (std::size_t i = 0; i < fields.size(); ++i) {
        if (const auto ok = check_field(fields[i], kFields[i]); !ok) return ok.error().message;
    }
    return {};
}

std::string check_time_zone(const std::string& name) {
    if (name == "UTC") return {};
    const std::string unknown = fmt::format("unknown time zone {}", name);
    // The name becomes a path: nothing that leads out of the database.
    const bool plain = !name.empty() && name.front() != '/' && name.find("..") == std::string::npos &&
                       std::all_of(name.begin(), name.end(), [](unsigned char c) {
                           return std::isalnum(c) != 0 || c == '/' || c == '_' || c == '-' ||
                                  c == '+';
                       });
    if (!plain) return unknown;
    std::error_code error;
    const std::filesystem::path path = kZones + name;
    if (!std::filesystem::is_regular_file(path, error)) return unknown;
    std::ifstream file(path, std::ios::binary);
    char magic[4] = {};
    file.read(magic, sizeof(magic));
    return std::string_view(magic, sizeof(magic)) == "TZif" ? std::string() : unknown;
}

}  // namespace sluice::registry
