// The head of an HTTP/1.x answer, and how much of a body is due behind it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::kubelet {

struct AnswerHead {
    int status = 0;
    std::string location;
    std::optional<std::uint64_t> content_length;
    bool chunked = false;
    // Interim answers (1xx) have no body and are followed by another head.
    [[nodiscard]] bool is_interim() const { return status >= 100 && status < 200; }
    [[nodiscard]] bool has_no_body() const { return status == 204 || status == 304; }
};

// text: the head without the empty line that ends it. kDataLoss for what is no HTTP.
Result<AnswerHead> parse_answer_head(std::string_view text);

// Scheme, host, port and path of the redirect's target, relative ones resolved; kInvalidArgument
// for what is no URL.
struct RedirectUrl {
    bool tls = false;
    std::string host;
    std::uint16_t port = 0;
    std::string path;
};
Result<RedirectUrl> resolve_redirect(bool tls, std::string_view host, std::uint16_t port,
                                     std::string_view path, std::string_view location);

}  // namespace sluice::kubelet
