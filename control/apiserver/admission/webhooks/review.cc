#include "control/apiserver/admission/webhooks/review.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission {
namespace {

using registry::AdmissionRequest;

constexpr std::string_view kGroup = "admission.k8s.io";
constexpr int kMinRefusal = 400;
// What does not fit an answer's status line is none.
constexpr int kMaxStatus = 999;
constexpr int kNoStatus = 500;

Result<void> check_patch(const Webhook& hook, const Response& response) {
    const auto bad = [](std::string_view why) { return make_error(Code::kFailedPrecondition, "{}", why); };
    if (!hook.mutating) {
        if (!response.patch().empty()) return bad("validating webhook may not return response.patch");
        if (response.has_patchtype()) return bad("validating webhook may not return response.patchType");
        return {};
    }
    if (!response.patch().empty() && !response.has_patchtype()) {
        return bad("webhook returned response.patch but not response.patchType");
    }
    if (response.patch().empty() && response.has_patchtype()) {
        return bad("webhook returned response.patchType but not response.patch");
    }
    if (response.has_patchtype() && response.patchtype().empty()) {
        return bad("webhook returned invalid response.patchType of \"\"");
    }
    return {};
}

}  // namespace

std::string review_request(const Webhook& hook, const AdmissionRequest& request, const codec::KindInfo& seen,
                           std::string_view uid, std::string_view object, std::string_view old) {
    return fmt::format(
        R"({{"kind":"AdmissionReview","apiVersion":"{}/{}","request":{{"uid":"{}",{},"object":{},"oldObject":{}}}}})",
        kGroup, hook.review_version, uid, request_members(request, seen), object, old);
}

Result<Response> read_review(const Webhook& hook, std::string_view text, std::string_view uid) {
    ::k8s::io::api::admission::v1::AdmissionReview review;
    SLUICE_TRY_ASSIGN(const auto document, codec::parse_json(text));
    SLUICE_TRY_ASSIGN(const auto gvk, codec::json_kind_of(document));
    SLUICE_TRY(codec::from_json_value(document, &review));
    const auto bad = [](std::string why) { return make_error(Code::kFailedPrecondition, "{}", why); };
    if (!review.has_response()) return bad("webhook response was absent");
    Response& response = *review.mutable_response();
    // The older version was never held to these.
    if (hook.review_version == "v1beta1") {
        if (!hook.mutating) response.clear_patch();
        response.clear_patchtype();
        if (!response.patch().empty()) response.set_patchtype("JSONPatch");
        return std::move(response);
    }
    if (response.uid() != uid) {
        return bad(fmt::format("expected response.uid=\"{}\", got {}", uid, registry::go_quote(response.uid())));
    }
    if (gvk.group != kGroup || gvk.version != hook.review_version || gvk.kind != "AdmissionReview") {
        return bad(fmt::format("expected webhook response of {}/{}, Kind=AdmissionReview, got {}, Kind={}", kGroup,
                               hook.review_version, gvk.group.empty() ? "/" + gvk.version : gvk.api_version(),
                               gvk.kind));
    }
    SLUICE_TRY(check_patch(hook, response));
    return std::move(response);
}

registry::StatusError denial(const Webhook& hook, const Response& response) {
    registry::StatusError out;
    const auto& status = response.status();
    out.code = status.code() < kMinRefusal ? kMinRefusal : status.code();
    if (out.code > kMaxStatus) out.code = kNoStatus;
    out.reason = status.reason();
    const std::string denied = fmt::format("admission webhook {} denied the request", registry::go_quote(hook.name));
    if (!status.message().empty()) {
        out.message = denied + ": " + status.message();
    } else if (!status.reason().empty()) {
        out.message = denied + ": " + status.reason();
    } else {
        out.message = denied + " without explanation";
    }
    if (!status.has_details()) return out;
    const auto& details = status.details();
    out.has_details = true;
    out.name = details.name();
    out.group = details.group();
    out.kind = details.kind();
    out.uid = details.uid();
    out.retry_after_seconds = details.retryafterseconds();
    for (const auto& cause : details.causes()) {
        out.causes.push_back({cause.reason(), cause.message(), cause.field()});
    }
    return out;
}

}  // namespace sluice::admission
