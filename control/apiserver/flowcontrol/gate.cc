#include "control/apiserver/flowcontrol/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <string_view>
#include <utility>

#include "control/apiserver/flowcontrol/defaults.h"
#include "control/apiserver/flowcontrol/dispatcher.h"
#include "control/http/forwarding_responder.h"
#include "control/http/status_body.h"

namespace sluice::flowcontrol {
namespace {

// As kube-apiserver asks: the queues are short, so that a second is enough for most of them to empty.
constexpr const char* kRetryAfterSeconds = "1";

http::Response too_many_requests() {
    http::Response response =
        http::text_response(429, "Too many requests, please try again later.\n");
    response.headers.emplace_back("Retry-After", kRetryAfterSeconds);
    return response;
}

bool is_long_running(const authorization::Attributes& asked) {
    static constexpr std::array<std::string_view, 5> kSubresources = {"attach", "exec", "proxy",
                                                                      "log", "portforward"};
    if (!asked.is_resource) return false;
    return std::find(kSubresources.begin(), kSubresources.end(), asked.subresource) !=
           kSubresources.end();
}

bool is_mutating(const authorization::Attributes& asked) {
    return asked.verb != "get" && asked.verb != "list" && asked.verb != "watch" &&
           asked.verb != "head" && asked.verb != "options";
}

// Gives the request's place back with its answer, and tells the client by which rules it was taken.
class SeatedResponder final : public http::ForwardingResponder {
public:
    using ForwardingResponder::ForwardingResponder;

    // REQUIRES: before anything is answered. place: whose destruction gives the place back.
    void seat(std::shared_ptr<void> place, const Schema* schema) {
        place_ = std::move(place);
        schema_ = schema;
    }
    // Tells when the client of a waiting request goes, unless the request is being handled by now: there is one
    // callback, and it is the handler's.
    void while_waiting(std::function<void()> gone) {
        const std::lock_guard lock(mutex_);
        if (!taken_) inner_->on_close(std::move(gone));
    }

    void send(http::Response response) override {
        add_headers(&response);
        inner_->send(std::move(response));
        place_.reset();
    }
    // Counts the request as a watch while it streams.
    void count_as(std::shared_ptr<WatchCounts> watches, const authorization::Attributes& watch) {
        watches_ = std::move(watches);
        topic_ = watch;
    }

    void begin_stream(http::Response head) override {
        if (watches_ != nullptr) watching_ = std::exchange(watches_, nullptr)->add(topic_);
        add_headers(&head);
        inner_->begin_stream(std::move(head));
        place_.reset();
    }
    void end_stream() override {
        inner_->end_stream();
        watching_.reset();
    }
    void abort_stream() override {
        inner_->abort_stream();
        watching_.reset();
    }
    void on_close(std::function<void()> callback) override {
        {
            const std::lock_guard lock(mutex_);
            taken_ = true;
        }
        inner_->on_close(std::move(callback));
    }
    void upgrade(http::Response head, OpenCallback on_open) override {
        inner_->upgrade(std::move(head), std::move(on_open));
        place_.reset();
    }

private:
    void add_headers(http::Response* response) const {
        if (schema_ == nullptr) return;
        response->headers.emplace_back("X-Kubernetes-PF-FlowSchema-UID", schema_->config.uid);
        response->headers.emplace_back("X-Kubernetes-PF-PriorityLevel-UID", schema_->level_uid);
    }

