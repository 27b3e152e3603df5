// The flags about service account tokens, named as kube-apiserver names them.
#pragma once

#include <string>
#include <vector>

#include "api/base/result.h"

namespace CLI {
class App;
}

namespace sluice::control {

struct TokenFlags {
    std::vector<std::string> issuers;  // empty: that of Kubernetes' usual cluster domain
    std::string jwks_uri;              // empty: this server's own
    std::string signing_key_file;      // empty: pki/sa.key in the data directory
    std::vector<std::string> key_files;
    std::vector<std::string> audiences;
    std::string max_expiration;  // "24h"; empty: upstream's bound
    bool extend_expiration = true;
    std::int64_t max_expiration_s = 0;  // what was read from max_expiration
};

// Adds the flags; the command line is then parsed into *flags, which outlives app.
void add_token_flags(CLI::App* app, TokenFlags* flags);

// Errors name the flag.
Result<TokenFlags> read_token_flags(TokenFlags flags);

}  // namespace sluice::control
