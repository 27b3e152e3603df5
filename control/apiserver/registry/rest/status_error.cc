#include "control/apiserver/registry/rest/status_error.h"

#include <fmt/format.h>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/store/store.h"

namespace sluice::registry {

namespace {

// "leases.coordination.k8s.io" or "services".
std::string qualified(std::string_view name, std::string_view group) {
    return group.empty() ? std::string(name) : fmt::format("{}.{}", name, group);
}

StatusError about(int code, std::string_view reason, std::string message, std::string_view group,
                  std::string_view kind, std::string_view name) {
    StatusError error;
    error.code = code;
    error.reason = reason;
    error.message = std::move(message);
    error.has_details = true;
    error.group = group;
    error.kind = kind;
    error.name = name;
    return error;
}

StatusError plain(int code, std::string_view reason, std::string message) {
    StatusError error;
    error.code = code;
    error.reason = reason;
    error.message = std::move(message);
    return error;
}

}  // namespace

StatusError bad_request(std::string message) {
    return plain(400, "BadRequest", std::move(message));
}

StatusError unclassified(std::string message) { return plain(500, "", std::move(message)); }

StatusError internal_error(std::string_view message) {
    StatusError error =
        plain(500, "InternalError", fmt::format("Internal error occurred: {}", message));
    error.has_details = true;
    error.causes.push_back({"", std::string(message), ""});
    return error;
}

StatusError not_found(std::string_view group, std::string_view resource, std::string_view name) {
    return about(404, "NotFound",
                 fmt::format("{} {} not found", qualified(resource, group), go_quote(name)), group,
                 resource, name);
}

StatusError not_found(const codec::KindInfo& kind, std::string_view name) {
    return not_found(kind.gvk.group, kind.resource, name);
}

StatusError resource_not_found() {
    StatusError error =
        plain(404, "NotFound", "the server could not find the requested resource");
    error.has_details = true;
    return error;
}

StatusError already_exists(const codec::KindInfo& kind, std::string_view name) {
    return about(409, "AlreadyExists",
                 fmt::format("{} {} already exists", qualified(kind.resource, kind.gvk.group),
                             go_quote(name)),
                 kind.gvk.group, kind.resource, name);
}

StatusError conflict(const codec::KindInfo& kind, std::string_view name,
                     std::string_view message) {
    return about(409, "Conflict",
                 fmt::format("Operation cannot be fulfilled on {} {}: {}",
                             qualified(kind.resource, kind.gvk.group), go_quote(name), message),
                 kind.gvk.group, kind.resource, name);
}

StatusError object_modified(const codec::KindInfo& kind, std::string_view name) {
    return conflict(kind, name,
                    "the object has been modified; please apply your changes to the latest "
                    "version and try again");
}

StatusError forbidden(const codec::KindInfo& kind, std::string_view name,
                      std::string_view message) {
    return about(403, "Forbidden",
                 fmt::format("{} {} is forbidden: {}", qualified(kind.resource, kind.gvk.group),
                             go_quote(name), message),
                 kind.gvk.group, kind.resource, name);
}

static StatusError invalid_named(std::string_view group, std::string_view kind,
                                 std::string_view name, const FieldErrors& errors) {
    StatusError error = about(422, "Invalid",
                              fmt::format("{} {} is invalid: {}", qualified(kind, group),
                                          go_quote(name), errors.to_string()),
                              group, kind, name);
    for (const FieldError& field_error : errors.all()) {
        error.causes.push_back({field_error.reason, field_error.message, field_error.field});
    }
    return error;
}

StatusError invalid(const codec::KindInfo& kind, std::string_view name,
                    const FieldErrors& errors) {
    return invalid_named(kind.gvk.group, kind.gvk.kind, name, errors);
}

StatusError invalid_options(std::string_view options_kind, const FieldErrors& errors) {
    return invalid_named("meta.k8s.io", options_kind, "", errors);
}

StatusError method_not_allowed() {
    StatusError error = plain(405, "MethodNotAllowed",
                              "the server does not allow this method on the requested resource");
    error.has_details = true;
    return error;
}

StatusError unsupported_media_type(std::string_view accepted) {
    return plain(415, "UnsupportedMediaType",
                 fmt::format("the body of the request was in an unknown format - accepted media "
                             "types include: {}",
                             accepted));
}

StatusError not_acceptable_representation() {
    StatusError error = plain(406, "NotAcceptable",
                              "406: Not Acceptable\n\nAvailable representations: application/json, "
                              "application/yaml, application/vnd.kubernetes.protobuf");
    error.has_details = true;
    return error;
}

StatusError not_acceptable_form(std::string_view accepted) {
    return plain(406, "NotAcceptable",
                 fmt::format("only the following media types are accepted: {}", accepted));
}

StatusError version_too_large(std::uint64_t wanted, std::uint64_t current) {
    StatusError error =
        plain(504, "Timeout",
              fmt::format("Timeout: Too large resource version: {}, current: {}", wanted, current));
    error.has_details = true;
    error.retry_after_seconds = 1;
    error.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
    return error;
}

StatusError expired(std::string message) { return plain(410, "Expired", std::move(message)); }

StatusError unavailable(std::string message) {
    StatusError error = plain(503, "ServiceUnavailable", std::move(message));
    error.has_details = true;
    error.retry_after_seconds = 1;
    return error;
}

StatusError too_many_requests(std::string message) {
    StatusError error = plain(429, "TooManyRequests", std::move(message));
    error.has_details = true;
    error.retry_after_seconds = 1;
    return error;
}

StatusError from_error(const Error& error) {
    // kube-apiserver does not classify what etcd and the connection to it say: 500 with their words alone. Only that
    // history is gone has an answer of its own.
    if (error.code != Code::kOutOfRange && (error.message.starts_with(store::kEtcdSays) ||
                                            error.message.starts_with(store::kConnectionSays))) {
        return unclassified(error.message);
    }
    switch (error.code) {
        case Code::kInvalidArgument: return bad_request(error.message);
        case Code::kResourceExhausted: return too_many_requests(error.message);
        case Code::kUnavailable:
        case Code::kCancelled: return unavailable(error.message);
        case Code::kOutOfRange: return expired(error.message);
        default: return internal_error(error.message);
    }
}

void fill_status(const StatusError& error, codec::metav1::Status* status) {
    auto* metadata = status->mutable_metadata();
    if (!error.continue_token.empty()) metadata->set_continue_(error.continue_token);
    status->set_status("Failure");
    if (!error.message.empty()) status->set_message(error.message);
    if (!error.reason.empty()) status->set_reason(error.reason);
    if (error.has_details) {
        auto* details = status->mutable_details();
        if (!error.name.empty()) details->set_name(error.name);
        if (!error.group.empty()) details->set_group(error.group);
        if (!error.kind.empty()) details->set_kind(error.kind);
        if (!error.uid.empty()) details->set_uid(error.uid);
        for (const StatusCause& cause : error.causes) {
            auto* out = details->add_causes();
            if (!cause.reason.empty()) out->set_reason(cause.reason);
            if (!cause.message.empty()) out->set_message(cause.message);
            if (!cause.field.empty()) out->set_field(cause.field);
        }
        if (error.retry_after_seconds > 0) {
            details->set_retryafterseconds(error.retry_after_seconds);
        }
    }
    status->set_code(error.code);
}

}  // namespace sluice::registry
