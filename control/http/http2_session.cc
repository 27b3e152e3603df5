// Streams of HTTP/2: from request to answer. What nghttp2 calls back is in http2_callbacks.cc.
#include <fmt/core.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "api/base/log.h"
#include "control/http/exchange.h"
#include "control/http/gzip.h"
#include "control/http/http2_callbacks_private.h"
#include "control/http/loop_private.h"
#include "control/http/status_body.h"
#include "control/http/uri.h"

namespace sluice::http {
namespace {

constexpr std::string_view kComponent = "http";
constexpr std::uint32_t kStreamWindowBytes = 256U << 10U;  // as kube-apiserver's
constexpr std::int32_t kConnectionWindowBytes = 4 << 20;
constexpr std::size_t kMaxOutboundFrames = 10'000;  // of a client that lets answers pile up
constexpr std::size_t kSlowestBytesPerSecond = 64U << 10U;
constexpr auto kGoawayPause = std::chrono::milliseconds(1'000);
constexpr auto kNever = Peer::Clock::time_point::max();

std::chrono::milliseconds ms(std::uint32_t value) { return std::chrono::milliseconds(value); }

// Headers that belong to the connection, which HTTP/2 forbids, and those that are set here.
bool is_dropped(std::string_view name) {
    static constexpr std::array<std::string_view, 7> kDropped = {
        "connection", "keep-alive",     "proxy-connection", "transfer-encoding",
        "upgrade",    "content-length", "date"};
    return std::find(kDropped.begin(), kDropped.end(), name) != kDropped.end();
}

std::string clean(std::string_view value) {
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
    std::string out(value);
    std::replace_if(
        out.begin(), out.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; }, ' ');
    return out;
}

}  // namespace

void ReadyList::add(std::int32_t id) {
    const std::lock_guard lock(mutex);
    ids.push_back(id);
    if (scheduled || attended || !schedule) return;
    scheduled = true;
    schedule();
}

bool TokenBucket::take(Peer::Clock::time_point now) {
    if (last_ != Peer::Clock::time_point{}) {
        const double seconds = std::chrono::duration<double>(now - last_).count();
        left_ = std::min(burst_, left_ + seconds * per_second_);
    }
    last_ = now;
    if (left_ < 1) return false;
    left_ -= 1;
    return true;
}

void Http2Session::Deleter::operator()(nghttp2_session* session) const {
    nghttp2_session_del(session);
}

Http2Session::Http2Session(Shared* shared, const std::string* date, std::string remote,
                           CertificateIdentity certificate, std::function<void()> schedule)
    : shared_(shared),
      date_(date),
      remote_(std::move(remote)),
      certificate_(std::move(certificate)),
      ready_(std::make_shared<ReadyList>()),
      running_(std::make_shared<std::atomic<std::uint32_t>>(0)),
      resets_(kResetBurst, kResetsPerSecond),
      control_frames_(kControlFrameBurst, kControlFramesPerSecond),
      random_(std::random_device{}()),
      now_(Clock::now()),
      header_deadline_(now_ + ms(shared->timeouts.header_ms)) {
    ready_->schedule = std::move(schedule);
    session_.reset(new_server_session(this));
    const std::array<nghttp2_settings_entry, 3> settings = {{
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, shared_->max_concurrent_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindowBytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(kMaxHeaderBytes)},
    }};
    nghttp2_submit_settings(session_.get(), NGHTTP2_FLAG_NONE, settings.data(), settings.size());
    nghttp2_session_set_local_window_size(session_.get(), NGHTTP2_FLAG_NONE, 0,
                                          kConnectionWindowBytes);
}

Http2Session::~Http2Session() { close(); }

Http2Stream* Http2Session::find(std::int32_t id) {
    const auto found = streams_.find(id);
    return found == streams_.end() ? nullptr : found->second.get();
}

// While the loop's thread is at work here, wake() needs no post. What is left in the list at the end does.
void Http2Session::attend(bool on) {
    const std::lock_guard lock(ready_->mutex);
    ready_->attended = on;
    if (on || ready_->ids.empty() || ready_->scheduled || !ready_->schedule) return;
    ready_->scheduled = true;
    ready_->schedule();
}

