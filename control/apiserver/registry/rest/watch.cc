#include "control/apiserver/registry/rest/watch.h"

#include <fmt/format.h>

#include <chrono>
#include <random>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/rest/verbs.h"

namespace sluice::registry {

namespace {

// Frames are gathered up to this size before they are handed to the connection.
constexpr std::size_t kFlushBytes = 256U << 10U;
// Of a larger batch the frames are not kept for others: it is a replay, which is one watch's alone.
constexpr std::size_t kMaxSharedEvents = 512;
constexpr std::chrono::milliseconds kFutureVersionWait{3000};
constexpr std::chrono::milliseconds kFutureVersionPoll{50};

std::chrono::seconds random_watch_time() {
    thread_local std::minstd_rand random{std::random_device{}()};
    const auto base = static_cast<long>(kMinWatchTime.count());
    return std::chrono::seconds(std::uniform_int_distribution<long>(base, 2 * base)(random));
}

}  // namespace

void WatchStream::Mailbox::push(Letter letter) {
    const std::lock_guard lock(mutex);
    if (overflowed || core == nullptr) return;
    queued_events += letter.changes();
    if (queued_events > kMaxQueuedWatchEvents) {
        overflowed = true;
        letters.clear();
        letter = Letter{Note::kOverflow, store::EventBatch(), 0};
        core->overflowed_watches.fetch_add(1, std::memory_order_relaxed);
    }
    letters.push_back(std::move(letter));
    if (scheduled) return;
    scheduled = true;
    call_drainer();
}

void WatchStream::Mailbox::call_drainer() {
    // Behind what requests are waiting for; what comes until then is written with it.
    if (!converts) return core->watch_turns.add(stream);
    auto drain = [weak = stream] {
        if (const auto self = weak.lock()) self->drain();
    };
    if (on_waiting_thread(*core, std::move(drain))) return;
    core->executor.post_at(std::chrono::steady_clock::now() + kConversionRetryInterval, [weak = stream] {
        const auto self = weak.lock();
        if (self == nullptr) return;
        const std::lock_guard again(self->mailbox_->mutex);
        if (self->mailbox_->core != nullptr) self->mailbox_->call_drainer();
    });
}

WatchStream::WatchStream(CallPtr call, ListOptions options, Selection selection)
    : call_(std::move(call)),
      options_(std::move(options)),
      selection_(std::move(selection)),
      mailbox_(std::make_shared<Mailbox>()) {}

WatchStream::~WatchStream() = default;

void WatchStream::start() {
    Core& core = *call_->core;
    mailbox_->core = &core;
    mailbox_->converts = converter_of(call_->strategy->kind()) != nullptr;
    mailbox_->stream = weak_from_this();
    {
        const std::lock_guard lock(core.mutex);
        if (core.stopping) return call_->respond(unavailable("the server is shutting down"));
        core.watches.emplace(this, shared_from_this());
    }
    // Through the mailbox like everything else: the connection may end while the stream begins.
    mailbox_->push({Note::kStart, store::EventBatch(), 0});
}

void WatchStream::begin() {
    Core& core = *call_->core;
    http::Response head;
    head.status = 200;
    head.headers.emplace_back("Content-Type",
                              std::string(watch_media_type(call_->format.encoding)));
    head.headers.emplace_back("Cache-Control", "no-cache, private");
    call_->responder->begin_stream(std::move(head));
    call_->responder->on_close([mailbox = mailbox_] {
        mailbox->push({Note::kClosed, store::EventBatch(), 0});
    });
    const bool from_now = options_.send_initial_events == false && options_.revision == 0;
    const bool initial = options_.send_initial_events.value_or(options_.revision == 0);
    progress_ = from_now ? core.store.revision() : options_.revision;
    if (initial && !send_initial()) return;
    auto watch = core.store.watch(
        selection_.prefix(), progress_,
        [mailbox = mailbox_](Result<store::EventBatch> events, store::Revision revision) {
            mailbox->push({Note::kEvents, std::move(events), revision});
        });
    if (!watch) {
        return fail(watch.error().code == Code::kOutOfRange
                        ? expired(fmt::format("too old resource version: {} ({})", progress_,
                                              core.store.compacted()))
                        : from_error(watch.error()));
    }
    watch_ = std::move(*watch);
    const auto now = std::chrono::steady_clock::now();
    const auto lasting = options_.timeout_seconds ? std::chrono::seconds(*options_.timeout_seconds)
                                                  : random_watch_time();
    timers_.push_back(core.executor.post_at(now + lasting, [mailbox = mailbox_] {
        mailbox->push({Note::kTimeout, store::EventBatch(), 0});
    }));
    if (options_.allow_bookmarks) arm_bookmark();
}

void WatchStream::arm_bookmark() {
    // One timer at a time: a fired one has no ticket left to cancel.
    if (timers_.size() > 1) timers_.pop_back();
    timers_.push_back(call_->core->executor.post_at(
        std::chrono::steady_clock::now() + kBookmarkInterval, [mailbox = mailbox_] {
            mailbox->push({Note::kBookmark, store::EventBatch(), 0});
        }));
}

void WatchStream::end() { mailbox_->push({Note::kTimeout, store::EventBatch(), 0}); }

bool WatchStream::send_initial() {
    Core& core = *call_->core;
    auto range = core.store.range(selection_.prefix(), "", 0);
    if (!range) {
        fail(from_error(range.error()));
        return false;
    }
    progress_ = range->revision;
    const codec::KindInfo& kind = call_->strategy->kind();
    auto converted = read_converted(core, kind, range->items);
    if (!converted) {
        fail(converted.error());
        return false;
    }
    for (std::size_t i = 0; i < range->items.size(); ++i) {
        const store::KeyValue& item = range->items[i];
        if (!selection_.covers_key(item.key)) continue;
        auto object = converted->empty() ? core.cache.get(kind, item.mod_revision, *item.value)
                                         : Answer<ObjectPtr>((*converted)[i]);
        if (!object) {
            fail(object.error());
            return false;
        }
        if (selection_.matches(**object)) append_frame(EventType::kAdded, **object, &buffer_);
        if (buffer_.size() >= kFlushBytes && !flush()) return false;
    }
    if (options_.send_initial_events.value_or(false) && options_.allow_bookmarks) {
        append_bookmark(true);
    }
    return flush();
}

void WatchStream::drain() {
    while (true) {
        Letter letter;
        bool flushes = false;
        {
            const std::lock_guard lock(mailbox_->mutex);
            flushes = mailbox_->letters.empty();
            if (flushes && (closed_ || buffer_.empty())) {
                mailbox_->scheduled = false;
                return;
            }
            if (!flushes) {
                letter = std::move(mailbox_->letters.front());
                mailbox_->letters.pop_front();
                if (!mailbox_->overflowed) mailbox_->queued_events -= letter.changes();
            }
        }
        if (flushes) {
            flush();  // what several letters brought, at once
        } else if (!closed_) {
            handle(std::move(letter));
        } else {
            // After the end, letters are only thrown away.
        }
    }
}

bool WatchStream::handle(Letter letter) {
    switch (letter.note) {
        case Note::kStart: begin(); return true;
        case Note::kEvents:
            if (!letter.events) {
                fail(letter.events.error().code == Code::kOutOfRange
                         ? expired(fmt::format("too old resource version: {} ({})", progress_,
                                               call_->core->store.compacted()))
                         : from_error(letter.events.error()));
                return false;
            }
            if (!deliver(*letter.events)) return false;
            progress_ = std::max(progress_, letter.revision);
            return true;
        case Note::kBookmark:
            append_bookmark(false);
            if (!flush()) return false;
            arm_bookmark();
            return true;
        case Note::kTimeout:
            if (options_.allow_bookmarks) append_bookmark(false);
            if (flush()) close();
            return false;
        case Note::kOverflow:
            // Told what happened, the client lists again at once instead of resuming where it cannot catch up.
            fail(expired(fmt::format("too old resource version: {} ({})", progress_,
                                     call_->core->store.revision())));
            return false;
        case Note::kClosed: close(); return false;
    }
    return false;
}

bool WatchStream::shares_frames() const {
    return selection_.everything() && !selection_.single() && !mailbox_->converts &&
           call_->format.form == Form::kObject && call_->format.encoding != Encoding::kYaml;
}

bool WatchStream::deliver_shared(const store::EventBatch& events) {
    auto frames = call_->core->watch_frames.get(
        events, {&call_->strategy->kind(), call_->format}, [&]() -> Answer<std::string> {
            std::string made;
            for (const store::Event& event : *events) {
                if (auto ok = append_change(event, Known(), &made); !ok) return refuse(std::move(ok).error());
            }
            return made;
        });
    if (!frames) {
        fail(frames.error());
        return false;
    }
    buffer_ += **frames;
    return buffer_.size() < kFlushBytes || flush();
}

bool WatchStream::deliver(const store::EventBatch& batch) {
    const std::vector<store::Event>& events = *batch;
    if (events.empty()) return true;  // progress
    if (events.size() <= kMaxSharedEvents && shares_frames()) return deliver_shared(batch);
    auto known = convert(events);
    if (!known) {
        fail(known.error());
        return false;
    }
    for (std::size_t i = 0; i < events.size(); ++i) {
        const store::Event& event = events[i];
        if (!selection_.covers_key(event.current.key)) continue;
        if (auto ok = append_change(event, known->empty() ? Known() : (*known)[i], &buffer_); !ok) {
            fail(ok.error());
            return false;
        }
        if (buffer_.size() >= kFlushBytes && !flush()) return false;
    }
    return true;
}

Answer<std::vector<WatchStream::Known>> WatchStream::convert(const std::vector<store::Event>& events) {
    std::vector<Known> out;
    if (!mailbox_->converts) return out;
    std::vector<ObjectCache::Stored> current;
    std::vector<ObjectCache::Stored> previous;
    for (const store::Event& event : events) {
        const store::Revision revision = event.current.mod_revision;
        const bool covered = selection_.covers_key(event.current.key);
        const bool is = covered && event.current.value != nullptr;
        const bool was = covered && event.previous != nullptr && (!is || !selection_.everything());
        current.push_back({revision, is ? std::string_view(*event.current.value) : std::string_view()});
        previous.push_back({revision, was ? std::string_view(*event.previous) : std::string_view()});
    }
    Core& core = *call_->core;
    const codec::KindInfo& kind = call_->strategy->kind();
    auto now = core.cache.get_converted(kind, current);
    if (!now) return refuse(std::move(now).error());
    auto before = core.previous.get_converted(kind, previous);
    if (!before) return refuse(std::move(before).error());
    for (std::size_t i = 0; i < events.size(); ++i) out.push_back({(*now)[i], (*before)[i]});
    return out;
}

Answer<void> WatchStream::append_change(const store::Event& event, Known known, std::string* out) {
    Core& core = *call_->core;
    const codec::KindInfo& kind = call_->strategy->kind();
    const store::Revision revision = event.current.mod_revision;
    const bool everything = selection_.everything();
    ObjectPtr current = std::move(known.current);
    ObjectPtr previous = std::move(known.previous);
    if (event.current.value != nullptr && current == nullptr) {
        auto object = core.cache.get(kind, revision, *event.current.value);
        if (!object) return refuse(std::move(object).error());
        current = std::move(*object);
    }
    // What was, carrying the version of the change: only needed when it went, or may have left the selection.
    if (event.previous != nullptr && previous == nullptr && (current == nullptr || !everything)) {
        auto object = core.previous.get(kind, revision, *event.previous);
        if (!object) return refuse(std::move(object).error());
        previous = std::move(*object);
    }
    const bool now = current != nullptr && selection_.matches(*current);
    const bool before = everything ? event.previous != nullptr
                                   : previous != nullptr && selection_.matches(*previous);
    if (now) {
        append_frame(before ? EventType::kModified : EventType::kAdded, *current, out);
    } else if (before && previous != nullptr) {
        append_frame(EventType::kDeleted, *previous, out);
    }
    return {};
}

void WatchStream::append_frame(EventType type, const StoredObject& object, std::string* out) {
    append_event(out, type, *call_->strategy, object, call_->format, call_->rows,
                 !columns_sent_);
    columns_sent_ = true;
}

void WatchStream::append_bookmark(bool initial_end) {
    buffer_ += encode_bookmark(*call_->strategy, progress_, initial_end, call_->format,
                               !columns_sent_);
    columns_sent_ = true;
}

bool WatchStream::flush() {
    if (buffer_.empty()) return true;
    std::string chunk;
    chunk.swap(buffer_);
    if (call_->responder->write(std::move(chunk))) return true;
    close();
    return false;
}

void WatchStream::fail(const StatusError& error) {
    metav1::Status status;
    fill_status(error, &status);
    buffer_ += encode_error_event(status, call_->format.encoding);
    if (flush()) close();
}

void WatchStream::close() {
    if (closed_) return;
    closed_ = true;
    Core& core = *call_->core;
    watch_.reset();  // waits for a sink call in progress, which never waits for us
    for (const std::uint64_t ticket : timers_) core.executor.cancel(ticket);
    timers_.clear();
    call_->responder->end_stream();
    {
        // The connection may report its end later than the Core lives.
        const std::lock_guard lock(mailbox_->mutex);
        mailbox_->core = nullptr;
        mailbox_->letters.clear();
    }
    const std::lock_guard lock(core.mutex);
    core.watches.erase(this);  // the caller still holds a reference
    core.idle.notify_all();
}

namespace {

void start_when_reached(const CallPtr& call, const std::shared_ptr<WatchStream>& stream,
                        store::Revision wanted, SteadyTime give_up) {
    const store::Revision current = call->core->store.revision();
    if (current >= wanted) return stream->start();
    if (std::chrono::steady_clock::now() >= give_up || call->core->stopping) {
        return call->respond(version_too_large(wanted, current));
    }
    call->core->executor.post_at(
        std::chrono::steady_clock::now() + kFutureVersionPoll,
        [call, stream, wanted, give_up] { start_when_reached(call, stream, wanted, give_up); });
}

}  // namespace

void serve_watch(const CallPtr& call) {
    auto options = parse_list_options(*call->request, true);
    if (!options) return call->respond(std::move(options).error());
    auto selection = Selection::make(*call->strategy, call->info, *options);
    if (!selection) return call->respond(std::move(selection).error());
    const store::Revision wanted = options->revision;
    const auto stream =
        std::make_shared<WatchStream>(call, std::move(*options), std::move(*selection));
    start_when_reached(call, stream, wanted,
                       std::chrono::steady_clock::now() + kFutureVersionWait);
}

}  // namespace sluice::registry
