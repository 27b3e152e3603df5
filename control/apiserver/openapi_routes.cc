#include "control/apiserver/openapi_routes.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/codec/openapi/openapi.h"
#include "control/apiserver/discovery.h"
#include "control/http/status_body.h"

namespace sluice::apiserver {
namespace {

constexpr std::string_view kV3Prefix = "/openapi/v3/";
// As kube-apiserver has it, though it is JSON.
constexpr std::string_view kIndexType = "text/plain; charset=utf-8";
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

// The index, {"paths":{...}}, with the versions of other servers.
codec::OpenApiDocument merged_index(const codec::OpenApiDocument& own,
                                    const std::vector<aggregator::RemoteVersion>& remote) {
    constexpr std::string_view kEnd = "}}";
    codec::OpenApiDocument out;
    out.body = own.body;
    const std::size_t end = out.body.rfind(kEnd);
    SLUICE_ASSERT(end != std::string::npos);  // the catalog wrote it
    std::string entries;
    for (const auto& version : remote) {
        const std::string path = fmt::format("apis/{}/{}", version.group, version.version);
        if (version.openapi_hash.empty() || own.body.find('"' + path + '"') != std::string::npos) continue;
        entries += fmt::format(R"(,"{}":{{"serverRelativeURL":{}}})", path,
                               http::json_quote(fmt::format("{}{}?hash={}", kV3Prefix, path, version.openapi_hash)));
    }
    out.body.insert(end, entries);
    const std::string tag = entity_tag(out.body);
    out.hash = tag.substr(1, tag.size() - 2);
    return out;
}

}  // namespace

std::optional<http::Response> openapi_answer(const codec::OpenApiCatalog& catalog,
                                             std::string_view path, const http::Request& request,
                                             const std::vector<aggregator::RemoteVersion>& remote) {
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
        if (remote.empty()) return serve(*catalog.v3_index(), kIndexType, request);
        return serve(merged_index(*catalog.v3_index(), remote), kIndexType, request);
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
