// Logs, exec, attach and port-forward of Pods: the API server between a client and the kubelet of the Pod's node; and
// requests of HTTP to Pods, Services and nodes.
#pragma once

#include <memory>
#include <string>

#include "api/base/result.h"
#include "control/apiserver/proxy/http_proxy.h"
#include "control/apiserver/proxy/target.h"
#include "control/http/server.h"

namespace sluice::apiserver {

inline constexpr int kProxyThreads = 2;  // for the connections to all kubelets

struct PodProxyOptions {
    std::string ca_pem;  // signs the kubelets' certificates
    // User kube-apiserver-kubelet-client, group system:masters.
    std::string certificate_pem;
    std::string private_key_pem;
    HttpProxy::Pass pass;  // of requests to pods/NAME/proxy and the like; without, there are none
};

// Thread-safe. Outlives the http::Server whose requests it answers; what it dialed ends with it.
class PodProxy {
public:
    virtual ~PodProxy() = default;
    // reader: registry::Api::read. kInvalidArgument: a certificate or key that cannot be used.
    static Result<std::unique_ptr<PodProxy>> create(const PodProxyOptions& options,
                                                    ObjectReader reader);

    // True for /api/v1/namespaces/NS/pods/POD/ with log, exec, attach, portforward or proxy, and for the proxies of
    // Services and nodes.
    [[nodiscard]] virtual bool handles(const http::Request& request) const = 0;
    virtual void handle(std::shared_ptr<const http::Request> request,
                        std::shared_ptr<http::Responder> responder) = 0;
};

}  // namespace sluice::apiserver
