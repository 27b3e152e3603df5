#include "control/apiserver/proxy/status.h"

#include <fmt/core.h>

#include "control/http/status_body.h"

namespace sluice::apiserver {
namespace {

using http::json_quote;

http::Response status(int code, std::string_view reason, std::string_view message,
                      const std::string& details) {
    std::string body = fmt::format(
        R"({{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":{})",
        json_quote(message));
    if (!reason.empty()) body += fmt::format(R"(,"reason":{})", json_quote(reason));
    if (!details.empty()) body += fmt::format(R"(,"details":{})", details);
    body += fmt::format(",\"code\":{}}}\n", code);
    http::Response response = http::json_response(std::move(body));
    response.status = code;
    return response;
}

}  // namespace

http::Response bad_request(std::string_view message) {
    return status(400, "BadRequest", message, "");
}

http::Response internal_error(std::string_view message) {
    return status(500, "InternalError", fmt::format("Internal error occurred: {}", message),
                  fmt::format(R"({{"causes":[{{"message":{}}}]}})", json_quote(message)));
}

http::Response unclassified(std::string_view message) { return status(500, "", message, ""); }

http::Response unavailable(std::string_view message) {
    return status(503, "ServiceUnavailable", message, "");
}

http::Response object_not_found(std::string_view resource, std::string_view name) {
    return status(404, "NotFound", fmt::format("{} \"{}\" not found", resource, name),
                  fmt::format(R"({{"name":{},"kind":{}}})", json_quote(name), json_quote(resource)));
}

http::Response read_failure(const Error& error, std::string_view resource, std::string_view name) {
    if (error.code == Code::kNotFound) return object_not_found(resource, name);
    if (error.code == Code::kUnavailable) return unavailable(error.message);
    return internal_error(error.message);
}

http::Response kubelet_refusal(int code, std::string_view pod, std::string_view body) {
    while (!body.empty() && body.back() == '\n') body.remove_suffix(1);
    if (code == 500) return internal_error(body);
    if (code == 400) return bad_request(body);
    std::string_view reason;
    std::string message = fmt::format(
        "the server responded with the status code {} but did not return more information", code);
    if (code == 401) {
        reason = "Unauthorized";
        message = "the server has asked for the client to provide credentials";
    } else if (code == 403) {
        reason = "Forbidden";
        message = body;
    } else if (code == 404) {
        reason = "NotFound";
        message = "the server could not find the requested resource";
    } else if (code == 503) {
        reason = "ServiceUnavailable";
        message = body;
    } else if (code > 500) {
        reason = "InternalError";
        message = fmt::format("an error on the server (\"{}\") has prevented the request from succeeding",
                              body);
    }
    message += fmt::format(" ( pods/log {})", pod);
    return status(code, reason, message,
                  fmt::format(R"({{"name":{},"kind":"pods/log"}})", json_quote(pod)));
}

http::Response invalid_log_options(std::string_view pod, const std::vector<FieldProblem>& problems) {
    std::string text;
    std::string causes;
    for (const auto& problem : problems) {
        if (!text.empty()) text += ", ";
        if (!causes.empty()) causes += ',';
        // Kubernetes writes a field without a name as <nil>.
        const std::string field = problem.field.empty() ? "<nil>" : problem.field;
        text += field + ": " + problem.message;
        causes += fmt::format(R"({{"reason":{},"message":{},"field":{}}})",
                              json_quote(problem.reason), json_quote(problem.message),
                              json_quote(field));
    }
    if (problems.size() > 1) text = "[" + text + "]";
    return status(422, "Invalid", fmt::format("PodLogOptions \"{}\" is invalid: {}", pod, text),
                  fmt::format(R"({{"name":{},"kind":"PodLogOptions","causes":[{}]}})",
                              json_quote(pod), causes));
}

}  // namespace sluice::apiserver
