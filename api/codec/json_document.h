// A JSON document parsed once, of which the kind is looked at before the rest is read.
#pragma once

#include <memory>
#include <string_view>

#include "api/base/result.h"
#include "api/codec/json.h"

namespace google::protobuf {
class Message;
}

namespace sluice::codec {

class JsonDocument {
public:
    // Errors as of peek_json_kind.
    static Result<JsonDocument> parse(std::string_view text);
    ~JsonDocument();
    JsonDocument(JsonDocument&&) noexcept;
    JsonDocument& operator=(JsonDocument&&) noexcept;

    // As peek_json_kind of the text.
    [[nodiscard]] Result<GroupVersionKind> kind() const;
    // As decode_json of the text.
    Result<void> decode(google::protobuf::Message* message, FieldWarnings* warnings) const;

private:
    struct Parsed;
    explicit JsonDocument(std::unique_ptr<Parsed> parsed);
    std::unique_ptr<Parsed> parsed_;
};

}  // namespace sluice::codec
