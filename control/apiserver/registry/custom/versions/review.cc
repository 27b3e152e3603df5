#include "control/apiserver/registry/custom/versions/review_private.h"

#include <fmt/format.h>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/validation/object_meta.h"
#include "control/http/status_body.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

constexpr std::string_view kGroup = "apiextensions.k8s.io";
constexpr std::string_view kKind = "ConversionReview";

const json::value* member(const json::value& value, std::string_view name) {
    const auto* object = value.if_object();
    return object == nullptr ? nullptr : object->if_contains(name);
}

// Empty where there is no text.
std::string text_member(const json::value* value, std::string_view name) {
    const json::value* found = value == nullptr ? nullptr : member(*value, name);
    return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

// As Go's %T names a value that was read from JSON.
const char* go_type(const json::value& value) {
    switch (value.kind()) {
        case json::kind::object: return "map[string]interface {}";
        case json::kind::array: return "[]interface {}";
        case json::kind::string: return "string";
        case json::kind::bool_: return "bool";
        case json::kind::null: return "<nil>";
        case json::kind::double_: return "float64";
        default: return "int64";
    }
}

Error refused(std::string why) { return Error{Code::kFailedPrecondition, std::move(why)}; }

// labels or annotations of the answer, checked if they are others than they were.
Result<void> take_texts(const char* name, const json::object& answered, json::object* metadata) {
    const json::value* found = answered.if_contains(name);
    if (found == nullptr || found->is_null()) {
        metadata->erase(name);
        return {};
    }
    const auto* texts = found->if_object();
    if (texts == nullptr) {
        return refused(fmt::format("invalid metadata.{} of type {} in converted object", name, go_type(*found)));
    }
    codec::metav1::ObjectMeta meta;
    const bool labels = std::string_view(name) == "labels";
    auto* map = labels ? meta.mutable_labels() : meta.mutable_annotations();
    for (const auto& [key, value] : *texts) {
        if (!value.is_string()) {
            return refused(fmt::format("metadata.{}[{}] must be a string, but is {} in converted object", name,
                                       std::string_view(key), go_type(value)));
        }
        (*map)[std::string(key)] = std::string(value.get_string());
    }
    const json::value* before = metadata->if_contains(name);
    if (before == nullptr || *before != *found) {
        FieldErrors errors;
        if (labels) {
            validate_labels(meta.labels(), "metadata.labels", &errors);
        } else {
            validate_annotations(meta, "metadata.annotation", &errors);
        }
        if (!errors.empty()) return refused(errors.to_string());
    }
    (*metadata)[name] = *texts;
    return {};
}

}  // namespace

std::string shown_gvk(const codec::GroupVersionKind& gvk) {
    return fmt::format("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind);
}

std::string conversion_review(std::string_view review_version, std::string_view uid,
                              std::string_view api_version, const std::vector<std::string>& objects) {
    std::size_t size = 0;
    for (const std::string& object : objects) size += object.size() + 1;
    std::string out = fmt::format(
        R"({{"kind":"{}","apiVersion":"{}/{}","request":{{"uid":"{}","desiredAPIVersion":{},"objects":[)", kKind,
        kGroup, review_version, uid, http::json_quote(api_version));
    constexpr std::size_t kEnd = 8;
    out.reserve(out.size() + size + kEnd);
    for (std::size_t i = 0; i < objects.size(); ++i) {
        if (i != 0) out += ',';
        out += objects[i];
    }
    return out + "]}}";
}

Result<std::vector<json::value>> read_conversion_review(std::string_view review_version,
                                                        std::string_view uid, std::string_view text) {
    SLUICE_TRY_ASSIGN(auto document, codec::parse_json(text));
    SLUICE_TRY_ASSIGN(const auto gvk, codec::json_kind_of(document));
    // The older version was never held to what it says of itself.
    const bool strict = review_version != "v1beta1";
    if (strict && (gvk.group != kGroup || gvk.version != review_version || gvk.kind != kKind)) {
        return refused(fmt::format("expected webhook response of {}/{}, Kind={}, got {}/{}, Kind={}", kGroup,
                                   review_version, kKind, gvk.group, gvk.version, gvk.kind));
    }
    const json::value* response = member(document, "response");
    if (response == nullptr || !response->is_object()) return refused("no response provided");
    const std::string answered = text_member(response, "uid");
    if (strict && answered != uid) {
        return refused(fmt::format("expected response.uid=\"{}\", got {}", uid, go_quote(answered)));
    }
    const json::value* result = member(*response, "result");
    const std::string status = text_member(result, "status");
    if (status != "Success") {
        const std::string message = text_member(result, "message");
        if (!message.empty()) return refused(message);
        return refused(fmt::format("response.result.status was '{}', not 'Success'", status));
    }
    std::vector<json::value> out;
    const json::value* objects = member(*response, "convertedObjects");
    if (objects == nullptr || !objects->is_array()) return out;
    for (const json::value& object : objects->get_array()) out.push_back(object);
    return out;
}

Result<void> check_converted(const json::value& original, const json::value& converted,
                             const codec::GroupVersionKind& to) {
    SLUICE_TRY_ASSIGN(const auto is, codec::json_kind_of(converted));
    if (is.group != to.group || is.version != to.version) {
        return make_error(Code::kInvalidArgument, "invalid groupVersion (expected {}, received {})",
                          to.api_version(), is.api_version());
    }
    if (is.kind != to.kind) {
        return make_error(Code::kInvalidArgument, "invalid kind (expected {}, received {})", to.kind, is.kind);
    }
    const json::value* was_meta = member(original, "metadata");
    const json::value* is_meta = member(converted, "metadata");
    constexpr std::pair<const char*, const char*> kIdentity[] = {
        {"name", "name"}, {"namespace", "namespace"}, {"uid", "UID"}};
    for (const auto& [name, shown] : kIdentity) {
        const std::string expected = text_member(was_meta, name);
        const std::string actual = text_member(is_meta, name);
        if (expected == actual) continue;
        return refused(fmt::format("must have the same {}: {} != {}", shown, expected, actual));
    }
    return {};
}

Result<void> restore_metadata(const json::value& original, json::value* converted) {
    json::value* answered = converted->get_object().if_contains("metadata");
    if (answered == nullptr) return refused("missing metadata in converted object");
    if (!answered->is_object()) {
        return refused(fmt::format("invalid metadata of type {} in converted object", go_type(*answered)));
    }
    const json::object theirs = std::move(answered->get_object());
    const json::value* ours = member(original, "metadata");
    *answered = ours == nullptr || !ours->is_object() ? json::object() : ours->get_object();
    SLUICE_TRY(take_texts("labels", theirs, &answered->get_object()));
    return take_texts("annotations", theirs, &answered->get_object());
}

}  // namespace sluice::registry
