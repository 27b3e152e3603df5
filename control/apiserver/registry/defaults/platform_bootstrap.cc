#include "control/apiserver/registry/defaults/platform_bootstrap.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <utility>

#include "api/base/log.h"
#include "api/codec/group_priority.h"
#include "api/kubernetes/apiregistration/v1/apiservice.pb.h"
#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/servicecidr.pb.h"
#include "api/kubernetes/scheduling/v1/priorityclass.pb.h"
#include "control/apiserver/registry/defaults/defaults.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace apiregv1 = ::k8s::io::kube_aggregator::pkg::apis::apiregistration::v1;
namespace flowv1 = ::k8s::io::api::flowcontrol::v1;
namespace networkingv1 = ::k8s::io::api::networking::v1;

constexpr std::string_view kComponent = "registry";
constexpr const char* kAutoManagedLabel = "kube-aggregator.kubernetes.io/automanaged";
constexpr const char* kServiceCidr = "kubernetes";
constexpr const char* kServiceCidrFinalizer = "networking.k8s.io/service-cidr-finalizer";

using MessagePtr = std::unique_ptr<Message>;
// The object to write, from the stored one; null: leave it. At creation the wanted object is written as it is.
using Adjust = std::function<MessagePtr(const Message& existing)>;

template <class T>
std::unique_ptr<T> copy_of(const T& object) {
    return std::make_unique<T>(object);
}

// Writes that are under way together; the first refusal is the result.
class Batch {
public:
    explicit Batch(Core& core) : core_(core) {}

    void ensure(std::string_view group, std::string_view resource, MessagePtr wanted, Part part,
                Adjust adjust) {
        const codec::KindInfo* kind = codec::find_resource(group, "v1", resource);
        SLUICE_ASSERT(kind != nullptr);
        const Strategy& strategy = core_.strategies.of(*kind);
        const std::string name = codec::object_meta(*wanted).name();
        {
            const std::lock_guard lock(mutex_);
            ++running_;
        }
        change_object(
            core_, strategy, "", name, false,
            [&strategy, part, wanted = std::shared_ptr<const Message>(std::move(wanted)),
             adjust = std::move(adjust)](const ObjectPtr& existing) -> Answer<Change> {
                if (existing == nullptr) {
                    if (part != Part::kMain) return Change{};
                    MessagePtr copy(wanted->New());
                    copy->CopyFrom(*wanted);
                    return prepare_creation(strategy, std::move(copy));
                }
                MessagePtr adjusted = adjust ? adjust(existing->message()) : nullptr;
                if (adjusted == nullptr) return Change{};
                return prepare_update(strategy, *existing, std::move(adjusted), part);
            },
            [this, &strategy, name](const Answer<Outcome>& outcome) {
                const std::lock_guard lock(mutex_);
                if (!outcome && result_) {
                    result_ = make_error(Code::kFailedPrecondition, "cannot make {} {}: {}",
                                         strategy.kind().resource, name, outcome.error().message);
                }
                if (--running_ == 0) idle_.notify_all();
            });
    }
    Result<void> wait() {
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return running_ == 0; });
        return result_;
    }

private:
    Core& core_;
    std::mutex mutex_;
    std::condition_variable idle_;
    int running_ = 0;
    Result<void> result_;
};

// A suggested object follows the program unless a user said that it shall not; a mandatory one always does.
template <class T>
MessagePtr follow_spec(const T& wanted, bool mandatory, const Message& message) {
    const auto& existing = static_cast<const T&>(message);
    const auto& annotations = existing.metadata().annotations();
    const auto found = annotations.find(kAutoUpdateAnnotation);
    if (!mandatory && found != annotations.end() && found->second != "true") return nullptr;
    // Without the annotation, an object that nobody has changed since it was made follows too.
    if (!mandatory && found == annotations.end() && existing.metadata().generation() != 1) {
        return nullptr;
    }
    auto updated = copy_of(existing);
    *updated->mutable_spec() = wanted.spec();
    (*updated->mutable_metadata()->mutable_annotations())[kAutoUpdateAnnotation] = "true";
    return updated;
}

void ensure_flow_control(Batch& batch) {
    for (const auto& level : default_priority_levels()) {
        const bool mandatory = mandatory_priority_level(level.metadata().name()) != nullptr;
        batch.ensure("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations",
                     copy_of(level), Part::kMain, [&level, mandatory](const Message& existing) {
                         auto updated = follow_spec(level, mandatory, existing);
                         if (updated == nullptr || level.spec().type() != "Exempt") return updated;
                         // The shares of the exempt level are the users' to set.
                         *static_cast<flowv1::PriorityLevelConfiguration&>(*updated)
                              .mutable_spec() =
                             static_cast<const flowv1::PriorityLevelConfiguration&>(existing)
                                 .spec();
                         return updated;
                     });
    }
    for (const auto& schema : default_flow_schemas()) {
        const bool mandatory = mandatory_flow_schema(schema.metadata().name()) != nullptr;
        batch.ensure("flowcontrol.apiserver.k8s.io", "flowschemas", copy_of(schema), Part::kMain,
                     [&schema, mandatory](const Message& existing) {
                         return follow_spec(schema, mandatory, existing);
                     });
    }
}

