// What clients ask about tokens: one of their own (serviceaccounts/NAME/token), whose another one is (TokenReview), and
// the documents of OpenID Connect discovery.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/service_accounts/authority.h"
#include "control/http/server.h"

namespace sluice::registry {
class Api;
}

namespace sluice::service_accounts {

// Who a token of another kind stands for (a file's, a bootstrap token); nullopt: nobody. Thread-safe.
using OtherTokens = std::function<std::optional<http::Identity>(std::string_view token)>;

// Thread-safe. The authority outlives it.
class TokenRequests {
public:
    TokenRequests(const Authority& authority, OtherTokens others)
        : authority_(authority), others_(std::move(others)) {}

    // Who shows this token to the API server; nullopt: nobody.
    [[nodiscard]] std::optional<http::Identity> identify(std::string_view token) const;

    // True for paths that are answered here, whatever the method.
    [[nodiscard]] bool handles(const http::Request& request) const;
    // Answers now, or once servers outside were asked: this and the api outlive that. api: null while the server
    // starts, when nobody is asked. REQUIRES: handles(*request); the request is authorized and its identity settled.
    void handle(registry::Api* api, std::shared_ptr<const http::Request> request,
                std::shared_ptr<http::Responder> responder) const;

private:
    const Authority& authority_;
    OtherTokens others_;
};

}  // namespace sluice::service_accounts
