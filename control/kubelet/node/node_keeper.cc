// See node.h. Three threads: one registers and then reports the status, one renews the Lease so
// that nothing slow can delay it, one (the informer's) follows the Node.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "api/base/ip_address.h"
#include "api/base/log.h"
#include "api/client/informer.h"
#include "api/codec/json.h"
#include "api/kubernetes/coordination/v1/lease.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "control/kubelet/node/node.h"
#include "control/kubelet/node/node_status_private.h"

namespace sluice::kubelet {
namespace {

namespace coordinationv1 = ::k8s::io::api::coordination::v1;
namespace json = boost::json;
using Steady = std::chrono::steady_clock;
using Wall = std::chrono::system_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr std::uint32_t kMinRetryMs = 100;
constexpr std::uint32_t kMaxRetryMs = 7'000;
constexpr std::uint32_t kLeaseJitterMs = kLeaseRenewMs / 25;
constexpr const char* kLeaseNamespace = "kube-node-lease";
constexpr const char* kStrategicMerge = "application/strategic-merge-patch+json";
constexpr const char* kMerge = "application/merge-patch+json";
// The wall clock and the steady one part by that much: somebody set the time, and what was written
// is of another time.
constexpr std::int64_t kClockJumpMs = 10'000;

const codec::KindInfo& kind_named(const char* group, const char* name) {
    const codec::KindInfo* kind = codec::find_kind({group, "v1", name});
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

// Waits between attempts, doubled, each with jitter.
class Backoff {
public:
    void reset() { wait_ms_ = 0; }
    Milliseconds next() {
        wait_ms_ = wait_ms_ == 0 ? kMinRetryMs : std::min(wait_ms_ * 2, kMaxRetryMs);
        return Milliseconds(
            std::uniform_int_distribution<std::uint32_t>(wait_ms_ / 2, wait_ms_)(random_));
    }

private:
    std::uint32_t wait_ms_ = 0;
    std::mt19937 random_{std::random_device{}()};
};

std::int64_t wall_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(Wall::now().time_since_epoch()).count();
}

std::int64_t clock_offset_ms() {
    return std::chrono::duration_cast<Milliseconds>(Wall::now().time_since_epoch()).count() -
           std::chrono::duration_cast<Milliseconds>(Steady::now().time_since_epoch()).count();
}

class Keeper final : public NodeKeeper {
public:
    Keeper(client::Client& client, NodeOptions options, std::function<RuntimeState()> runtime_state,
           client::EventRecorder& events, corev1::Node tainted)
        : client_(client), options_(std::move(options)), runtime_state_(std::move(runtime_state)),
          events_(events), tainted_(std::move(tainted)), kind_(kind_named("", "Node")),
          informer_(client, kind_, client::Selection{"", "", "metadata.name=" + options_.name}) {
        const Machine machine = read_machine(options_.root_directory);
        cpu_milli_ = allocatable_cpu(machine, options_);
        memory_bytes_ = allocatable_memory(machine, options_);
        informer_.add_handler([this](const client::SharedObject&, const client::SharedObject& after) {
            if (after != nullptr) seen(client::as<corev1::Node>(after));
        });
        // kubectl looks for a node's events by its name in place of the uid.
        event_target_.mutable_metadata()->set_name(options_.name);
        event_target_.mutable_metadata()->set_uid(options_.name);
        events_.record(event_target_, client::EventType::kNormal, "Starting", "Starting kubelet.");
        status_thread_ = std::jthread([this](const std::stop_token& stop) { keep_status(stop); });
    }
    ~Keeper() override {
        status_thread_.request_stop();
        status_thread_.join();
        if (lease_thread_.joinable()) {
            lease_thread_.request_stop();
            lease_thread_.join();
        }
        informer_.stop();
    }
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;

