// The subscription. containerd does not say when a subscription has begun, so a mark is published
// until it comes back on the stream: only then is nothing missed any more.
#include "control/kubelet/cri/runtime_events.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "api/base/log.h"
#include "api/external/cri/events.grpc.pb.h"
#include "control/kubelet/cri/channel_internal.h"
#include "control/kubelet/cri/cri.h"

namespace sluice::kubelet {

namespace {

namespace eventsv1 = ::containerd::services::events::v1;

constexpr char kNamespace[] = "k8s.io";
constexpr char kMark[] = "/sluice/subscribed";
constexpr std::uint32_t kMarkEveryMs = 20;
constexpr std::uint32_t kMaxMarks = 500;

bool wait_ms(std::uint32_t milliseconds, const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock(mutex);
    changed.wait_for(lock, stop, std::chrono::milliseconds(milliseconds), [] { return false; });
    return !stop.stop_requested();
}

class Stream final : public RuntimeEvents {
public:
    Stream(const std::string& path, std::function<void()> on_connected,
           std::function<void(const RuntimeEvent&)> on_event)
        : on_connected_(std::move(on_connected)), on_event_(std::move(on_event)),
          stub_(eventsv1::Events::NewStub(make_channel(path))),
          mark_(std::to_string(std::chrono::steady_clock::now().time_since_epoch().count())) {
        thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    }

private:
    void run(const std::stop_token& stop) {
        std::uint32_t delay = kMinResubscribeMs;
        bool told = false;
        while (!stop.stop_requested()) {
            connected_ = false;
            const auto status = read(stop);
            if (stop.stop_requested()) return;
            if (connected_) {
                delay = kMinResubscribeMs;
                told = false;
            }
            if (!told) {
                log::warn("kubelet", "the event stream of the container runtime ended: {}",
                          status.error_message());
                told = true;
            }
            if (!wait_ms(delay, stop)) return;
            delay = std::min(delay * 2, kMaxResubscribeMs);
        }
    }

    grpc::Status read(const std::stop_token& stop) {
        grpc::ClientContext context;
        context.AddMetadata("containerd-namespace", kNamespace);
        const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
        eventsv1::SubscribeRequest request;
        for (const char* topic : {"/tasks/start", "/tasks/exit", "/tasks/oom", kMark}) {
            request.add_filters(fmt::format("namespace=={},topic==\"{}\"", kNamespace, topic));
        }
        const auto reader = stub_->Subscribe(&context, request);
        // Publishes until the mark is seen, or the stream is over.
        std::jthread marker([this, &context](const std::stop_token& over) {
            for (std::uint32_t sent = 0; sent < kMaxMarks && !over.stop_requested(); ++sent) {
                publish_mark();
                if (!wait_ms(kMarkEveryMs, over)) return;
            }
            if (!over.stop_requested()) context.TryCancel();
        });
        eventsv1::Envelope envelope;
        while (reader->Read(&envelope)) {
            if (envelope.topic() == kMark) {
                eventsv1::TaskOOM mark;
                if (!connected_ && mark.ParseFromString(envelope.event().value()) &&
                    mark.container_id() == mark_) {
                    marker.request_stop();
                    connected_ = true;
                    on_connected_();
                }
                continue;
            }
            // Before the mark everything is listed anyway.
            if (connected_) deliver(envelope);
        }
        marker.request_stop();
        marker.join();
        return reader->Finish();
    }

    void publish_mark() {
        grpc::ClientContext context;
        context.AddMetadata("containerd-namespace", kNamespace);
        context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
        eventsv1::PublishRequest request;
        request.set_topic(kMark);
        eventsv1::TaskOOM mark;
        mark.set_container_id(mark_);
        request.mutable_event()->set_type_url("containerd.events.TaskOOM");
        mark.SerializeToString(request.mutable_event()->mutable_value());
        google::protobuf::Empty nothing;
        // A failure shows as the stream's end or as a mark that does not come.
        static_cast<void>(stub_->Publish(&context, request, &nothing).ok());
    }

    void deliver(const eventsv1::Envelope& envelope) {
        RuntimeEvent event;
        const auto& value = envelope.event().value();
        if (envelope.topic() == "/tasks/exit") {
            eventsv1::TaskExit exit;
            // The end of a process that was executed in a container carries another id.
            if (!exit.ParseFromString(value) || exit.id() != exit.container_id()) return;
            event.type = RuntimeEvent::Type::kExit;
            event.container_id = exit.container_id();
            event.exit_code = exit.exit_status();
            event.exited_at_ns =
                exit.exited_at().seconds() * 1'000'000'000 + exit.exited_at().nanos();
        } else if (envelope.topic() == "/tasks/oom") {
            eventsv1::TaskOOM oom;
            if (!oom.ParseFromString(value)) return;
            event.type = RuntimeEvent::Type::kOom;
            event.container_id = oom.container_id();
        } else {
            eventsv1::TaskStart start;
            if (!start.ParseFromString(value)) return;
            event.container_id = start.container_id();
        }
        on_event_(event);
    }

    std::function<void()> on_connected_;
    std::function<void(const RuntimeEvent&)> on_event_;
    std::unique_ptr<eventsv1::Events::Stub> stub_;
    const std::string mark_;
    bool connected_ = false;
    std::jthread thread_;
};

}  // namespace

Result<std::unique_ptr<RuntimeEvents>> RuntimeEvents::start(
    const std::string& endpoint, std::function<void()> on_connected,
    std::function<void(const RuntimeEvent&)> on_event) {
    SLUICE_TRY_ASSIGN(const auto path, parse_endpoint(endpoint));
    return std::unique_ptr<RuntimeEvents>(
        std::make_unique<Stream>(path, std::move(on_connected), std::move(on_event)));
}

}  // namespace sluice::kubelet
