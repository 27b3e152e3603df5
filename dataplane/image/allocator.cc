#include "dataplane/image/allocator.h"

#include "api/base/result.h"

namespace sluice::image {

std::optional<std::uint32_t> IndexAllocator::take() {
    if (!free_.empty()) {
        const std::uint32_t index = free_.back();
        free_.pop_back();
        return index;
    }
    if (next_ == capacity_) {
        return std::nullopt;
    }
    return next_++;
}

void IndexAllocator::reset(const std::vector<bool>& taken) {
    SLUICE_ASSERT(taken.size() <= capacity_);
    free_.clear();
    next_ = static_cast<std::uint32_t>(taken.size());
    // Highest first, so that low entries are handed out first and tables stay dense.
    for (std::uint32_t i = next_; i-- > 0;) {
        if (!taken[i]) {
            free_.push_back(i);
        }
    }
}

RunAllocator::RunAllocator(std::uint32_t capacity) : capacity_(capacity) {
    if (capacity > 0) {
        insert(0, capacity);
    }
}

void RunAllocator::insert(std::uint32_t first, std::uint32_t count) {
    by_place_.emplace(first, count);
    by_length_.emplace(count, first);
    free_entries_ += count;
}

void RunAllocator::erase(std::map<std::uint32_t, std::uint32_t>::iterator run) {
    by_length_.erase({run->second, run->first});
    free_entries_ -= run->second;
    by_place_.erase(run);
}

std::optional<std::uint32_t> RunAllocator::take(std::uint32_t count) {
    SLUICE_ASSERT(count > 0);
    const auto best = by_length_.lower_bound({count, 0});
    if (best == by_length_.end()) {
        return std::nullopt;
    }
    const auto [length, first] = *best;
    erase(by_place_.find(first));
    if (length > count) {
        insert(first + count, length - count);
    }
    return first;
}

void RunAllocator::give_back(std::uint32_t first, std::uint32_t count) {
    SLUICE_ASSERT(count > 0 && first + count <= capacity_);
    auto next = by_place_.lower_bound(first);
    SLUICE_ASSERT(next == by_place_.end() || first + count <= next->first);
    if (next != by_place_.end() && next->first == first + count) {
        count += next->second;
        const auto merged = next++;
        erase(merged);
    }
    if (next != by_place_.begin()) {
        const auto previous = std::prev(next);
        SLUICE_ASSERT(previous->first + previous->second <= first);
        if (previous->first + previous->second == first) {
            first = previous->first;
            count += previous->second;
            erase(previous);
        }
    }
    insert(first, count);
}

void RunAllocator::extend(std::uint32_t capacity) {
    SLUICE_ASSERT(capacity >= capacity_);
    if (capacity > capacity_) {
        const std::uint32_t first = capacity_;
        capacity_ = capacity;
        give_back(first, capacity - first);
    }
}

}  // namespace sluice::image