    void check_now() override {
        const std::scoped_lock lock(mutex_);
        check_now_ = true;
        wake_.notify_all();
    }
    [[nodiscard]] std::shared_ptr<const corev1::Node> node() const override {
        const std::scoped_lock lock(mutex_);
        return node_;
    }
    [[nodiscard]] std::int64_t allocatable_cpu_milli() const override { return cpu_milli_; }
    [[nodiscard]] std::int64_t allocatable_memory_bytes() const override { return memory_bytes_; }

private:
    void seen(std::shared_ptr<const corev1::Node> node) {
        const std::scoped_lock lock(mutex_);
        // An answer and a watch may come in either order; versions of one server grow.
        if (node_ != nullptr && node_->metadata().uid() == node->metadata().uid() &&
            version_of(*node) < version_of(*node_)) {
            return;
        }
        node_ = std::move(node);
    }
    static std::uint64_t version_of(const corev1::Node& node) {
        return std::strtoull(node.metadata().resourceversion().c_str(), nullptr, 10);
    }
    void seen(client::Object object) {
        seen(std::shared_ptr<const corev1::Node>(static_cast<corev1::Node*>(object.release())));
    }

    // False when stopped.
    bool wait(Milliseconds time, const std::stop_token& stop, bool until_check) {
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, stop, time, [&] { return until_check && check_now_; });
        if (until_check) check_now_ = false;
        return !stop.stop_requested();
    }

    void keep_status(const std::stop_token& stop);
    client::ApiResult<void> register_node(const std::stop_token& stop);
    client::ApiResult<void> correct_metadata(const corev1::Node& existing,
                                             const std::stop_token& stop);
    client::ApiResult<void> report_status(const std::stop_token& stop);
    void tell(const std::vector<std::string>& reasons);
    Pressure held_pressure(const Machine& machine);
    void keep_lease(const std::stop_token& stop);
    client::ApiResult<void> renew_lease(std::unique_ptr<coordinationv1::Lease>* lease,
                                        const std::stop_token& stop);

    client::Client& client_;
    const NodeOptions options_;
    const std::function<RuntimeState()> runtime_state_;
    client::EventRecorder& events_;
    const corev1::Node tainted_;
    const codec::KindInfo& kind_;
    corev1::Node event_target_;
    std::int64_t cpu_milli_ = 0;
    std::int64_t memory_bytes_ = 0;

    mutable std::mutex mutex_;
    std::condition_variable_any wake_;
    std::shared_ptr<const corev1::Node> node_;
    bool check_now_ = false;

    // The status thread's own.
    Steady::time_point reported_{};
    std::int64_t reported_offset_ms_ = 0;
    std::optional<Steady::time_point> memory_seen_;
    std::optional<Steady::time_point> disk_seen_;
    std::optional<Steady::time_point> pids_seen_;

