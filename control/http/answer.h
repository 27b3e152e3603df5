// One request's answer, between the handler (any thread) and the connection (its loop's thread).
// The protocol is the sink's affair: a connection of HTTP/1.1, or a stream of HTTP/2.
//
//   handler --Responder--> Answer --wake()--> AnswerSink, which then calls take()
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "control/http/server.h"

namespace sluice::http {

// The connection's side. wake() means "call take() on your thread soon"; it is called under the Answer's lock
// and from any thread, so it must only schedule. stream: more of a stream that began before, which can wait behind
// answers that somebody waits for.
class AnswerSink {
public:
    virtual ~AnswerSink() = default;
    virtual void wake(bool stream) = 0;
};

class Answer {
public:
    // What the connection should do next.
    struct Work {
        enum class Kind {
            kNothing,
            kResponse,  // head.body is the whole body
            kStream,    // head is set the first time (begins); data may be empty; ends: nothing follows, though it
                        // is not whole where it is broken
            kAbort,     // the stream's reader was too slow
            kUpgrade,   // head is that of the 101; then on_open gets the connection
        };
        Kind kind = Kind::kNothing;
        Response head;
        bool begins = false;
        std::string data;
        bool ends = false;
        bool broken = false;
        Responder::OpenCallback on_open;
    };

    // Bytes reserved at the start of every non-empty Work::data, for the connection to put its framing in
    // without copying.
    static constexpr std::size_t kFramingBytes = 10;

    // gzip_accepted: the client takes large bodies compressed, which is done in send(), on the handler's thread.
    explicit Answer(AnswerSink* sink, bool gzip_accepted = false)
        : sink_(sink), gzip_accepted_(gzip_accepted) {}
    ~Answer() { hold(0); }
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;

    // The handler's side: as Responder says. Calls that make no sense in the present state do nothing, since
    // a time-out may have come first.
    void send(Response response);
    void begin_stream(Response head);
    bool write(std::string_view chunk);
    void end_stream();
    void abort_stream();
    void on_close(std::function<void()> callback);
    void when_writable(std::function<void()> callback);
    void upgrade(Response head, Responder::OpenCallback on_open);
    void abandon();  // the last Responder is gone

    // The connection's side, on its thread.
    [[nodiscard]] Work take();
    // True if the next take() gives kAbort.
    [[nodiscard]] bool overflowed();
    // The data of the last take() is on the wire.
    void written();
    // True if no answer had been given; then none will be taken from the handler any more.
    [[nodiscard]] bool expire();
    // The answer is over; no wake() follows, and on_close is called.
    void finish();

private:
    enum class Phase { kPending, kReady, kTaken, kStreaming, kEnded, kBroken, kAborted, kOver };
    void wake_locked();
    // Notes how many bytes of a stream this Answer holds, here and in the sum over all of them.
    void hold(std::size_t bytes);

    std::mutex mutex_;
    Phase phase_ = Phase::kPending;
    AnswerSink* sink_;  // null once finished
    const bool gzip_accepted_;
    Response response_;
    bool begins_ = false;
    std::string data_;  // kFramingBytes, then what write() was given since the last take()
    std::size_t in_flight_bytes_ = 0;
    std::size_t held_bytes_ = 0;
    bool woken_ = false;  // a wake() is under way that no take() has answered
    std::function<void()> callback_;
    std::function<void()> writable_;
    Responder::OpenCallback on_open_;
};

// What handlers hold.
class AnswerResponder final : public Responder {
public:
    // running: counts the responders that handlers hold, if given.
    explicit AnswerResponder(std::shared_ptr<Answer> answer,
                             std::shared_ptr<std::atomic<std::uint32_t>> running = nullptr)
        : answer_(std::move(answer)), running_(std::move(running)) {
        if (running_) running_->fetch_add(1, std::memory_order_relaxed);
    }
    ~AnswerResponder() override {
        if (running_) running_->fetch_sub(1, std::memory_order_relaxed);
        answer_->abandon();
    }
    AnswerResponder(const AnswerResponder&) = delete;
    AnswerResponder& operator=(const AnswerResponder&) = delete;

    void send(Response response) override { answer_->send(std::move(response)); }
    void begin_stream(Response head) override { answer_->begin_stream(std::move(head)); }
    bool write(std::string chunk) override { return answer_->write(chunk); }
    void end_stream() override { answer_->end_stream(); }
    void abort_stream() override { answer_->abort_stream(); }
    void on_close(std::function<void()> callback) override {
        answer_->on_close(std::move(callback));
    }
    void when_writable(std::function<void()> callback) override {
        answer_->when_writable(std::move(callback));
    }
    void upgrade(Response head, OpenCallback on_open) override {
        answer_->upgrade(std::move(head), std::move(on_open));
    }

private:
    std::shared_ptr<Answer> answer_;
    std::shared_ptr<std::atomic<std::uint32_t>> running_;
};

}  // namespace sluice::http
