// Tokens from a file, as kube-apiserver's --token-auth-file reads it: one a line,
// TOKEN,USER,UID[,"GROUP1,GROUP2"], CSV with quotes (RFC 4180). Read once; immutable and
// thread-safe afterwards.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/base/result.h"
#include "control/http/server.h"

namespace sluice::authentication {

inline constexpr std::size_t kMaxTokenFileBytes = 16U << 20U;

class TokenFile {
public:
    // kInvalidArgument names the line. A token that is there twice is refused, as nobody can say
    // which one counts.
    static Result<TokenFile> parse(std::string_view text);
    static Result<TokenFile> load(const std::string& path);

    [[nodiscard]] std::optional<http::Identity> find(std::string_view token) const;
    [[nodiscard]] std::size_t size() const { return identities_.size(); }

private:
    // By the token's SHA-256, so that look-ups tell nothing about how much of a token was right.
    std::unordered_map<std::string, http::Identity> identities_;
};

}  // namespace sluice::authentication
