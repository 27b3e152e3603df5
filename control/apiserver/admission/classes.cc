// Classes by name, and those that hold where none is named: PriorityClass, RuntimeClass, StorageClass, IngressClass.
#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>

#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/ingress.pb.h"
#include "api/kubernetes/node/v1/runtimeclass.pb.h"
#include "api/kubernetes/scheduling/v1/priorityclass.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace networkingv1 = ::k8s::io::api::networking::v1;
namespace nodev1 = ::k8s::io::api::node::v1;
namespace schedulingv1 = ::k8s::io::api::scheduling::v1;
namespace storagev1 = ::k8s::io::api::storage::v1;

using google::protobuf::util::MessageDifferencer;
using registry::AdmissionRequest;
using registry::Answer;
using registry::kind_named;
using registry::list_stored;
using registry::Message;
using registry::ObjectPtr;
using registry::Operation;
using registry::read_stored;
using registry::refuse;

constexpr const char* kPreempts = "PreemptLowerPriority";

template <class T>
const T& as(const ObjectPtr& object) {
    return static_cast<const T&>(object->message());
}

template <class T>
bool is(const Message* object) {
    return object != nullptr && object->GetDescriptor() == T::descriptor();
}

Answer<void> no(const AdmissionRequest& request, const std::string& why) {
    return refuse(registry::forbidden(request.kind, request.name, why));
}

const codec::KindInfo& priorities() { return kind_named("scheduling.k8s.io", "v1", "priorityclasses"); }

// The one for Pods that name none. Of several, which only a race can make, the lowest counts.
ObjectPtr default_priority(registry::Core& core) {
    ObjectPtr best;
    for (const auto& found : list_stored(core, priorities(), "")) {
        const auto& candidate = as<schedulingv1::PriorityClass>(found);
        if (!candidate.globaldefault()) continue;
        if (best == nullptr || candidate.value() < as<schedulingv1::PriorityClass>(best).value()) best = found;
    }
    return best;
}

// The default that one of two annotations marks; of several the newest, then the first by name.
template <class T>
ObjectPtr default_class(registry::Core& core, const codec::KindInfo& kind,
                        std::initializer_list<const char*> annotations) {
    ObjectPtr best;
    for (const auto& found : list_stored(core, kind, "")) {
        const auto& meta = as<T>(found).metadata();
        const bool marked = std::any_of(annotations.begin(), annotations.end(), [&meta](const char* annotation) {
            const auto value = meta.annotations().find(annotation);
            return value != meta.annotations().end() && value->second == "true";
        });
        if (!marked) continue;
        if (best == nullptr ||
            meta.creationtimestamp().seconds() > best->meta().creationtimestamp().seconds()) {
            best = found;
        }
    }
    return best;
}

bool is_creation(const AdmissionRequest& request) {
    return request.old == nullptr && request.operation == Operation::kCreate && request.subresource.empty();
}

}  // namespace

Answer<void> set_priority(const AdmissionRequest& request, Message* object) {
    if (!request.subresource.empty() || !is<corev1::Pod>(object)) return {};
    auto* spec = static_cast<corev1::Pod*>(object)->mutable_spec();
    if (request.old != nullptr) {
        // A client that knows the field not keeps it.
        const auto& old = static_cast<const corev1::Pod&>(*request.old).spec();
        if (!spec->has_priority() && old.has_priority()) spec->set_priority(old.priority());
        if (!spec->has_preemptionpolicy() && old.has_preemptionpolicy()) {
            spec->set_preemptionpolicy(old.preemptionpolicy());
        }
        return {};
    }
    ObjectPtr found;
    if (spec->priorityclassname().empty()) {
        found = default_priority(*request.call.core);
        if (found != nullptr) spec->set_priorityclassname(found->meta().name());
    } else {
        found = read_stored(*request.call.core, priorities(), "", spec->priorityclassname());
        if (found == nullptr) {
            return no(request, fmt::format("no PriorityClass with name {} was found", spec->priorityclassname()));
        }
    }
    const std::int32_t priority = found == nullptr ? 0 : as<schedulingv1::PriorityClass>(found).value();
    std::string policy = kPreempts;
    if (found != nullptr && as<schedulingv1::PriorityClass>(found).has_preemptionpolicy()) {
        policy = as<schedulingv1::PriorityClass>(found).preemptionpolicy();
    }
    if (spec->has_priority() && spec->priority() != priority) {
        return no(request, fmt::format("the integer value of priority ({}) must not be provided in pod spec; priority "
                                       "admission controller computed {} from the given PriorityClass name",
                                       spec->priority(), priority));
    }
    if (spec->has_preemptionpolicy() && spec->preemptionpolicy() != policy) {
        return no(request, fmt::format("the string value of PreemptionPolicy ({}) must not be provided in pod spec; "
                                       "priority admission controller computed {} from the given PriorityClass name",
                                       spec->preemptionpolicy(), policy));
    }
    spec->set_priority(priority);
    spec->set_preemptionpolicy(policy);
    return {};
}

