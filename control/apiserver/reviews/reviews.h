// Reviews: questions to the API server that are posted and answered, and not stored. Who am I (SelfSubjectReview),
// may I, may somebody (SelfSubjectAccessReview, SubjectAccessReview, LocalSubjectAccessReview), what may I
// (SelfSubjectRulesReview).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "control/http/server.h"

namespace sluice::authorization {
class Authorizer;
}
namespace sluice::registry {
class Api;
}

namespace sluice::reviews {

// True for the paths of reviews, whatever the method.
[[nodiscard]] bool handles(std::string_view path);

// Answers 201 with the review and its status, in the encoding that the request accepts: now, or once the webhooks that
// the api knows of were asked. The authorizer outlives the api's requests; api: null while the server starts.
// REQUIRES: handles(request->path); the request itself is authorized and its identity settled.
void handle(const authorization::Authorizer& authorizer, registry::Api* api,
            std::shared_ptr<const http::Request> request, std::shared_ptr<http::Responder> responder);

}  // namespace sluice::reviews
