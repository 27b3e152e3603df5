// See writer.h.
#include "control/scheduler/writer.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "api/base/log.h"
#include "api/client/event_recorder.h"
#include "api/codec/time.h"
#include "api/kubernetes/core/v1/binding.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/scheduler/scheduler.h"

namespace sluice::scheduler {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr char kComponent[] = "scheduler";
constexpr char kCondition[] = "PodScheduled";

const codec::KindInfo& pod_kind() {
    static const codec::KindInfo* const kKind = codec::find_kind({"", "v1", "Pod"});
    SLUICE_ASSERT(kKind != nullptr);
    return *kKind;
}

std::int64_t now_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

const corev1::PodCondition* condition_of(const corev1::Pod& pod) {
    for (const auto& condition : pod.status().conditions()) {
        if (condition.type() == kCondition) return &condition;
    }
    return nullptr;
}

class ThreadedWriter final : public Writer {
public:
    ThreadedWriter(client::Client& client, std::function<void(BindFailure)> failed)
        : client_(client), failed_(std::move(failed)),
          events_(client::EventRecorder::start(client, kSchedulerName)) {
        for (int i = 0; i < kWriterThreads; ++i) {
            threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
        }
    }
    ~ThreadedWriter() override {
        for (auto& thread : threads_) thread.request_stop();
        threads_.clear();
    }
    ThreadedWriter(const ThreadedWriter&) = delete;
    ThreadedWriter& operator=(const ThreadedWriter&) = delete;

    void bind(const PodPointer& pod, const std::string& node) override {
        push([this, pod, node](const std::stop_token& stop) { write_binding(pod, node, stop); });
    }

    void refuse(const std::shared_ptr<const corev1::Pod>& pod, const std::string& reason,
                const std::string& message) override {
        events_->record(*pod, client::EventType::kWarning, "FailedScheduling", note_of(message));
        const corev1::PodCondition* known = condition_of(*pod);
        const bool was_false = known != nullptr && known->status() == "False";
        if (was_false && known->reason() == reason && known->message() == message) return;
        const std::int64_t since =
            was_false ? known->lasttransitiontime().seconds() : now_seconds();
        push([this, pod, reason, message, since](const std::stop_token& stop) {
            write_condition(*pod, reason, message, since, stop);
        });
    }

    [[nodiscard]] std::size_t pending() const override {
        const std::scoped_lock lock(mutex_);
        return jobs_.size() + running_;
    }

private:
    using Job = std::function<void(const std::stop_token&)>;

    void push(Job job) {
        {
            const std::scoped_lock lock(mutex_);
            jobs_.push_back(std::move(job));
        }
        filled_.notify_one();
    }

    void run(const std::stop_token& stop) {
        while (true) {
            Job job;
            {
                std::unique_lock lock(mutex_);
                if (!filled_.wait(lock, stop, [this] { return !jobs_.empty(); })) return;
                job = std::move(jobs_.front());
                jobs_.pop_front();
                ++running_;
            }
            job(stop);
            const std::scoped_lock lock(mutex_);
            --running_;
        }
    }

    void write_binding(const PodPointer& pod, const std::string& node,
                       const std::stop_token& stop) {
        corev1::Binding binding;
        binding.mutable_metadata()->set_namespace_(pod->namespace_name);
        binding.mutable_metadata()->set_name(pod->name);
        // The server refuses if the name has another pod by now.
        binding.mutable_metadata()->set_uid(pod->uid);
        binding.mutable_target()->set_kind("Node");
        binding.mutable_target()->set_name(node);
        const auto bound = client_.post(pod_kind(), pod->namespace_name, pod->name, "binding",
                                        {"", "v1", "Binding"}, binding, stop);
        if (bound) {
            events_->record(*pod->object, client::EventType::kNormal, "Scheduled",
                            "Successfully assigned " + pod->key + " to " + node);
            log::debug(kComponent, "pod {} goes to node {}", pod->key, node);
            return;
        }
        if (stop.stop_requested()) return;
        const bool gone = bound.error().not_found();
        if (!gone) {
            log::warn(kComponent, "pod {} could not be bound to node {}: {}", pod->key, node,
                      bound.error().message);
            refuse(pod->object, "SchedulerError", "binding rejected: " + bound.error().message);
        }
        failed_({pod, !gone});
    }

    void write_condition(const corev1::Pod& pod, const std::string& reason,
                         const std::string& message, std::int64_t since,
                         const std::stop_token& stop) {
        const auto& metadata = pod.metadata();
        const auto patched = client_.patch(
            pod_kind(), metadata.namespace_(), metadata.name(),
            "application/strategic-merge-patch+json",
            condition_patch(metadata.uid(), reason, message, since), "status", stop);
        // It is written again when the pod is next tried, for then the condition still differs.
        if (!patched && !patched.error().not_found() && !stop.stop_requested()) {
            log::warn(kComponent, "the condition {} of pod {}/{} could not be written: {}",
                      kCondition, metadata.namespace_(), metadata.name(), patched.error().message);
        }
    }

    client::Client& client_;
    const std::function<void(BindFailure)> failed_;
    const std::unique_ptr<client::EventRecorder> events_;
    mutable std::mutex mutex_;  // guards jobs_, running_
    std::condition_variable_any filled_;
    std::deque<Job> jobs_;
    std::size_t running_ = 0;
    std::vector<std::jthread> threads_;
};

}  // namespace

std::unique_ptr<Writer> Writer::start(client::Client& client,
                                      std::function<void(BindFailure)> failed) {
    return std::make_unique<ThreadedWriter>(client, std::move(failed));
}

std::string condition_patch(const std::string& uid, const std::string& reason,
                            const std::string& message, std::int64_t since_seconds) {
    namespace json = boost::json;
    const json::object condition{{"type", kCondition},
                                 {"status", "False"},
                                 {"reason", reason},
                                 {"message", message},
                                 {"lastProbeTime", nullptr},
                                 {"lastTransitionTime", codec::format_time(since_seconds)}};
    return json::serialize(
        json::object{{"metadata", json::object{{"uid", uid}}},
                     {"status", json::object{{"conditions", json::array{condition}}}}});
}

std::string note_of(const std::string& message) {
    constexpr std::string_view kCut = " ...";
    if (message.size() <= kMaxNoteBytes) return message;
    return message.substr(0, kMaxNoteBytes - kCut.size()).append(kCut);
}

}  // namespace sluice::scheduler
