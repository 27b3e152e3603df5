// The Status bodies with which the proxy refuses, as kube-apiserver words them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/http/server.h"

namespace sluice::apiserver {

[[nodiscard]] http::Response bad_request(std::string_view message);
// 500 "Internal error occurred: ...".
[[nodiscard]] http::Response internal_error(std::string_view message);
// 500 without a reason, for what kube-apiserver does not classify.
[[nodiscard]] http::Response unclassified(std::string_view message);
[[nodiscard]] http::Response unavailable(std::string_view message);
// 404 of an object; resource is its plural.
[[nodiscard]] http::Response object_not_found(std::string_view resource, std::string_view name);
// What reading an object ended in.
[[nodiscard]] http::Response read_failure(const Error& error, std::string_view resource,
                                          std::string_view name);
// What a kubelet answered with for a log.
[[nodiscard]] http::Response kubelet_refusal(int status, std::string_view pod,
                                             std::string_view body);

struct FieldProblem {
    std::string reason;  // "FieldValueInvalid"
    std::string field;   // may be empty
    std::string message; // `Invalid value: -1: must be greater than 0`
};
// 422 of the options of a log.
[[nodiscard]] http::Response invalid_log_options(std::string_view pod,
                                                 const std::vector<FieldProblem>& problems);

}  // namespace sluice::apiserver
