// What the agent calls: the engine keeps the image in step with what is desired.
#include "dataplane/ebpf/ebpf_engine.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "dataplane/ebpf/engine_private.h"
#include "dataplane/ebpf/privileges.h"

namespace sluice::dataplane {
namespace {

// Of a table that has `entries` at first and grows to `most`.
Result<void> check_size(std::string_view name, std::uint32_t entries, std::uint32_t most, std::uint32_t lower,
                        std::uint32_t upper) {
    for (const auto& [suffix, value] : {std::pair{"", entries}, std::pair{"_max", most}}) {
        if (value < lower || value > upper) {
            return make_error(Code::kInvalidArgument, "{}{} is {}; it may be {} to {}", name, suffix, value, lower,
                              upper);
        }
    }
    if (entries > most) {
        return make_error(Code::kInvalidArgument, "{0} is {1}, more than {0}_max, {2}", name, entries, most);
    }
    return {};
}

}  // namespace

Result<void> EbpfEngine::prepare() {
    if (options_.snat_port_min == 0 || options_.snat_port_min > options_.snat_port_max) {
        return make_error(Code::kInvalidArgument,
                          "the source port range {}-{} is empty or starts at 0",
                          options_.snat_port_min, options_.snat_port_max);
    }
    SLUICE_TRY(check_size("flow_entries", options_.flow_entries, options_.flow_entries_max, kLeastFlowEntries,
                          kMostFlowEntries));
    SLUICE_TRY(check_size("affinity_entries", options_.affinity_entries, options_.affinity_entries_max,
                          kLeastAffinityEntries, kMostAffinityEntries));
    SLUICE_TRY(check_privileges());
    if (options_.socket_hooks) {
        SLUICE_TRY(check_cgroup2(options_.cgroup_root));
    }
    SLUICE_TRY(check_bpffs(options_.bpffs));
    // Fails here, before anything is touched, on a kernel or with rights that cannot do it.
    auto probe = KernelImage::create(image::Capacities{});
    if (!probe) {
        return probe.error().with_context(
            "this kernel or user cannot make memory-mapped BPF arrays (Linux 5.15 and root, or "
            "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, are needed)");
    }
    if (options_.socket_hooks) {
        stale_peers_ = std::make_unique<StalePeers>();
    }
    SLUICE_TRY(make_directory(paths_.root));
    SLUICE_TRY(make_directory(paths_.links));
    SLUICE_TRY(make_directory(paths_.state));
    state_was_there_ = !list_directory(paths_.state).empty();
    // Which table is in use has to be settled before programs are loaded.
    SLUICE_TRY(flow_pins_.settle());
    SLUICE_TRY(affinity_.settle());
    load_ahead();
    return {};
}

Result<void> EbpfEngine::with_room(const std::function<Result<void>()>& step) {
    // Where one table is full the others soon will be: make room in all at once.
    return image::with_room(step, [this] { return collect(); }, [this] {
        return replace_image(capacities_for(publisher_->usage(), publisher_->wanted()), node_);
    });
}

// Waits for what is retired to become free. False if that is too little to be worth it.
bool EbpfEngine::collect() {
    if (waiting_.pieces() + publisher_->retired_count() < image::kRetiredWorthWaiting) {
        return false;
    }
    bool freed = false;
    if (!waiting_.empty() && grace_.wait()) {
        publisher_->release(std::exchange(waiting_, {}));
        freed = true;
    }
    image::Retired retired = publisher_->take_retired();
    if (retired.empty()) {
        return freed;
    }
    if (!waiting_.empty() || !wait_for_grace_period()) {
        // The kernel would not wait: these pieces are lost until the next start, never reused too
        // early.
        return freed;
    }
    publisher_->release(retired);
    return true;
}

Result<void> EbpfEngine::change(const image::ServiceKey& key,
                                const std::function<Result<void>()>& step) {
    if (key.protocol != Protocol::kUdp || !stale_peers_) {
        return with_room(step);
    }
    const auto before = publisher_->published(key);
    auto done = with_room(step);
    std::unordered_set<PeerAddress, PeerAddress::Hash> serving;
    std::vector<PeerAddress> now;
    const auto address_of = [](const sluice_backend& backend) {
        PeerAddress out;
        std::memcpy(out.address.bytes.data(), &backend.address, sizeof(backend.address));
        out.port = ntohs(backend.port_be);
        return out;
    };
    const auto after = publisher_->published(key);
    for (const sluice_backend& backend : after.backends) {
        serving.insert(address_of(backend));
        now.push_back(address_of(backend));
    }
    stale_peers_->serves(after.frontends, now);
    std::vector<PeerAddress> gone;
    for (const sluice_backend& backend : before.backends) {
        if (!serving.contains(address_of(backend))) {
            gone.push_back(address_of(backend));
        }
    }
    stale_peers_->gone(before.frontends, gone);
    return done;
}

Result<void> EbpfEngine::replace_all(const image::Node& node,
                                     std::span<const image::Service> services) {
    if (!publisher_) {
        return build(node, services);
    }
    SLUICE_TRY(set_node(node));
    return publish_all(*publisher_, services,
                       [this](const image::ServiceKey& key, const image::Step& step) { return change(key, step); });
}

Result<void> EbpfEngine::apply(const image::Change& changes) {
    SLUICE_ASSERT(publisher_);
    return publish_change(*publisher_, changes,
                          [this](const image::ServiceKey& key, const image::Step& step) { return change(key, step); });
}

Result<void> EbpfEngine::set_node(const image::Node& node) {
    SLUICE_ASSERT(publisher_);
    if (!same_header(node_, node)) {
        SLUICE_TRY(replace_image(live_.tables->capacities(), node));
    }
    SLUICE_TRY(with_room([&] { return publisher_->set_node_addresses(node.nodeport_addresses); }));
    const bool other_pods =
        node_.pod_bridge != node.pod_bridge || node_.pod_prefix != node.pod_prefix;
    node_ = node;
    return other_pods ? sync_devices() : Result<void>();
}

Result<void> EbpfEngine::sync_devices() {
    if (!options_.tc || !live_.programs) {
        return {};
    }
    auto attached = attach_devices(live_);
    begin_xdp();
    return attached;
}

void EbpfEngine::reclaim() {
    if (ready(xdp_loading_)) {
        finish_xdp();
    }
    if (publisher_ && ready(ahead_.programs)) {
        // It did not do: too small, or too large.
        ahead_ = {};
    }
    look_at_flows();
    look_at_affinity();
    if (!publisher_ || !grace_.idle()) {
        return;
    }
    if (!waiting_.empty()) {
        publisher_->release(std::exchange(waiting_, {}));
    }
    waiting_ = publisher_->take_retired();
    if (!waiting_.empty()) {
        grace_.start();
    }
}

EngineStatus EbpfEngine::status() const {
    EngineStatus out;
    out.name = "ebpf";
    out.attached = attachments_.labels();
    out.missing = features_.missing();
    for (const std::string& label : xdp_.labels()) {
        out.attached.push_back(label);
    }
    for (const std::string& reason : xdp_.missing()) {
        out.missing.push_back(reason);
    }
    if (const Programs* xdp = xdp_of(live_); xdp != nullptr && !xdp->xdp_refusal().empty()) {
        out.missing.push_back("XDP: " + xdp->xdp_refusal());
    }
    if (attachments_.uses_filters()) {
        out.missing.emplace_back("tcx (Linux 6.6): tc programs hang on the clsact discipline");
    }
    for (std::size_t family = 0; options_.tc && family < flow_samples_.size(); ++family) {
        out.tables.push_back(flow_samples_[family].status(family == 0 ? "flows4" : "flows6"));
        out.tables.back().refused = growth_refused_[family];
    }
    out.tables.push_back(affinity_.status());
    out.tables.back().refused = affinity_refused_;
    if (stale_peers_) {
        out.stale_sockets = stale_peers_->counters();
    }
    if (publisher_) {
        const image::Usage usage = publisher_->usage();
        out.generation = live_.tables->tables().header->generation;
        out.services = usage.services;
        out.frontends = usage.frontends;
        out.backends = usage.backends;
    }
    return out;
}

Result<std::unique_ptr<Engine>> open_ebpf_engine(const EbpfOptions& options) {
    auto engine = std::make_unique<EbpfEngine>(options, Features::probe());
    SLUICE_TRY(engine->prepare());
    return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace sluice::dataplane
