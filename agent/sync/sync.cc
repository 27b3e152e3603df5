// See sync.h.
#include "agent/sync/sync.h"

#include <algorithm>
#include <utility>

#include "agent/sync/trigger_time.h"
#include "api/base/log.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/networking/v1/servicecidr.pb.h"

namespace sluice::sync {
namespace {

using compile::corev1::Service;
using ::k8s::io::api::core::v1::Node;
using ::k8s::io::api::discovery::v1::EndpointSlice;
using ::k8s::io::api::networking::v1::ServiceCIDR;

constexpr char kTriggerTime[] = "endpoints.kubernetes.io/last-change-trigger-time";
// Trigger times kept for one publish; a flood of changes needs no exact count.
constexpr std::size_t kMaxTriggers = 10'000;
constexpr char kComponent[] = "sync";

}  // namespace

Sync::Sync(dataplane::Engine& engine, health::State& health, health::Metrics& metrics,
           SyncOptions options, Machine machine)
    : engine_(engine), health_(health), metrics_(metrics), options_(std::move(options)),
      machine_(std::move(machine)), state_(options_.node_name, options_.forwarding),
      service_health_(health, metrics), reclaim_at_(machine_.now()), links_at_(machine_.now()) {
    cidrs_listed_ = !options_.service_cidrs.empty();
}

void Sync::step(std::vector<watch::Event> events) {
    for (auto& event : events) {
        if (auto* batch = std::get_if<client::Batch>(&event)) {
            take(*batch);
        } else {
            links_dirty_ = true;
        }
    }
    const auto now = machine_.now();
    if (now >= links_at_) links_dirty_ = true;
    if (!ready()) return;
    if (links_dirty_) look_at_links();
    if (node_dirty_) make_image_node();
    if (state_.dirty()) compile();
    publish();
    open_health_checks();
    if (following_ && machine_.now() >= reclaim_at_) {
        engine_.reclaim();
        reclaim_at_ = machine_.now() + kReclaimInterval;
    }
}

Clock::time_point Sync::wake_at() const {
    auto at = std::min(reclaim_at_, links_at_);
    if (!following_) at = machine_.now() + kReclaimInterval;
    if (!following_ && grace_until_) at = std::min(at, *grace_until_);
    if (retry_at_) at = std::min(at, *retry_at_);
    if (health_checks_retry_at_) at = std::min(at, *health_checks_retry_at_);
    if (devices_retry_at_) at = std::min(at, *devices_retry_at_);
    return at;
}

void Sync::take(client::Batch& batch) {
    const bool first = batch.synced || batch.not_served;
    if (batch.kind == &watch::services_kind()) {
        services_listed_ = services_listed_ || batch.synced;
        if (batch.not_served) log::error(kComponent, "the API server does not serve Services");
    } else if (batch.kind == &watch::endpoint_slices_kind()) {
        slices_listed_ = slices_listed_ || batch.synced;
        if (batch.not_served) log::error(kComponent, "the API server does not serve EndpointSlices");
    } else if (batch.kind == &watch::nodes_kind()) {
        node_listed_ = node_listed_ || first;
    } else if (batch.kind == &watch::service_cidrs_kind()) {
        cidrs_listed_ = cidrs_listed_ || first;
    }
    if (batch.deltas.empty()) return;
    if (!oldest_arrival_) oldest_arrival_ = batch.received;
    // Before the first publish it is the API server that is waited for; replace_all() starts the clock.
    if (following_) health_.change_queued(std::chrono::system_clock::now());
    metrics_.queued();
    for (auto& delta : batch.deltas) {
        if (batch.kind == &watch::services_kind()) {
            take_service(delta);
        } else if (batch.kind == &watch::endpoint_slices_kind()) {
            take_slice(delta);
        } else if (batch.kind == &watch::nodes_kind()) {
            take_node(delta);
        } else if (batch.kind == &watch::service_cidrs_kind()) {
            take_cidr(delta);
        }
    }
    // All messages at once, at the end: freed one by one, their places would be taken by the facts that stay, and
    // hardly a page of a list that was read would ever go back.
    batch.deltas = {};
    metrics_.pending(pending_slices_, pending_services_);
    metrics_.table_size(state_.services(), state_.slices());
}

void Sync::take_service(const client::Delta& delta) {
    ++pending_services_;
    metrics_.changes(0, 0, 1);
    if (delta.object) {
        state_.upsert(static_cast<const Service&>(*delta.object));
    } else {
        state_.remove_service(delta.key);
    }
}

void Sync::take_slice(const client::Delta& delta) {
    ++pending_slices_;
    if (!delta.object) {
        metrics_.changes(1, 0, 0);
        state_.remove_slice(delta.key);
        return;
    }
    const auto& slice = static_cast<const EndpointSlice&>(*delta.object);
    const bool v6 = slice.addresstype() == "IPv6";
    metrics_.changes(v6 ? 0 : 1, v6 ? 1 : 0, 0);
    // The first list tells of changes long past; they are no measure of ours.
    if (following_ && triggers_.size() < kMaxTriggers) {
        const auto& annotations = slice.metadata().annotations();
        if (const auto found = annotations.find(kTriggerTime); found != annotations.end()) {
            if (const auto time = parse_trigger_time(found->second)) triggers_.push_back(*time);
        }
    }
    state_.upsert(slice);
}

void Sync::take_node(const client::Delta& delta) {
    if (delta.key != options_.node_name) return;
    std::optional<NodeObject> object;
    if (delta.object) object = read_node(static_cast<const Node&>(*delta.object));
    // A node that was there and is gone is being removed from the cluster; one that never was is no fault.
    health_.set_node_eligible(object ? object->eligible : !node_object_.has_value());
    if (object == node_object_) return;
    node_object_ = std::move(object);
    if (node_object_) state_.set_zone(node_object_->zone);
    node_dirty_ = true;
}

void Sync::take_cidr(const client::Delta& delta) {
    api_cidrs_.erase(delta.key);
    if (delta.object) {
        auto& cidrs = api_cidrs_[delta.key];
        for (const auto& text : static_cast<const ServiceCIDR&>(*delta.object).spec().cidrs()) {
            auto cidr = IpPrefix::parse(text, true);
            if (cidr) {
                cidrs.push_back(*cidr);
            } else {
                log::warn(kComponent, "servicecidr {}: spec.cidrs: {}; left out", delta.key,
                          cidr.error().message);
            }
        }
    }
    node_dirty_ = true;
}

bool Sync::ready() {
    if (!services_listed_ || !slices_listed_) return false;
    // kube-proxy waits for these ranges too: without them every pod would be taken for a stranger.
    const bool by_node = options_.detect.mode == DetectLocal::Mode::kNodeCidr;
    if (!following_ && by_node && (!node_object_ || node_object_->pod_cidrs.empty())) return false;
    if (following_ || (node_listed_ && cidrs_listed_)) return true;
    if (!grace_until_) grace_until_ = machine_.now() + kOptionalGrace;
    return machine_.now() >= *grace_until_;
}

void Sync::look_at_links() {
    links_at_ = machine_.now() + kLinkInterval;
    auto links = machine_.links();
    if (!links) {
        log::warn(kComponent, "links cannot be listed: {}; the last known ones are used",
                  links.error().to_string());
        links_at_ = machine_.now() + kReclaimInterval;
    } else {
        links_ = std::move(*links);
        node_dirty_ = true;
    }
    links_dirty_ = false;
    devices_dirty_ = true;
}

void Sync::make_image_node() {
    NodeInputs inputs;
    inputs.object = node_object_ ? &*node_object_ : nullptr;
    inputs.links = links_;
    inputs.nodeports = options_.nodeports;
    inputs.detect = options_.detect;
    inputs.bind_address = options_.bind_address;
    inputs.beside_kube_proxy = options_.beside_kube_proxy;
    inputs.masquerade_all = options_.masquerade_all;
    inputs.service_cidrs = options_.service_cidrs;
    if (inputs.service_cidrs.empty()) {
        std::set<IpPrefix> unique;
        for (const auto& [name, cidrs] : api_cidrs_) unique.insert(cidrs.begin(), cidrs.end());
        inputs.service_cidrs.assign(unique.begin(), unique.end());
    }
    image::Node node = make_node(inputs);
    node_dirty_ = false;
    std::vector<IpAddress> own = node_object_ ? node_object_->addresses : node.nodeport_addresses;
    state_.set_addresses(std::move(own));
    if (node == node_) return;
    if (node.nodeport_addresses != node_.nodeport_addresses) health_checks_dirty_ = true;
    node_ = std::move(node);
    node_owed_ = true;
}

void Sync::compile() {
    // Before everything was published once there is no difference to publish: all() has it.
    const auto report = following_ ? compile::Report::kChange : compile::Report::kNothing;
    compile::Progress progress = state_.take(report);
    for (const auto& note : progress.notes) log::warn("compile", "{}", note);
    metrics_.no_local_endpoints(progress.no_local_internal, progress.no_local_external);
    if (following_) fresh_ = std::move(progress.change);
    if (progress.health_checks_changed) health_checks_dirty_ = true;
}

void Sync::open_health_checks() {
    const auto now = machine_.now();
    const bool retry = health_checks_retry_at_ && now >= *health_checks_retry_at_;
    if (!following_ || (!health_checks_dirty_ && !retry)) return;
    std::map<std::string, health::ServiceHealthPort> ports;
    for (const auto& [service, check] : state_.health_checks()) {
        ports.emplace(service, health::ServiceHealthPort{check.port, check.local_endpoints});
    }
    // As in kube-proxy: on all addresses, unless ranges say where NodePorts answer.
    std::vector<std::string> addresses;
    if (!options_.nodeports.ranges.empty()) {
        for (const auto& address : node_.nodeport_addresses) addresses.push_back(address.to_string());
    }
    health_checks_dirty_ = false;
    health_checks_retry_at_.reset();
    if (service_health_.update(ports, std::move(addresses)) > 0) {
        health_checks_retry_at_ = now + kHealthCheckRetry;
    }
}

void Sync::publish() {
    const bool due = !retry_at_ || machine_.now() >= *retry_at_;
    if (!following_) {
        if (due) replace_all();
        return;
    }
    if (due && failures_ >= kReplaceAfterFailures) replace_all();
    // After a success nothing is left of these; after a failure new changes still go ahead of what is owed.
    publish_node();
    publish_change();
    sync_devices();
    if (owed_.empty() && !node_owed_) {
        // Also after a failure that no arrival stood behind, such as that of a link's new address.
        if (failures_ > 0) health_.all_published(std::chrono::system_clock::now());
        failures_ = 0;
        retry_at_.reset();
    }
}

void Sync::sync_devices() {
    const auto now = machine_.now();
    if (!devices_dirty_ || (devices_retry_at_ && now < *devices_retry_at_)) return;
    // Counted apart: a device that cannot be attached to must not hold changes of services back.
    if (auto synced = engine_.sync_devices(); !synced) {
        devices_retry_at_ = now + kDeviceRetry;
        metrics_.sync_failed();
        log::error(kComponent, "attaching to devices failed: {}; again in {} ms",
                   synced.error().to_string(), kDeviceRetry.count());
        return;
    }
    devices_dirty_ = false;
    devices_retry_at_.reset();
}

void Sync::replace_all() {
    const auto started = machine_.now();
    const std::vector<image::Service> all = state_.all();
    health_.change_queued(std::chrono::system_clock::now());
    if (auto replaced = engine_.replace_all(node_, all); !replaced) {
        failed(replaced.error(), "publishing everything");
        return;
    }
    const bool first = !following_;
    following_ = true;
    fresh_ = {};
    owed_.clear();
    node_owed_ = false;
    // replace_all attaches to what is there; links that came meanwhile are seen again.
    devices_dirty_ = true;
    failures_ = 0;
    retry_at_.reset();
    succeeded(started, true);
    if (first) {
        const auto took = std::chrono::duration<double, std::milli>(machine_.now() - started);
        log::info(kComponent, "{} services with {} service ports and {} slices are in force after {:.1f} ms",
                  state_.services(), all.size(), state_.slices(), took.count());
    }
    sync_devices();
}

void Sync::publish_node() {
    const bool due = !retry_at_ || machine_.now() >= *retry_at_;
    if (!node_owed_ || !due) return;
    if (auto set = engine_.set_node(node_); !set) {
        failed(set.error(), "publishing the node's addresses");
        return;
    }
    node_owed_ = false;
}

void Sync::publish_change() {
    const bool due = !retry_at_ || machine_.now() >= *retry_at_;
    image::Change change = std::exchange(fresh_, {});
    if (owed_.empty() && change.upserts.empty() && change.removals.empty()) {
        // What arrived made no difference to this node, or was undone at once.
        if (oldest_arrival_ && !node_owed_) succeeded(machine_.now(), false);
        return;
    }
    for (const auto& service : change.upserts) owed_.erase(service.key);
    for (const auto& key : change.removals) owed_.erase(key);
    if (due) {
        for (auto& [key, service] : owed_) {
            if (service) {
                change.upserts.push_back(*service);
            } else {
                change.removals.push_back(key);
            }
        }
    }
    if (change.upserts.empty() && change.removals.empty()) return;
    const auto started = machine_.now();
    if (auto applied = engine_.apply(change); !applied) {
        for (auto& service : change.upserts) {
            const auto key = service.key;
            owed_.insert_or_assign(key, std::move(service));
        }
        for (const auto& key : change.removals) owed_.insert_or_assign(key, std::nullopt);
        failed(applied.error(), "publishing a change");
        return;
    }
    for (const auto& service : change.upserts) owed_.erase(service.key);
    for (const auto& key : change.removals) owed_.erase(key);
    if (owed_.empty()) succeeded(started, false);
}

void Sync::succeeded(Clock::time_point started, bool full) {
    const auto now = machine_.now();
    metrics_.sync_finished(now - started, full);
    if (oldest_arrival_) metrics_.applied_after(now - *oldest_arrival_);
    const auto wall = std::chrono::system_clock::now();
    for (const auto& trigger : triggers_) metrics_.programmed_after(wall - trigger);
    triggers_.clear();
    oldest_arrival_.reset();
    pending_slices_ = 0;
    pending_services_ = 0;
    metrics_.pending(0, 0);
    health_.all_published(wall);
}

void Sync::failed(const Error& error, const char* what) {
    auto wait = kMinRetry;
    for (int i = 0; i < failures_ && wait < kMaxRetry; ++i) wait *= 2;
    wait = std::min(wait, kMaxRetry);
    ++failures_;
    retry_at_ = machine_.now() + wait;
    metrics_.sync_failed();
    health_.change_queued(std::chrono::system_clock::now());
    log::error(kComponent, "{} failed: {}; again in {} ms", what, error.to_string(), wait.count());
}

void run(Sync& sync, watch::EventQueue& queue, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(
            sync.wake_at() - Clock::now());
        sync.step(queue.take(std::max(wait, std::chrono::milliseconds(0)), stop));
    }
}

}  // namespace sluice::sync
