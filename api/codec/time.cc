#include "api/codec/time.h"

#include <fmt/core.h>

#include <limits>

#include "api/codec/json_text.h"

namespace sluice::codec {
namespace {

constexpr std::string_view kTimeLayout = "2006-01-02T15:04:05Z07:00";
constexpr std::string_view kMicroTimeLayout = "2006-01-02T15:04:05.000000Z07:00";
constexpr std::int64_t kSecondsPerDay = 86'400;
constexpr int kMicroDigits = 6;

// Days since 1970-01-01 of a date in the proleptic Gregorian calendar; eras of 400 years that begin
// in March make the leap day the last of its year.
constexpr std::int64_t days_from_civil(std::int64_t year, int month, int day) {
    year -= month <= 2 ? 1 : 0;
    const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
    const std::int64_t year_of_era = year - era * 400;
    const std::int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    const std::int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146'097 + day_of_era - 719'468;
}
static_assert(days_from_civil(1970, 1, 1) == 0);
static_assert(days_from_civil(1, 1, 1) * kSecondsPerDay == kMinTimeSeconds);

struct Civil {
    std::int64_t year;
    std::int64_t month;
    std::int64_t day;
};

constexpr Civil civil_from_days(std::int64_t days) {
    days += 719'468;
    const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
    const std::int64_t day_of_era = days - era * 146'097;
    const std::int64_t year_of_era =
        (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const std::int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const std::int64_t shifted_month = (5 * day_of_year + 2) / 153;
    const std::int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month,
            day_of_year - (153 * shifted_month + 2) / 5 + 1};
}

constexpr int days_in_month(int year, int month) {
    constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : kDays[month - 1];
}

// Reads a time along its layout and words each refusal as Go does.
class TimeReader {
public:
    TimeReader(std::string_view text, std::string_view layout) : text_(text), layout_(layout) {}

