#include "control/apiserver/admission/webhooks/webhooks.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <optional>
#include <set>

#include "api/base/log.h"
#include "api/codec/apply/entries.h"
#include "api/codec/json.h"
#include "api/codec/patch.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/webhooks/review.h"
#include "control/apiserver/registry/conversion/conversion.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/custom/versions/converter.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/http/forwarding_responder.h"
#include "control/http/status_body.h"

namespace sluice::admission {
namespace {

using Clock = std::chrono::steady_clock;
using registry::AdmissionRequest;
using registry::Answer;
using registry::Message;
using registry::refuse;

constexpr std::string_view kComponent = "webhooks";
constexpr const char* kJsonPatch = "JSONPatch";

const char* type_of(const Webhook& hook) { return hook.mutating ? "admit" : "validating"; }

// The one who asked hears it once, however often the request was tried.
void warn(const AdmissionRequest& request, const std::string& text) {
    auto& warnings = request.call.warnings;
    if (std::find(warnings.begin(), warnings.end(), text) == warnings.end()) warnings.push_back(text);
}

void annotate(const AdmissionRequest& request, const std::string& key, const std::string& value) {
    if (request.call.responder != nullptr) http::annotate(*request.call.responder, key, value);
}

// A webhook changes neither what an object is nor which one.
Answer<void> check_identity(const Message& before, const Message& after) {
    const auto& was = codec::object_meta(before);
    const auto& is = codec::object_meta(after);
    if (was.namespace_() != is.namespace_()) {
        return refuse(registry::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"));
    }
    if (was.name() != is.name()) {
        return refuse(registry::bad_request(
            fmt::format("the name of the object ({}) does not match the name on the request ({})", is.name(),
                        was.name())));
    }
    return {};
}

// The object of the patched document: in its stored version, pruned and with defaults.
Answer<std::unique_ptr<Message>> patched_object(const AdmissionRequest& request, const codec::KindInfo& seen,
                                                const boost::json::value& document, const Message& before) {
    const auto gvk = codec::json_kind_of(document);
    const auto& wanted = seen_gvk(request, seen);
    if (!gvk || *gvk != wanted) {
        return refuse(registry::internal_error(
            fmt::format("the patched object is no {} of {}", wanted.kind, wanted.api_version())));
    }
    std::unique_ptr<Message> object = request.sent != nullptr ? request.sent->new_object() : seen.new_object();
    codec::FieldWarnings unknown;
    if (const auto read = codec::from_json_value(document, object.get(), &unknown); !read) {
        return refuse(registry::internal_error(read.error().message));
    }
    if (request.sent == nullptr) {
        const registry::Strategy& strategy = *request.call.strategy;
        if (const registry::Converter* converter = registry::converter_of(seen)) {
            auto own = converter->convert(seen, *object, request.kind);
            if (!own) return refuse(registry::internal_error(own.error().message));
            object = std::move(*own);
        }
        strategy.settle_body(object.get(), &unknown);
        auto stored = registry::to_stored(seen, std::move(object));
        if (!stored) return refuse(registry::internal_error(stored.error().message));
        object = std::move(*stored);
        strategy.set_defaults(object.get());
    }
    if (auto ok = check_identity(before, *object); !ok) return refuse(std::move(ok).error());
    auto& meta = codec::object_meta(*object);
    // The record of who owns what is the server's; one that cannot be read is not taken.
    if (!codec::read_managers(meta)) *meta.mutable_managedfields() = codec::object_meta(before).managedfields();
    if (const auto ok = codec::normalise(object.get()); !ok) {
        return refuse(registry::internal_error(ok.error().message));
    }
    return object;
}

}  // namespace

struct Webhooks::Verdict {
    CallResult result;
    std::string failure;           // kFailed: why
    registry::StatusError refusal;  // kDenied, kInternal
    Response response;             // of an answer
    Clock::duration elapsed{};

