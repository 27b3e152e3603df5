// Tells which Services a changed pod, node or Service concerns, and which pods a Service selects:
// what the controllers of slices and of Endpoints have in common.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "control/controllers/controller.h"
#include "control/controllers/endpointslice/desired.h"

namespace sluice::controllers::endpoints {

class ServicePods {
public:
    // changed is called with the key of every Service whose endpoints may have changed.
    // REQUIRES: before the informers start; outlives them.
    ServicePods(Context& context, bool watch_nodes,
                std::function<void(const std::string& service)> changed);

    [[nodiscard]] std::shared_ptr<const corev1::Service> service(const std::string& key) const;
    // Those in its namespace that its selector matches. REQUIRES: it has a selector.
    [[nodiscard]] std::vector<PodPtr> pods(const corev1::Service& service) const;
    [[nodiscard]] NodePtr node(const std::string& name) const;

private:
    void tell_about(const corev1::Pod& pod) const;
    void pod_changed(const client::SharedObject& before, const client::SharedObject& after) const;
    void node_changed(const client::SharedObject& before, const client::SharedObject& after) const;

    client::Informer& services_;
    client::Informer& pods_;
    client::Informer* nodes_ = nullptr;
    std::function<void(const std::string&)> changed_;
};

}  // namespace sluice::controllers::endpoints
