// See scheduler.h. Informers put what changed into a mailbox; one thread takes it out, decides, and hands to the
// writer.
#include "control/scheduler/scheduler.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api/base/log.h"
#include "api/client/client.h"
#include "api/client/informer.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/scheduler/core.h"
#include "control/scheduler/writer.h"

namespace sluice::scheduler {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr char kComponent[] = "scheduler";
// How often the number of pending writes is looked at while it holds decisions back.
constexpr std::chrono::milliseconds kWritesPoll{10};
// Nothing is waited for longer than this, so that the thread sees changes of the clock's meaning after a suspend.
constexpr std::chrono::seconds kLongestSleep{60};

const codec::KindInfo& kind(const char* name) {
    const codec::KindInfo* found = codec::find_kind({"", "v1", name});
    SLUICE_ASSERT(found != nullptr);
    return *found;
}

// What changed since the last look, each object once: as large as the cluster at most.
struct Mail {
    std::unordered_map<std::string, client::SharedObject> nodes, namespaces, pods;  // null: gone
    std::vector<BindFailure> failures;
    [[nodiscard]] bool empty() const {
        return nodes.empty() && namespaces.empty() && pods.empty() && failures.empty();
    }
};

class RunningScheduler final : public Scheduler {
public:
    RunningScheduler(std::unique_ptr<client::Client> client, std::uint64_t seed)
        : client_(std::move(client)), core_(seed),
          nodes_(*client_, kind("Node")), namespaces_(*client_, kind("Namespace")),
          // Pods that have ended hold nothing any more.
          pods_(*client_, kind("Pod"),
                {"", "", "status.phase!=Succeeded,status.phase!=Failed"}),
          writer_(Writer::start(*client_, [this](BindFailure failure) {
              post([&](Mail& mail) { mail.failures.push_back(std::move(failure)); });
          })) {
        nodes_.add_handler(deliver(&Mail::nodes));
        namespaces_.add_handler(deliver(&Mail::namespaces));
        pods_.add_handler(deliver(&Mail::pods));
        nodes_.start();
        namespaces_.start();
        pods_.start();
        thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    }
    ~RunningScheduler() override {
        thread_.request_stop();
        thread_.join();
        pods_.stop();
        namespaces_.stop();
        nodes_.stop();
    }
    RunningScheduler(const RunningScheduler&) = delete;
    RunningScheduler& operator=(const RunningScheduler&) = delete;

private:
    template <class Function>
    void post(const Function& change) {
        {
            const std::scoped_lock lock(mutex_);
            change(mail_);
        }
        arrived_.notify_one();
    }

    client::Handler deliver(std::unordered_map<std::string, client::SharedObject> Mail::*box) {
        return [this, box](const client::SharedObject& before, const client::SharedObject& after) {
            const std::string key = client::object_key(after != nullptr ? *after : *before);
            post([&](Mail& mail) { (mail.*box)[key] = after; });
        };
    }

    void run(const std::stop_token& stop) {
        if (!nodes_.wait_synced(stop) || !namespaces_.wait_synced(stop) ||
            !pods_.wait_synced(stop)) {
            return;
        }
        log::info(kComponent, "{} nodes, {} pods", nodes_.size(), pods_.size());
        while (!stop.stop_requested()) {
            apply(wait(stop));
            // New mail goes first: a node that just went must get no pod.
            while (!stop.stop_requested() && !has_mail() &&
                   writer_->pending() < kMaxPendingWrites && step()) {
            }
        }
    }

    bool has_mail() {
        const std::scoped_lock lock(mutex_);
        return !mail_.empty();
    }

    // Until there is mail or a pod's time has come.
    Mail wait(const std::stop_token& stop) {
        const Time now = std::chrono::steady_clock::now();
        Time until = now + kLongestSleep;
        if (core_.has_work(now)) {
            until = writer_->pending() < kMaxPendingWrites ? now : now + kWritesPoll;
        } else if (const auto next = core_.next_time()) {
            until = std::min(until, *next);
        }
        std::unique_lock lock(mutex_);
        arrived_.wait_until(lock, stop, until, [this] { return !mail_.empty(); });
        return std::exchange(mail_, {});
    }

    void apply(const Mail& mail) {
        const Time now = std::chrono::steady_clock::now();
        for (const auto& [name, object] : mail.namespaces) {
            if (object == nullptr) {
                core_.remove_namespace(name);
            } else {
                core_.set_namespace(*client::as<corev1::Namespace>(object));
            }
        }
        for (const auto& [name, object] : mail.nodes) {
            if (object == nullptr) {
                core_.remove_node(name);
            } else if (auto set = core_.set_node(*client::as<corev1::Node>(object)); !set) {
                log::error(kComponent, "node {} gets no pods: {}", name, set.error().message);
            }
        }
        for (const auto& [key, object] : mail.pods) {
            if (object == nullptr) {
                core_.remove_pod(key, now);
            } else if (auto told = core_.set_pod(client::as<corev1::Pod>(object), now)) {
                writer_->refuse(told->pod, "SchedulerError", told->message);
            }
        }
        for (const BindFailure& failure : mail.failures) {
            core_.bind_failed(failure.pod, failure.retry, now);
        }
    }

    // False when no pod is to be tried now.
    bool step() {
        const auto outcome = core_.schedule_next(std::chrono::steady_clock::now());
        if (!outcome) return false;
        if (outcome->node.empty()) {
            writer_->refuse(outcome->pod->object, "Unschedulable", outcome->message);
        } else {
            writer_->bind(outcome->pod, outcome->node);
        }
        return true;
    }

    const std::unique_ptr<client::Client> client_;
    Core core_;  // only the thread's
    std::mutex mutex_;  // guards mail_
    std::condition_variable_any arrived_;
    Mail mail_;
    client::Informer nodes_, namespaces_, pods_;
    std::unique_ptr<Writer> writer_;
    std::jthread thread_;
};

}  // namespace

Result<std::unique_ptr<Scheduler>> Scheduler::start(const client::ClientConfig& api_server,
                                                    const SchedulerOptions& options) {
    SLUICE_TRY_ASSIGN(auto client,
                      client::Client::create(api_server, "sluice-scheduler/" SLUICE_VERSION));
    std::random_device device;
    const std::uint64_t seed =
        options.seed ? *options.seed : (static_cast<std::uint64_t>(device()) << 32U) ^ device();
    return std::unique_ptr<Scheduler>(
        std::make_unique<RunningScheduler>(std::move(client), seed));
}

}  // namespace sluice::scheduler
