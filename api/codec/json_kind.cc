// What kind of object a JSON document says it is.
#include <boost/json/value.hpp>
#include <string>

#include "api/codec/json.h"
#include "api/codec/json_tree_internal.h"

namespace sluice::codec {

namespace json = boost::json;

Result<GroupVersionKind> peek_json_kind(std::string_view text) {
    const auto document = parse_json(text);
    if (!document) {
        return make_error(document.error().code, "couldn't get version/kind; json parse error: {}",
                          document.error().message);
    }
    return json_kind_of(*document);
}

Result<GroupVersionKind> json_kind_of(const json::value& document) {
    const auto* object = document.if_object();
    if (object == nullptr) {
        return make_error(Code::kInvalidArgument,
                          "couldn't get version/kind; json parse error: the document is not an "
                          "object");
    }
    const auto text_of = [&](const char* name) -> Result<std::string> {
        const auto* member = object->if_contains(name);
        if (member == nullptr || member->is_null()) return std::string();
        if (!member->is_string()) {
            return make_error(Code::kInvalidArgument,
                              "couldn't get version/kind; json parse error: {} is not a string",
                              name);
        }
        return std::string(member->get_string());
    };
    SLUICE_TRY_ASSIGN(const std::string api_version, text_of("apiVersion"));
    SLUICE_TRY_ASSIGN(const std::string kind, text_of("kind"));
    return GroupVersionKind::parse(api_version, kind);
}

}  // namespace sluice::codec
