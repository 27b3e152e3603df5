// See network.h.
#include "agent/network/network.h"

#include <algorithm>
#include <utility>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/node.pb.h"

namespace sluice::network {
namespace {

constexpr char kComponent[] = "network";

}  // namespace

PodNetwork::PodNetwork(NetworkOptions options, health::Metrics& metrics, NetworkMachine machine)
    : options_(std::move(options)), metrics_(metrics), machine_(std::move(machine)),
      wake_at_(Clock::now() + kLookInterval) {}

void PodNetwork::take(const client::Batch& batch) {
    if (batch.kind != &watch::nodes_kind()) return;
    for (const client::Delta& delta : batch.deltas) {
        if (delta.object == nullptr) {
            nodes_.erase(delta.key);
        } else {
            nodes_[delta.key] = read_pod_node(
                static_cast<const ::k8s::io::api::core::v1::Node&>(*delta.object));
        }
    }
    // Before the list is whole, nodes that were not heard of yet would lose their routes.
    listed_ = listed_ || batch.synced;
}

void PodNetwork::step(std::vector<watch::Event> events, Clock::time_point now) {
    for (const watch::Event& event : events) {
        if (const auto* batch = std::get_if<client::Batch>(&event)) take(*batch);
    }
    wake_at_ = now + kLookInterval;
    if (!listed_) return;
    const auto attempt = [&]() -> Result<void> {
        SLUICE_TRY_ASSIGN(const auto links, machine_.links());
        // Each as far as it goes: a folder that cannot be written must not keep routes away.
        const auto cni = sync_cni(links);
        const auto routes = sync_routes(links);
        const auto masquerade = sync_masquerade();
        SLUICE_TRY(cni);
        SLUICE_TRY(routes);
        return masquerade;
    };
    const auto done = attempt();
    if (done) {
        if (!last_failure_.empty()) log::info(kComponent, "the network of pods is in order again");
        last_failure_.clear();
        retry_ = kMinRetry;
        return;
    }
    metrics_.pod_network_failed();
    if (done.error().message != last_failure_) {
        last_failure_ = done.error().message;
        log::error(kComponent, "{}; trying again", done.error().to_string());
    }
    wake_at_ = now + retry_;
    retry_ = std::min(retry_ * 2, kMaxRetry);
}

Result<void> PodNetwork::sync_cni(const std::vector<netlink::Link>& links) {
    if (options_.cni_conf_dir.empty()) return {};
    const auto own = nodes_.find(options_.node_name);
    // Until the node has ranges there is nothing to say; once there were some, pods use them whatever became of the
    // object.
    if (own == nodes_.end() || own->second.ranges.empty()) return {};
    const std::uint32_t mtu = options_.mtu > 0 ? options_.mtu : mtu_of(own->second, links);
    const std::string text = render_cni({own->second.ranges, mtu, options_.cni_data_dir});
    if (text == cni_written_) return {};
    SLUICE_TRY(write_atomically(options_.cni_conf_dir, kCniFile, text));
    log::info(kComponent, "wrote {}/{}: pods get addresses of {}", options_.cni_conf_dir, kCniFile,
              own->second.ranges[0].to_string() +
                  (own->second.ranges.size() > 1 ? ", " + own->second.ranges[1].to_string() : ""));
    cni_written_ = text;
    return {};
}

Result<void> PodNetwork::sync_routes(const std::vector<netlink::Link>& links) {
    if (!options_.route_pods) return {};
    RoutePlan plan = plan_routes(options_.node_name, nodes_, links, machine_.find_hop);
    SLUICE_TRY_ASSIGN(const auto present, machine_.routes());
    const auto is_in = [](const std::vector<netlink::Route>& routes, const netlink::Route& route) {
        return std::binary_search(routes.begin(), routes.end(), route);
    };
    // New ones first, of which some take an old one's place; what then is left over goes.
    std::optional<Error> failed;
    for (const auto& route : plan.routes) {
        if (is_in(present, route)) continue;
        if (auto put = machine_.put_route(route); !put) failed = put.error();
    }
    for (const auto& route : present) {
        if (is_in(plan.routes, route)) continue;
        const bool replaced = std::any_of(
            plan.routes.begin(), plan.routes.end(), [&](const netlink::Route& planned) {
                return planned.destination == route.destination &&
                       planned.unreachable == route.unreachable;
            });
        if (replaced) continue;
        if (auto removed = machine_.remove_route(route); !removed) failed = removed.error();
    }
    metrics_.pod_routes(plan.routes.size());
    tell(std::move(plan.problems));
    if (failed) return *failed;
    return {};
}

void PodNetwork::tell(std::vector<Problem> problems) {
    std::sort(problems.begin(), problems.end());
    std::vector<std::string> nodes;
    for (const Problem& problem : problems) {
        if (nodes.empty() || nodes.back() != problem.node) nodes.push_back(problem.node);
        if (!std::binary_search(problems_.begin(), problems_.end(), problem)) {
            log::error(kComponent, "pods here cannot reach those of node {}: {}", problem.node,
                       problem.message);
        }
    }
    for (const Problem& problem : problems_) {
        if (!std::binary_search(problems.begin(), problems.end(), problem)) {
            log::info(kComponent, "node {} no longer has this problem: {}", problem.node,
                      problem.message);
        }
    }
    metrics_.unreachable_nodes(std::move(nodes));
    problems_ = std::move(problems);
}

Result<void> PodNetwork::sync_masquerade() {
    if (options_.masquerade.empty()) return {};
    std::string commands = render_masquerade(options_.masquerade, nodes_);
    if (masquerade_in_force_ == commands) return {};
    SLUICE_TRY(machine_.nftables(commands));
    masquerade_in_force_ = std::move(commands);
    return {};
}

void run(PodNetwork& network, watch::EventQueue& queue, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        const auto now = PodNetwork::Clock::now();
        const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(
            std::max(network.wake_at() - now, PodNetwork::Clock::duration::zero()));
        auto events = queue.take(wait + std::chrono::milliseconds(1), stop);
        if (stop.stop_requested()) return;
        network.step(std::move(events), PodNetwork::Clock::now());
    }
}

}  // namespace sluice::network