    void fail(int code, std::string why) {
        result = {CallResult::Kind::kFailed, code, false};
        failure = std::move(why);
    }
    void refuse_by_server(registry::StatusError error) {
        result = {CallResult::Kind::kInternal, error.code, true};
        refusal = std::move(error);
    }
};

// One call, from its start to what is done about it.
class Webhooks::Asking {
public:
    Asking(const Webhooks& owner, const Webhook& hook, std::size_t index, const AdmissionRequest& request,
           const codec::KindInfo& seen)
        : owner_(owner), hook_(hook), index_(index), request_(request), seen_(seen), start_(Clock::now()) {}

    void start(std::string_view object, std::string_view old) {
        constexpr int kBadRequest = 400;
        if (request_.dry_run && !hook_.dry_runs) {
            return verdict_.refuse_by_server(registry::bad_request(fmt::format(
                "admission webhook {} does not support dry run", registry::go_quote(hook_.name))));
        }
        if (hook_.review_version.empty()) {
            return verdict_.fail(kBadRequest,
                                 "could not create admission objects: webhook does not accept known AdmissionReview "
                                 "versions (v1, v1beta1)");
        }
        uid_ = registry::new_uid();
        auto call = owner_.caller_.start(hook_.client, registry::services_of(*request_.call.core),
                                         review_request(hook_, request_, seen_, uid_, object, old),
                                         std::chrono::seconds(hook_.timeout_s));
        if (!call) return verdict_.fail(kUnavailable, "failed to call webhook: " + call.error().message);
        call_ = std::move(*call);
    }

    // Waits for the answer.
    Verdict& finish() {
        if (call_ == nullptr) return verdict_;
        const auto answer = call_->wait();
        call_.reset();
        verdict_.elapsed = Clock::now() - start_;
        if (!answer) {
            verdict_.fail(kUnavailable, "failed to call webhook: " + answer.error().message);
            return verdict_;
        }
        verdict_.elapsed = answer->finished - start_;
        constexpr int kOk = 200;
        constexpr int kMultipleChoices = 300;
        if (answer->status < kOk || answer->status >= kMultipleChoices) {
            verdict_.fail(answer->status, "failed to call webhook: " +
                                              webhooks::failure_text(answer->status, answer->body));
            return verdict_;
        }
        auto response = read_review(hook_, answer->body, uid_);
        if (!response) {
            const bool unreadable = response.error().code != Code::kFailedPrecondition;
            const std::string what =
                unreadable ? "failed to call webhook: " : "received invalid webhook response: ";
            verdict_.fail(kUnavailable, what + response.error().message);
            return verdict_;
        }
        verdict_.response = std::move(*response);
        for (const auto& [key, value] : verdict_.response.auditannotations()) {
            annotate(request_, hook_.name + "/" + key, value);
        }
        for (const std::string& warning : verdict_.response.warnings()) warn(request_, warning);
        if (!verdict_.response.allowed()) {
            verdict_.refusal = denial(hook_, verdict_.response);
            verdict_.result = {CallResult::Kind::kDenied, verdict_.refusal.code, true};
        }
        return verdict_;
    }

    // Counts the call, and says what the request's fate is.
    Answer<void> conclude(int round) {
        auto& result = verdict_.result;
        const bool failed = result.kind == CallResult::Kind::kFailed;
        // A server that ends asks nobody any more, and does nothing unasked.
        if (failed && owner_.caller_.stopped()) return refuse(registry::unavailable("the server is shutting down"));
        if (failed) result.rejected = !hook_.ignore_failures;
        owner_.metrics_.record(hook_.name, type_of(hook_), operation_name(request_.operation), verdict_.elapsed,
                               result);
        if (result.kind == CallResult::Kind::kAllowed) return {};
        if (!failed) return refuse(verdict_.refusal);
        const std::string text =
            fmt::format("failed calling webhook {}: {}", registry::go_quote(hook_.name), verdict_.failure);
        if (!hook_.ignore_failures) {
            log::warn(kComponent, "failing closed: {}", text);
            return refuse(registry::internal_error(text));
        }
        log::warn(kComponent, "failing open: {}", text);
        owner_.metrics_.record_fail_open(hook_.name, type_of(hook_));
        annotate(request_,
                 fmt::format("failed-open.{}.webhook.admission.k8s.io/round_{}_index_{}",
                             hook_.mutating ? "mutation" : "validating", round, index_),
                 hook_.name);
        return {};
    }

