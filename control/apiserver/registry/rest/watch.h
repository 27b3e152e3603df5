// One open watch: the store's events for a selection, as frames on a response stream.
//
//   store thread --push--> mailbox --post--> worker: filter, encode, write
//
// The store's thread only appends to the mailbox. Timers and the end of the connection go through the same mailbox, so
// that one worker at a time touches the stream and the order of frames is the order of revisions.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/rest/selection.h"

namespace sluice::registry {

// Events that may wait for one watch; a watch that falls further behind is ended with 410 (Core::overflowed_watches
// counts), and its client lists again.
inline constexpr std::size_t kMaxQueuedWatchEvents = 100'000;
inline constexpr std::chrono::seconds kBookmarkInterval{60};
// Before another look for a thread to convert on.
inline constexpr std::chrono::milliseconds kConversionRetryInterval{100};
// Without timeoutSeconds a watch ends after a random time between this and twice this.
inline constexpr std::chrono::seconds kMinWatchTime{1800};

class WatchStream : public std::enable_shared_from_this<WatchStream> {
public:
    WatchStream(CallPtr call, ListOptions options, Selection selection);
    ~WatchStream();

    // Answers the call: begins the stream, sends what is there, and follows.
    void start();
    [[nodiscard]] const Call& call() const { return *call_; }
    // Ends the stream; from any thread.
    void end();
    // Sees to the letters that have come. One thread at a time (Mailbox::scheduled).
    void drain();

private:
    enum class Note { kStart, kEvents, kBookmark, kTimeout, kOverflow, kClosed };
    struct Letter {
        Note note = Note::kEvents;
        Result<store::EventBatch> events = store::EventBatch();  // null: not of kEvents
        store::Revision revision = 0;

        // Changes that it brings.
        [[nodiscard]] std::size_t changes() const { return events && *events != nullptr ? (*events)->size() : 0; }
    };
    // Outlives the stream while the store still calls into it.
    struct Mailbox {
        std::mutex mutex;
        std::deque<Letter> letters;
        std::size_t queued_events = 0;
        bool scheduled = false;
        bool overflowed = false;
        Core* core = nullptr;
        bool converts = false;  // frames may have to wait for a conversion webhook
        std::weak_ptr<WatchStream> stream;

        void push(Letter letter);
        // Has somebody drain it; later, when too many wait for conversion.
        void call_drainer();
    };

    void begin();
    // False when the stream is over.
    bool handle(Letter letter);
    bool deliver(const store::EventBatch& events);
    // The same for what all watches like this one show alike: their frames are made once.
    bool deliver_shared(const store::EventBatch& events);
    [[nodiscard]] bool shares_frames() const;
    // What an event brought and took, where it is known already.
    struct Known {
        ObjectPtr current;
        ObjectPtr previous;
    };
    // Of each event, where a webhook converts the kind; else none.
    Answer<std::vector<Known>> convert(const std::vector<store::Event>& events);
    Answer<void> append_change(const store::Event& event, Known known, std::string* out);
    bool send_initial();
    void append_frame(EventType type, const StoredObject& object, std::string* out);
    void append_bookmark(bool initial_end);
    bool flush();
    void fail(const StatusError& error);
    void arm_bookmark();
    void close();

    const CallPtr call_;
    const ListOptions options_;
    const Selection selection_;
    const std::shared_ptr<Mailbox> mailbox_;
    std::unique_ptr<store::Watch> watch_;
    std::string buffer_;
    store::Revision progress_ = 0;
    bool columns_sent_ = false;
    bool closed_ = false;
    std::vector<std::uint64_t> timers_;
};

}  // namespace sluice::registry
