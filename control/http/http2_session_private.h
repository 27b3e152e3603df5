// HTTP/2 without its socket: bytes in, requests to the handler, answers out as bytes. Private to this folder; nghttp2
// does the framing, this the streams' lives, limits and deadlines.
//
//   receive(bytes) -> nghttp2 -> streams -> handler          all on the loop's thread
//   Answer::wake (any thread) -> ReadyList -> pull(): what the answers have -> fill(out) -> bytes
//
// A stream whose reader is slow waits in its Answer, by HTTP/2's flow control, and is reset when that is full: the
// other streams of the connection go on. Everything a client can make grow has a limit in server.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/http/answer.h"
#include "control/http/peer_private.h"
#include "control/http/tls.h"

struct nghttp2_session;

namespace sluice::http {

struct Shared;

// Streams whose answers have something, told from any thread. Outlives the session while handlers hold answers.
struct ReadyList {
    std::mutex mutex;
    std::vector<std::int32_t> ids;
    bool scheduled = false;              // schedule() was called and pull() has not come yet
    bool attended = false;               // the loop's thread is about to look anyway
    std::function<void()> schedule;      // posts a call of pull(); empty once the connection is gone

    void add(std::int32_t id);
};

// So many at once, and so many a second.
class TokenBucket {
public:
    TokenBucket(std::uint32_t burst, std::uint32_t per_second)
        : burst_(burst), per_second_(per_second), left_(burst) {}
    // False when there are too many.
    [[nodiscard]] bool take(Peer::Clock::time_point now);

private:
    double burst_;
    double per_second_;
    double left_;
    Peer::Clock::time_point last_{};
};

struct Http2Stream final : public AnswerSink {
    enum class Phase { kHeader, kBody, kQueued, kHandling, kStreaming, kResponding };

    Http2Stream(std::int32_t stream_id, std::shared_ptr<ReadyList> list)
        : id(stream_id), ready(std::move(list)) {}
    void wake(bool /*stream*/) override { ready->add(id); }

    const std::int32_t id;
    const std::shared_ptr<ReadyList> ready;
    Phase phase = Phase::kHeader;
    Peer::Clock::time_point deadline = Peer::Clock::time_point::max();

    std::shared_ptr<Request> request;
    std::string target;
    std::string authority;
    std::size_t header_bytes = 0;
    std::size_t fields = 0;
    bool oversized = false;
    bool anonymous = true;
    std::uint32_t time_ms = 0;      // that its handler has
    bool request_complete = false;  // END_STREAM has come
    bool head_only = false;
    bool gzip_accepted = false;

    std::shared_ptr<Answer> answer;
    std::string data;          // of the body, from offset on still to be framed
    std::size_t offset = 0;
    bool last = false;         // nothing follows data
    bool deferred = false;     // nghttp2 waits for resume
    bool counted = false;      // in Counters::streams
};

// All on the loop's thread.
class Http2Session {
public:
    using Clock = Peer::Clock;
    struct Deleter {
        void operator()(nghttp2_session* session) const;
    };

    // date: the loop's, for the Date header; both outlive the session. schedule: see ReadyList.
    Http2Session(Shared* shared, const std::string* date, std::string remote,
                 CertificateIdentity certificate, std::function<void()> schedule);
    ~Http2Session();
    Http2Session(const Http2Session&) = delete;
    Http2Session& operator=(const Http2Session&) = delete;

    // Takes what came in and calls handlers. False: the connection cannot go on at all.
    [[nodiscard]] bool receive(std::string_view bytes);
    // Asks the answers that said they are ready.
    void pull();
    // Appends what is to be sent, up to about `limit` bytes. False: the connection cannot go on.
    [[nodiscard]] bool fill(std::string* out, std::size_t limit);
    // Nothing is left to do: close when what fill() gave is sent.
    [[nodiscard]] bool is_over() const;

    [[nodiscard]] bool is_late(Clock::time_point now) const;
    // Ends streams that are late. False: the whole connection is, and is to be closed.
    [[nodiscard]] bool check_deadlines(Clock::time_point now);
    // Takes no new streams, ends streaming answers, lets the others finish.
    void drain();
    // Ends all answers.
    void close();

private:
    friend struct Http2Callbacks;

    Http2Stream* find(std::int32_t id);
    void accept_header(Http2Stream* stream);
    void take_field(Http2Stream* stream, std::string_view name, std::string_view value);
    void take_body(Http2Stream* stream, std::string_view bytes);
    void complete(Http2Stream* stream);
    void dispatch(Http2Stream* stream);
    void dispatch_all();
    void pull_stream(Http2Stream* stream);
    void respond(Http2Stream* stream, Response response);
    void begin_stream(Http2Stream* stream, const Response& head);
    void give_data(Http2Stream* stream, std::string data, std::size_t offset, bool last);
    void submit_head(Http2Stream* stream, const Response& response, bool with_body,
                     std::size_t length, bool length_known);
    void reset(Http2Stream* stream, std::uint32_t error);
    void refuse(Http2Stream* stream, Response response);
    void bury(std::int32_t id);
    void bury_all();
    void flooded(std::string_view what);
    void attend(bool on);
    void leave_gracefully();
    void count_idle();

    Shared* shared_;
    const std::string* date_;
    const std::string remote_;
    const CertificateIdentity certificate_;
    std::unique_ptr<nghttp2_session, Deleter> session_;
    std::shared_ptr<ReadyList> ready_;
    std::unordered_map<std::int32_t, std::unique_ptr<Http2Stream>> streams_;
    std::vector<std::int32_t> to_dispatch_;
    std::vector<std::int32_t> exhausted_;  // whose data has been framed
    std::vector<std::int32_t> closed_;     // by nghttp2, not yet buried
    std::shared_ptr<std::atomic<std::uint32_t>> running_;  // responders that handlers hold
    TokenBucket resets_;
    TokenBucket control_frames_;
    std::minstd_rand random_;
    Clock::time_point now_;
    Clock::time_point header_deadline_;  // of the preface, then of a header that has begun
    std::int32_t header_stream_ = 0;     // whose header that is
    Clock::time_point idle_deadline_ = Clock::time_point::max();
    Clock::time_point goaway_deadline_ = Clock::time_point::max();
    bool draining_ = false;
    bool terminated_ = false;
};

}  // namespace sluice::http
