#include "control/apiserver/forbidden.h"

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/encode.h"
#include "control/apiserver/registry/rest/negotiate.h"
#include "control/apiserver/registry/rest/status_error.h"

namespace sluice::apiserver {

http::Response forbidden(const http::Request& request, const authorization::Attributes& asked,
                         const std::string& reason) {
    registry::StatusError error;
    error.code = 403;
    error.reason = "Forbidden";
    error.message = authorization::refusal(asked);
    if (!reason.empty()) error.message += ": " + reason;
    error.has_details = true;
    error.name = asked.name;
    error.group = asked.group;
    error.kind = asked.resource;
    codec::metav1::Status status;
    registry::fill_status(error, &status);
    const auto format = registry::negotiate_output(request.header("accept"), true);
    const auto encoding = format ? format->encoding : registry::Encoding::kJson;
    http::Response response;
    response.status = error.code;
    response.headers.emplace_back("Content-Type", std::string(registry::media_type(encoding)));
    response.body = registry::encode_status(status, encoding);
    return response;
}

}  // namespace sluice::apiserver
