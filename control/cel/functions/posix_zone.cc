// Rules of zones after their last known change.
#include "control/cel/functions/posix_zone_private.h"

#include <algorithm>
#include <chrono>

namespace sluice::cel {

namespace {

namespace chr = std::chrono;

bool take(std::string_view* text, char c) {
    if (text->empty() || text->front() != c) return false;
    text->remove_prefix(1);
    return true;
}

bool take_number(std::string_view* text, int* out) {
    *out = 0;
    std::size_t digits = 0;
    while (!text->empty() && text->front() >= '0' && text->front() <= '9' && digits < 4) {
        *out = *out * 10 + (text->front() - '0');
        text->remove_prefix(1);
        ++digits;
    }
    return digits > 0;
}

// "<+03>" or "EST".
bool take_name(std::string_view* text) {
    std::size_t end = 0;
    if (!text->empty() && text->front() == '<') {
        end = text->find('>');
        if (end == text->npos) return false;
        ++end;
    } else {
        while (end < text->size() && (((*text)[end] | 0x20) >= 'a' && ((*text)[end] | 0x20) <= 'z')) {
            ++end;
        }
    }
    text->remove_prefix(end);
    return end > 0;
}

// "[+-]hh[:mm[:ss]]" in seconds.
bool take_time(std::string_view* text, std::int32_t* out) {
    const bool negative = take(text, '-');
    if (!negative) take(text, '+');
    int hours = 0;
    int minutes = 0;
    int seconds = 0;
    if (!take_number(text, &hours)) return false;
    if (take(text, ':') && !take_number(text, &minutes)) return false;
    if (take(text, ':') && !take_number(text, &seconds)) return false;
    *out = hours * 3600 + minutes * 60 + seconds;
    if (negative) *out = -*out;
    return true;
}

}  // namespace

bool PosixZone::parse_change(std::string_view* text, Change* out) {
    if (take(text, 'M')) {
        if (!take_number(text, &out->month) || !take(text, '.') ||
            !take_number(text, &out->week) || !take(text, '.') || !take_number(text, &out->day)) {
            return false;
        }
        if (out->month < 1 || out->month > 12 || out->week < 1 || out->week > 5 || out->day > 6) {
            return false;
        }
    } else {
        out->kind = take(text, 'J') ? 'J' : 'N';
        if (!take_number(text, &out->day) || out->day > 365) return false;
    }
    return !take(text, '/') || take_time(text, &out->second);
}

PosixZone PosixZone::parse(std::string_view text) {
    PosixZone zone;
    std::int32_t west = 0;
    if (!take_name(&text) || !take_time(&text, &west)) return {};
    zone.standard_ = -west;
    zone.valid_ = true;
    if (text.empty()) return zone;
    if (!take_name(&text)) return {};
    zone.summer_ = zone.standard_ + 3600;
    if (!text.empty() && text.front() != ',') {
        if (!take_time(&text, &west)) return {};
        zone.summer_ = -west;
    }
    zone.has_summer_ = take(&text, ',') && parse_change(&text, &zone.to_summer_) &&
                       take(&text, ',') && parse_change(&text, &zone.to_standard_);
    return zone.has_summer_ ? zone : PosixZone();
}

std::int64_t PosixZone::Change::in_year(int year) const {
    chr::sys_days date{};
    if (kind == 'M') {
        const chr::year_month_day first = chr::year(year) / month / 1;
        const auto month_start = chr::sys_days(first);
        const int weekday = static_cast<int>(chr::weekday(month_start).c_encoding());
        int offset = (day - weekday + 7) % 7 + (week - 1) * 7;
        const auto length = (chr::sys_days(chr::year(year) / month / chr::last) - month_start).count();
        while (offset > length) offset -= 7;
        date = month_start + chr::days(offset);
    } else {
        date = chr::sys_days(chr::year(year) / 1 / 1);
        const bool after_february = kind == 'J' && day > 59 && chr::year(year).is_leap();
        date += chr::days(kind == 'J' ? day - 1 + (after_february ? 1 : 0) : day);
    }
    return date.time_since_epoch().count() * 86'400LL + second;
}

std::int32_t PosixZone::offset_at(std::int64_t seconds) const {
    if (!has_summer_) return standard_;
    const auto days = chr::floor<chr::days>(chr::sys_seconds(chr::seconds(seconds + standard_)));
    const int year = static_cast<int>(chr::year_month_day(days).year());
    const std::int64_t start = to_summer_.in_year(year) - standard_;
    const std::int64_t end = to_standard_.in_year(year) - summer_;
    const bool is_summer = start < end ? seconds >= start && seconds < end
                                       : seconds >= start || seconds < end;
    return is_summer ? summer_ : standard_;
}

}  // namespace sluice::cel
