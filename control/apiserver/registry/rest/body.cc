#include "control/apiserver/registry/rest/body.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/codec/json_document.h"
#include "api/codec/protobuf.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/rest/negotiate.h"

namespace sluice::registry {

namespace {

// Bytes of a broken body that the answer repeats.
constexpr std::size_t kMaxShownBody = 128;
// Bytes of a patch or a patched document that a refusal repeats.
constexpr std::size_t kMaxShownPatch = 64U << 10U;

StatusError unrecognized(const codec::KindInfo& served, std::string_view why, std::string_view body) {
    const std::string shown(body.substr(0, kMaxShownBody));
    return bad_request(
        fmt::format("the object provided is unrecognized (must be of type {}): {} ({})",
                    served.gvk.kind, why, shown));
}

StatusError cannot_handle(const codec::KindInfo& served, std::string_view kind,
                          std::string_view version, std::string_view why) {
    return bad_request(fmt::format("{} in version {} cannot be handled as a {}: {}", kind,
                                   go_quote(version), served.gvk.kind, why));
}

StatusError cannot_handle(const codec::KindInfo& served, std::string_view why) {
    return cannot_handle(served, served.gvk.kind, served.gvk.version, why);
}

Answer<void> check_kind(const Strategy& strategy, const codec::KindInfo& served,
                        const codec::GroupVersionKind& given) {
    const auto& gvk = served.gvk;
    codec::GroupVersionKind claimed = given;
    if (claimed.version.empty()) {
        claimed.group = gvk.group;
        claimed.version = gvk.version;
    }
    if (claimed.kind.empty()) claimed.kind = gvk.kind;
    if (claimed == gvk) return {};
    if (claimed.group != gvk.group || claimed.version != gvk.version) {
        return refuse(bad_request(
            fmt::format("the API version in the data ({}) does not match the expected API version "
                        "({})",
                        claimed.api_version(), gvk.api_version())));
    }
    if (codec::find_kind(claimed) == nullptr) {
        return refuse(cannot_handle(
            served, claimed.kind, claimed.version,
            fmt::format("no kind {} is registered for version {} in scheme",
                        go_quote(claimed.kind), go_quote(claimed.api_version()))));
    }
    return refuse(
        cannot_handle(served, claimed.kind, claimed.version,
                      fmt::format("converting ({}.{}) to ({}.{}): unknown conversion",
                                  claimed.version, claimed.kind, strategy.go_package(), gvk.kind)));
}

Answer<void> apply_field_validation(const codec::KindInfo& served, codec::FieldWarnings found,
                                    FieldValidation validation,
                                    std::vector<std::string>* warnings) {
    if (found.empty() || validation == FieldValidation::kIgnore) return {};
    if (validation == FieldValidation::kStrict) {
        return refuse(cannot_handle(
            served, fmt::format("strict decoding error: {}", fmt::join(found, ", "))));
    }
    warnings->insert(warnings->end(), found.begin(), found.end());
    return {};
}

Answer<codec::GroupVersionKind> kind_of_document(const codec::KindInfo& served,
                                                 const boost::json::value& document) {
    const auto* object = document.if_object();
    if (object == nullptr) {
        return refuse(cannot_handle(served,
                                    "json: cannot unmarshal into Go value of type an object"));
    }
    std::string fields[2];
    int at = 0;
    for (const char* name : {"apiVersion", "kind"}) {
        const auto* member = object->if_contains(name);
        if (member != nullptr && member->is_string()) {
            fields[at] = std::string(member->get_string().data(), member->get_string().size());
        }
        ++at;
    }
    auto gvk = codec::GroupVersionKind::parse(fields[0], fields[1]);
    if (!gvk) return refuse(bad_request(gvk.error().message));
    return std::move(*gvk);
}

// Converted to the version that is stored, if that is another.
Answer<std::unique_ptr<Message>> as_stored(const codec::KindInfo& served,
                                           std::unique_ptr<Message> message) {
    auto converted = to_stored(served, std::move(message));
    if (!converted) return refuse(cannot_handle(served, converted.error().message));
    return std::move(*converted);
}

Answer<std::unique_ptr<Message>> read_protobuf(const http::Request& request,
                                               const Strategy& strategy,
                                               const codec::KindInfo& served) {
    auto envelope = codec::open_envelope(request.body);
    if (!envelope) return refuse(bad_request(envelope.error().message));
    if (auto fits = check_kind(strategy, served, envelope->gvk); !fits) {
        return refuse(std::move(fits).error());
    }
    auto message = served.new_object();
    if (auto done = codec::decode_protobuf_raw(envelope->raw, message.get()); !done) {
        return refuse(cannot_handle(served, done.error().message));
    }
    return as_stored(served, std::move(message));
}

// A patch whose result is no object of the kind.
StatusError patch_invalid(std::string shown, std::string_view why) {
    if (shown.size() > kMaxShownPatch) shown.resize(kMaxShownPatch);
    StatusError out;
    out.code = 422;
    out.reason = "Invalid";
    out.has_details = true;
    std::string message = fmt::format("Invalid value: {}: {}", go_quote(shown), why);
    out.message = fmt::format(" \"\" is invalid: patch: {}", message);
    out.causes.push_back({"FieldValueInvalid", std::move(message), "patch"});
    return out;
}

// An empty list of managers and an absent one are one for a message, but not for clients: the first takes all ownership
// away. Such a list becomes a list of one empty entry, which means the same.
void keep_empty_managers(const boost::json::value& document, Message* object) {
    const auto* members = document.if_object();
    const auto* metadata = members == nullptr ? nullptr : members->if_contains("metadata");
    const auto* inner = metadata == nullptr ? nullptr : metadata->if_object();
    const auto* managers = inner == nullptr ? nullptr : inner->if_contains("managedFields");
    if (managers == nullptr || !managers->is_array() || !managers->as_array().empty()) return;
    codec::object_meta(*object).add_managedfields();
}

// Whether a text might say so; the document tells.
bool may_empty_managers(std::string_view text) {
    constexpr std::string_view kName = "\"managedFields\"";
    constexpr std::string_view kSpace = " \t\r\n";
    for (std::size_t at = text.find(kName); at != std::string_view::npos; at = text.find(kName, at)) {
        at += kName.size();
        std::size_t next = text.find_first_not_of(kSpace, at);
        if (next == std::string_view::npos || text[next] != ':') continue;
        next = text.find_first_not_of(kSpace, next + 1);
        if (next == std::string_view::npos || text[next] != '[') continue;
        next = text.find_first_not_of(kSpace, next + 1);
        if (next != std::string_view::npos && text[next] == ']') return true;
    }
    return false;
}

}  // namespace

Answer<std::unique_ptr<Message>> read_body(const http::Request& request, const Strategy& strategy,
                                           const codec::KindInfo& served,
                                           FieldValidation validation,
                                           std::vector<std::string>* warnings) {
    auto encoding = negotiate_input(request.header("content-type"));
    if (!encoding) return refuse(std::move(encoding).error());
    if (*encoding == Encoding::kProtobuf) {
        if (served.custom != nullptr) {
            return refuse(unsupported_media_type("application/json, application/yaml"));
        }
        return read_protobuf(request, strategy, served);
    }
    if (*encoding == Encoding::kYaml) {
        auto document = codec::yaml_to_json(request.body);
        if (!document) return refuse(unrecognized(served, document.error().message, request.body));
        return read_document(*document, strategy, served, validation, warnings);
    }
    auto document = codec::JsonDocument::parse(request.body);
    if (!document) return refuse(unrecognized(served, document.error().message, request.body));
    auto claimed = document->kind();
    if (!claimed) return refuse(unrecognized(served, claimed.error().message, request.body));
    if (auto fits = check_kind(strategy, served, *claimed); !fits) return refuse(std::move(fits).error());
    auto message = served.new_object();
    codec::FieldWarnings found;
    if (auto done = document->decode(message.get(), &found); !done) {
        return refuse(cannot_handle(served, done.error().message));
    }
    strategy.settle_body(message.get(), &found);
    if (auto ok = apply_field_validation(served, std::move(found), validation, warnings); !ok) {
        return refuse(std::move(ok).error());
    }
    if (may_empty_managers(request.body)) {
        if (const auto tree = codec::parse_json(request.body)) {
            keep_empty_managers(*tree, message.get());
        }
    }
    return as_stored(served, std::move(message));
}

Answer<std::unique_ptr<Message>> read_document(const boost::json::value& document,
                                               const Strategy& strategy,
                                               const codec::KindInfo& served,
                                               FieldValidation validation,
                                               std::vector<std::string>* warnings,
                                               const PatchedBy* by) {
    auto claimed = kind_of_document(served, document);
    if (!claimed) return refuse(std::move(claimed).error());
    if (auto fits = check_kind(strategy, served, *claimed); !fits) return refuse(std::move(fits).error());
    auto message = served.new_object();
    codec::FieldWarnings found;
    if (auto done = codec::from_json_value(document, message.get(), &found); !done) {
        if (by != nullptr) return refuse(patch_invalid(by->shown(), done.error().message));
        return refuse(cannot_handle(served, done.error().message));
    }
    strategy.settle_body(message.get(), &found);
    if (by != nullptr) {
        found.insert(found.begin(), by->findings.begin(), by->findings.end());
        if (!found.empty() && validation == FieldValidation::kStrict) {
            return refuse(patch_invalid(by->shown(), fmt::format("strict decoding error: {}",
                                                                 fmt::join(found, ", "))));
        }
    }
    if (auto ok = apply_field_validation(served, std::move(found), validation, warnings); !ok) {
        return refuse(std::move(ok).error());
    }
    keep_empty_managers(document, message.get());
    return as_stored(served, std::move(message));
}

}  // namespace sluice::registry
