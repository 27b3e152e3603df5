// What is posted, answered and not stored (reviews, requests for tokens): served beside the resource API, but shown to
// servers outside like other creations.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/codec/scheme.h"
#include "control/apiserver/registry/rest/status_error.h"
#include "control/http/server.h"

namespace google::protobuf {
class Message;
}

namespace sluice::registry {

struct Core;
class Api;

struct Posted {
    const codec::KindInfo* kind = nullptr;      // of the body; lives as long as the process
    const codec::KindInfo* resource = nullptr;  // whose subresource it was posted to; null: its own resource
    std::string subresource;
    std::string name_space;
    std::string name;
    bool dry_run = false;
};

// What is said about one of them. Its members wait; used by one thread.
class PostedAdmission {
public:
    virtual ~PostedAdmission() = default;
    // Changes the body, before anything is checked of it.
    [[nodiscard]] virtual Answer<void> mutate(google::protobuf::Message* body) = 0;
    // Whether it may be answered, as it then is.
    [[nodiscard]] virtual Answer<void> check(google::protobuf::Message* body) = 0;
    // For the client, so far.
    [[nodiscard]] virtual const std::vector<std::string>& warnings() const = 0;
};

// Answers the request. May be called on another thread, later.
using AnswerPosted = std::function<void(PostedAdmission& admission)>;

// Answers the body: fills its status, or refuses.
using AnswerBody = std::function<Answer<void>(PostedAdmission& admission, google::protobuf::Message* body)>;

// All of it but the answer: reads the body (JSON, YAML, protobuf), has it shown to servers outside, and sends it back
// with 201, in the encoding that the request accepts; or sends the refusal. Anything but a POST is 405. api: null while
// the server starts, when there is nobody to show it to. What posted.dry_run says is taken from the request.
// REQUIRES: the request is authorized and its identity settled.
void serve_posted(Api* api, std::shared_ptr<const http::Request> request,
                  std::shared_ptr<http::Responder> responder, Posted posted, AnswerBody answer);

// Nobody is asked: on this thread.
void answer_unasked(const AnswerPosted& answer);
// Api::admit_posted.
void ask_about_posted(Core& core, std::shared_ptr<const http::Request> request,
                      std::shared_ptr<http::Responder> responder, Posted posted, AnswerPosted answer);

}  // namespace sluice::registry
