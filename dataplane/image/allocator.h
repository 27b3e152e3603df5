// Who owns which piece of a table: single entries, and runs of entries. Bookkeeping in user space
// only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace sluice::image {

// Single entries of [0, capacity). Takes back entries first, fresh ones after.
class IndexAllocator {
public:
    explicit IndexAllocator(std::uint32_t capacity) : capacity_(capacity) {}

    [[nodiscard]] std::size_t available() const { return free_.size() + (capacity_ - next_); }
    [[nodiscard]] std::uint32_t in_use() const {
        return next_ - static_cast<std::uint32_t>(free_.size());
    }
    std::optional<std::uint32_t> take();
    void give_back(std::uint32_t index) { free_.push_back(index); }
    // REQUIRES: larger than before.
    void extend(std::uint32_t capacity) { capacity_ = capacity; }
    // Starts over with exactly these entries taken. REQUIRES: taken.size() <= capacity.
    void reset(const std::vector<bool>& taken);

private:
    std::uint32_t capacity_;
    std::uint32_t next_ = 0;
    std::vector<std::uint32_t> free_;
};

// Runs of consecutive entries of [0, capacity): best fit, neighbours coalesce. O(log free runs).
class RunAllocator {
public:
    explicit RunAllocator(std::uint32_t capacity);

    // REQUIRES: count > 0.
    std::optional<std::uint32_t> take(std::uint32_t count);
    void give_back(std::uint32_t first, std::uint32_t count);
    void extend(std::uint32_t capacity);
    [[nodiscard]] std::uint32_t free_entries() const { return free_entries_; }
    [[nodiscard]] std::uint32_t in_use() const { return capacity_ - free_entries_; }

private:
    void insert(std::uint32_t first, std::uint32_t count);
    void erase(std::map<std::uint32_t, std::uint32_t>::iterator run);

    std::uint32_t capacity_;
    std::uint32_t free_entries_ = 0;
    std::map<std::uint32_t, std::uint32_t> by_place_;              // first -> count
    std::set<std::pair<std::uint32_t, std::uint32_t>> by_length_;  // (count, first)
};

}  // namespace sluice::image