    [[nodiscard]] const Webhook& hook() const { return hook_; }

private:
    // Of a webhook that did not answer.
    static constexpr int kUnavailable = 503;

    const Webhooks& owner_;
    const Webhook& hook_;
    const std::size_t index_;
    const AdmissionRequest& request_;
    const codec::KindInfo& seen_;
    const Clock::time_point start_;
    std::string uid_;
    std::unique_ptr<webhooks::Caller::Call> call_;
    Verdict verdict_;
};

// The mutating webhooks of one request, in two rounds at most: when one changed the object, those that wish so and were
// asked before it are asked again.
class Webhooks::Mutation {
public:
    Mutation(const Webhooks& owner, const AdmissionRequest& request, Message* object, const Hooks& hooks)
        : owner_(owner), request_(request), object_(object), hooks_(hooks) {
        variables_.emplace(request, owner.authorizer_);
    }

    Answer<void> run(const registry::Admission::AdmitAgain& again) {
        if (auto ok = round(0); !ok) return ok;
        if (!changed_ || !again) return {};
        const std::string before = codec::encode_json(*object_);
        if (auto ok = again(); !ok) return ok;
        variables_.emplace(request_, owner_.authorizer_);
        if (codec::encode_json(*object_) != before) require_again();
        return round(1);
    }

private:
    Answer<void> round(int number) {
        for (std::size_t i = 0; i < hooks_.size(); ++i) {
            const Webhook& hook = *hooks_[i];
            auto found = match(hook.criteria, request_);
            if (!found) return refuse(std::move(found).error());
            if (found->kind == nullptr || (number > 0 && !required_.contains(&hook))) continue;
            auto meets = owner_.meets_conditions(hook, request_, *found->kind, *variables_);
            if (!meets) return refuse(std::move(meets).error());
            if (!*meets) continue;
            Asking asking(owner_, hook, i, request_, *found->kind);
            const auto object = seen_object(request_, *found->kind);
            if (!object) return refuse(object.error());
            const auto old = seen_json(request_, *found->kind, request_.old);
            if (!old) return refuse(old.error());
            asking.start(*object, *old);
            Verdict& verdict = asking.finish();
            const bool changed = take_patch(hook, *found->kind, *object, &verdict);
            annotate(request_, fmt::format("mutation.webhook.admission.k8s.io/round_{}_index_{}", number, i),
                     fmt::format(R"({{"configuration":{},"webhook":{},"mutated":{}}})",
                                 http::json_quote(hook.configuration), http::json_quote(hook.name), changed));
            if (changed) {
                changed_ = true;
                variables_.emplace(request_, owner_.authorizer_);
                require_again();
            }
            if (hook.again) asked_.insert(&hook);
            if (auto ok = asking.conclude(number); !ok) return ok;
        }
        return {};
    }

    void require_again() {
        required_.insert(asked_.begin(), asked_.end());
        asked_.clear();
    }