// Requests -----------------------------------------------------------------------------------------

bool Http2Session::receive(std::string_view bytes) {
    now_ = Clock::now();
    const auto taken = nghttp2_session_mem_recv(
        session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    if (taken < 0) {
        auto& counters = shared_->counters;
        const auto code = static_cast<int>(taken);
        (code == NGHTTP2_ERR_FLOODED ? counters.flooded_connections : counters.broken_connections)
            .fetch_add(1, std::memory_order_relaxed);
        log::debug(kComponent, "{} breaks HTTP/2: {}", remote_, nghttp2_strerror(code));
        return false;
    }
    if (nghttp2_session_get_outbound_queue_size(session_.get()) > kMaxOutboundFrames) {
        flooded("frames that it does not take");
        return false;
    }
    bury_all();
    dispatch_all();
    return true;
}

void Http2Session::take_field(Http2Stream* stream, std::string_view name, std::string_view value) {
    constexpr std::size_t kFieldOverhead = 32;  // RFC 9113, 6.5.2
    stream->header_bytes += name.size() + value.size() + kFieldOverhead;
    ++stream->fields;
    if (stream->oversized || stream->header_bytes > kMaxHeaderBytes ||
        stream->fields > kMaxHeaderFields || value.size() > kMaxTargetBytes) {
        stream->oversized = true;
        stream->request->headers.clear();
        return;
    }
    if (name == ":method") {
        stream->request->method = value;
    } else if (name == ":path") {
        stream->target = value;
    } else if (name == ":authority") {
        stream->authority = value;
    } else if (!name.starts_with(':')) {
        stream->request->headers.emplace_back(name, value);
    }
}

void Http2Session::accept_header(Http2Stream* stream) {
    Request& request = *stream->request;
    stream->phase = Http2Stream::Phase::kBody;
    stream->deadline = now_ + ms(shared_->timeouts.body_ms);
    shared_->counters.http2_requests.fetch_add(1, std::memory_order_relaxed);
    if (stream->oversized) {
        shared_->counters.oversized_requests.fetch_add(1, std::memory_order_relaxed);
        return refuse(stream, header_too_large());
    }
    stream->head_only = request.method == "HEAD";
    stream->gzip_accepted = accepts_gzip(request.header("accept-encoding"));
    if (!stream->authority.empty() && request.header("host").empty()) {
        request.headers.emplace_back("host", stream->authority);
    }
    auto identity = authenticate(*shared_, certificate_, request.header("authorization"));
    if (!identity) return refuse(stream, unauthorized());
    request.identity = std::move(*identity);
    stream->anonymous = request.identity.user.empty();
    const std::string_view length = request.header("content-length");
    if (!length.empty() && !stream->request_complete) {
        std::uint64_t bytes = 0;
        for (const char c : length.substr(0, 18)) bytes = bytes * 10 + static_cast<unsigned>(c - '0');
        if (bytes > kMaxBodyBytes) {
            shared_->counters.oversized_requests.fetch_add(1, std::memory_order_relaxed);
            return refuse(stream, body_too_large());
        }
        if (stream->anonymous && bytes > kMaxAnonymousBodyBytes) {
            return refuse(stream, unauthorized());
        }
    }
    if (!stream->request_complete && lower_case(request.header("expect")) == "100-continue") {
        const nghttp2_nv status = header_field(":status", "100");
        nghttp2_submit_headers(session_.get(), NGHTTP2_FLAG_NONE, stream->id, nullptr, &status, 1,
                               nullptr);
    }
}

void Http2Session::take_body(Http2Stream* stream, std::string_view bytes) {
    if (stream->phase != Http2Stream::Phase::kBody) return;
    std::string& body = stream->request->body;
    if (stream->anonymous && body.size() + bytes.size() > kMaxAnonymousBodyBytes) {
        return refuse(stream, unauthorized());
    }
    if (body.size() + bytes.size() > kMaxBodyBytes) {
        shared_->counters.oversized_requests.fetch_add(1, std::memory_order_relaxed);
        return refuse(stream, body_too_large());
    }
    body.append(bytes);
}

void Http2Session::complete(Http2Stream* stream) {
    stream->request_complete = true;
    if (stream->phase != Http2Stream::Phase::kBody) return;
    auto target = parse_target(stream->target);
    if (!target) {
        shared_->counters.malformed_requests.fetch_add(1, std::memory_order_relaxed);
        return refuse(stream, text_response(400, fmt::format("400 Bad Request: {}",
                                                             target.error().message)));
    }
    stream->request->path = std::move(target->path);
    stream->request->query = std::move(target->query);
    stream->request->remote = remote_;
    stream->request->target = std::move(stream->target);
    const auto time_ms = request_time_ms(*stream->request, *shared_);
    if (!time_ms) {
        shared_->counters.malformed_requests.fetch_add(1, std::memory_order_relaxed);
        return refuse(stream, status_response(400, "BadRequest", time_ms.error().message));
    }
    stream->time_ms = *time_ms;
    stream->phase = Http2Stream::Phase::kQueued;
    to_dispatch_.push_back(stream->id);
}

void Http2Session::dispatch_all() {
    if (to_dispatch_.empty()) return;
    // Handlers are called outside of nghttp2's callbacks, and may wake streams, but never change this list.
    attend(true);
    for (const std::int32_t id : std::exchange(to_dispatch_, {})) {
        Http2Stream* stream = find(id);
        if (stream != nullptr && stream->phase == Http2Stream::Phase::kQueued) dispatch(stream);
    }
    pull();
    attend(false);
}

void Http2Session::dispatch(Http2Stream* stream) {
    // A client that gives its requests up as soon as they are sent makes the server work for nobody.
    if (running_->load(std::memory_order_relaxed) >=
        shared_->max_concurrent_streams * (1 + kMaxOrphansPerStream)) {
        flooded("requests that it gave up");
        return;
    }
    if (shared_->goaway_chance > 0 && !draining_ &&
        std::uniform_real_distribution<double>(0, 1)(random_) < shared_->goaway_chance) {
        shared_->counters.goaways.fetch_add(1, std::memory_order_relaxed);
        leave_gracefully();
    }
    stream->phase = Http2Stream::Phase::kHandling;
    stream->deadline = stream->time_ms == kUntimed ? kNever : now_ + ms(stream->time_ms);
    stream->answer =
        std::make_shared<Answer>(stream, stream->gzip_accepted && !stream->head_only);
    try {
        shared_->handler(std::move(stream->request),
                         std::make_shared<AnswerResponder>(stream->answer, running_));
    } catch (const std::exception& exception) {
        // The Responder that the handler dropped has answered 500 already.
        log::error(kComponent, "a handler threw: {}", exception.what());
    }
}

// Answers ------------------------------------------------------------------------------------------

void Http2Session::pull() {
    while (true) {
        std::vector<std::int32_t> ids;
        {
            const std::lock_guard lock(ready_->mutex);
            ready_->scheduled = false;
            ids.swap(ready_->ids);
        }
        if (ids.empty()) return;
        for (const std::int32_t id : ids) {
            if (Http2Stream* stream = find(id)) pull_stream(stream);
        }
    }
}

void Http2Session::pull_stream(Http2Stream* stream) {
    using Work = Answer::Work;
    if (stream->phase != Http2Stream::Phase::kHandling &&
        stream->phase != Http2Stream::Phase::kStreaming) {
        return;
    }
    // What was taken before goes first, but not for a reader that is too slow: it may never take it.
    if (stream->offset < stream->data.size() && !stream->answer->overflowed()) return;
    Work work = stream->answer->take();
    switch (work.kind) {
        case Work::Kind::kNothing:
            break;
        case Work::Kind::kResponse:
            respond(stream, std::move(work.head));
            break;
        case Work::Kind::kStream: {
            if (work.begins) begin_stream(stream, work.head);
            if (work.broken) return reset(stream, NGHTTP2_INTERNAL_ERROR);
            const std::size_t skip = work.data.empty() ? 0 : Answer::kFramingBytes;
            if (stream->head_only) work.data.clear();
            give_data(stream, std::move(work.data), stream->head_only ? 0 : skip, work.ends);
            break;
        }
        case Work::Kind::kUpgrade:
            // Connections of HTTP/2 are not given away; clients that want that offer http/1.1 only.
            work.on_open(nullptr);
            respond(stream, status_response(400, "BadRequest", "Upgrade request required"));
            break;
        case Work::Kind::kAbort:
            shared_->counters.overflowed_streams.fetch_add(1, std::memory_order_relaxed);
            log::warn(kComponent, "{} reads a stream too slowly, which is reset", remote_);
            reset(stream, NGHTTP2_ENHANCE_YOUR_CALM);
            break;
    }
}

void Http2Session::give_data(Http2Stream* stream, std::string data, std::size_t offset, bool last) {
    stream->data = std::move(data);
    stream->offset = offset;
    stream->last = last;
    const std::size_t bytes = stream->data.size() - offset;
    if (bytes > 0 || last) {
        stream->deadline = now_ + ms(shared_->timeouts.write_ms +
                                     static_cast<std::uint32_t>(bytes / kSlowestBytesPerSecond *
                                                                1'000));
        if (std::exchange(stream->deferred, false)) {
            nghttp2_session_resume_data(session_.get(), stream->id);
        }
    }
}

void Http2Session::begin_stream(Http2Stream* stream, const Response& head) {
    stream->phase = Http2Stream::Phase::kStreaming;
    stream->deadline = kNever;
    stream->counted = true;
    shared_->counters.streams.fetch_add(1, std::memory_order_relaxed);
    submit_head(stream, head, true, 0, false);
}

void Http2Session::respond(Http2Stream* stream, Response response) {
    stream->phase = Http2Stream::Phase::kResponding;
    const bool no_body = response.status == 204 || response.status == 304;
    const std::size_t length = no_body ? 0 : response.body.size();
    const bool with_body = length > 0 && !stream->head_only;
    submit_head(stream, response, with_body, stream->head_only ? response.length.value_or(length) : length, !no_body);
    give_data(stream, with_body ? std::move(response.body) : std::string(), 0, true);
}

void Http2Session::submit_head(Http2Stream* stream, const Response& response, bool with_body,
                               std::size_t length, bool length_known) {
    std::vector<std::pair<std::string, std::string>> fields;
    fields.reserve(response.headers.size() + 3);
    fields.emplace_back(":status", fmt::format("{}", response.status));
    for (const auto& [name, value] : response.headers) {
        std::string lower = lower_case(name);
        if (!is_dropped(lower)) fields.emplace_back(std::move(lower), clean(value));
    }
    if (length_known) fields.emplace_back("content-length", fmt::format("{}", length));
    fields.emplace_back("date", *date_);
    std::vector<nghttp2_nv> out;
    out.reserve(fields.size());
    for (const auto& [name, value] : fields) out.push_back(header_field(name, value));
    const nghttp2_data_provider body = data_provider(stream);
    if (const int failed = nghttp2_submit_response(session_.get(), stream->id, out.data(),
                                                   out.size(), with_body ? &body : nullptr);
        failed != 0) {
        log::warn(kComponent, "an answer to {} cannot be sent: {}", remote_,
                  nghttp2_strerror(failed));
        reset(stream, NGHTTP2_INTERNAL_ERROR);
    }
}

void Http2Session::refuse(Http2Stream* stream, Response response) {
    // What is still to come of the request is dropped; the stream is reset once the answer is out.
    stream->request->body = {};
    respond(stream, std::move(response));
}

void Http2Session::reset(Http2Stream* stream, std::uint32_t error) {
    nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, stream->id, error);
}

bool Http2Session::fill(std::string* out, std::size_t limit) {
    now_ = Clock::now();
    while (out->size() < limit) {
        const std::uint8_t* bytes = nullptr;
        const auto size = nghttp2_session_mem_send(session_.get(), &bytes);
        if (size < 0) {
            log::debug(kComponent, "{}: {}", remote_, nghttp2_strerror(static_cast<int>(size)));
            return false;
        }
        if (size > 0) {
            out->append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
            continue;
        }
        // Streams that have sent what they had may have more by now.
        bury_all();
        if (exhausted_.empty()) break;
        for (const std::int32_t id : std::exchange(exhausted_, {})) {
            Http2Stream* stream = find(id);
            if (stream == nullptr || stream->offset < stream->data.size()) continue;
            if (stream->phase != Http2Stream::Phase::kStreaming) continue;
            stream->deadline = kNever;
            attend(true);
            stream->answer->written();
            attend(false);
            pull_stream(stream);
        }
        pull();
    }
    bury_all();
    return true;
}

// Ends ---------------------------------------------------------------------------------------------

void Http2Session::bury(std::int32_t id) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    const auto stream = std::move(found->second);
    streams_.erase(found);
    if (stream->counted) shared_->counters.streams.fetch_sub(1, std::memory_order_relaxed);
    if (stream->answer) stream->answer->finish();
}

void Http2Session::bury_all() {
    if (!closed_.empty()) {
        attend(true);
        for (const std::int32_t id : std::exchange(closed_, {})) bury(id);
        attend(false);
    }
    count_idle();
}

void Http2Session::count_idle() {
    if (!streams_.empty()) {
        idle_deadline_ = kNever;
    } else if (idle_deadline_ == kNever) {
        idle_deadline_ = now_ + ms(shared_->timeouts.idle_ms);
    }
}

void Http2Session::flooded(std::string_view what) {
    if (terminated_) return;
    terminated_ = true;
    shared_->counters.flooded_connections.fetch_add(1, std::memory_order_relaxed);
    log::warn(kComponent, "{} sends too many {} and is disconnected", remote_, what);
    nghttp2_session_terminate_session(session_.get(), NGHTTP2_ENHANCE_YOUR_CALM);
}

bool Http2Session::is_over() const {
    const bool idle = nghttp2_session_want_read(session_.get()) == 0 &&
                      nghttp2_session_want_write(session_.get()) == 0;
    return idle || (draining_ && goaway_deadline_ == kNever && streams_.empty());
}

bool Http2Session::is_late(Clock::time_point now) const {
    if (now >= header_deadline_ || now >= idle_deadline_ || now >= goaway_deadline_) return true;
    return std::any_of(streams_.begin(), streams_.end(),
                       [now](const auto& entry) { return now >= entry.second->deadline; });
}

bool Http2Session::check_deadlines(Clock::time_point now) {
    now_ = now;
    auto& counters = shared_->counters;
    if (now >= header_deadline_) {
        counters.timed_out_connections.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    if (now >= goaway_deadline_) {
        goaway_deadline_ = kNever;
        nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(session_.get()),
                              NGHTTP2_NO_ERROR, nullptr, 0);
    }
    if (now >= idle_deadline_) drain();
    for (auto& [id, stream] : streams_) {
        if (now < stream->deadline) continue;
        stream->deadline = kNever;
        switch (stream->phase) {
            case Http2Stream::Phase::kHandling:
                if (stream->answer->expire()) {
                    counters.timed_out_requests.fetch_add(1, std::memory_order_relaxed);
                    respond(stream.get(), timed_out());
                }
                break;
            case Http2Stream::Phase::kHeader:
            case Http2Stream::Phase::kBody:
            case Http2Stream::Phase::kQueued:
            case Http2Stream::Phase::kStreaming:
            case Http2Stream::Phase::kResponding:
                counters.slow_streams.fetch_add(1, std::memory_order_relaxed);
                reset(stream.get(), NGHTTP2_CANCEL);
                break;
        }
    }
    return true;
}

// In two steps, so that requests which are on their way meanwhile are still taken (RFC 9113, 6.8).
void Http2Session::leave_gracefully() {
    draining_ = true;
    nghttp2_submit_shutdown_notice(session_.get());
    goaway_deadline_ = now_ + kGoawayPause;
}

void Http2Session::drain() {
    draining_ = true;
    goaway_deadline_ = kNever;
    idle_deadline_ = kNever;
    nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(session_.get()),
                          NGHTTP2_NO_ERROR, nullptr, 0);
    attend(true);
    for (auto& [id, stream] : streams_) {
        if (stream->phase == Http2Stream::Phase::kStreaming) stream->answer->end_stream();
    }
    pull();
    attend(false);
}

void Http2Session::close() {
    {
        const std::lock_guard lock(ready_->mutex);
        ready_->schedule = nullptr;
    }
    closed_.clear();
    while (!streams_.empty()) bury(streams_.begin()->first);
}

}  // namespace sluice::http
