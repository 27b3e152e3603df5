// Slices that mirror Endpoints made by hand, for Services without selectors.
#include "control/controllers/endpointslice/endpointslice.h"
#include "control/controllers/endpointslice/hints.h"
#include "control/controllers/endpointslice/packing.h"
#include "control/controllers/endpointslice/slice_writer.h"
#include "control/controllers/endpointslice/trigger_time.h"

namespace sluice::controllers {
namespace {

namespace corev1 = endpoints::corev1;

constexpr char kLeaderAnnotation[] = "control-plane.alpha.kubernetes.io/leader";

bool is_mirrored(const corev1::Endpoints& endpoints) {
    const auto& labels = endpoints.metadata().labels();
    const auto skip = labels.find(endpoints::kSkipMirrorLabel);
    if (skip != labels.end() && skip->second == "true") return false;
    return !endpoints.metadata().annotations().contains(kLeaderAnnotation);
}

endpoints::SliceTemplate template_of(const corev1::Endpoints& endpoints) {
    const auto& meta = endpoints.metadata();
    endpoints::SliceTemplate pattern;
    pattern.namespace_name = meta.namespace_();
    pattern.generate_name = meta.name() + "-";
    for (const auto& [key, value] : meta.labels()) pattern.labels[key] = value;
    pattern.labels.erase(endpoints::kSkipMirrorLabel);
    pattern.labels[endpoints::kServiceNameLabel] = meta.name();
    pattern.labels[endpoints::kManagedByLabel] = kMirrorManager;
    pattern.annotations.emplace();
    for (const auto& [key, value] : meta.annotations()) {
        if (key == "kubectl.kubernetes.io/last-applied-configuration" ||
            key == endpoints::kTriggerTime) {
            continue;  // whoever wrote these did not mean the slices
        }
        (*pattern.annotations)[key] = value;
    }
    pattern.owner.set_apiversion("v1");
    pattern.owner.set_kind("Endpoints");
    pattern.owner.set_name(meta.name());
    pattern.owner.set_uid(meta.uid());
    pattern.owner.set_controller(true);
    pattern.owner.set_blockownerdeletion(true);
    pattern.placeholder = false;
    return pattern;
}

class MirroringController final : public Controller {
public:
    explicit MirroringController(Context& context)
        : services_(context.informers.get(*codec::find_resource("", "v1", "services"))),
          endpoints_(context.informers.get(*codec::find_resource("", "v1", "endpoints"))),
          writer_(context, kMirrorManager, [this](const std::string& key) { queue_.add(key); }) {
        const auto enqueue = [this](const auto& before, const auto& after) {
            queue_.add(client::object_key(after != nullptr ? *after : *before));
        };
        services_.add_handler(enqueue);
        endpoints_.add_handler(enqueue);
    }

    [[nodiscard]] const char* name() const override { return "endpointslicemirroring-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    Reconciled reconcile(const std::string& key) override;

private:
    client::Informer& services_;
    client::Informer& endpoints_;
    client::WorkQueue queue_;
    endpoints::SliceWriter writer_;
};

Reconciled MirroringController::reconcile(const std::string& key) {
    const auto service = client::as<corev1::Service>(services_.get(key));
    const auto source = client::as<corev1::Endpoints>(endpoints_.get(key));
    const auto slices = writer_.slices(key);
    endpoints::Changes changes;
    if (source == nullptr || service == nullptr || !is_mirrored(*source) ||
        !service->spec().selector().empty()) {
        changes.remove = slices;
        return writer_.write(key, changes);
    }
    if (source->metadata().has_deletiontimestamp()) return {};
    const auto pattern = template_of(*source);
    for (const char* type : {"IPv4", "IPv6"}) {
        std::vector<endpoints::SlicePtr> existing;
        for (const auto& slice : slices) {
            if (slice->addresstype() == type) existing.push_back(slice);
        }
        changes.append(
            endpoints::pack(pattern, type, endpoints::mirrored_groups(*source, type), existing));
    }
    // Endpoints have none.
    endpoints::remove_hints(&changes);
    return writer_.write(key, changes);
}

}  // namespace

std::unique_ptr<Controller> make_endpoint_slice_mirroring_controller(Context& context) {
    return std::make_unique<MirroringController>(context);
}

}  // namespace sluice::controllers
