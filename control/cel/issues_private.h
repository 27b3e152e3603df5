// What is wrong with an expression, collected and printed as cel-go does. Private to cel/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/cel/environment.h"

namespace sluice::cel {

// An expression has no more issues than this; cel-go prints no more either.
inline constexpr std::size_t kMaxIssues = 100;

class Issues {
public:
    explicit Issues(std::string_view text) : text_(text) {}
    // offset: a byte of the text.
    void add(std::size_t offset, std::string message);
    // Of the whole expression: "<input>:-1:0", with no line shown.
    void add_general(std::string message);
    [[nodiscard]] bool empty() const { return issues_.empty(); }
    [[nodiscard]] bool full() const { return issues_.size() >= kMaxIssues; }
    // By place.
    void sort();
    [[nodiscard]] const std::vector<Issue>& all() const { return issues_; }
    // "ERROR: <input>:1:5: message\n | text\n | ....^", one after another.
    [[nodiscard]] std::string to_string() const;

private:
    std::string_view text_;
    std::vector<Issue> issues_;
};

}  // namespace sluice::cel
