#include "control/apiserver/relay/relay.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "api/base/metrics_text.h"
#include "control/http/byte_stream.h"
#include "control/http/forwarding_responder.h"
#include "control/http/status_body.h"
#include "control/streaming/upgrade_relay.h"

namespace sluice::relay {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;
using ResponderPtr = std::shared_ptr<http::Responder>;

constexpr int kSwitchingProtocols = 101;
constexpr int kNoContent = 204;
constexpr int kNotModified = 304;
constexpr int kUnavailable = 503;

// Of one connection alone (RFC 9110, 7.6.1), or made anew here.
bool is_of_connection(std::string_view name) {
    static constexpr std::array<std::string_view, 10> kNames = {
        "connection", "keep-alive", "proxy-connection", "te",  "trailer",
        "trailers",   "host",       "transfer-encoding", "upgrade", "content-length"};
    return std::ranges::find(kNames, name) != kNames.end();
}

// What the other server must not have from the client: who it is by its own word, and its secrets. Answers are coded
// anew on the way to the client.
bool is_withheld(std::string_view name) {
    return name.starts_with("x-remote-") || name.starts_with("impersonate-") || name == "authorization" ||
           name == "accept-encoding" || name == "expect";
}

// "cache-control" as "Cache-Control", as this server writes names and looks for them.
std::string canonical(std::string name) {
    bool first = true;
    for (char& c : name) {
        if (first && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
        first = c == '-';
    }
    return name;
}

std::string client_address(const http::Request& request) {
    const std::string& remote = request.remote;
    const std::size_t colon = remote.rfind(':');
    std::string out = remote.substr(0, colon);
    if (out.starts_with('[')) out = out.substr(1, out.size() - 2);
    return out;
}

// The counters of one request, until the last who has a hand on it lets go.
template <class Counters>
class Counted {
public:
    explicit Counted(std::shared_ptr<Counters> counters) : counters_(std::move(counters)) {}
    ~Counted() { counters_->under_way.fetch_sub(1, std::memory_order_relaxed); }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

private:
    std::shared_ptr<Counters> counters_;
};

// The responder of a request that is counted until it is dropped.
class CountedResponder final : public http::ForwardingResponder {
public:
    CountedResponder(ResponderPtr inner, std::shared_ptr<void> counted)
        : ForwardingResponder(std::move(inner)), counted_(std::move(counted)) {}

private:
    std::shared_ptr<void> counted_;
};

// An answer whose body is waited for.
class Collected : public std::enable_shared_from_this<Collected> {
public:
    Collected(std::shared_ptr<http::ByteStream> body, http::Response head, ResponderPtr responder)
        : body_(std::move(body)), head_(std::move(head)), responder_(std::move(responder)) {}

    void gather() {
        body_->read([self = shared_from_this()](Result<std::string> bytes) {
            if (!bytes) {
                self->body_->close();
                self->responder_->send(http::text_response(
                    kUnavailable, fmt::format("error trying to reach service: {}\n", bytes.error().message)));
                return;
            }
            if (bytes->empty()) {
                self->body_->close();
                self->responder_->send(std::move(self->head_));
                return;
            }
            self->head_.body += *bytes;
            self->gather();
        });
    }

private:
    std::shared_ptr<http::ByteStream> body_;
    http::Response head_;
    ResponderPtr responder_;
};

// What the dial says by itself is not the client's to say.
void add_forwarded(const http::Request& request, http::DialRequest* dial) {
    const std::size_t own = dial->headers.size();
    for (auto& header : forwarded_headers(request)) {
        const std::string name = canonical(header.first);
        const bool said = std::any_of(dial->headers.begin(), dial->headers.begin() + static_cast<std::ptrdiff_t>(own),
                                      [&](const auto& by) { return by.first == name; });
        if (!said) dial->headers.push_back(std::move(header));
    }
}

void answer(const http::Request& request, http::DialAnswer came, const ResponderPtr& responder) {
    http::Response head;
    head.status = came.status;
    std::optional<std::uint64_t> length;
    for (auto& header : came.headers) {
        if (header.first == "content-length") {
            std::uint64_t bytes = 0;
            const char* end = header.second.data() + header.second.size();
            if (std::from_chars(header.second.data(), end, bytes).ptr == end) length = bytes;
        }
        if (is_of_connection(header.first)) continue;
        head.headers.emplace_back(canonical(header.first), std::move(header.second));
    }
    const bool head_alone = request.method == "HEAD";
    if (came.status == kNoContent || came.status == kNotModified || head_alone) {
        came.stream->close();
        head.length = length;
        if (length || !head_alone) return responder->send(std::move(head));
        // A length that is not known is not 0.
        responder->begin_stream(std::move(head));
        return responder->end_stream();
    }
    if (length && *length <= kMaxCollectedBytes) {
        return std::make_shared<Collected>(came.stream, std::move(head), responder)->gather();
    }
    responder->begin_stream(std::move(head));
    streaming::relay_body(came.stream, responder);
}

}  // namespace

Headers forwarded_headers(const http::Request& request) {
    Headers out;
    std::string forwarded;
    for (const auto& header : request.headers) {
        if (header.first == "x-forwarded-for") {
            forwarded += (forwarded.empty() ? "" : ", ") + header.second;
        } else if (!is_of_connection(header.first) && !is_withheld(header.first)) {
            out.push_back(header);
        }
    }
    const std::string client = client_address(request);
    if (!client.empty()) forwarded += (forwarded.empty() ? "" : ", ") + client;
    if (!forwarded.empty()) out.emplace_back("X-Forwarded-For", forwarded);
    return out;
}

void Relay::forward(http::DialRequest dial, const std::shared_ptr<const http::Request>& request,
                    ResponderPtr responder) {
    if (counters_->under_way.fetch_add(1, std::memory_order_relaxed) >= kMaxRelayed) {
        counters_->under_way.fetch_sub(1, std::memory_order_relaxed);
        counters_->refused.fetch_add(1, std::memory_order_relaxed);
        http::Response out = http::status_response(
            429, "TooManyRequests",
            fmt::format("more than {} requests of other servers are under way", kMaxRelayed));
        out.headers.emplace_back("Retry-After", "1");
        return responder->send(std::move(out));
    }
    counters_->relayed.fetch_add(1, std::memory_order_relaxed);
    auto counted = std::make_shared<Counted<Counters>>(counters_);
    const auto counting = std::make_shared<CountedResponder>(std::move(responder), counted);
    add_forwarded(*request, &dial);
    if (!dial.waits_for_answer) dial.timeout_ms = kRelayTimeoutMs;
    dial.method = request->method;
    const auto unreachable = [counters = counters_](const Error& error) {
        if (error.code != Code::kCancelled) counters->failed.fetch_add(1, std::memory_order_relaxed);
        return http::text_response(kUnavailable, fmt::format("error trying to reach service: {}\n", error.message));
    };
    if (streaming::wants_upgrade(*request)) {
        dial.headers.emplace_back("Connection", "Upgrade");
        dial.headers.emplace_back("Upgrade", std::string(request->header("upgrade")));
        if (!request->body.empty() || request->method == "POST") {
            dial.headers.emplace_back("Content-Length", std::to_string(request->body.size()));
        }
        dial.body = request->body;
        return streaming::relay_upgrade(
            *dialer_, std::move(dial), counting, unreachable,
            [request](http::DialAnswer came, const ResponderPtr& to) { answer(*request, std::move(came), to); });
    }
    dial.headers.emplace_back("Connection", "close");
    const bool bodiless = request->method == "GET" || request->method == "HEAD";
    if (!request->body.empty() || !bodiless) {
        dial.headers.emplace_back("Content-Length", std::to_string(request->body.size()));
    }
    dial.body = request->body;
    auto end = dialer_->dial(std::move(dial), [request, counting, unreachable](Result<http::DialAnswer> came) {
        if (!came) return counting->send(unreachable(came.error()));
        if (came->status == kSwitchingProtocols) {
            came->stream->close();
            return counting->send(unreachable(make_error(Code::kDataLoss, "an upgrade that nobody asked for")));
        }
        answer(*request, std::move(*came), counting);
    });
    counting->on_close(std::move(end));
}

Stats Relay::stats() const {
    return {counters_->under_way.load(std::memory_order_relaxed), counters_->relayed.load(std::memory_order_relaxed),
            counters_->failed.load(std::memory_order_relaxed), counters_->refused.load(std::memory_order_relaxed)};
}

std::string Relay::metrics(std::string_view prefix, std::string_view whom) const {
    const Stats now = stats();
    std::string out;
    const auto figure = [&](std::string_view name, std::string_view type, const std::string& help,
                            std::uint64_t value) {
        metrics_text::single(&out, fmt::format("{}_{}", prefix, name), type, help, value);
    };
    figure("requests", "gauge", fmt::format("Requests that {} are answering.", whom), now.under_way);
    figure("requests_total", "counter", fmt::format("Requests handed on to {}.", whom), now.relayed);
    figure("failed_requests_total", "counter", fmt::format("Requests that {} could not be asked.", whom), now.failed);
    figure("refused_requests_total", "counter", "Requests not handed on, as too many were under way.", now.refused);
    return out;
}

}  // namespace sluice::relay
