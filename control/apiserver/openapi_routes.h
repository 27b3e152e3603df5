// /openapi/v2 and /openapi/v3 over HTTP: content negotiation, entity tags, caching.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "api/codec/openapi/openapi.h"
#include "control/apiserver/aggregator/published.h"
#include "control/http/server.h"

namespace sluice::apiserver {

// nullopt when the path is not one of these. remote: what the index names besides, whose documents are other servers'.
// Thread-safe.
[[nodiscard]] std::optional<http::Response> openapi_answer(const codec::OpenApiCatalog& catalog,
                                                           std::string_view path,
                                                           const http::Request& request,
                                                           const std::vector<aggregator::RemoteVersion>& remote);

}  // namespace sluice::apiserver
