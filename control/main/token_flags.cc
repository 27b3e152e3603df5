#include "control/main/token_flags.h"

#include <CLI/CLI.hpp>

#include "api/codec/time.h"

namespace sluice::control {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMinSeconds = 3'600;
constexpr std::int64_t kMaxSeconds = std::int64_t{1} << 32;
constexpr std::size_t kMaxIssuers = 64;

}  // namespace

void add_token_flags(CLI::App* app, TokenFlags* flags) {
    app->add_option("--service-account-issuer", flags->issuers,
                    "Who issues tokens of service accounts; may be repeated: the first one issues, all are believed");
    app->add_option("--service-account-jwks-uri", flags->jwks_uri,
                    "Where the keys of these tokens are found, in the discovery document; this server by default");
    app->add_option("--service-account-signing-key-file", flags->signing_key_file,
                    "Private key (PEM) that signs tokens; pki/sa.key in the data directory by default");
    app->add_option("--service-account-key-file", flags->key_files,
                    "Further keys (PEM) whose tokens are believed; may be repeated");
    app->add_option("--api-audiences", flags->audiences,
                    "Whom tokens for this API server are for; the issuers by default")
        ->delimiter(',');
    app->add_option("--service-account-max-token-expiration", flags->max_expiration,
                    "Tokens that are asked for longer live so long");
    app->add_option("--service-account-extend-token-expiration", flags->extend_expiration,
                    "Tokens of Pods' automatic volumes are good for a year, for clients that never read them again")
        ->capture_default_str();
}

Result<TokenFlags> read_token_flags(TokenFlags flags) {
    if (flags.issuers.size() > kMaxIssuers) {
        return make_error(Code::kInvalidArgument, "--service-account-issuer: there are more than {}", kMaxIssuers);
    }
    for (const std::string& issuer : flags.issuers) {
        if (issuer.empty()) return make_error(Code::kInvalidArgument, "--service-account-issuer must not be empty");
    }
    if (!flags.max_expiration.empty()) {
        const auto duration = codec::parse_duration_ns(flags.max_expiration);
        flags.max_expiration_s = duration ? *duration / kSecond : 0;
        if (flags.max_expiration_s < kMinSeconds || flags.max_expiration_s > kMaxSeconds) {
            return make_error(Code::kInvalidArgument,
                              "--service-account-max-token-expiration \"{}\": it must be between 1h and 2^32 seconds",
                              flags.max_expiration);
        }
    }
    return flags;
}

}  // namespace sluice::control
