#include "control/apiserver/registry/rest/posting.h"

#include <google/protobuf/message.h>

#include <utility>

#include "control/apiserver/registry/api.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/body.h"
#include "control/apiserver/registry/rest/connecting.h"

namespace sluice::registry {

namespace {

class Nobody final : public PostedAdmission {
public:
    Answer<void> mutate(Message* body) override {
        (void)body;
        return {};
    }
    Answer<void> check(Message* body) override {
        (void)body;
        return {};
    }
    [[nodiscard]] const std::vector<std::string>& warnings() const override { return none_; }

private:
    const std::vector<std::string> none_;
};

class Outside final : public PostedAdmission {
public:
    Outside(const Admission& admission, Call& call, const Posted& posted)
        : admission_(admission), call_(call), posted_(posted) {}

    Answer<void> mutate(Message* body) override { return admission_.mutate_last(request(body), body, {}); }
    Answer<void> check(Message* body) override { return admission_.consult(request(body)); }
    [[nodiscard]] const std::vector<std::string>& warnings() const override { return call_.warnings; }

private:
    [[nodiscard]] AdmissionRequest request(const Message* body) const {
        return {
            .user = call_.request->identity,
            .operation = Operation::kCreate,
            .verb = Verb::kCreate,
            .kind = *call_.info.kind,
            .subresource = posted_.subresource,
            .name_space = posted_.name_space,
            .name = posted_.name,
            .object = body,
            .dry_run = posted_.dry_run,
            .call = call_,
            .sent = posted_.kind,
        };
    }

    const Admission& admission_;
    Call& call_;
    const Posted& posted_;
};

// A request with the strategy of a kind that has no place among the stored ones.
struct PostedCall : Call {
    explicit PostedCall(const codec::KindInfo& kind) : own_strategy(kind) { strategy = &own_strategy; }
    const Strategy own_strategy;
};

}  // namespace

void serve_posted(Api* api, std::shared_ptr<const http::Request> request,
                  std::shared_ptr<http::Responder> responder, Posted posted, AnswerBody answer) {
    const auto negotiated = negotiate_output(request->header("accept"), false);
    const OutputFormat format = negotiated.value_or(OutputFormat{});
    std::vector<std::string> warnings;
    const auto fail = [&](const StatusError& error) { respond_error(*responder, error, format.encoding, warnings); };
    if (!negotiated) return fail(negotiated.error());
    if (request->method != "POST") return fail(method_not_allowed());
    const auto options = parse_write_options(*request, "CreateOptions");
    if (!options) return fail(options.error());
    posted.dry_run = options->dry_run;
    const codec::KindInfo& kind = *posted.kind;
    auto read = read_body(*request, Strategy(kind), kind, options->validation, &warnings);
    if (!read) return fail(read.error());
    // In a function that can be copied, though it is called once.
    const auto body = std::make_shared<std::unique_ptr<Message>>(std::move(*read));
    auto task = [responder, &kind, format, body, warnings = std::move(warnings),
                 answer = std::move(answer)](PostedAdmission& admission) {
        Answer<void> done = admission.mutate(body->get());
        if (done) done = answer(admission, body->get());
        std::vector<std::string> all = warnings;
        all.insert(all.end(), admission.warnings().begin(), admission.warnings().end());
        if (!done) return respond_error(*responder, done.error(), format.encoding, all);
        constexpr int kCreated = 201;
        http::Response response;
        response.status = kCreated;
        response.headers.emplace_back("Content-Type", std::string(media_type(format.encoding)));
        add_warnings(all, &response);
        const StoredObject object(kind, std::move(*body), 0);
        response.body = encode_object(Strategy(kind), object, format, RowObject::kNone);
        responder->send(std::move(response));
    };
    if (api == nullptr) return answer_unasked(task);
    api->admit_posted(std::move(request), std::move(responder), std::move(posted), std::move(task));
}

void answer_unasked(const AnswerPosted& answer) {
    Nobody nobody;
    answer(nobody);
}

void ask_about_posted(Core& core, std::shared_ptr<const http::Request> request,
                      std::shared_ptr<http::Responder> responder, Posted posted, AnswerPosted answer) {
    const Admission* admission = core.admission.load();
    if (core.stopping) return respond_error(*responder, unavailable("the server is shutting down"), Encoding::kJson);
    const codec::KindInfo& kind = posted.resource != nullptr ? *posted.resource : *posted.kind;
    if (admission == nullptr || !admission->blocks(kind)) return answer_unasked(answer);
    const auto call = std::make_shared<PostedCall>(kind);
    call->core = &core;
    call->info.kind = &kind;
    call->info.verb = Verb::kCreate;
    call->info.name_space = posted.name_space;
    call->info.name = posted.name;
    call->info.subresource = posted.subresource;
    call->request = std::move(request);
    call->responder = std::move(responder);
    run_where_admission_waits(*admission, call,
                              [call, admission, posted = std::move(posted), answer = std::move(answer)] {
                                  Outside outside(*admission, *call, posted);
                                  answer(outside);
                              });
}

}  // namespace sluice::registry
