// Tables of expressions and what they give.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "control/cel/test_eval.h"

namespace sluice::cel {

struct Row {
    const char* expression;
    const char* result;
};

inline void expect_rows(std::initializer_list<Row> rows, const std::vector<Given>& variables = {}) {
    for (const Row& row : rows) {
        EXPECT_EQ(result_of(row.expression, variables), row.result) << row.expression;
    }
}

}  // namespace sluice::cel
