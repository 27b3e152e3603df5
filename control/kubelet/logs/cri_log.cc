#include "control/kubelet/logs/cri_log.h"

#include <ctime>

namespace sluice::kubelet::logs {
namespace {

constexpr std::int64_t kNsPerS = 1'000'000'000;
constexpr int kFirstYear = 1970;
constexpr int kLastYear = 2261;  // the last whole one that fits

class Scanner {
public:
    explicit Scanner(std::string_view text) : text_(text) {}
    bool number(int digits, int low, int high, int* out) {
        if (text_.size() < static_cast<std::size_t>(digits)) return false;
        int value = 0;
        for (int i = 0; i < digits; ++i) {
            const char c = text_[static_cast<std::size_t>(i)];
            if (c < '0' || c > '9') return false;
            value = value * 10 + (c - '0');
        }
        if (value < low || value > high) return false;
        text_.remove_prefix(static_cast<std::size_t>(digits));
        *out = value;
        return true;
    }
    bool one(char c) {
        if (!text_.starts_with(c)) return false;
        text_.remove_prefix(1);
        return true;
    }
    // Digits after the point, as nanoseconds.
    bool fraction(std::int64_t* ns) {
        std::int64_t unit = kNsPerS / 10;
        std::size_t digits = 0;
        while (digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9') {
            *ns += (text_[digits] - '0') * unit;
            unit /= 10;
            ++digits;
        }
        text_.remove_prefix(digits);
        return digits > 0;
    }
    [[nodiscard]] bool done() const { return text_.empty(); }

private:
    std::string_view text_;
};

int days_in(int year, int month) {
    static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return kDays[month - 1] + (month == 2 && leap ? 1 : 0);
}

}  // namespace

std::optional<CriLine> parse_line(std::string_view line) {
    CriLine out;
    const std::size_t first = line.find(' ');
    if (first == std::string_view::npos || first == 0) return std::nullopt;
    out.time = line.substr(0, first);
    const std::size_t second = line.find(' ', first + 1);
    if (second == std::string_view::npos) return std::nullopt;
    const std::string_view stream = line.substr(first + 1, second - first - 1);
    if (stream != "stdout" && stream != "stderr") return std::nullopt;
    out.is_stderr = stream == "stderr";
    const std::size_t third = line.find(' ', second + 1);
    const std::string_view tags = line.substr(
        second + 1, third == std::string_view::npos ? third : third - second - 1);
    // Further tags may follow after colons.
    const std::string_view tag = tags.substr(0, tags.find(':'));
    if (tag != "F" && tag != "P") return std::nullopt;
    out.partial = tag == "P";
    if (third != std::string_view::npos) out.text = line.substr(third + 1);
    return out;
}

Result<std::int64_t> parse_time_ns(std::string_view text) {
    const auto bad = [&] {
        return make_error(Code::kInvalidArgument,
                          "parsing time \"{}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{}\" "
                          "as \"2006\"",
                          text, text);
    };
    Scanner in(text);
    std::tm parts{};
    int year = 0;
    int month = 0;
    if (!in.number(4, kFirstYear, kLastYear, &year) || !in.one('-') || !in.number(2, 1, 12, &month) ||
        !in.one('-') || !in.number(2, 1, days_in(year, month), &parts.tm_mday) || !in.one('T') ||
        !in.number(2, 0, 23, &parts.tm_hour) || !in.one(':') ||
        !in.number(2, 0, 59, &parts.tm_min) || !in.one(':') ||
        !in.number(2, 0, 59, &parts.tm_sec)) {
        return bad();
    }
    std::int64_t ns = 0;
    if (in.one('.') && !in.fraction(&ns)) return bad();
    std::int64_t offset_s = 0;
    if (!in.one('Z')) {
        const bool minus = in.one('-');
        int hours = 0;
        int minutes = 0;
        if ((!minus && !in.one('+')) || !in.number(2, 0, 23, &hours) || !in.one(':') ||
            !in.number(2, 0, 59, &minutes)) {
            return bad();
        }
        offset_s = (hours * 60 + minutes) * 60 * (minus ? -1 : 1);
    }
    if (!in.done()) return bad();
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    return (static_cast<std::int64_t>(timegm(&parts)) - offset_s) * kNsPerS + ns;
}

}  // namespace sluice::kubelet::logs
