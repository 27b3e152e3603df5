// /openapi/v2 and /openapi/v3 over HTTP: content negotiation, entity tags, caching.
#pragma once

#include <optional>
#include <string_view>

#include "api/codec/openapi/openapi.h"
#include "control/http/server.h"

namespace sluice::apiserver {

// nullopt when the path is not one of these. Thread-safe.
[[nodiscard]] std::optional<http::Response> openapi_answer(const codec::OpenApiCatalog& catalog,
                                                           std::string_view path,
                                                           const http::Request& request);

}  // namespace sluice::apiserver
