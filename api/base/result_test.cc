#include "api/base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace sluice {
namespace {

Result<int> half(int value) {
    if (value % 2 != 0) return make_error(Code::kInvalidArgument, "{} is odd", value);
    return value / 2;
}

Result<int> quarter(int value) {
    SLUICE_TRY_ASSIGN(const int halved, half(value));
    return half(halved);
}

Result<void> is_even(int value) {
    SLUICE_TRY(half(value));
    return {};
}

Result<std::unique_ptr<int>> boxed(int value) {
    SLUICE_TRY_ASSIGN(auto box, Result<std::unique_ptr<int>>(std::make_unique<int>(value)));
    return box;
}

TEST(Result, ErrorsPassThrough) {
    EXPECT_EQ(*quarter(8), 2);
    EXPECT_EQ(quarter(6).error().message, "3 is odd");
    EXPECT_EQ(quarter(7).error().code, Code::kInvalidArgument);
    EXPECT_TRUE(is_even(2).has_value());
    EXPECT_FALSE(is_even(1).has_value());
}

TEST(Result, HoldsWhatOnlyMoves) {
    EXPECT_EQ(**boxed(5), 5);
}

TEST(Result, ContextComesFirst) {
    const Error error = make_error(Code::kNotFound, "service {}", "web").with_context("sync");
    EXPECT_EQ(error.message, "sync: service web");
    EXPECT_EQ(error.to_string(), "NOT_FOUND: sync: service web");
}

TEST(Result, ErrnoChoosesTheCodeAndStays) {
    struct Row {
        int sys_errno;
        Code code;
    };
    for (const auto& row : {Row{ENOENT, Code::kNotFound}, Row{EEXIST, Code::kAlreadyExists},
                            Row{EPERM, Code::kPermissionDenied}, Row{EACCES, Code::kPermissionDenied},
                            Row{ENOSPC, Code::kResourceExhausted}, Row{ENOMEM, Code::kResourceExhausted},
                            Row{EINVAL, Code::kInvalidArgument}, Row{EIO, Code::kUnavailable}}) {
        const Error error = errno_error(row.sys_errno, "open {}", "f");
        EXPECT_EQ(error.code, row.code) << row.sys_errno;
        EXPECT_EQ(error.sys_errno, row.sys_errno);
    }
    EXPECT_EQ(errno_error(ENOENT, "open f").to_string(),
              "NOT_FOUND: open f (errno 2: No such file or directory)");
}

TEST(Result, CodesAreThoseOfGrpc) {
    EXPECT_EQ(static_cast<int>(Code::kUnauthenticated), 16);
    EXPECT_EQ(static_cast<int>(Code::kAborted), 10);
    EXPECT_EQ(code_name(Code::kFailedPrecondition), "FAILED_PRECONDITION");
    EXPECT_EQ(code_name(static_cast<Code>(99)), "UNKNOWN");
}

TEST(ResultDeathTest, AFailedAssertionNamesItself) {
    EXPECT_DEATH(SLUICE_ASSERT(1 == 2), "result_test.cc:.*assertion failed: 1 == 2");
}

}  // namespace
}  // namespace sluice
