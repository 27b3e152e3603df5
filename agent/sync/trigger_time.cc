// See trigger_time.h.
#include "agent/sync/trigger_time.h"

#include <cstdint>

namespace sluice::sync {
namespace {

// Reads exactly `digits` digits.
std::optional<int> number(std::string_view* text, std::size_t digits) {
    if (text->size() < digits) return std::nullopt;
    int value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
        const char c = (*text)[i];
        if (c < '0' || c > '9') return std::nullopt;
        value = value * 10 + (c - '0');
    }
    text->remove_prefix(digits);
    return value;
}

bool skip(std::string_view* text, char expected) {
    if (text->empty() || text->front() != expected) return false;
    text->remove_prefix(1);
    return true;
}

}  // namespace

std::optional<std::chrono::system_clock::time_point> parse_trigger_time(std::string_view text) {
    using namespace std::chrono;  // NOLINT: the calendar types are all used here
    const auto y = number(&text, 4);
    if (!y || !skip(&text, '-')) return std::nullopt;
    const auto mo = number(&text, 2);
    if (!mo || !skip(&text, '-')) return std::nullopt;
    const auto d = number(&text, 2);
    if (!d || !skip(&text, 'T')) return std::nullopt;
    const auto h = number(&text, 2);
    if (!h || !skip(&text, ':')) return std::nullopt;
    const auto mi = number(&text, 2);
    if (!mi || !skip(&text, ':')) return std::nullopt;
    const auto s = number(&text, 2);
    if (!s || *h > 23 || *mi > 59 || *s > 60) return std::nullopt;
    std::int64_t nanos = 0;
    if (skip(&text, '.')) {
        std::int64_t unit = 100'000'000;
        std::size_t digits = 0;
        while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
            nanos += unit * (text.front() - '0');
            unit /= 10;
            ++digits;
            text.remove_prefix(1);
        }
        if (digits == 0) return std::nullopt;
    }
    minutes offset{0};
    if (!skip(&text, 'Z')) {
        const bool east = skip(&text, '+');
        if (!east && !skip(&text, '-')) return std::nullopt;
        const auto oh = number(&text, 2);
        if (!oh || !skip(&text, ':')) return std::nullopt;
        const auto om = number(&text, 2);
        if (!om || *oh > 23 || *om > 59) return std::nullopt;
        offset = hours(*oh) + minutes(*om);
        if (!east) offset = -offset;
    }
    if (!text.empty()) return std::nullopt;
    const year_month_day date{year(*y), month(static_cast<unsigned>(*mo)),
                              day(static_cast<unsigned>(*d))};
    if (!date.ok()) return std::nullopt;
    const auto time = sys_days(date) + hours(*h) + minutes(*mi) + seconds(*s) - offset +
                      nanoseconds(nanos);
    return time_point_cast<system_clock::duration>(time);
}

}  // namespace sluice::sync
