// The watch stream; see feed_private.h.
#include "control/store/etcd/feed_private.h"

namespace sluice::store {

void Feed::open(Member& member, Revision from) {
    SLUICE_ASSERT(idle());
    opened_ = false;
    compacted_ = 0;
    cancel_reason_.clear();
    context_ = std::make_unique<grpc::ClientContext>();
    // A member that has lost its leader ends the stream instead of falling silent.
    context_->AddMetadata("hasleader", "true");
    auto* create = request_.mutable_create_request();
    create->set_key(std::string(1, '\0'));
    create->set_range_end(std::string(1, '\0'));
    create->set_start_revision(static_cast<std::int64_t>(from));
    create->set_fragment(true);
    state_ = State::kStarting;
    stream_ = member.watch->AsyncWatch(context_.get(), &queue_, this);
}

void Feed::cancel() {
    if (context_ != nullptr) {
        context_->TryCancel();
    }
}

void Feed::read() {
    state_ = State::kReading;
    response_.Clear();
    stream_->Read(&response_, this);
}

void Feed::finish() {
    state_ = State::kFinishing;
    stream_->Finish(&status_, this);
}

void Feed::take() {
    if (response_.canceled()) {
        compacted_ = static_cast<Revision>(response_.compact_revision());
        cancel_reason_ = response_.cancel_reason();
        if (cancel_reason_.empty()) {
            cancel_reason_ = compacted_ > 0
                                 ? "etcdserver: mvcc: required revision has been compacted"
                                 : "etcdserver: the watch was refused";
        }
        context_->TryCancel();
        return;
    }
    if (response_.created() && !opened_) {
        opened_ = true;
        listener_.feed_opened();
    }
    listener_.feed_received(response_);
}

void Feed::complete(bool ok) {
    switch (state_) {
        case State::kIdle: break;
        case State::kStarting:
            if (!ok) {
                return finish();
            }
            state_ = State::kAsking;
            stream_->Write(request_, this);
            break;
        case State::kAsking:
            if (!ok) {
                return finish();
            }
            read();
            break;
        case State::kReading:
            if (!ok) {
                return finish();
            }
            take();
            read();
            break;
        case State::kFinishing: {
            state_ = State::kIdle;
            opened_ = false;
            Error why = cancel_reason_.empty()
                            ? to_error(status_)
                            : make_error(Code::kUnavailable, "{}", cancel_reason_);
            stream_.reset();
            context_.reset();
            listener_.feed_ended(why, compacted_);
            break;
        }
    }
}

}  // namespace sluice::store
