// A refused request: everything that a Kubernetes Status of failure says. The constructors below are the only
// places that word these answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "api/base/result.h"
#include "api/codec/scheme.h"

namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class Status;
}

namespace sluice::registry {

class FieldErrors;

struct StatusCause {
    std::string reason;
    std::string message;
    std::string field;
};

struct StatusError {
    int code = 500;
    std::string reason;  // "NotFound"; empty when Kubernetes gives none
    std::string message;
    bool has_details = false;
    std::string name;
    std::string group;
    std::string kind;
    std::string uid;
    std::vector<StatusCause> causes;
    std::int32_t retry_after_seconds = 0;
    std::string continue_token;  // of an expired list, to carry on without consistency
};

// Why a deletion or list with a token is refused, and the like.
template <class T>
using Answer = tl::expected<T, StatusError>;
using Refusal = tl::unexpected<StatusError>;

// `return refuse(bad_request("..."))`
inline Refusal refuse(StatusError error) { return Refusal(std::move(error)); }

StatusError bad_request(std::string message);
// 500 without a reason, as kube-apiserver answers for errors it does not classify.
StatusError unclassified(std::string message);
StatusError internal_error(std::string_view message);
StatusError not_found(const codec::KindInfo& kind, std::string_view name);
StatusError not_found(std::string_view group, std::string_view resource, std::string_view name);
// A path that names nothing we serve.
StatusError resource_not_found();
StatusError already_exists(const codec::KindInfo& kind, std::string_view name);
StatusError conflict(const codec::KindInfo& kind, std::string_view name, std::string_view message);
StatusError object_modified(const codec::KindInfo& kind, std::string_view name);
StatusError forbidden(const codec::KindInfo& kind, std::string_view name, std::string_view message);
StatusError invalid(const codec::KindInfo& kind, std::string_view name, const FieldErrors& errors);
// Of request options: kind "CreateOptions" in group meta.k8s.io.
StatusError invalid_options(std::string_view options_kind, const FieldErrors& errors);
StatusError method_not_allowed();
StatusError unsupported_media_type(std::string_view accepted);
StatusError not_acceptable_representation();
StatusError not_acceptable_form(std::string_view accepted);
StatusError version_too_large(std::uint64_t wanted, std::uint64_t current);
StatusError expired(std::string message);
StatusError unavailable(std::string message);
StatusError too_many_requests(std::string message);
// An error of the store or another layer below.
StatusError from_error(const Error& error);

void fill_status(const StatusError& error, codec::metav1::Status* status);

}  // namespace sluice::registry