Answer<void> check_priority(const AdmissionRequest& request) {
    if (!request.subresource.empty() || !is<schedulingv1::PriorityClass>(request.object)) return {};
    const auto& wanted = static_cast<const schedulingv1::PriorityClass&>(*request.object);
    if (!wanted.globaldefault()) return {};
    const auto present = default_priority(*request.call.core);
    if (present == nullptr || present->meta().name() == wanted.metadata().name()) return {};
    return no(request, fmt::format("PriorityClass {} is already marked as default. Only one default can exist",
                                   present->meta().name()));
}

Answer<void> set_runtime(const AdmissionRequest& request, Message* object) {
    if (!is_creation(request) || !is<corev1::Pod>(object)) return {};
    auto* spec = static_cast<corev1::Pod*>(object)->mutable_spec();
    if (!spec->has_runtimeclassname() || spec->runtimeclassname().empty()) {
        if (spec->overhead().empty()) return {};
        return no(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    }
    const std::string& name = spec->runtimeclassname();
    const auto found = read_stored(*request.call.core, kind_named("node.k8s.io", "v1", "runtimeclasses"), "", name);
    if (found == nullptr) {
        return no(request, fmt::format("pod rejected: RuntimeClass {} not found", registry::go_quote(name)));
    }
    const auto& runtime = as<nodev1::RuntimeClass>(found);
    if (runtime.has_overhead() && !runtime.overhead().podfixed().empty()) {
        corev1::PodSpec expected;
        *expected.mutable_overhead() = runtime.overhead().podfixed();
        corev1::PodSpec given;
        *given.mutable_overhead() = spec->overhead();
        if (!spec->overhead().empty() && !MessageDifferencer::Equals(expected, given)) {
            return no(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead");
        }
        *spec->mutable_overhead() = runtime.overhead().podfixed();
    } else if (!spec->overhead().empty()) {
        return no(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead");
    }
    for (const auto& [label, value] : runtime.scheduling().nodeselector()) {
        const auto [entry, added] = spec->mutable_nodeselector()->insert({label, value});
        if (!added && entry->second != value) {
            return no(request, fmt::format("conflict: runtimeClass.scheduling.nodeSelector[{}] = {}; "
                                           "pod.spec.nodeSelector[{}] = {}",
                                           label, value, label, entry->second));
        }
    }
    for (const auto& toleration : runtime.scheduling().tolerations()) {
        const auto& present = spec->tolerations();
        const bool there = std::any_of(present.begin(), present.end(), [&toleration](const auto& other) {
            return MessageDifferencer::Equals(toleration, other);
        });
        if (!there) *spec->add_tolerations() = toleration;
    }
    return {};
}

void set_storage_class(const AdmissionRequest& request, Message* object) {
    if (!is_creation(request) || !is<corev1::PersistentVolumeClaim>(object)) return;
    auto* claim = static_cast<corev1::PersistentVolumeClaim*>(object);
    if (claim->spec().has_storageclassname() ||
        claim->metadata().annotations().contains("volume.beta.kubernetes.io/storage-class")) {
        return;
    }
    const auto found = default_class<storagev1::StorageClass>(
        *request.call.core, kind_named("storage.k8s.io", "v1", "storageclasses"),
        {"storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"});
    if (found != nullptr) claim->mutable_spec()->set_storageclassname(found->meta().name());
}

void set_ingress_class(const AdmissionRequest& request, Message* object) {
    if (!is_creation(request) || !is<networkingv1::Ingress>(object)) return;
    auto* ingress = static_cast<networkingv1::Ingress*>(object);
    if (ingress->spec().has_ingressclassname() ||
        ingress->metadata().annotations().contains("kubernetes.io/ingress.class")) {
        return;
    }
    const auto found = default_class<networkingv1::IngressClass>(
        *request.call.core, kind_named("networking.k8s.io", "v1", "ingressclasses"),
        {"ingressclass.kubernetes.io/is-default-class"});
    if (found != nullptr) ingress->mutable_spec()->set_ingressclassname(found->meta().name());
    return;
}

}  // namespace sluice::admission
