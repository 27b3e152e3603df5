// AdmissionReview: what a webhook is told of a request, and what it answers. Pure.
#pragma once

#include <string>
#include <string_view>

#include "api/base/result.h"
#include "api/kubernetes/admission/v1/admission.pb.h"
#include "control/apiserver/admission/matching/seen.h"
#include "control/apiserver/admission/webhooks/webhook.h"

namespace sluice::admission {

using Response = ::k8s::io::api::admission::v1::AdmissionResponse;

// An AdmissionReview with a request. object and old: as seen_json gives them.
[[nodiscard]] std::string review_request(const Webhook& hook, const registry::AdmissionRequest& request,
                                         const codec::KindInfo& seen, std::string_view uid, std::string_view object,
                                         std::string_view old);
// What it answered. The error says what is wrong with the answer, in kube-apiserver's words. kInvalidArgument: it
// cannot be read at all; kFailedPrecondition: it is no answer to this request.
Result<Response> read_review(const Webhook& hook, std::string_view text, std::string_view uid);

// The refusal that the answer is, or stands for.
[[nodiscard]] registry::StatusError denial(const Webhook& hook, const Response& response);

}  // namespace sluice::admission
