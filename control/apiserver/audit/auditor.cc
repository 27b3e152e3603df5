#include "control/apiserver/audit/auditor.h"

#include <fmt/format.h>

#include <array>
#include <mutex>
#include <random>
#include <utility>

#include "control/apiserver/audit/event.h"

namespace sluice::audit {
namespace {

using Clock = std::chrono::system_clock;

// A random UUID (version 4).
std::string new_id() {
    thread_local std::mt19937_64 random{std::random_device{}()};
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(36);
    std::uint64_t bits = 0;
    for (int i = 0; i < 32; ++i) {
        if (i % 16 == 0) bits = random();
        if (i == 8 || i == 12 || i == 16 || i == 20) out += '-';
        std::uint64_t digit = bits & 15U;
        bits >>= 4U;
        if (i == 12) digit = 4;
        if (i == 16) digit = 8U | (digit & 3U);
        out += kDigits[digit];
    }
    return out;
}

std::string host_of(const std::string& remote) {
    const std::size_t colon = remote.rfind(':');
    std::string host = remote.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    return host;
}

// As upstream: whom proxies name, then who is connected.
std::vector<std::string> sources(const http::Request& request) {
    std::vector<std::string> out;
    std::string_view forwarded = request.header("x-forwarded-for");
    constexpr std::size_t kMaxForwarded = 32;
    while (!forwarded.empty() && out.size() < kMaxForwarded) {
        const std::size_t comma = forwarded.find(',');
        std::string_view one = forwarded.substr(0, comma);
        forwarded = comma == std::string_view::npos ? std::string_view{} : forwarded.substr(comma + 1);
        while (one.starts_with(' ')) one.remove_prefix(1);
        while (one.ends_with(' ')) one.remove_suffix(1);
        if (!one.empty()) out.emplace_back(one);
    }
    const std::string host = host_of(request.remote);
    if (!host.empty() && (out.empty() || out.back() != host)) out.push_back(host);
    return out;
}

std::string content_type(const http::Response& response) {
    for (const auto& [name, value] : response.headers) {
        if (name == "Content-Type" || name == "content-type") return value;
    }
    return {};
}

}  // namespace

class RecordImpl final : public Record {
public:
    RecordImpl(std::shared_ptr<Auditor> auditor, std::shared_ptr<const http::Request> request,
               std::shared_ptr<http::Responder> inner)
        : Record(std::move(inner)), auditor_(std::move(auditor)), request_(std::move(request)) {
        const std::string_view given = request_->header("audit-id");
        id_ = given.empty() ? new_id() : std::string(given.substr(0, kMaxAuditIdBytes));
    }
    // Of a stream, its end; otherwise the connection answers 500.
    ~RecordImpl() override {
        if (!streaming_) event_.code = event_.code == 0 ? 500 : event_.code;
        complete();
    }
    RecordImpl(const RecordImpl&) = delete;
    RecordImpl& operator=(const RecordImpl&) = delete;

    void identified(const authorization::Attributes& asked, const http::Identity& before) override {
        if (!auditor_->policy_) return;
        verdict_ = auditor_->policy_->decide(asked, before);
        if (verdict_.level == Level::kNone) return;
        event_.level = verdict_.level;
        event_.id = id_;
        event_.request_uri = request_->target.empty() ? request_->path : request_->target;
        event_.verb = asked.verb;
        event_.user = before;
        if (asked.user.user != before.user) {
            event_.impersonated_user = asked.user.user;
            event_.impersonated_groups = asked.user.groups;
            event_.impersonated_uid = asked.user.uid;
        }
        event_.source_ips = sources(*request_);
        event_.user_agent = std::string(request_->header("user-agent"));
        event_.asked = asked;
        note(Stage::kRequestReceived);
    }
    void authorized(bool allowed, std::string_view reason) override {
        if (verdict_.level == Level::kNone) return;
        event_.annotations = {{"authorization.k8s.io/decision", allowed ? "allow" : "forbid"},
                              {"authorization.k8s.io/reason", std::string(reason)}};
    }

    void annotate(const std::string& key, const std::string& value) override {
        if (verdict_.level != Level::kNone) event_.annotations.emplace_back(key, value);
    }

