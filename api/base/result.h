// Errors as values: Result<T> carries either a T or an Error that a person can act on.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace sluice {

// Numbered as gRPC numbers its status codes, so that the mapping to grpc::Status is a cast.
enum class Code : std::uint8_t {
    kCancelled = 1,
    kUnknown = 2,
    kInvalidArgument = 3,
    kDeadlineExceeded = 4,
    kNotFound = 5,
    kAlreadyExists = 6,
    kPermissionDenied = 7,
    kResourceExhausted = 8,
    kFailedPrecondition = 9,
    kAborted = 10,
    kOutOfRange = 11,
    kUnimplemented = 12,
    kInternal = 13,
    kUnavailable = 14,
    kDataLoss = 15,
    kUnauthenticated = 16,
};

// gRPC's name of the code, such as "NOT_FOUND".
[[nodiscard]] std::string_view code_name(Code code);

struct Error {
    Code code = Code::kUnknown;
    // One sentence, without a full stop, that names the object and the field.
    std::string message;
    // The errno behind it, 0 if there was none.
    int sys_errno = 0;

    // "NOT_FOUND: service default/web (errno 2: No such file or directory)".
    [[nodiscard]] std::string to_string() const;
    // The same error with "context: " before its message.
    [[nodiscard]] Error with_context(std::string_view context) const;
};

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
public:
    using Base = tl::expected<T, Error>;
    using Base::Base;
    // An Error converts, so that `return make_error(...)` works in any function that returns a Result.
    Result(Error error) : Base(tl::unexpect, std::move(error)) {}  // NOLINT
};

template <class... Args>
[[nodiscard]] Error make_error(Code code, fmt::format_string<Args...> format, Args&&... args) {
    return Error{code, fmt::format(format, std::forward<Args>(args)...), 0};
}

// With the errno of the call that failed; ENOENT, EEXIST, EPERM, EACCES, ENOSPC, ENOMEM and EINVAL
// choose the code, anything else is kUnavailable.
[[nodiscard]] Error error_from_errno(int sys_errno, std::string message);

template <class... Args>
[[nodiscard]] Error errno_error(int sys_errno, fmt::format_string<Args...> format, Args&&... args) {
    return error_from_errno(sys_errno, fmt::format(format, std::forward<Args>(args)...));
}

// Aborts with the place and the condition. For invariants only, never for what the environment does.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace sluice

#define SLUICE_ASSERT(condition) \
    ((condition) ? (void)0 : ::sluice::assertion_failed(#condition, __FILE__, __LINE__))

// SLUICE_TRY(expr): returns the error of a Result<void>-like expression from the current function.
#define SLUICE_TRY(expr)                                      \
    do {                                                      \
        if (auto sluice_try_result = (expr); !sluice_try_result) { \
            return std::move(sluice_try_result).error();      \
        }                                                     \
    } while (false)

// SLUICE_TRY_ASSIGN(auto x, expr): the same, binding the value.
#define SLUICE_TRY_CONCAT_(a, b) a##b
#define SLUICE_TRY_CONCAT(a, b) SLUICE_TRY_CONCAT_(a, b)
#define SLUICE_TRY_ASSIGN_(tmp, declaration, expr) \
    auto tmp = (expr);                             \
    if (!tmp) return std::move(tmp).error();       \
    declaration = std::move(*tmp)
#define SLUICE_TRY_ASSIGN(declaration, expr) \
    SLUICE_TRY_ASSIGN_(SLUICE_TRY_CONCAT(sluice_try_, __LINE__), declaration, expr)
