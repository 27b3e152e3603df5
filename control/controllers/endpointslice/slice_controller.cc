// EndpointSlices of Services with selectors.
//
// A change goes out at once: nothing waits for more to come. What comes while a Service's slices
// are being written is taken together by the next look, which starts from the own last write
// (written.h), so that a burst of n pods costs few writes while a single one costs one, without
// delay.
#include <google/protobuf/message.h>

#include "api/base/log.h"
#include "control/controllers/endpointslice/endpointslice.h"
#include "control/controllers/endpointslice/packing.h"
#include "control/controllers/endpointslice/service_pods.h"
#include "control/controllers/endpointslice/slice_writer.h"

namespace sluice::controllers {
namespace {

using endpoints::Changes;
using endpoints::Slice;
using endpoints::SlicePtr;

// A pod may be seen before its node; the node's arrival is heard of, this is for what never comes.
constexpr std::chrono::seconds kUnknownNodeRetry{10};

endpoints::SliceTemplate template_of(const endpoints::corev1::Service& service) {
    endpoints::SliceTemplate pattern;
    pattern.namespace_name = service.metadata().namespace_();
    pattern.generate_name = service.metadata().name() + "-";
    for (const auto& [key, value] : service.metadata().labels()) pattern.labels[key] = value;
    pattern.labels.erase(endpoints::kHeadlessLabel);
    if (endpoints::is_headless(service)) pattern.labels[endpoints::kHeadlessLabel] = "";
    pattern.labels[endpoints::kServiceNameLabel] = service.metadata().name();
    pattern.labels[endpoints::kManagedByLabel] = kSliceManager;
    pattern.owner.set_apiversion("v1");
    pattern.owner.set_kind("Service");
    pattern.owner.set_name(service.metadata().name());
    pattern.owner.set_uid(service.metadata().uid());
    pattern.owner.set_controller(true);
    pattern.owner.set_blockownerdeletion(true);
    return pattern;
}

class EndpointSliceController final : public Controller {
public:
    explicit EndpointSliceController(Context& context)
        : pods_(context, true, [this](const std::string& service) { queue_.add(service); }),
          writer_(context, kSliceManager, [this](const std::string& service) {
              queue_.add(service);
          }) {}

    [[nodiscard]] const char* name() const override { return "endpointslice-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    Reconciled reconcile(const std::string& key) override;

private:
    client::WorkQueue queue_;
    endpoints::ServicePods pods_;
    endpoints::SliceWriter writer_;
};

Reconciled EndpointSliceController::reconcile(const std::string& key) {
    const auto service = pods_.service(key);
    // The garbage collector takes the slices of a Service that is gone.
    if (service == nullptr || service->metadata().has_deletiontimestamp()) return {};
    // Whoever takes the selector away keeps the slices there are.
    if (service->spec().type() != "ExternalName" && service->spec().selector().empty()) return {};

    const auto pattern = template_of(*service);
    Changes changes;
    std::map<std::string, std::vector<SlicePtr>> existing;
    for (auto& slice : writer_.slices(key)) existing[slice->addresstype()].push_back(slice);
    if (service->spec().type() != "ExternalName") {
        const auto selected = pods_.pods(*service);
        bool unknown_node = false;
        for (const auto& type : endpoints::address_types(*service)) {
            const auto groups = endpoints::desired_groups(
                *service, type, selected, [&](const auto& node) { return pods_.node(node); },
                &unknown_node);
            changes.append(endpoints::pack(pattern, type, groups, existing[type]));
            existing.erase(type);
        }
        if (unknown_node) queue_.add_after(key, kUnknownNodeRetry);
    }
    // Of families that the Service does not have any more, or of a Service that has become a mere
    // name.
    for (const auto& [type, slices] : existing) {
        changes.remove.insert(changes.remove.end(), slices.begin(), slices.end());
    }
    return writer_.write(key, changes);
}

}  // namespace

std::unique_ptr<Controller> make_endpoint_slice_controller(Context& context) {
    return std::make_unique<EndpointSliceController>(context);
}

}  // namespace sluice::controllers
