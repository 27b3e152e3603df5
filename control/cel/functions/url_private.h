// URLs as Go's net/url reads them (ParseRequestURI). Private to cel/.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace sluice::cel {

struct Url {
    std::string scheme;
    std::string user;         // "user:password", as written
    std::string host;         // "example.com:80", "[::1]:80"
    std::string path;         // decoded
    std::string escaped_path;
    std::string query;        // as written

    [[nodiscard]] std::string hostname() const;
    [[nodiscard]] std::string port() const;
    // Keys in the order of their first mention, with all their values.
    [[nodiscard]] std::vector<std::pair<std::string, std::vector<std::string>>> parameters() const;
    bool operator==(const Url&) const = default;
};

// An absolute URI or an absolute path; there is no fragment. Errors are those of Go.
Result<Url> parse_url(std::string_view text);

}  // namespace sluice::cel
