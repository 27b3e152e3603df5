// The rule at the end of a TZif file, "EST5EDT,M3.2.0,M11.1.0" (POSIX, TZ). Private to cel/.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::cel {

class PosixZone {
public:
    // Not valid: the text is empty, or no such rule.
    static PosixZone parse(std::string_view text);
    [[nodiscard]] bool valid() const { return valid_; }
    // Seconds that local time is ahead of UTC. REQUIRES: valid().
    [[nodiscard]] std::int32_t offset_at(std::int64_t seconds) const;

private:
    // A day of the year and a second of that day, in the local time before the change.
    struct Change {
        char kind = 'M';  // M: month, week, day of week; J: day 1 to 365, without February 29; N: day 0 to 365
        int month = 1;
        int week = 1;
        int day = 0;
        std::int32_t second = 2 * 3600;
        // Seconds since 1970 as if local time were UTC.
        [[nodiscard]] std::int64_t in_year(int year) const;
    };
    static bool parse_change(std::string_view* text, Change* out);

    bool valid_ = false;
    bool has_summer_ = false;
    std::int32_t standard_ = 0;
    std::int32_t summer_ = 0;
    Change to_summer_;
    Change to_standard_;
};

}  // namespace sluice::cel
