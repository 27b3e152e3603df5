// pods/NAME/proxy, services/NAME/proxy and nodes/NAME/proxy: requests of HTTP that are passed on, upgrades among them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "control/apiserver/proxy/target.h"
#include "control/http/dialer.h"
#include "control/http/server.h"

namespace sluice::apiserver {

// Thread-safe. Outlives the http::Server whose requests it answers.
class HttpProxy {
public:
    // Passes a request on: where, and what is to be said beside the client's own headers, is filled in.
    using Pass = std::function<void(http::DialRequest, const std::shared_ptr<const http::Request>&,
                                    std::shared_ptr<http::Responder>)>;

    // kubelets: TLS as they know this server. kInternal: TLS to pods cannot be had.
    static Result<std::unique_ptr<HttpProxy>> create(std::shared_ptr<const http::ClientTls> kubelets,
                                                     ObjectReader reader, Pass pass);

    [[nodiscard]] static bool handles(const http::Request& request);
    // Whether it may take as long as whom it asks takes (http::ServerOptions::is_untimed).
    [[nodiscard]] static bool is_untimed(const http::Request& request);
    void handle(const std::shared_ptr<const http::Request>& request, std::shared_ptr<http::Responder> responder) const;

private:
    HttpProxy() = default;

    std::shared_ptr<const http::ClientTls> kubelets_;
    std::shared_ptr<const http::ClientTls> pods_;
    ObjectReader reader_;
    Pass pass_;
};

}  // namespace sluice::apiserver
