// Printing issues.
#include <algorithm>

#include <fmt/core.h>

#include "control/cel/issues_private.h"
#include "control/cel/utf8_private.h"

namespace sluice::cel {

namespace {

// Lines beyond it are not shown.
constexpr std::size_t kMaxShownLine = 16'384;

void append_line(std::string_view line, int column, std::string* out) {
    std::string shown(line);
    std::replace(shown.begin(), shown.end(), '\t', ' ');
    *out += "\n | " + shown + "\n | ";
    // Wide characters are marked by wide ones.
    std::size_t at = 0;
    for (int i = 1; i < column && at < shown.size(); ++i) {
        const std::size_t size = code_point_size(shown, at);
        *out += size > 1 ? "\xEF\xBC\x8E" : ".";
        at += size;
    }
    *out += at < shown.size() && code_point_size(shown, at) > 1 ? "\xEF\xBC\xBE" : "^";
}

}  // namespace

void Issues::add(std::size_t offset, std::string message) {
    if (full()) return;
    offset = std::min(offset, text_.size());
    const std::string_view before = text_.substr(0, offset);
    const auto line = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
    const std::size_t start = before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1;
    const auto column = 1 + static_cast<int>(count_code_points(before.substr(start)));
    issues_.push_back({offset, line, column, std::move(message)});
}

void Issues::add_general(std::string message) {
    if (!full()) issues_.push_back({0, -1, 0, std::move(message)});
}

void Issues::sort() {
    std::stable_sort(issues_.begin(), issues_.end(),
                     [](const Issue& a, const Issue& b) { return a.offset < b.offset; });
}

std::string Issues::to_string() const {
    std::string out;
    for (const Issue& issue : issues_) {
        if (!out.empty()) out += '\n';
        out += fmt::format("ERROR: <input>:{}:{}: {}", issue.line, issue.column, issue.message);
        if (issue.line < 1) continue;
        const std::size_t last = issue.offset == 0 ? text_.npos
                                                   : text_.rfind('\n', issue.offset - 1);
        const std::size_t start = last == text_.npos ? 0 : last + 1;
        const std::size_t end = std::min(text_.find('\n', start), text_.size());
        if (end - start <= kMaxShownLine) {
            append_line(text_.substr(start, end - start), issue.column, &out);
        }
    }
    return out;
}

}  // namespace sluice::cel