    Result<Timestamp> read(bool six_digits) {
        int year = 0;
        int month = 0;
        int day = 0;
        int hour = 0;
        int minute = 0;
        int second = 0;
        SLUICE_TRY(number(4, "2006", &year));
        SLUICE_TRY(literal('-'));
        SLUICE_TRY(number(2, "01", &month));
        if (month < 1 || month > 12) return out_of_range("month");
        SLUICE_TRY(literal('-'));
        SLUICE_TRY(number(2, "02", &day));
        SLUICE_TRY(literal('T'));
        SLUICE_TRY(number(2, "15", &hour));
        if (hour > 23) return out_of_range("hour");
        SLUICE_TRY(literal(':'));
        SLUICE_TRY(number(2, "04", &minute));
        if (minute > 59) return out_of_range("minute");
        SLUICE_TRY(literal(':'));
        SLUICE_TRY(number(2, "05", &second));
        if (second > 59) return out_of_range("second");
        std::int32_t nanos = 0;
        SLUICE_TRY(fraction(six_digits, &nanos));
        std::int64_t offset_seconds = 0;
        SLUICE_TRY(zone(&offset_seconds));
        if (at_ != text_.size()) {
            return make_error(Code::kInvalidArgument, "parsing time {}: extra text: {}",
                              quoted(text_), quoted(rest()));
        }
        if (day < 1 || day > days_in_month(year, month)) return out_of_range("day");
        const std::int64_t seconds = days_from_civil(year, month, day) * kSecondsPerDay +
                                     hour * 3'600 + minute * 60 + second - offset_seconds;
        if (seconds < kMinTimeSeconds || seconds > kMaxTimeSeconds) return out_of_range("year");
        return Timestamp{seconds, nanos};
    }

private:
    [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }
    [[nodiscard]] bool digit_at(std::size_t at) const {
        return at < text_.size() && text_[at] >= '0' && text_[at] <= '9';
    }
    [[nodiscard]] Error cannot_parse(std::string_view element) const {
        return make_error(Code::kInvalidArgument, "parsing time {} as {}: cannot parse {} as {}",
                          quoted(text_), quoted(layout_), quoted(rest()), quoted(element));
    }
    [[nodiscard]] Error out_of_range(std::string_view what) const {
        return make_error(Code::kInvalidArgument, "parsing time {}: {} out of range",
                          quoted(text_), what);
    }
    Result<void> number(std::size_t digits, std::string_view element, int* value) {
        for (std::size_t i = 0; i < digits; ++i) {
            if (!digit_at(at_ + i)) return cannot_parse(element);
            *value = *value * 10 + (text_[at_ + i] - '0');
        }
        at_ += digits;
        return {};
    }
    Result<void> literal(char c) {
        if (at_ >= text_.size() || text_[at_] != c) return cannot_parse({&c, 1});
        ++at_;
        return {};
    }
    Result<void> fraction(bool six_digits, std::int32_t* nanos) {
        const bool point = at_ < text_.size() && (text_[at_] == '.' || text_[at_] == ',');
        if (six_digits) {
            bool complete = point;
            for (std::size_t i = 1; i <= kMicroDigits; ++i) {
                complete = complete && digit_at(at_ + i);
            }
            if (!complete) return cannot_parse(".000000");
        } else if (!point || !digit_at(at_ + 1)) {
            return {};
        }
        ++at_;
        std::int32_t unit = 100'000'000;
        for (int count = 0; digit_at(at_) && (!six_digits || count < kMicroDigits); ++count) {
            *nanos += (text_[at_] - '0') * unit;
            unit /= 10;  // Digits below a nanosecond are worth nothing.
            ++at_;
        }
        return {};
    }
    Result<void> zone(std::int64_t* offset_seconds) {
        if (at_ < text_.size() && text_[at_] == 'Z') {
            ++at_;
            return {};
        }
        const bool signed_zone = at_ + 6 <= text_.size() &&
                                 (text_[at_] == '+' || text_[at_] == '-') &&
                                 text_[at_ + 3] == ':' && digit_at(at_ + 1) && digit_at(at_ + 2) &&
                                 digit_at(at_ + 4) && digit_at(at_ + 5);
        if (!signed_zone) return cannot_parse("Z07:00");
        const int hours = (text_[at_ + 1] - '0') * 10 + (text_[at_ + 2] - '0');
        const int minutes = (text_[at_ + 4] - '0') * 10 + (text_[at_ + 5] - '0');
        if (hours > 24) return out_of_range("time zone offset hour");
        if (minutes > 60) return out_of_range("time zone offset minute");
        *offset_seconds = (hours * 3'600 + minutes * 60) * (text_[at_] == '-' ? -1 : 1);
        at_ += 6;
        return {};
    }

    std::string_view text_;
    std::string_view layout_;
    std::size_t at_ = 0;
};

std::string format_seconds(std::int64_t seconds) {
    SLUICE_ASSERT(seconds >= kMinTimeSeconds && seconds <= kMaxTimeSeconds);
    std::int64_t days = seconds / kSecondsPerDay;
    std::int64_t of_day = seconds % kSecondsPerDay;
    if (of_day < 0) {
        of_day += kSecondsPerDay;
        --days;
    }
    const Civil date = civil_from_days(days);
    // Written by hand: fmt costs five times as much, and each object in a list has a few times.
    std::string out(19, '-');
    const auto put = [&out](std::size_t at, std::size_t width, std::int64_t value) {
        for (std::size_t i = width; i > 0; --i) {
            out[at + i - 1] = static_cast<char>('0' + value % 10);
            value /= 10;
        }
    };
    put(0, 4, date.year);
    put(5, 2, date.month);
    put(8, 2, date.day);
    out[10] = 'T';
    put(11, 2, of_day / 3'600);
    out[13] = ':';
    put(14, 2, of_day / 60 % 60);
    out[16] = ':';
    put(17, 2, of_day % 60);
    return out;
}

struct DurationUnit {
    std::string_view name;
    std::int64_t ns;
};
// Longer names first, so that "ms" is not read as "m".
constexpr DurationUnit kDurationUnits[] = {
    {"ns", 1},
    {"us", 1'000},
    {"\xC2\xB5s", 1'000},  // micro sign
    {"\xCE\xBCs", 1'000},  // Greek mu
    {"ms", 1'000'000},
    {"s", 1'000'000'000},
    {"m", 60'000'000'000},
    {"h", 3'600'000'000'000},
};

}  // namespace

Result<Timestamp> parse_time(std::string_view text) {
    return TimeReader(text, kTimeLayout).read(false);
}

Result<Timestamp> parse_micro_time(std::string_view text) {
    return TimeReader(text, kMicroTimeLayout).read(true);
}

std::string format_time(std::int64_t seconds) {
    return format_seconds(seconds) + 'Z';
}

std::string format_micro_time(Timestamp time) {
    SLUICE_ASSERT(time.nanos >= 0 && time.nanos < 1'000'000'000);
    return fmt::format("{}.{:06}Z", format_seconds(time.seconds), time.nanos / 1'000);
}

Result<std::int64_t> parse_duration_ns(std::string_view text) {
    const auto invalid = [&] {
        return make_error(Code::kInvalidArgument, "time: invalid duration {}", quoted(text));
    };
    std::string_view rest = text;
    const bool negative = !rest.empty() && rest.front() == '-';
    if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) rest.remove_prefix(1);
    if (rest == "0") return 0;
    if (rest.empty()) return invalid();
    __extension__ using Wide = __int128;
    constexpr Wide kLimit = std::numeric_limits<std::int64_t>::max();
    Wide total = 0;
    while (!rest.empty()) {
        Wide mantissa = 0;
        Wide scale = 1;
        std::size_t digits = 0;
        bool point = false;
        for (; !rest.empty(); rest.remove_prefix(1)) {
            const char c = rest.front();
            if (c == '.' && !point) {
                point = true;
            } else if (c >= '0' && c <= '9') {
                ++digits;
                // Digits of the fraction below what any unit resolves are worth nothing.
                if (point && scale >= 1'000'000'000'000'000) continue;
                mantissa = mantissa * 10 + (c - '0');
                if (point) scale *= 10;
                if (mantissa / scale > kLimit) return invalid();
            } else {
                break;
            }
        }
        if (digits == 0) return invalid();
        const DurationUnit* unit = nullptr;
        for (const auto& candidate : kDurationUnits) {
            if (rest.starts_with(candidate.name)) {
                unit = &candidate;
                break;
            }
        }
        if (unit == nullptr) {
            if (rest.empty()) {
                return make_error(Code::kInvalidArgument, "time: missing unit in duration {}",
                                  quoted(text));
            }
            const auto name = rest.substr(0, rest.find_first_of(".0123456789"));
            return make_error(Code::kInvalidArgument, "time: unknown unit {} in duration {}",
                              quoted(name), quoted(text));
        }
        rest.remove_prefix(unit->name.size());
        const Wide whole = mantissa / scale;
        total += whole * unit->ns + (mantissa % scale) * unit->ns / scale;
        if (total > kLimit) return invalid();
    }
    return static_cast<std::int64_t>(negative ? -total : total);
}

std::string format_duration_ns(std::int64_t duration_ns) {
    if (duration_ns == 0) return "0s";
    const bool negative = duration_ns < 0;
    // In unsigned arithmetic the most negative value has a magnitude, too.
    std::uint64_t ns = static_cast<std::uint64_t>(duration_ns);
    if (negative) ns = ~ns + 1;
    const auto decimal = [](std::uint64_t value, std::uint64_t unit) {
        std::string text = std::to_string(value / unit);
        if (value % unit == 0) return text;
        std::string fraction = std::to_string(value % unit + unit).substr(1);
        fraction.erase(fraction.find_last_not_of('0') + 1);
        return text + "." + fraction;
    };
    std::string out = negative ? "-" : "";
    if (ns < 1'000) {
        out += std::to_string(ns) + "ns";
    } else if (ns < 1'000'000) {
        out += decimal(ns, 1'000) + "\xC2\xB5s";
    } else if (ns < 1'000'000'000) {
        out += decimal(ns, 1'000'000) + "ms";
    } else {
        const std::uint64_t seconds = ns / 1'000'000'000;
        if (seconds >= 3'600) out += std::to_string(seconds / 3'600) + "h";
        if (seconds >= 60) out += std::to_string(seconds / 60 % 60) + "m";
        out += decimal(ns % 60'000'000'000, 1'000'000'000) + "s";
    }
    return out;
}

}  // namespace sluice::codec