    client::Informer informer_;
    std::jthread status_thread_;
    std::jthread lease_thread_;  // started by the status thread once there is a Node
};

Pressure Keeper::held_pressure(const Machine& machine) {
    const auto now = Steady::now();
    const Pressure seen = pressure_of(machine);
    const auto holds = [&](bool is_now, std::optional<Steady::time_point>* last) {
        if (is_now) *last = now;
        return *last && now - **last < Milliseconds(kPressureOverMs);
    };
    return Pressure{holds(seen.memory, &memory_seen_), holds(seen.disk, &disk_seen_),
                    holds(seen.pids, &pids_seen_)};
}

void Keeper::tell(const std::vector<std::string>& reasons) {
    for (const std::string& reason : reasons) {
        events_.record(event_target_, client::EventType::kNormal, reason,
                       fmt::format("Node {} status is now: {}", options_.name, reason));
    }
}

client::ApiResult<void> Keeper::register_node(const std::stop_token& stop) {
    auto existing = client_.get(kind_, "", options_.name, stop);
    if (existing) {
        const auto& node = static_cast<const corev1::Node&>(**existing);
        if (auto corrected = correct_metadata(node, stop); !corrected) return corrected;
        const std::string boot_id = node.status().nodeinfo().bootid();
        const Machine machine = read_machine(options_.root_directory);
        if (!boot_id.empty() && boot_id != machine.boot_id) {
            events_.record(event_target_, client::EventType::kWarning, "Rebooted",
                           fmt::format("Node {} has been rebooted, boot id: {}", options_.name,
                                       machine.boot_id));
        }
        seen(std::move(*existing));
        return {};
    }
    if (!existing.error().not_found()) return tl::unexpected(existing.error());
    corev1::Node node = tainted_;
    node.mutable_metadata()->set_name(options_.name);
    const Machine machine = read_machine(options_.root_directory);
    const NewStatus made =
        make_status(options_, machine, held_pressure(machine), runtime_state_(), wall_seconds(),
                    corev1::NodeStatus(), node.mutable_status());
    for (const auto& [key, value] : made.labels) (*node.mutable_metadata()->mutable_labels())[key] = value;
    if (!options_.provider_id.empty()) node.mutable_spec()->set_providerid(options_.provider_id);
    auto created = client_.create_object(kind_, node, stop);
    if (!created) return tl::unexpected(created.error());
    log::info("kubelet", "registered node {}", options_.name);
    tell(made.events);
    seen(std::move(*created));
    return {};
}

// The labels that say what this machine is, and those of the options. All else (podCIDRs, taints,
// unschedulable, others' labels) is of the cluster and stays.
client::ApiResult<void> Keeper::correct_metadata(const corev1::Node& existing,
                                                 const std::stop_token& stop) {
    json::object labels;
    for (const auto& [key, value] : node_labels(options_)) {
        const auto there = existing.metadata().labels().find(key);
        if (there == existing.metadata().labels().end() || there->second != value) {
            labels[key] = value;
        }
    }
    json::object patch;
    if (!labels.empty()) patch["metadata"] = json::object{{"labels", std::move(labels)}};
    if (existing.spec().providerid().empty() && !options_.provider_id.empty()) {
        patch["spec"] = json::object{{"providerID", options_.provider_id}};
    }
    if (patch.empty()) return {};
    auto patched = client_.patch(kind_, "", options_.name, kMerge, codec::write_json(patch), "", stop);
    if (!patched) return tl::unexpected(patched.error());
    seen(std::move(*patched));
    return {};
}

client::ApiResult<void> Keeper::report_status(const std::stop_token& stop) {
    const auto before = node();
    const Machine machine = read_machine(options_.root_directory);
    corev1::Node after;
    const NewStatus made = make_status(options_, machine, held_pressure(machine), runtime_state_(),
                                       wall_seconds(), before->status(), after.mutable_status());
    const std::int64_t offset_ms = clock_offset_ms();
    const bool due = Steady::now() - reported_ >= Milliseconds(kStatusReportMs) ||
                     std::abs(offset_ms - reported_offset_ms_) > kClockJumpMs;
    if (!due && !is_status_changed(before->status(), after.status())) return {};
    json::value document = codec::to_json_value(after);
    json::object status = std::move(document.as_object()["status"].as_object());
    // Addresses merge by their type, of which a node with two IP families has two: so they are
    // replaced as a whole.
    json::array addresses{json::object{{"$patch", "replace"}}};
    for (auto& address : status["addresses"].as_array()) addresses.push_back(std::move(address));
    status["addresses"] = std::move(addresses);
    json::object patch;
    patch["status"] = std::move(status);
    auto patched = client_.patch(kind_, "", options_.name, kStrategicMerge, codec::write_json(patch),
                                 "status", stop);
    if (!patched) return tl::unexpected(patched.error());
    reported_ = Steady::now();
    reported_offset_ms_ = offset_ms;
    seen(std::move(*patched));
    tell(made.events);
    return {};
}

void Keeper::keep_status(const std::stop_token& stop) {
    Backoff backoff;
    while (true) {
        const auto registered = register_node(stop);
        if (registered) break;
        if (stop.stop_requested()) return;
        const auto wait_time = backoff.next();
        log::warn("kubelet", "node {} cannot be registered: {}; again in {} ms", options_.name,
                  registered.error().message, wait_time.count());
        if (!wait(wait_time, stop, false)) return;
    }
    informer_.start();
    lease_thread_ = std::jthread([this](const std::stop_token& lease_stop) { keep_lease(lease_stop); });
    backoff.reset();
    while (!stop.stop_requested()) {
        Milliseconds next(kStatusCheckMs);
        if (const auto reported = report_status(stop); reported) {
            backoff.reset();
        } else if (!stop.stop_requested()) {
            next = backoff.next();
            log::warn("kubelet", "status of node {} cannot be reported: {}", options_.name,
                      reported.error().message);
        }
        if (!wait(next, stop, true)) return;
    }
}

client::ApiResult<void> Keeper::renew_lease(std::unique_ptr<coordinationv1::Lease>* lease,
                                            const std::stop_token& stop) {
    const codec::KindInfo& kind = kind_named("coordination.k8s.io", "Lease");
    const auto now = Wall::now().time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now - seconds);
    bool exists = *lease != nullptr;
    if (!exists) {
        auto found = client_.get(kind, kLeaseNamespace, options_.name, stop);
        if (found) {
            lease->reset(static_cast<coordinationv1::Lease*>(found->release()));
            exists = true;
        } else if (!found.error().not_found()) {
            return tl::unexpected(found.error());
        }
    }
    coordinationv1::Lease next = exists ? **lease : coordinationv1::Lease();
    auto* metadata = next.mutable_metadata();
    metadata->set_name(options_.name);
    metadata->set_namespace_(kLeaseNamespace);
    if (metadata->ownerreferences().empty()) {
        if (const auto owner = node(); owner != nullptr) {
            auto* reference = metadata->add_ownerreferences();
            reference->set_apiversion("v1");
            reference->set_kind("Node");
            reference->set_name(options_.name);
            reference->set_uid(owner->metadata().uid());
        }
    }
    auto* spec = next.mutable_spec();
    spec->set_holderidentity(options_.name);
    spec->set_leasedurationseconds(static_cast<std::int32_t>(kLeaseSeconds));
    spec->mutable_renewtime()->set_seconds(seconds.count());
    spec->mutable_renewtime()->set_nanos(static_cast<std::int32_t>(micros.count() * 1000));
    auto written = exists ? client_.update(kind, next, "", stop)
                          : client_.create_object(kind, next, stop);
    if (!written) {
        // Somebody changed or deleted it, or it is there after all: the next attempt reads it
        // again.
        lease->reset();
        return tl::unexpected(written.error());
    }
    lease->reset(static_cast<coordinationv1::Lease*>(written->release()));
    return {};
}