    // Whether the object is another one now. What is wrong with the patch goes into the verdict.
    bool take_patch(const Webhook& hook, const codec::KindInfo& seen, const std::string& text, Verdict* verdict) {
        constexpr int kUnavailable = 503;
        constexpr int kBadRequest = 400;
        const Response& response = verdict->response;
        if (verdict->result.kind != CallResult::Kind::kAllowed || response.patch().empty()) return false;
        const auto patch = codec::parse_json(response.patch());
        if (!patch || !patch->is_array()) {
            verdict->fail(kUnavailable, "received undecodable patch in webhook response: " +
                                            (patch ? std::string("it is no array of operations")
                                                   : patch.error().message));
            return false;
        }
        if (patch->as_array().empty()) return false;
        if (object_ == nullptr) {
            verdict->refuse_by_server(registry::internal_error(
                fmt::format("admission webhook {} attempted to modify the object, which is not supported for this "
                            "operation",
                            registry::go_quote(hook.name))));
            return false;
        }
        if (response.patchtype() != kJsonPatch) {
            verdict->fail(kBadRequest,
                          fmt::format("unsupported patch type {}", registry::go_quote(response.patchtype())));
            return false;
        }
        auto document = codec::parse_json(text);
        SLUICE_ASSERT(document.has_value());  // the codec wrote it
        if (const auto applied = codec::apply_json_patch(&*document, *patch); !applied) {
            verdict->refuse_by_server(registry::internal_error(applied.error().message));
            return false;
        }
        auto after = patched_object(request_, seen, *document, *object_);
        if (!after) {
            verdict->refuse_by_server(std::move(after).error());
            return false;
        }
        const bool changed = codec::encode_json(*object_) != codec::encode_json(**after);
        object_->CopyFrom(**after);
        return changed;
    }

