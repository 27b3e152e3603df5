// The 403 of a request that authorization does not permit.
#pragma once

#include <string>

#include "control/apiserver/authorization/attributes.h"
#include "control/http/server.h"

namespace sluice::apiserver {

// A Status in the encoding that the request accepts, with the resource and name in its details, in the words of
// kube-apiserver. reason: why, as far as an authorizer has something to say.
[[nodiscard]] http::Response forbidden(const http::Request& request,
                                       const authorization::Attributes& asked,
                                       const std::string& reason);

}  // namespace sluice::apiserver
