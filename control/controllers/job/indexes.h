// Sets of completion indexes as a Job's status writes them: "1,3-5,7". Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::controllers {

class IndexSet {
public:
    // What is malformed, out of order or not below limit is left out.
    static IndexSet parse(std::string_view text, int limit);
    void add(const std::vector<int>& indexes);
    [[nodiscard]] bool contains(int index) const;
    [[nodiscard]] int size() const;
    [[nodiscard]] std::string to_string() const;
    // The lowest that are in neither set, below limit; at most count.
    [[nodiscard]] std::vector<int> first_missing(const IndexSet& taken, int count,
                                                 int limit) const;

private:
    std::vector<std::pair<int, int>> ranges_;  // first and last, ascending, not adjacent
};

}  // namespace sluice::controllers