    const Webhooks& owner_;
    const AdmissionRequest& request_;
    Message* const object_;
    const Hooks& hooks_;
    bool changed_ = false;
    std::optional<RequestVariables> variables_;  // of the object as it is now
    std::set<const Webhook*> asked_;     // that wish to be asked again, since the last change
    std::set<const Webhook*> required_;  // in the second round
};

Webhooks::Webhooks(const authorization::Authorizer& authorizer, bool mutating, bool validating)
    : authorizer_(authorizer), mutates_(mutating), validates_(validating) {
    for (auto& ordered : ordered_) ordered = std::make_shared<const Hooks>();
}

Webhooks::~Webhooks() { Webhooks::stop(); }

Result<void> Webhooks::start(registry::Api& api) {
    for (const bool mutating : {true, false}) {
        if (!(mutating ? mutates_ : validates_)) continue;
        const auto& kind = registry::kind_named("admissionregistration.k8s.io", "v1",
                                                mutating ? "mutatingwebhookconfigurations"
                                                         : "validatingwebhookconfigurations");
        SLUICE_TRY_ASSIGN(auto observation,
                          api.observe(kind, true, [this, mutating](const registry::Observed& observed) {
                              seen(observed, mutating);
                          }));
        observations_.push_back(std::move(observation));
    }
    return {};
}

void Webhooks::stop() {
    observations_.clear();
    caller_.stop();
}

void Webhooks::seen(const registry::Observed& observed, bool mutating) {
    Hooks hooks;
    if (observed.object != nullptr && mutating) {
        hooks = webhooks_of(static_cast<const admissionv1::MutatingWebhookConfiguration&>(*observed.object));
    } else if (observed.object != nullptr) {
        hooks = webhooks_of(static_cast<const admissionv1::ValidatingWebhookConfiguration&>(*observed.object));
    }
    const std::lock_guard lock(mutex_);
    auto& configured = configured_[mutating ? 0 : 1];
    if (hooks.empty()) {
        configured.erase(observed.name);
    } else {
        configured[observed.name] = std::move(hooks);
    }
    auto ordered = std::make_shared<Hooks>();
    for (const auto& [name, of_one] : configured) ordered->insert(ordered->end(), of_one.begin(), of_one.end());
    ordered_[mutating ? 0 : 1] = std::move(ordered);
    count_.store(ordered_[0]->size() + ordered_[1]->size(), std::memory_order_release);
}

bool Webhooks::any(std::string_view resource) const {
    if (none()) return false;
    for (const bool mutating : {true, false}) {
        const auto all = hooks(mutating);
        if (std::ranges::any_of(*all, [&](const WebhookPtr& hook) { return may_be_about(hook->criteria, resource); })) {
            return true;
        }
    }
    return false;
}

std::shared_ptr<const Webhooks::Hooks> Webhooks::hooks(bool mutating) const {
    const std::lock_guard lock(mutex_);
    return ordered_[mutating ? 0 : 1];
}

Answer<bool> Webhooks::meets_conditions(const Webhook& hook, const AdmissionRequest& request,
                                        const codec::KindInfo& seen, RequestVariables& variables) const {
    if (hook.conditions == nullptr) return true;
    SeenRequest values(variables, seen);
    values.hide_namespace();
    const ConditionsVerdict verdict = evaluate_conditions(*hook.conditions, values);
    metrics_.record_conditions(hook.name, type_of(hook), operation_name(request.operation), verdict.errors,
                               !verdict.holds);
    if (verdict.error.empty()) return verdict.holds;
    if (hook.ignore_failures) return false;
    log::warn(kComponent, "match conditions of {} failed, failing closed: {}", hook.name, verdict.error);
    return refuse(registry::forbidden(request.kind, request.name, verdict.error));
}

Answer<void> Webhooks::mutate(const AdmissionRequest& request, Message* object,
                              const registry::Admission::AdmitAgain& again) const {
    if (none() || is_exempt(request)) return {};
    const auto all = hooks(true);
    if (all->empty()) return {};
    return Mutation(*this, request, object, *all).run(again);
}

Answer<void> Webhooks::validate(const AdmissionRequest& request) const {
    if (none() || is_exempt(request)) return {};
    const auto all = hooks(false);
    std::vector<Match> matches;
    std::vector<std::unique_ptr<Asking>> asked;
    RequestVariables variables(request, authorizer_);
    for (const WebhookPtr& hook : *all) {
        auto found = match(hook->criteria, request);
        if (!found) return refuse(std::move(found).error());
        if (found->kind == nullptr) continue;
        auto meets = meets_conditions(*hook, request, *found->kind, variables);
        if (!meets) return refuse(std::move(meets).error());
        if (!*meets) continue;
        asked.push_back(std::make_unique<Asking>(*this, *hook, asked.size(), request, *found->kind));
        matches.push_back(std::move(*found));
    }
    // Most see one version; its text is made once.
    const codec::KindInfo* last = nullptr;
    std::string object;
    std::string old;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        if (last != matches[i].kind) {
            last = matches[i].kind;
            auto is = seen_object(request, *last);
            if (!is) return refuse(std::move(is).error());
            auto was = seen_json(request, *last, request.old);
            if (!was) return refuse(std::move(was).error());
            object = std::move(*is);
            old = std::move(*was);
        }
        asked[i]->start(object, old);
    }
    Answer<void> out;
    for (const auto& asking : asked) {
        asking->finish();
        auto ok = asking->conclude(0);
        if (out && !ok) out = std::move(ok);
    }
    return out;
}

std::string Webhooks::metrics() const {
    const webhooks::CallerStats calls = caller_.stats();
    return metrics_.text() +
           fmt::format("# HELP sluice_webhook_calls Calls of webhooks under way.\n"
                       "# TYPE sluice_webhook_calls gauge\n"
                       "sluice_webhook_calls {}\n"
                       "# HELP sluice_webhook_connections_total Connections made to webhooks.\n"
                       "# TYPE sluice_webhook_connections_total counter\n"
                       "sluice_webhook_connections_total {}\n"
                       "# HELP sluice_webhook_reused_connections_total Calls over a connection that was there.\n"
                       "# TYPE sluice_webhook_reused_connections_total counter\n"
                       "sluice_webhook_reused_connections_total {}\n"
                       "# HELP sluice_webhook_refused_calls_total Calls not made, as too many were under way.\n"
                       "# TYPE sluice_webhook_refused_calls_total counter\n"
                       "sluice_webhook_refused_calls_total {}\n"
                       "# HELP sluice_webhook_queued_writes Writes that wait for a thread to ask webhooks on.\n"
                       "# TYPE sluice_webhook_queued_writes gauge\n"
                       "sluice_webhook_queued_writes {}\n"
                       "# HELP sluice_webhook_refused_writes_total Writes refused, as too many waited.\n"
                       "# TYPE sluice_webhook_refused_writes_total counter\n"
                       "sluice_webhook_refused_writes_total {}\n",
                       calls.http.under_way, calls.http.dialed, calls.http.reused, calls.refused, room_.queued(),
                       room_.refused());
}

}  // namespace sluice::admission
