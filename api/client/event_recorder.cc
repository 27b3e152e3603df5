// See event_recorder.h. Callers put into a bounded queue; one thread correlates and writes.
#include "api/client/event_recorder.h"

#include <fmt/core.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <stop_token>
#include <thread>

#include "api/base/log.h"
#include "api/client/event_correlator.h"
#include "api/codec/scheme.h"
#include "api/codec/time.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/types.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::client {
namespace {

using ::k8s::io::api::core::v1::Event;

// One write is tried this often while the server is away or too busy, 0.5 s to 10 s apart.
constexpr int kMaxTries = 12;
constexpr std::chrono::milliseconds kFirstRetry{500};
constexpr std::chrono::milliseconds kLongestRetry{10'000};
constexpr std::chrono::seconds kDrain{1};
// A longer message is cut; etcd and people both have limits.
constexpr std::size_t kMaxMessageBytes = 4'096;

const codec::KindInfo& event_kind() {
    static const codec::KindInfo* const kKind = codec::find_kind({"", "v1", "Event"});
    SLUICE_ASSERT(kKind != nullptr);
    return *kKind;
}

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

// The length of the UTF-8 character that starts here, 0 if none does.
std::size_t character_length(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2
                               : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80U) return 0;
    }
    return length;
}

// Messages quote what containers print: bytes that are no UTF-8 would have the whole Event refused.
std::string presentable(std::string_view text) {
    std::string out;
    while (!text.empty() && out.size() < kMaxMessageBytes) {
        const std::size_t length = character_length(text);
        if (length == 0) {
            out.push_back('?');
            text.remove_prefix(1);
            continue;
        }
        if (out.size() + length > kMaxMessageBytes) break;
        out.append(text.substr(0, length));
        text.remove_prefix(length);
    }
    return out;
}

// Worth another try: the server was not reached, or says that it cannot just now.
bool passing(const ApiError& error) {
    return error.http_status == 0 || error.http_status == 429 || error.http_status >= 500;
}

class Recorder final : public EventRecorder {
public:
    Recorder(Client& client, std::string component, std::string host)
        : client_(client), component_(std::move(component)), host_(std::move(host)),
          thread_([this](const std::stop_token& stop) { run(stop); }) {}

    ~Recorder() override {
        std::unique_lock lock(mutex_);
        closing_ = true;
        changed_.notify_all();
        finished_changed_.wait_for(lock, kDrain, [this] { return finished_; });
        lock.unlock();
        thread_.request_stop();
        thread_.join();
    }
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;

    void record(const google::protobuf::Message& object, EventType type, const std::string& reason,
                const std::string& message, const std::string& field_path) override {
        Event event;
        *event.mutable_involvedobject() = reference_to(object);
        if (!field_path.empty()) event.mutable_involvedobject()->set_fieldpath(field_path);
        // Events about objects without a namespace live in "default".
        const std::string& owner = event.involvedobject().namespace_();
        event.mutable_metadata()->set_namespace_(owner.empty() ? "default" : owner);
        event.set_type(type == EventType::kNormal ? "Normal" : "Warning");
        event.set_reason(reason);
        event.set_message(presentable(message));
        event.mutable_source()->set_component(component_);
        if (!host_.empty()) event.mutable_source()->set_host(host_);
        event.set_reportingcomponent(component_);
        event.set_reportinginstance(host_);
        {
            const std::scoped_lock lock(mutex_);
            if (queue_.size() >= kMaxQueuedEvents) {
                dropped_.fetch_add(1, std::memory_order_relaxed);
                return;
            }
            queue_.push_back(std::move(event));
        }
        changed_.notify_all();
    }

    [[nodiscard]] std::uint64_t dropped() const override {
        return dropped_.load(std::memory_order_relaxed);
    }

private:
    void run(const std::stop_token& stop) {
        while (true) {
            Event event;
            {
                std::unique_lock lock(mutex_);
                changed_.wait(lock, stop, [this] { return closing_ || !queue_.empty(); });
                if (stop.stop_requested() || queue_.empty()) break;
                event = std::move(queue_.front());
                queue_.pop_front();
            }
            deliver(&event, stop);
        }
        const std::scoped_lock lock(mutex_);
        dropped_.fetch_add(queue_.size(), std::memory_order_relaxed);
        finished_ = true;
        finished_changed_.notify_all();
    }

