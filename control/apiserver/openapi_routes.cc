#include "control/apiserver/openapi_routes.h"

#include <algorithm>

#include "api/codec/openapi/openapi.h"
#include "control/apiserver/discovery.h"
#include "control/http/status_body.h"

namespace sluice::apiserver {
namespace {

constexpr std::string_view kV3Prefix = "/openapi/v3/";
// A document under its hash never changes, so that a client may keep it for good.
constexpr std::string_view kImmutable = "public, max-age=31536000, immutable";

http::Response serve(const codec::OpenApiDocument& document, std::string_view content_type,
                     const http::Request& request) {
    http::Response response;
    response.headers.emplace_back("ETag", document.etag());
    response.headers.emplace_back("Vary", "Accept");
    if (matches_entity_tag(request.header("if-none-match"), document.etag())) {
        response.status = 304;
        return response;
    }
    response.headers.emplace_back("Content-Type", content_type);
    response.body = document.body;
    return response;
}

bool wants_v2_protobuf(std::string_view accept) {
    const std::size_t protobuf = std::min(accept.find(codec::kOpenApiV2ProtobufAccept),
                                          accept.find(codec::kOpenApiV2ProtobufContentType));
    return protobuf != std::string_view::npos && protobuf < accept.find("application/json");
}

}  // namespace

std::optional<http::Response> openapi_answer(const codec::OpenApiCatalog& catalog,
                                             std::string_view path, const http::Request& request) {
    const bool v3_document = path.starts_with(kV3Prefix);
    if (path != "/openapi/v2" && path != "/openapi/v3" && !v3_document) return std::nullopt;
    if (request.method != "GET" && request.method != "HEAD") {
        return http::status_response(
            405, "MethodNotAllowed",
            "the server does not allow this method on the requested resource");
    }
    if (path == "/openapi/v2") {
        if (wants_v2_protobuf(request.header("accept"))) {
            return serve(*catalog.v2_protobuf(), codec::kOpenApiV2ProtobufContentType,
                         request);
        }
        return serve(*catalog.v2_json(), codec::kOpenApiJsonContentType, request);
    }
    if (path == "/openapi/v3") {
        return serve(*catalog.v3_index(), codec::kOpenApiJsonContentType, request);
    }
    const auto document = catalog.v3_json(path.substr(kV3Prefix.size()));
    if (document == nullptr) return std::nullopt;
    http::Response response = serve(*document, codec::kOpenApiJsonContentType, request);
    if (request.parameter("hash") == document->hash) {
        response.headers.emplace_back("Cache-Control", kImmutable);
    }
    return response;
}

}  // namespace sluice::apiserver
