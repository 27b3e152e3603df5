#include "control/http/answer.h"

#include <atomic>

#include "control/http/exchange.h"
#include "control/http/status_body.h"

namespace sluice::http {
namespace {

// What the streams of the whole process hold for their readers.
std::atomic<std::size_t> queued_bytes{0};

}  // namespace

void Answer::hold(std::size_t bytes) {
    // Small queues come and go with every event and cannot add up to much: they are not counted, as the counter is
    // one that all threads share.
    const std::size_t counted = bytes > kLowQueuedStreamBytes ? bytes : 0;
    if (counted == held_bytes_) return;
    queued_bytes.fetch_add(counted - held_bytes_, std::memory_order_relaxed);
    held_bytes_ = counted;
}

void Answer::wake_locked() {
    if (woken_ || sink_ == nullptr) return;
    woken_ = true;
    sink_->wake(phase_ == Phase::kStreaming && !begins_);
}

void Answer::send(Response response) {
    code_body(&response, gzip_accepted_);
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kPending) return;
    phase_ = Phase::kReady;
    response_ = std::move(response);
    wake_locked();
}

void Answer::begin_stream(Response head) {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kPending) return;
    phase_ = Phase::kStreaming;
    response_ = std::move(head);
    begins_ = true;
    wake_locked();
}

bool Answer::write(std::string_view chunk) {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kStreaming) return false;
    if (chunk.empty()) return true;
    const std::size_t queued = data_.size() + in_flight_bytes_;
    // A lone chunk above the limit passes: it is one event, which no queueing could have made smaller.
    const bool crowded =
        queued > kLowQueuedStreamBytes &&
        queued_bytes.load(std::memory_order_relaxed) + chunk.size() > kMaxQueuedBytesOfAllStreams;
    if (crowded || (queued > 0 && queued + chunk.size() > kMaxQueuedStreamBytes)) {
        phase_ = Phase::kAborted;
        data_ = {};
        hold(in_flight_bytes_);
        // A wake() may be pending that waits for the write to end, which this one must not.
        woken_ = false;
        wake_locked();
        return false;
    }
    if (data_.empty()) {
        data_.reserve(kFramingBytes + chunk.size() + 2);
        data_.assign(kFramingBytes, '0');
    }
    data_.append(chunk);
    hold(data_.size() + in_flight_bytes_);
    wake_locked();
    return true;
}

void Answer::end_stream() {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kStreaming) return;
    phase_ = Phase::kEnded;
    wake_locked();
}

void Answer::abort_stream() {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kStreaming) return;
    phase_ = Phase::kBroken;
    wake_locked();
}

void Answer::on_close(std::function<void()> callback) {
    {
        const std::lock_guard lock(mutex_);
        if (phase_ != Phase::kOver) {
            callback_ = std::move(callback);
            return;
        }
    }
    callback();
}

void Answer::when_writable(std::function<void()> callback) {
    {
        const std::lock_guard lock(mutex_);
        if (phase_ == Phase::kStreaming &&
            data_.size() + in_flight_bytes_ > kLowQueuedStreamBytes) {
            writable_ = std::move(callback);
            return;
        }
    }
    callback();
}

void Answer::upgrade(Response head, Responder::OpenCallback on_open) {
    {
        const std::lock_guard lock(mutex_);
        if (phase_ == Phase::kPending) {
            phase_ = Phase::kReady;
            response_ = std::move(head);
            on_open_ = std::move(on_open);
            wake_locked();
            return;
        }
    }
    on_open(nullptr);
}

void Answer::abandon() {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::kPending) {
        phase_ = Phase::kReady;
        response_ = status_response(500, "InternalError",
                                    "Internal error occurred: the request was not answered");
        wake_locked();
    } else if (phase_ == Phase::kStreaming) {
        phase_ = Phase::kEnded;
        wake_locked();
    }
}

Answer::Work Answer::take() {
    const std::lock_guard lock(mutex_);
    woken_ = false;
    Work work;
    switch (phase_) {
        case Phase::kReady:
            work.kind = on_open_ ? Work::Kind::kUpgrade : Work::Kind::kResponse;
            work.on_open = std::exchange(on_open_, nullptr);
            work.head = std::move(response_);
            phase_ = Phase::kTaken;
            break;
        case Phase::kStreaming:
        case Phase::kEnded:
        case Phase::kBroken:
            if (!begins_ && data_.empty() && phase_ == Phase::kStreaming) break;
            work.kind = Work::Kind::kStream;
            work.begins = std::exchange(begins_, false);
            if (work.begins) work.head = std::move(response_);
            work.data = std::exchange(data_, {});
            in_flight_bytes_ = work.data.size();
            work.ends = phase_ != Phase::kStreaming;
            work.broken = phase_ == Phase::kBroken;
            if (work.ends) phase_ = Phase::kTaken;
            break;
        case Phase::kAborted:
            work.kind = Work::Kind::kAbort;
            break;
        case Phase::kPending:
        case Phase::kTaken:
        case Phase::kOver:
            break;
    }
    return work;
}

bool Answer::overflowed() {
    const std::lock_guard lock(mutex_);
    return phase_ == Phase::kAborted;
}

void Answer::written() {
    std::function<void()> writable;
    {
        const std::lock_guard lock(mutex_);
        in_flight_bytes_ = 0;
        hold(data_.size());
        if (data_.size() <= kLowQueuedStreamBytes) writable = std::exchange(writable_, nullptr);
    }
    if (writable) writable();
}

bool Answer::expire() {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::kPending) return false;
    phase_ = Phase::kTaken;
    return true;
}

void Answer::finish() {
    std::function<void()> callback;
    std::function<void()> writable;
    Responder::OpenCallback on_open;
    {
        const std::lock_guard lock(mutex_);
        if (phase_ == Phase::kOver) return;
        phase_ = Phase::kOver;
        sink_ = nullptr;
        data_ = {};
        hold(0);
        callback = std::exchange(callback_, nullptr);
        writable = std::exchange(writable_, nullptr);
        on_open = std::exchange(on_open_, nullptr);
    }
    if (on_open) on_open(nullptr);
    if (writable) writable();
    if (callback) callback();
}

}  // namespace sluice::http