    std::shared_ptr<void> place_;
    const Schema* schema_ = nullptr;  // kept by place_ until the head is made
    std::shared_ptr<WatchCounts> watches_;  // of a watch that does not stream yet
    authorization::Attributes topic_;
    std::shared_ptr<void> watching_;
    std::mutex mutex_;
    bool taken_ = false;
};

// One of the requests in flight of the plain limits.
class Flight {
public:
    explicit Flight(std::shared_ptr<std::atomic<std::uint32_t>> count) : count_(std::move(count)) {}
    ~Flight() { count_->fetch_sub(1, std::memory_order_relaxed); }
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

private:
    std::shared_ptr<std::atomic<std::uint32_t>> count_;
};

}  // namespace

Gate::Gate(const GateOptions& options)
    : options_(options),
      reading_(std::make_shared<std::atomic<std::uint32_t>>(0)),
      mutating_(std::make_shared<std::atomic<std::uint32_t>>(0)) {
    const std::uint32_t seats = options.max_requests + options.max_mutating_requests;
    if (options.fairness && seats > 0) {
        dispatcher_ = Dispatcher::make(defaults(), seats,
                                       std::chrono::milliseconds(options.max_wait_ms));
    }
}

Gate::~Gate() { stop(); }

void Gate::pass(std::shared_ptr<http::Request> request, const authorization::Attributes& asked,
                std::shared_ptr<http::Responder> responder, Next next) {
    if (is_long_running(asked)) return next(std::move(request), std::move(responder));
    if (dispatcher_ == nullptr) {
        return pass_plainly(std::move(request), asked, std::move(responder), next);
    }
    auto seated = std::make_shared<SeatedResponder>(std::move(responder));
    if (asked.is_resource && asked.verb == "watch") seated->count_as(watches_, asked);
    const Work work = estimate(*request, asked, objects_, *watches_);
    const auto waiting = dispatcher_->admit(
        asked, work,
        [seated, request = std::move(request), next = std::move(next)](Verdict verdict) mutable {
            const bool runs = verdict.seats != nullptr;
            // The schema lives as long as the place does, seats or not.
            auto place = std::make_shared<Verdict>(std::move(verdict));
            const Schema* schema = place->schema.get();
            seated->seat(std::move(place), schema);
            if (runs) {
                next(std::move(request), std::move(seated));
            } else {
                seated->send(too_many_requests());
            }
        });
    if (waiting == nullptr) return;
    seated->while_waiting(
        [dispatcher = std::weak_ptr(dispatcher_), weak = std::weak_ptr(waiting)] {
            const auto still = weak.lock();
            const auto owner = dispatcher.lock();
            if (still && owner) owner->cancel(still);
        });
}

void Gate::pass_plainly(std::shared_ptr<http::Request> request,
                        const authorization::Attributes& asked,
                        std::shared_ptr<http::Responder> responder, const Next& next) {
    const bool mutating = is_mutating(asked);
    const auto& count = mutating ? mutating_ : reading_;
    const std::uint32_t limit = mutating ? options_.max_mutating_requests : options_.max_requests;
    if (limit == 0) return next(std::move(request), std::move(responder));
    auto seated = std::make_shared<SeatedResponder>(std::move(responder));
    const bool full = count->fetch_add(1, std::memory_order_relaxed) >= limit;
    seated->seat(std::make_shared<Flight>(count), nullptr);
    // Whoever can mend the cluster always gets an answer.
    if (full && !authorization::in_group(asked.user, authorization::kMastersGroup)) {
        (mutating ? dropped_mutating_ : dropped_reading_).fetch_add(1, std::memory_order_relaxed);
        return seated->send(too_many_requests());
    }
    next(std::move(request), std::move(seated));
}

void Gate::configure(const Configuration& configuration) {
    if (dispatcher_ != nullptr) dispatcher_->configure(configuration);
}

void Gate::stop() {
    if (dispatcher_ != nullptr) dispatcher_->stop();
}

std::string Gate::metrics() const {
    if (dispatcher_ != nullptr) return dispatcher_->metrics();
    return fmt::format(
        "# HELP apiserver_dropped_requests_total Requests refused with 429.\n"
        "# TYPE apiserver_dropped_requests_total counter\n"
        "apiserver_dropped_requests_total{{request_kind=\"readOnly\"}} {}\n"
        "apiserver_dropped_requests_total{{request_kind=\"mutating\"}} {}\n",
        dropped_reading_.load(std::memory_order_relaxed),
        dropped_mutating_.load(std::memory_order_relaxed));
}

}  // namespace sluice::flowcontrol
