// See result.h.
#include "api/base/result.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace sluice {

std::string_view code_name(Code code) {
    switch (code) {
        case Code::kCancelled: return "CANCELLED";
        case Code::kUnknown: return "UNKNOWN";
        case Code::kInvalidArgument: return "INVALID_ARGUMENT";
        case Code::kDeadlineExceeded: return "DEADLINE_EXCEEDED";
        case Code::kNotFound: return "NOT_FOUND";
        case Code::kAlreadyExists: return "ALREADY_EXISTS";
        case Code::kPermissionDenied: return "PERMISSION_DENIED";
        case Code::kResourceExhausted: return "RESOURCE_EXHAUSTED";
        case Code::kFailedPrecondition: return "FAILED_PRECONDITION";
        case Code::kAborted: return "ABORTED";
        case Code::kOutOfRange: return "OUT_OF_RANGE";
        case Code::kUnimplemented: return "UNIMPLEMENTED";
        case Code::kInternal: return "INTERNAL";
        case Code::kUnavailable: return "UNAVAILABLE";
        case Code::kDataLoss: return "DATA_LOSS";
        case Code::kUnauthenticated: return "UNAUTHENTICATED";
    }
    return "UNKNOWN";
}

std::string Error::to_string() const {
    std::string text = fmt::format("{}: {}", code_name(code), message);
    if (sys_errno != 0) {
        text += fmt::format(" (errno {}: {})", sys_errno,
                            std::generic_category().message(sys_errno));
    }
    return text;
}

Error Error::with_context(std::string_view context) const {
    return Error{code, fmt::format("{}: {}", context, message), sys_errno};
}

Error error_from_errno(int sys_errno, std::string message) {
    Code code = Code::kUnavailable;
    switch (sys_errno) {
        case ENOENT: code = Code::kNotFound; break;
        case EEXIST: code = Code::kAlreadyExists; break;
        case EPERM:
        case EACCES: code = Code::kPermissionDenied; break;
        case ENOSPC:
        case ENOMEM:
        case EMFILE:
        case ENFILE: code = Code::kResourceExhausted; break;
        case EINVAL: code = Code::kInvalidArgument; break;
        default: break;
    }
    return Error{code, std::move(message), sys_errno};
}

void assertion_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    std::abort();
}

}  // namespace sluice