    void send(http::Response response) override {
        response.headers.emplace_back("Audit-ID", id_);
        keep_answer(response);
        inner_->send(std::move(response));
        complete();
    }
    void begin_stream(http::Response head) override {
        head.headers.emplace_back("Audit-ID", id_);
        streaming_ = true;
        event_.code = head.status;
        inner_->begin_stream(std::move(head));
        if (verdict_.level != Level::kNone) note(Stage::kResponseStarted);
    }
    void upgrade(http::Response head, OpenCallback on_open) override {
        head.headers.emplace_back("Audit-ID", id_);
        event_.code = head.status;
        inner_->upgrade(std::move(head), std::move(on_open));
        if (verdict_.level != Level::kNone) note(Stage::kResponseStarted);
        complete();
    }

private:
    std::string as_json(std::string_view body, std::string_view type) const {
        if (body.empty()) return {};
        const bool is_json = type.empty() || type.find("json") != std::string_view::npos;
        std::string out;
        if (is_json && (body.front() == '{' || body.front() == '[')) {
            out = body;
        } else if (auditor_->options_.to_json) {
            out = auditor_->options_.to_json(body, type).value_or("");
        }
        // A line of the log is one object: what breaks lines, or is no JSON at all, must not get into it.
        if (!out.empty()) out = one_line(out);
        if (!out.empty() && verdict_.omit_managed_fields) out = without_managed_fields(out);
        return out;
    }
    void keep_answer(const http::Response& response) {
        event_.code = response.status;
        if (verdict_.level == Level::kNone) return;
        if (response.status >= 400) event_.status_fields = status_members(response.body);
        if (verdict_.level == Level::kRequestResponse) {
            event_.response_object = as_json(response.body, content_type(response));
        }
    }
    void note(Stage stage) {
        if (verdict_.omitted[static_cast<std::size_t>(stage)]) return;
        auditor_->events_.fetch_add(1, std::memory_order_relaxed);
        auditor_->log_->append(to_line(event_, stage, Clock::now()));
    }
    void complete() {
        if (std::exchange(complete_, true) || verdict_.level == Level::kNone) return;
        if (verdict_.level >= Level::kRequest) {
            event_.request_object = as_json(request_->body, request_->header("content-type"));
        }
        note(Stage::kResponseComplete);
        event_.request_object = {};
        event_.response_object = {};
    }

    const std::shared_ptr<Auditor> auditor_;
    const std::shared_ptr<const http::Request> request_;
    std::string id_;
    Verdict verdict_;
    Event event_ = [] {
        Event event;
        event.received = Clock::now();
        return event;
    }();
    bool streaming_ = false;
    bool complete_ = false;
};

Result<std::shared_ptr<Auditor>> Auditor::create(AuditOptions options) {
    std::shared_ptr<Auditor> out(new Auditor(std::move(options)));
    const AuditOptions& given = out->options_;
    if (given.policy_path.empty() || given.log.path.empty()) return out;
    SLUICE_TRY_ASSIGN(out->policy_, Policy::load(given.policy_path));
    SLUICE_TRY_ASSIGN(out->log_, LogFile::open(given.log));
    return out;
}

std::shared_ptr<Record> Auditor::begin(std::shared_ptr<const http::Request> request,
                                       std::shared_ptr<http::Responder> responder) {
    return std::make_shared<RecordImpl>(shared_from_this(), std::move(request),
                                        std::move(responder));
}

void Auditor::flush() {
    if (log_ != nullptr) log_->flush();
}

std::string Auditor::metrics() const {
    const LogStats stats = log_ != nullptr ? log_->stats() : LogStats{};
    return fmt::format(
        "# HELP apiserver_audit_event_total Audit events that were made.\n"
        "# TYPE apiserver_audit_event_total counter\n"
        "apiserver_audit_event_total {}\n"
        "# HELP apiserver_audit_error_total Audit events that were not written.\n"
        "# TYPE apiserver_audit_error_total counter\n"
        "apiserver_audit_error_total{{plugin=\"log\"}} {}\n"
        "# HELP sluice_audit_dropped_events_total Audit events that found the buffer full.\n"
        "# TYPE sluice_audit_dropped_events_total counter\n"
        "sluice_audit_dropped_events_total {}\n"
        "# HELP sluice_audit_rotations_total Rotations of the audit log.\n"
        "# TYPE sluice_audit_rotations_total counter\n"
        "sluice_audit_rotations_total {}\n",
        events_.load(std::memory_order_relaxed), stats.dropped + stats.failed, stats.dropped,
        stats.rotations);
}

}  // namespace sluice::audit
