// EndpointSlices of Services with selectors.
//
// A change goes out at once: nothing waits for more to come. What comes while a Service's slices
// are being written is taken together by the next look, which starts from the own last write
// (written.h), so that a burst of n pods costs few writes while a single one costs one, without
// delay.
//
// Packing first, hints on what comes out of it, the time of the change last: each step leaves the
// one before as it is.
#include <google/protobuf/message.h>

#include "api/base/log.h"
#include "control/controllers/endpointslice/endpointslice.h"
#include "control/controllers/endpointslice/packing.h"
#include "control/controllers/endpointslice/service_pods.h"
#include "control/controllers/endpointslice/slice_writer.h"
#include "control/controllers/endpointslice/topology.h"
#include "control/controllers/endpointslice/trigger_time.h"

namespace sluice::controllers {
namespace {

using endpoints::Changes;
using endpoints::Slice;
using endpoints::SlicePtr;
namespace corev1 = endpoints::corev1;

// A pod may be seen before its node; the node's arrival is heard of, this is for what never comes.
constexpr std::chrono::seconds kUnknownNodeRetry{10};
// Queued when a node's capacity or zone changes; keys of Services have a slash.
constexpr char kNodesKey[] = "nodes";

endpoints::SliceTemplate template_of(const corev1::Service& service) {
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
        : context_(context),
          nodes_(context.informers.get(*codec::find_resource("", "v1", "nodes"))),
          pods_(context, true, [this](const std::string& service) { queue_.add(service); }),
          writer_(context, kSliceManager,
                  [this](const std::string& service) { queue_.add(service); }),
          topology_([this] { return all_nodes(); }) {
        nodes_.add_handler(
            [this](const auto& before, const auto& after) { node_changed(before, after); });
    }

    [[nodiscard]] const char* name() const override { return "endpointslice-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    Reconciled reconcile(const std::string& key) override;

private:
    [[nodiscard]] std::vector<endpoints::NodePtr> all_nodes() const;
    void node_changed(const client::SharedObject& before, const client::SharedObject& after);
    void forget(const std::string& key);
    // The changes to the slices of one address type.
    Changes changes_of(const std::string& key, const corev1::Service& service,
                       const std::string& address_type, const std::vector<endpoints::PodPtr>& pods,
                       const std::vector<SlicePtr>& existing);

    Context& context_;
    client::Informer& nodes_;
    client::WorkQueue queue_;
    endpoints::ServicePods pods_;
    endpoints::SliceWriter writer_;
    endpoints::Topology topology_;
    endpoints::TriggerTimes triggers_;
};

std::vector<endpoints::NodePtr> EndpointSliceController::all_nodes() const {
    std::vector<endpoints::NodePtr> out;
    for (const auto& object : nodes_.list()) out.push_back(client::as<corev1::Node>(object));
    return out;
}

void EndpointSliceController::node_changed(const client::SharedObject& before,
                                           const client::SharedObject& after) {
    const auto capacity = [](const client::SharedObject& object) {
        return object == nullptr
                   ? endpoints::NodeCapacity{}
                   : endpoints::capacity_of(static_cast<const corev1::Node&>(*object));
    };
    if (capacity(before) == capacity(after)) return;
    topology_.nodes_changed();
    queue_.add(kNodesKey);
}

void EndpointSliceController::forget(const std::string& key) {
    topology_.forget(key);
    triggers_.forget(key);
}

Changes EndpointSliceController::changes_of(const std::string& key, const corev1::Service& service,
                                            const std::string& address_type,
                                            const std::vector<endpoints::PodPtr>& pods,
                                            const std::vector<SlicePtr>& existing) {
    bool unknown_node = false;
    const auto groups = endpoints::desired_groups(
        service, address_type, pods, [&](const auto& node) { return pods_.node(node); },
        &unknown_node);
    if (unknown_node) queue_.add_after(key, kUnknownNodeRetry);
    Changes changes = endpoints::pack(template_of(service), address_type, groups, existing);
    for (const auto& told : topology_.hint(key, service, address_type, &changes)) {
        context_.events.record(service,
                               told.warning ? client::EventType::kWarning
                                            : client::EventType::kNormal,
                               told.reason, told.message);
    }
    return changes;
}

Reconciled EndpointSliceController::reconcile(const std::string& key) {
    if (key == kNodesKey) {
        for (const auto& service : topology_.outdated()) queue_.add(service);
        return {};
    }
    const auto service = pods_.service(key);
    if (service == nullptr) {
        // The garbage collector takes its slices.
        forget(key);
        return {};
    }
    if (service->metadata().has_deletiontimestamp()) return {};
    Changes changes;
    std::map<std::string, std::vector<SlicePtr>> existing;
    for (auto& slice : writer_.slices(key)) existing[slice->addresstype()].push_back(slice);
    endpoints::TriggerTimes::Look look;
    if (service->spec().type() == "ExternalName") {
        forget(key);
    } else {
        // Whoever takes the selector away keeps the slices there are.
        if (service->spec().selector().empty()) {
            topology_.forget(key);
            return {};
        }
        const auto selected = pods_.pods(*service);
        look = triggers_.look(key, *service, selected);
        for (const auto& type : endpoints::address_types(*service)) {
            changes.append(changes_of(key, *service, type, selected, existing[type]));
            existing.erase(type);
        }
    }
    // Of families that the Service does not have any more, or of a Service that has become a mere
    // name.
    for (const auto& [type, slices] : existing) {
        topology_.forget(key, type);
        changes.remove.insert(changes.remove.end(), slices.begin(), slices.end());
    }
    for (auto* slices : {&changes.create, &changes.update}) {
        for (auto& slice : *slices) {
            endpoints::set_trigger_time(look.trigger, slice.mutable_metadata());
        }
    }
    SLUICE_TRY(writer_.write(key, changes));
    if (look.seen != nullptr) triggers_.followed(key, std::move(look));
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_endpoint_slice_controller(Context& context) {
    return std::make_unique<EndpointSliceController>(context);
}

}  // namespace sluice::controllers
