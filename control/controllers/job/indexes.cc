#include "control/controllers/job/indexes.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace sluice::controllers {
namespace {

std::optional<int> number(std::string_view text) {
    int value = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size() || value < 0) {
        return std::nullopt;
    }
    return value;
}

}  // namespace

IndexSet IndexSet::parse(std::string_view text, int limit) {
    IndexSet out;
    while (!text.empty()) {
        const std::size_t comma = text.find(',');
        const std::string_view part = text.substr(0, comma);
        text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
        const std::size_t dash = part.find('-');
        const auto first = number(part.substr(0, dash));
        const auto last =
            dash == std::string_view::npos ? first : number(part.substr(dash + 1));
        const int after = out.ranges_.empty() ? -1 : out.ranges_.back().second;
        if (!first || !last || *first > *last || *first <= after || *first >= limit) continue;
        const int bounded = std::min(*last, limit - 1);
        if (after >= 0 && *first == after + 1) {
            out.ranges_.back().second = bounded;
        } else {
            out.ranges_.emplace_back(*first, bounded);
        }
    }
    return out;
}

void IndexSet::add(const std::vector<int>& indexes) {
    for (const int index : indexes) ranges_.emplace_back(index, index);
    std::ranges::sort(ranges_);
    std::vector<std::pair<int, int>> joined;
    for (const auto& range : ranges_) {
        if (!joined.empty() && range.first <= joined.back().second + 1) {
            joined.back().second = std::max(joined.back().second, range.second);
        } else {
            joined.push_back(range);
        }
    }
    ranges_ = std::move(joined);
}

bool IndexSet::contains(int index) const {
    const auto after = std::ranges::upper_bound(ranges_, index, {},
                                                [](const auto& range) { return range.first; });
    return after != ranges_.begin() && std::prev(after)->second >= index;
}

int IndexSet::size() const {
    int count = 0;
    for (const auto& [first, last] : ranges_) count += last - first + 1;
    return count;
}

std::string IndexSet::to_string() const {
    std::string out;
    for (const auto& [first, last] : ranges_) {
        if (!out.empty()) out += ',';
        out += std::to_string(first);
        // Kubernetes writes two neighbours as a list.
        if (last > first) out += (last == first + 1 ? "," : "-") + std::to_string(last);
    }
    return out;
}

std::vector<int> IndexSet::first_missing(const IndexSet& taken, int count, int limit) const {
    std::vector<int> out;
    for (int index = 0; index < limit && static_cast<int>(out.size()) < count; ++index) {
        if (!contains(index) && !taken.contains(index)) out.push_back(index);
    }
    return out;
}

}  // namespace sluice::controllers
