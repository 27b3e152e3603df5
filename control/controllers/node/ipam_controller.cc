// Gives every node its ranges of pod addresses, and takes them back when it is gone. What is in use
// is rebuilt from the nodes at a start; nothing else records it.
#include <map>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/node/cidr_set.h"
#include "control/controllers/node/node.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using nodes::CidrSet;

constexpr std::string_view kComponent = "node-ipam";
// A node that got nothing is tried again this often, and whenever another goes.
constexpr std::chrono::seconds kExhaustedRetry{30};

std::vector<IpPrefix> ranges_of(const corev1::Node& node) {
    std::vector<std::string> texts(node.spec().podcidrs().begin(), node.spec().podcidrs().end());
    if (texts.empty() && !node.spec().podcidr().empty()) texts.push_back(node.spec().podcidr());
    std::vector<IpPrefix> out;
    for (const auto& text : texts) {
        if (const auto range = IpPrefix::parse(text, true)) {
            out.push_back(*range);
        } else {
            log::warn(kComponent, "node={} podCIDR \"{}\" is no range and ignored",
                      node.metadata().name(), text);
        }
    }
    return out;
}

class NodeIpamController final : public Controller {
public:
    NodeIpamController(Context& context, std::vector<CidrSet> sets)
        : context_(context),
          kind_(*codec::find_resource("", "v1", "nodes")),
          nodes_(context.informers.get(kind_)),
          sets_(std::move(sets)) {
        nodes_.add_handler([this](const auto& before, const auto& after) {
            queue_.add(client::object_key(after != nullptr ? *after : *before));
        });
    }

    [[nodiscard]] const char* name() const override { return "node-ipam-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    // One: ranges are handed out in turn.
    [[nodiscard]] int workers() const override { return 1; }
    Reconciled reconcile(const std::string& key) override;

private:
    void note(const corev1::Node& node);
    void give_back(const std::vector<IpPrefix>& ranges);
    Reconciled assign(const corev1::Node& node);

    Context& context_;
    const codec::KindInfo& kind_;
    client::Informer& nodes_;
    client::WorkQueue queue_;
    std::vector<CidrSet> sets_;
    std::map<std::string, std::vector<IpPrefix>> given_;  // by node
    std::map<std::string, bool> waiting_;                 // nodes without, as none was free
    bool rebuilt_ = false;
};

void NodeIpamController::note(const corev1::Node& node) {
    auto ranges = ranges_of(node);
    auto& given = given_[node.metadata().name()];
    if (given == ranges) return;
    give_back(given);
    for (const auto& range : ranges) {
        bool inside = false;
        for (auto& set : sets_) inside = set.occupy(range) || inside;
        if (!inside) {
            log::warn(kComponent, "node={} podCIDR {} is in none of the cluster's ranges; it is left "
                      "as it is", node.metadata().name(), range.to_string());
        }
    }
    given = std::move(ranges);
}

void NodeIpamController::give_back(const std::vector<IpPrefix>& ranges) {
    for (const auto& range : ranges) {
        for (auto& set : sets_) set.release(range);
    }
}

Reconciled NodeIpamController::assign(const corev1::Node& node) {
    const std::string& name = node.metadata().name();
    std::vector<IpPrefix> ranges;
    for (auto& set : sets_) {
        const auto range = set.take();
        if (range) {
            ranges.push_back(*range);
            continue;
        }
        give_back(ranges);
        if (!waiting_[name]) {
            context_.events.record(node, client::EventType::kNormal, "CIDRNotAvailable",
                                   fmt::format("Node {} status is now: CIDRNotAvailable", name));
            log::warn(kComponent, "node={} gets no podCIDR: all of {} is in use", name,
                      set.range().to_string());
        }
        waiting_[name] = true;
        queue_.add_after(name, kExhaustedRetry);
        return {};
    }
    std::string list;
    for (const auto& range : ranges) {
        list += fmt::format("{}\"{}\"", list.empty() ? "" : ",", range.to_string());
    }
    // The version makes sure that nobody else gave the node ranges meanwhile.
    const auto patched = context_.client.patch(
        kind_, "", name, "application/merge-patch+json",
        fmt::format(R"({{"metadata":{{"uid":"{}","resourceVersion":"{}"}},)"
                    R"("spec":{{"podCIDR":"{}","podCIDRs":[{}]}}}})",
                    node.metadata().uid(), node.metadata().resourceversion(),
                    ranges.front().to_string(), list));
    if (!patched) {
        give_back(ranges);
        return patched.error().with_context(fmt::format("cannot set the podCIDRs of node {}", name));
    }
    waiting_.erase(name);
    given_[name] = std::move(ranges);
    return {};
}

Reconciled NodeIpamController::reconcile(const std::string& key) {
    if (!rebuilt_) {
        // All caches are in step when workers start: what is in use is known before anything is
        // handed out.
        for (const auto& object : nodes_.list()) note(static_cast<const corev1::Node&>(*object));
        rebuilt_ = true;
    }
    const auto node = client::as<corev1::Node>(nodes_.get(key));
    if (node == nullptr) {
        const auto found = given_.find(key);
        if (found != given_.end()) {
            give_back(found->second);
            given_.erase(found);
            for (const auto& [name, waits] : waiting_) queue_.add(name);
        }
        waiting_.erase(key);
        return {};
    }
    if (!node->spec().podcidr().empty() || !node->spec().podcidrs().empty()) {
        waiting_.erase(key);
        note(*node);
        return {};
    }
    // Written already, though the cache does not show it yet.
    if (const auto found = given_.find(key); found != given_.end() && !found->second.empty()) {
        const auto live = context_.client.get(kind_, "", key);
        if (!live) {
            if (live.error().not_found()) return {};
            return live.error().with_context(fmt::format("cannot read node {}", key));
        }
        const auto& current = static_cast<const corev1::Node&>(**live);
        note(current);
        return current.spec().podcidrs().empty() ? assign(current) : Reconciled{};
    }
    return assign(*node);
}

}  // namespace

Result<std::unique_ptr<Controller>> make_node_ipam_controller(Context& context,
                                                              const NodeIpamOptions& options) {
    std::vector<CidrSet> sets;
    for (const auto& range : options.cluster_cidrs) {
        for (const auto& other : sets) {
            if (other.range().family() == range.family()) {
                return make_error(Code::kInvalidArgument,
                                  "cluster ranges {} and {} are of the same family",
                                  other.range().to_string(), range.to_string());
            }
        }
        SLUICE_TRY_ASSIGN(auto set, CidrSet::make(range, range.address.is_v4()
                                                             ? options.mask_size_ipv4
                                                             : options.mask_size_ipv6));
        for (const auto& service : options.service_cidrs) set.reserve(service);
        sets.push_back(std::move(set));
    }
    if (sets.empty()) {
        return make_error(Code::kInvalidArgument, "there is no cluster range to cut podCIDRs from");
    }
    return std::unique_ptr<Controller>(
        std::make_unique<NodeIpamController>(context, std::move(sets)));
}

}  // namespace sluice::controllers
