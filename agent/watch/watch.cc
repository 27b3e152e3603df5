// See watch.h.
#include "agent/watch/watch.h"

#include <thread>

#include "api/kubernetes/networking/v1/servicecidr.pb.h"

namespace sluice::watch {
namespace {

class ApiWatches final : public Watches {
public:
    ApiWatches(client::Client& client, EventQueue& queue) : client_(client), queue_(queue) {}
    ~ApiWatches() override {
        // All at once, or each would be waited for in turn.
        for (auto& thread : threads_) thread.request_stop();
    }

    void follow(const codec::KindInfo& kind, client::Selection selection) {
        threads_.emplace_back([this, &kind, selection = std::move(selection)](
                                  const std::stop_token& stop) {
            client::ReflectorOptions options;
            options.selection = selection;
            const client::Sink sink = [&](client::Batch batch) {
                const std::size_t weight = batch.deltas.size() + 1;
                return queue_.push(std::move(batch), weight, stop);
            };
            client::run_reflector(client_, kind, options, client::ReflectorEnvironment::real(),
                                  sink, stop);
        });
    }

private:
    client::Client& client_;
    EventQueue& queue_;
    std::vector<std::jthread> threads_;
};

const codec::KindInfo& known(const char* group, const char* resource) {
    const codec::KindInfo* kind = codec::find_resource(group, "v1", resource);
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

}  // namespace

const codec::KindInfo& services_kind() {
    static const codec::KindInfo& kind = known("", "services");
    return kind;
}

const codec::KindInfo& endpoint_slices_kind() {
    static const codec::KindInfo& kind = known("discovery.k8s.io", "endpointslices");
    return kind;
}

const codec::KindInfo& nodes_kind() {
    static const codec::KindInfo& kind = known("", "nodes");
    return kind;
}

const codec::KindInfo& service_cidrs_kind() {
    static const codec::KindInfo& kind = []() -> const codec::KindInfo& {
        const codec::KindInfo* registered =
            codec::find_resource("networking.k8s.io", "v1", "servicecidrs");
        if (registered != nullptr) return *registered;
        // Not among the kinds that our own control plane serves; other API servers do.
        static codec::KindInfo own;
        own.gvk = {"networking.k8s.io", "v1", "ServiceCIDR"};
        own.resource = "servicecidrs";
        own.singular = "servicecidr";
        own.namespaced = false;
        own.prototype = &::k8s::io::api::networking::v1::ServiceCIDR::default_instance();
        own.list_prototype = &::k8s::io::api::networking::v1::ServiceCIDRList::default_instance();
        return own;
    }();
    return kind;
}

client::Selection services_selection() {
    return {"", "!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None"};
}

client::Selection endpoint_slices_selection() { return {"", "!service.kubernetes.io/headless", ""}; }

client::Selection node_selection(const std::string& node_name) {
    return {"", "", "metadata.name=" + node_name};
}

std::unique_ptr<Watches> Watches::start(client::Client& client, EventQueue& queue,
                                        const WatchOptions& options) {
    auto watches = std::make_unique<ApiWatches>(client, queue);
    watches->follow(services_kind(), services_selection());
    watches->follow(endpoint_slices_kind(), endpoint_slices_selection());
    watches->follow(nodes_kind(), node_selection(options.node_name));
    if (options.service_cidrs) watches->follow(service_cidrs_kind(), {});
    return watches;
}

std::unique_ptr<Watches> Watches::follow_nodes(client::Client& client, EventQueue& queue,
                                               client::Selection selection) {
    auto watches = std::make_unique<ApiWatches>(client, queue);
    watches->follow(nodes_kind(), std::move(selection));
    return watches;
}

}  // namespace sluice::watch