// The levels of the default schemas exist, as they were made just before.
void ensure_flow_status(Batch& batch) {
    for (const auto& schema : default_flow_schemas()) {
        batch.ensure(
            "flowcontrol.apiserver.k8s.io", "flowschemas", copy_of(schema), Part::kStatus,
            [](const Message& message) -> MessagePtr {
                const auto& existing = static_cast<const flowv1::FlowSchema&>(message);
                for (const auto& condition : existing.status().conditions()) {
                    if (condition.type() == "Dangling") return nullptr;
                }
                auto updated = copy_of(existing);
                auto* condition = updated->mutable_status()->add_conditions();
                condition->set_type("Dangling");
                condition->set_status("False");
                condition->set_reason("Found");
                condition->set_message(fmt::format(
                    "This FlowSchema references the PriorityLevelConfiguration object named {} "
                    "and it exists",
                    go_quote(existing.spec().prioritylevelconfiguration().name())));
                condition->mutable_lasttransitiontime()->set_seconds(unix_now());
                return updated;
            });
    }
}

void ensure_priorities(Batch& batch) {
    for (const auto& priority : system_priorities()) {
        batch.ensure("scheduling.k8s.io", "priorityclasses", copy_of(priority), Part::kMain,
                     nullptr);
    }
}

void ensure_api_services(Batch& batch) {
    std::set<std::pair<std::string, std::string>> served;
    for (const auto& kind : codec::all_kinds()) served.emplace(kind.gvk.group, kind.gvk.version);
    for (const auto& action : codec::action_resources()) {
        served.emplace(action.gvk.group, action.gvk.version);
    }
    for (const auto& [group, version] : served) {
        // As in Kubernetes, aggregation does not register itself.
        if (group == "apiregistration.k8s.io") continue;
        const auto priority = codec::group_priority(group, version);
        apiregv1::APIService object;
        object.mutable_metadata()->set_name(version + "." + group);
        (*object.mutable_metadata()->mutable_labels())[kAutoManagedLabel] = "onstart";
        auto* spec = object.mutable_spec();
        spec->set_group(group);
        spec->set_version(version);
        spec->set_grouppriorityminimum(priority.group);
        spec->set_versionpriority(priority.version);
        batch.ensure("apiregistration.k8s.io", "apiservices", copy_of(object), Part::kMain,
                     [object](const Message& message) -> MessagePtr {
                         const auto& existing = static_cast<const apiregv1::APIService&>(message);
                         const auto& labels = existing.metadata().labels();
                         const auto found = labels.find(kAutoManagedLabel);
                         // Without the label it is a user's, who may have put a server of their own there.
                         if (found == labels.end() || found->second != "onstart") return nullptr;
                         auto updated = copy_of(existing);
                         *updated->mutable_spec() = object.spec();
                         return updated;
                     });
    }
}

networkingv1::ServiceCIDR service_cidr(const ApiOptions& options) {
    networkingv1::ServiceCIDR object;
    object.mutable_metadata()->set_name(kServiceCidr);
    object.mutable_metadata()->add_finalizers(kServiceCidrFinalizer);
    for (const IpPrefix& range : options.service_cidrs) {
        object.mutable_spec()->add_cidrs(range.to_string());
    }
    return object;
}

void ensure_service_cidr(Batch& batch, const ApiOptions& options) {
    const auto wanted = service_cidr(options);
    batch.ensure("networking.k8s.io", "servicecidrs", copy_of(wanted), Part::kMain,
                 [wanted](const Message& message) -> MessagePtr {
                     const auto& existing = static_cast<const networkingv1::ServiceCIDR&>(message);
                     const auto& now = existing.spec().cidrs();
                     const auto& then = wanted.spec().cidrs();
                     const bool same_first = !now.empty() && now.Get(0) == then.Get(0);
                     if (same_first && now.size() == 1 && then.size() == 2) {
                         auto updated = copy_of(existing);
                         *updated->mutable_spec() = wanted.spec();
                         return updated;
                     }
                     if (!same_first || now.size() != then.size()) {
                         log::warn(kComponent,
                                   "servicecidrs {} has other ranges than this server was "
                                   "started with, which are the ones that count",
                                   kServiceCidr);
                     }
                     return nullptr;
                 });
}

void ensure_service_cidr_status(Batch& batch, const ApiOptions& options) {
    batch.ensure("networking.k8s.io", "servicecidrs", copy_of(service_cidr(options)),
                 Part::kStatus, [](const Message& message) -> MessagePtr {
                     const auto& existing = static_cast<const networkingv1::ServiceCIDR&>(message);
                     for (const auto& condition : existing.status().conditions()) {
                         if (condition.type() == "Ready") return nullptr;
                     }
                     auto updated = copy_of(existing);
                     auto* condition = updated->mutable_status()->add_conditions();
                     condition->set_type("Ready");
                     condition->set_status("True");
                     condition->set_message("Kubernetes default Service CIDR is ready");
                     condition->mutable_lasttransitiontime()->set_seconds(unix_now());
                     return updated;
                 });
}

}  // namespace

Result<void> bootstrap_platform(Core& core, const ApiOptions& options) {
    {
        Batch objects(core);
        ensure_priorities(objects);
        ensure_flow_control(objects);
        ensure_api_services(objects);
        ensure_service_cidr(objects, options);
        SLUICE_TRY(objects.wait());
    }
    Batch statuses(core);
    ensure_flow_status(statuses);
    ensure_service_cidr_status(statuses, options);
    return statuses.wait();
}

}  // namespace sluice::registry
