// The OpenAPI documents of the API, derived from the descriptors of all kinds in the scheme: v2 as
// JSON and as protobuf, v3 as an index and one document for each group version. `kubectl explain`,
// client-side validation, --dry-run=server and apply read them.
//
// Each document is made at its first use (milliseconds), kept for the life of the program, and the
// same in every run of one build, so its hash serves as an ETag. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec/scheme.h"

namespace sluice::codec {

struct OpenApiDocument {
    std::string body;
    std::string hash;  // 32 hexadecimal digits in upper case
    // The hash in double quotes, as the header wants it.
    [[nodiscard]] std::string etag() const { return '"' + hash + '"'; }
};

inline constexpr std::string_view kOpenApiJsonContentType = "application/json";
// The answer's Content-Type; clients ask for the same name with '@' in place of the last '.' of
// "v2.v1".
inline constexpr std::string_view kOpenApiV2ProtobufContentType =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
inline constexpr std::string_view kOpenApiV2ProtobufAccept =
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

// GET /openapi/v2
[[nodiscard]] const OpenApiDocument& openapi_v2_json();
[[nodiscard]] const OpenApiDocument& openapi_v2_protobuf();

// GET /openapi/v3: for each group version its URL, "/openapi/v3/api/v1?hash=HASH".
[[nodiscard]] const OpenApiDocument& openapi_v3_index();
// GET /openapi/v3/PATH. path: "api/v1" or "apis/GROUP/VERSION". Null when there is no such group
// version.
[[nodiscard]] const OpenApiDocument* openapi_v3_json(std::string_view path);

// The same documents with custom kinds beside those of the scheme. Thread-safe; each document is made when it is asked
// for after a change, tens of milliseconds for v2, which is one document for all.
class OpenApiCatalog {
public:
    using DocumentPtr = std::shared_ptr<const OpenApiDocument>;

    OpenApiCatalog();
    ~OpenApiCatalog();
    void set_custom(std::vector<PublishedKind> kinds);

    [[nodiscard]] DocumentPtr v2_json() const;
    [[nodiscard]] DocumentPtr v2_protobuf() const;
    [[nodiscard]] DocumentPtr v3_index() const;
    // Null when there is no such group version.
    [[nodiscard]] DocumentPtr v3_json(std::string_view path) const;

private:
    struct Documents;
    mutable std::mutex mutex_;
    std::unique_ptr<Documents> documents_;  // under the mutex
};

}  // namespace sluice::codec
