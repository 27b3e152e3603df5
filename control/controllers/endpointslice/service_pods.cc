#include "control/controllers/endpointslice/service_pods.h"

#include <algorithm>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::endpoints {
namespace {

constexpr char kByNamespace[] = "endpoints/namespace";
constexpr char kByNode[] = "endpoints/node";

bool selects(const corev1::Service& service, const corev1::Pod& pod) {
    const auto& selector = service.spec().selector();
    const auto& labels = pod.metadata().labels();
    return !selector.empty() &&
           std::all_of(selector.begin(), selector.end(), [&](const auto& item) {
               const auto found = labels.find(item.first);
               return found != labels.end() && found->second == item.second;
           });
}

std::string zone_of(const corev1::Node& node) {
    const auto found = node.metadata().labels().find(kZoneLabel);
    return found == node.metadata().labels().end() ? std::string() : found->second;
}

std::vector<std::string> namespace_of(const google::protobuf::Message& object) {
    return {codec::object_meta(object).namespace_()};
}

}  // namespace

ServicePods::ServicePods(Context& context, bool watch_nodes,
                         std::function<void(const std::string& service)> changed)
    : services_(context.informers.get(*codec::find_resource("", "v1", "services"))),
      pods_(context.informers.get(*codec::find_resource("", "v1", "pods"))),
      changed_(std::move(changed)) {
    services_.add_index(kByNamespace, namespace_of);
    pods_.add_index(kByNamespace, namespace_of);
    services_.add_handler([this](const auto& before, const auto& after) {
        changed_(client::object_key(after != nullptr ? *after : *before));
    });
    pods_.add_handler([this](const auto& before, const auto& after) { pod_changed(before, after); });
    if (!watch_nodes) return;
    nodes_ = &context.informers.get(*codec::find_resource("", "v1", "nodes"));
    pods_.add_index(kByNode, [](const google::protobuf::Message& object) {
        return std::vector<std::string>{static_cast<const corev1::Pod&>(object).spec().nodename()};
    });
    nodes_->add_handler(
        [this](const auto& before, const auto& after) { node_changed(before, after); });
}

void ServicePods::tell_about(const corev1::Pod& pod) const {
    for (const auto& object : services_.by_index(kByNamespace, pod.metadata().namespace_())) {
        const auto& found = static_cast<const corev1::Service&>(*object);
        if (selects(found, pod)) changed_(client::object_key(found));
    }
}

void ServicePods::pod_changed(const client::SharedObject& before,
                              const client::SharedObject& after) const {
    const auto* old_pod = static_cast<const corev1::Pod*>(before.get());
    const auto* new_pod = static_cast<const corev1::Pod*>(after.get());
    if (old_pod != nullptr && new_pod != nullptr && !differ(*old_pod, *new_pod)) return;
    if (old_pod != nullptr) tell_about(*old_pod);
    if (new_pod != nullptr) tell_about(*new_pod);
}

void ServicePods::node_changed(const client::SharedObject& before,
                               const client::SharedObject& after) const {
    const auto* old_node = static_cast<const corev1::Node*>(before.get());
    const auto* new_node = static_cast<const corev1::Node*>(after.get());
    if (old_node != nullptr && new_node != nullptr && zone_of(*old_node) == zone_of(*new_node)) {
        return;
    }
    const std::string& name = (new_node != nullptr ? new_node : old_node)->metadata().name();
    for (const auto& pod : pods_.by_index(kByNode, name)) {
        tell_about(static_cast<const corev1::Pod&>(*pod));
    }
}

std::shared_ptr<const corev1::Service> ServicePods::service(const std::string& key) const {
    return client::as<corev1::Service>(services_.get(key));
}

std::vector<PodPtr> ServicePods::pods(const corev1::Service& service) const {
    std::vector<PodPtr> out;
    for (const auto& object : pods_.by_index(kByNamespace, service.metadata().namespace_())) {
        auto pod = client::as<corev1::Pod>(object);
        if (selects(service, *pod)) out.push_back(std::move(pod));
    }
    // By name, so that the same pods always give the same slices.
    std::sort(out.begin(), out.end(), [](const PodPtr& a, const PodPtr& b) {
        return a->metadata().name() < b->metadata().name();
    });
    return out;
}

NodePtr ServicePods::node(const std::string& name) const {
    return client::as<corev1::Node>(nodes_->get(name));
}

}  // namespace sluice::controllers::endpoints