void Keeper::keep_lease(const std::stop_token& stop) {
    Backoff backoff;
    std::mt19937 random{std::random_device{}()};
    std::unique_ptr<coordinationv1::Lease> lease;
    while (!stop.stop_requested()) {
        Milliseconds next(kLeaseRenewMs +
                          std::uniform_int_distribution<std::uint32_t>(0, kLeaseJitterMs)(random));
        if (const auto renewed = renew_lease(&lease, stop); renewed) {
            backoff.reset();
        } else if (!stop.stop_requested()) {
            next = backoff.next();
            log::warn("kubelet", "lease of node {} cannot be renewed: {}; again in {} ms",
                      options_.name, renewed.error().message, next.count());
        }
        if (!wait(next, stop, false)) return;
    }
}

}  // namespace

Result<std::unique_ptr<NodeKeeper>> NodeKeeper::start(client::Client& client, NodeOptions options,
                                                      std::function<RuntimeState()> runtime_state,
                                                      client::EventRecorder& events) {
    if (options.name.empty()) return make_error(Code::kInvalidArgument, "the node has no name");
    if (options.addresses.empty()) {
        return make_error(Code::kInvalidArgument, "node {} has no address", options.name);
    }
    for (const std::string& address : options.addresses) {
        if (auto parsed = IpAddress::parse(address); !parsed) {
            return parsed.error().with_context("node " + options.name);
        }
    }
    SLUICE_TRY(check_labels(options.labels));
    SLUICE_TRY_ASSIGN(corev1::Node tainted, parse_taints(options.taints));
    return std::unique_ptr<NodeKeeper>(std::make_unique<Keeper>(
        client, std::move(options), std::move(runtime_state), events, std::move(tainted)));
}

}  // namespace sluice::kubelet