    void deliver(Event* event, const std::stop_token& stop) {
        EventCorrelator::Verdict verdict = correlator_.correlate(now_ns(), event);
        if (verdict == EventCorrelator::Verdict::kSuppress) {
            dropped_.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        std::chrono::milliseconds wait = kFirstRetry;
        for (int tries = 0; tries < kMaxTries; ++tries) {
            const ApiResult<void> written = write(verdict, *event, stop);
            if (written) return;
            if (verdict == EventCorrelator::Verdict::kCountUp && written.error().not_found()) {
                // It has expired: told anew, with the count it had.
                correlator_.forget_and_rename(now_ns(), event);
                verdict = EventCorrelator::Verdict::kCreate;
                continue;
            }
            // The answer to the first try was lost, not the Event.
            if (tries > 0 && written.error().code == Code::kAlreadyExists) return;
            if (!passing(written.error()) || !pause(wait, stop)) {
                log::debug("events", "event {} {}/{} is lost: {}", event->reason(),
                           event->metadata().namespace_(), event->involvedobject().name(),
                           written.error().message);
                break;
            }
            wait = std::min(wait * 2, kLongestRetry);
        }
        dropped_.fetch_add(1, std::memory_order_relaxed);
    }

    ApiResult<void> write(EventCorrelator::Verdict verdict, const Event& event,
                          const std::stop_token& stop) {
        if (verdict == EventCorrelator::Verdict::kCreate) {
            const auto created = client_.create_object(event_kind(), event, stop);
            if (!created) return tl::unexpected(created.error());
            return {};
        }
        const auto patched = client_.patch(
            event_kind(), event.metadata().namespace_(), event.metadata().name(),
            "application/merge-patch+json",
            fmt::format(R"({{"count":{},"lastTimestamp":"{}"}})", event.count(),
                        codec::format_time(event.lasttimestamp().seconds())),
            "", stop);
        if (!patched) return tl::unexpected(patched.error());
        return {};
    }

    // False when the recorder ends meanwhile: what is left has one second, which no waiting may use up.
    bool pause(std::chrono::milliseconds wait, const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        return !changed_.wait_for(lock, stop, wait, [this] { return closing_; }) &&
               !stop.stop_requested();
    }

    Client& client_;
    const std::string component_;
    const std::string host_;
    EventCorrelator correlator_{kMaxKnownEvents};
    std::atomic<std::uint64_t> dropped_{0};
    std::mutex mutex_;  // guards queue_, closing_, finished_
    std::condition_variable_any changed_;
    std::condition_variable_any finished_changed_;
    std::deque<Event> queue_;
    bool closing_ = false;
    bool finished_ = false;
    std::jthread thread_;
};

}  // namespace

std::unique_ptr<EventRecorder> EventRecorder::start(Client& client, std::string component,
                                                    std::string host) {
    return std::make_unique<Recorder>(client, std::move(component), std::move(host));
}

::k8s::io::api::core::v1::ObjectReference reference_to(const google::protobuf::Message& object) {
    const codec::KindInfo* kind = codec::kind_of(object);
    SLUICE_ASSERT(kind != nullptr);
    const auto& metadata = codec::object_meta(object);
    ::k8s::io::api::core::v1::ObjectReference out;
    out.set_kind(kind->gvk.kind);
    out.set_apiversion(kind->gvk.api_version());
    if (!metadata.namespace_().empty()) out.set_namespace_(metadata.namespace_());
    out.set_name(metadata.name());
    if (!metadata.uid().empty()) out.set_uid(metadata.uid());
    if (!metadata.resourceversion().empty()) out.set_resourceversion(metadata.resourceversion());
    return out;
}

}  // namespace sluice::client
