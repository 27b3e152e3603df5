// Endpoints objects of Services with selectors, for clients from before EndpointSlices.
#include <google/protobuf/util/message_differencer.h>

#include "control/controllers/endpointslice/endpointslice.h"
#include "control/controllers/endpointslice/service_pods.h"
#include "control/controllers/endpointslice/trigger_time.h"

namespace sluice::controllers {
namespace {

namespace corev1 = endpoints::corev1;
using google::protobuf::util::MessageDifferencer;

template <class Map>
bool same_map(const Map& a, const Map& b) {
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a) {
        const auto found = b.find(key);
        if (found == b.end() || found->second != value) return false;
    }
    return true;
}

bool same_subsets(const corev1::Endpoints& a, const corev1::Endpoints& b) {
    if (a.subsets_size() != b.subsets_size()) return false;
    for (int i = 0; i < a.subsets_size(); ++i) {
        if (!MessageDifferencer::Equals(a.subsets(i), b.subsets(i))) return false;
    }
    return true;
}

class EndpointsController final : public Controller {
public:
    explicit EndpointsController(Context& context)
        : context_(context),
          kind_(*codec::find_resource("", "v1", "endpoints")),
          informer_(context.informers.get(kind_)),
          pods_(context, false, [this](const std::string& service) { queue_.add(service); }) {
        // Somebody else's change is repaired; the own one needs no further look.
        informer_.add_handler([this](const auto& before, const auto& after) {
            queue_.add(client::object_key(after != nullptr ? *after : *before));
        });
    }

    [[nodiscard]] const char* name() const override { return "endpoint-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    Reconciled reconcile(const std::string& key) override;

private:
    // A Service that is gone takes its Endpoints along, unless they were made by hand.
    Reconciled remove(const std::string& key);
    // Writes if there is a difference.
    Reconciled write(const std::string& key, corev1::Endpoints wanted,
                     const endpoints::TriggerTimes::Look& look);

    Context& context_;
    const codec::KindInfo& kind_;
    client::Informer& informer_;
    client::WorkQueue queue_;
    endpoints::ServicePods pods_;
    endpoints::TriggerTimes triggers_;
};

Reconciled EndpointsController::remove(const std::string& key) {
    const auto present = client::as<corev1::Endpoints>(informer_.get(key));
    if (present == nullptr) return {};
    // Other components elect leaders by annotations on Endpoints that have no Service.
    if (present->metadata().annotations().contains("control-plane.alpha.kubernetes.io/leader")) {
        return {};
    }
    const auto& labels = present->metadata().labels();
    const auto manager = labels.find("endpoints.kubernetes.io/managed-by");
    if (manager == labels.end() || manager->second != "endpoint-controller") return {};
    client::DeleteRequest request;
    request.uid = present->metadata().uid();
    const auto gone = context_.client.remove(kind_, present->metadata().namespace_(),
                                             present->metadata().name(), request);
    if (!gone && !gone.error().not_found()) {
        return gone.error().with_context(fmt::format("cannot remove endpoints {}", key));
    }
    return {};
}

Reconciled EndpointsController::reconcile(const std::string& key) {
    const auto service = pods_.service(key);
    if (service == nullptr) {
        triggers_.forget(key);
        return remove(key);
    }
    if (service->metadata().has_deletiontimestamp() || service->spec().selector().empty() ||
        service->spec().type() == "ExternalName") {
        return {};
    }
    const auto selected = pods_.pods(*service);
    auto look = triggers_.look(key, *service, selected);
    SLUICE_TRY(write(key, endpoints::desired_endpoints(*service, selected), look));
    triggers_.followed(key, std::move(look));
    return {};
}

Reconciled EndpointsController::write(const std::string& key, corev1::Endpoints wanted,
                                      const endpoints::TriggerTimes::Look& look) {
    const auto present = client::as<corev1::Endpoints>(informer_.get(key));
    if (present == nullptr) {
        endpoints::set_trigger_time(look.trigger, wanted.mutable_metadata());
        const auto made = context_.client.create_object(kind_, wanted);
        if (!made) return made.error().with_context(fmt::format("cannot create endpoints {}", key));
        return {};
    }
    // Annotations are other people's, but for those that tell of truncation and of the change.
    corev1::Endpoints next = *present;
    *next.mutable_metadata()->mutable_labels() = wanted.metadata().labels();
    auto* annotations = next.mutable_metadata()->mutable_annotations();
    annotations->erase(endpoints::kOverCapacity);
    for (const auto& [name, value] : wanted.metadata().annotations()) (*annotations)[name] = value;
    if (same_subsets(*present, wanted) &&
        same_map(present->metadata().labels(), next.metadata().labels()) &&
        same_map(present->metadata().annotations(), next.metadata().annotations())) {
        return {};
    }
    next.mutable_subsets()->Swap(wanted.mutable_subsets());
    endpoints::set_trigger_time(look.trigger, next.mutable_metadata());
    const auto written = context_.client.update(kind_, next);
    if (!written) {
        return written.error().with_context(fmt::format("cannot update endpoints {}", key));
    }
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_endpoints_controller(Context& context) {
    return std::make_unique<EndpointsController>(context);
}

}  // namespace sluice::controllers
