// What an API server answers when it refuses: the Status body, as a typed error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "api/base/result.h"

namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class Status;
}

namespace sluice::client {

struct ApiError : Error {
    int http_status = 0;         // 0: the server was not reached, or did not answer
    std::string reason;          // "Expired", "NotFound", ...; empty if there was no Status
    std::optional<std::uint32_t> retry_after_s;  // how long the server asks to wait
    std::string continue_token;  // of an expired list: goes on with an inconsistent one

    ApiError() = default;
    ApiError(Error error) : Error(std::move(error)) {}  // NOLINT: errors of the transport convert
    // The version asked for is gone (410), in either of its two names.
    [[nodiscard]] bool expired() const {
        return http_status == 410 || reason == "Expired" || reason == "Gone";
    }
    [[nodiscard]] bool not_found() const { return http_status == 404; }
    // The version asked for is ahead of the server's: a server that fell behind, or another one.
    bool version_too_large = false;
};

template <class T>
using ApiResult = tl::expected<T, ApiError>;

// The Code for an HTTP status; reason tells the two kinds of 409 apart.
[[nodiscard]] Code code_of(int http_status, std::string_view reason);
[[nodiscard]] ApiError error_of(const ::k8s::io::apimachinery::pkg::apis::meta::v1::Status& status);

}  // namespace sluice::client
