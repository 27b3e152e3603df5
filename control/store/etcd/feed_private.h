// The watch of all of etcd that feeds the picture in memory: one stream at a time, on the store's
// completion queue, one operation outstanding.
//
//     open() -> start -> send the request -> read ... -> finish -> Listener::feed_ended
#pragma once

#include <memory>

#include "control/store/etcd/cluster_private.h"

namespace sluice::store {

// What lies in the completion queue.
class Tag {
public:
    virtual ~Tag() = default;
    virtual void complete(bool ok) = 0;
};

// All from and on the thread of the completion queue.
class Feed final : public Tag {
public:
    class Listener {
    public:
        virtual ~Listener() = default;
        // etcd has accepted the watch: what comes is complete from its start revision on.
        virtual void feed_opened() = 0;
        virtual void feed_received(pb::WatchResponse& response) = 0;
        // compacted: the start revision is gone, this is the oldest that is left; else 0. The feed
        // may be opened again from inside.
        virtual void feed_ended(const Error& why, Revision compacted) = 0;
    };

    Feed(grpc::CompletionQueue& queue, Listener& listener) : queue_(queue), listener_(listener) {}

    // REQUIRES: idle().
    void open(Member& member, Revision from);
    // Ends the stream soon, with feed_ended.
    void cancel();
    [[nodiscard]] bool idle() const { return state_ == State::kIdle; }
    [[nodiscard]] bool opened() const { return opened_; }

    void complete(bool ok) override;

private:
    enum class State { kIdle, kStarting, kAsking, kReading, kFinishing };
    void read();
    void finish();
    void take();

    grpc::CompletionQueue& queue_;
    Listener& listener_;
    State state_ = State::kIdle;
    bool opened_ = false;
    Revision compacted_ = 0;
    std::string cancel_reason_;
    std::unique_ptr<grpc::ClientContext> context_;
    std::unique_ptr<grpc::ClientAsyncReaderWriter<pb::WatchRequest, pb::WatchResponse>> stream_;
    pb::WatchRequest request_;
    pb::WatchResponse response_;
    grpc::Status status_;
};

}  // namespace sluice::store
