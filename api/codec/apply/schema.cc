#include "api/codec/apply/schema.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "api/codec/json_plan_internal.h"
#include "api/kubernetes/options.pb.h"

namespace sluice::codec {
namespace {

namespace pb = ::google::protobuf;

using Shape = ApplyType::Shape;

// Types that Kubernetes marks as a whole, wherever they stand (structType=atomic).
constexpr std::string_view kAtomicMessages[] = {
    "k8s.io.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "k8s.io.api.autoscaling.v1.CrossVersionObjectReference",
    "k8s.io.api.core.v1.ConfigMapKeySelector",
    "k8s.io.api.core.v1.EndpointAddress",
    "k8s.io.api.core.v1.EndpointPort",
    "k8s.io.api.core.v1.LocalObjectReference",
    "k8s.io.api.core.v1.NodeSelector",
    "k8s.io.api.core.v1.NodeSelectorTerm",
    "k8s.io.api.core.v1.ObjectFieldSelector",
    "k8s.io.api.core.v1.ObjectReference",
    "k8s.io.api.core.v1.ResourceFieldSelector",
    "k8s.io.api.core.v1.ScopeSelector",
    "k8s.io.api.core.v1.ScopedResourceSelectorRequirement",
    "k8s.io.api.core.v1.SecretKeySelector",
    "k8s.io.api.core.v1.SecretReference",
    "k8s.io.api.core.v1.TopologySelectorTerm",
    "k8s.io.api.core.v1.TypedLocalObjectReference",
    "k8s.io.api.discovery.v1.EndpointPort",
    "k8s.io.api.networking.v1.ServiceBackendPort",
    "k8s.io.api.rbac.v1.RoleRef",
    "k8s.io.api.rbac.v1.Subject",
};

bool is_atomic(const pb::Descriptor& type) {
    return std::find(std::begin(kAtomicMessages), std::end(kAtomicMessages), type.full_name()) !=
           std::end(kAtomicMessages);
}

// Of one value, whether a field's, an entry's of a map or an element's.
ApplyType type_of_value(ValueKind kind, const pb::Descriptor* message) {
    ApplyType out;
    // Documents of other types are owned as a whole.
    if (kind == ValueKind::kStringList || kind == ValueKind::kRawExtension) {
        out.shape = Shape::kAtomic;
    } else if (kind != ValueKind::kMessage) {
        out.shape = Shape::kScalar;
    } else {
        out.shape = is_atomic(*message) ? Shape::kAtomic : Shape::kObject;
        out.message = message;
    }
    return out;
}

ApplyType type_of_field(const FieldPlan& plan) {
    const pb::FieldOptions& options = plan.field->options();
    const pb::Descriptor* message =
        plan.shape == FieldShape::kMap ? nullptr : plan.field->message_type();
    if (plan.shape == FieldShape::kSingular) {
        ApplyType out = type_of_value(plan.kind, message);
        if (options.GetExtension(k8s::map_type) == "atomic") out.shape = Shape::kAtomic;
        if (options.GetExtension(k8s::map_type) == "granular" && message != nullptr) out.shape = Shape::kObject;
        return out;
    }
    ApplyType out;
    if (plan.shape == FieldShape::kMap) {
        out.shape = options.GetExtension(k8s::map_type) == "atomic" ? Shape::kAtomic : Shape::kObject;
        out.values = plan.field->message_type()->map_value();
        return out;
    }
    const std::string& list_type = options.GetExtension(k8s::list_type);
    out.shape = list_type == "set" ? Shape::kSet : list_type == "map" ? Shape::kKeyed : Shape::kAtomic;
    out.message = message;
    for (int i = 0; i < options.ExtensionSize(k8s::list_map_key); ++i) {
        out.keys.push_back(options.GetExtension(k8s::list_map_key, i));
    }
    std::sort(out.keys.begin(), out.keys.end());
    return out;
}

}  // namespace

ApplyType ApplySchema::root(const pb::Descriptor& type) {
    ApplyType out;
    out.shape = Shape::kObject;
    out.message = &type;
    return out;
}

const ApplySchema::Members& ApplySchema::members_of(const pb::Descriptor& type) {
    const auto [at, inserted] = known_.try_emplace(&type);
    if (!inserted) return at->second;
    for (const auto& [name, member] : plan_of(type).members) {
        at->second.emplace(std::string(name), type_of_field(*member.field));
    }
    return at->second;
}

const ApplyType& ApplySchema::member(const ApplyType& parent, std::string_view name, bool* known) {
    *known = false;
    if (parent.values != nullptr) {
        const auto [at, inserted] = map_values_.try_emplace(parent.values);
        if (inserted) {
            const pb::Descriptor* message = parent.values->message_type();
            at->second = type_of_value(message == nullptr ? ValueKind::kString : message_kind(*message), message);
        }
        return at->second;
    }
    if (parent.message == nullptr) return free_form_;
    const Members& members = members_of(*parent.message);
    const auto found = members.find(std::string(name));
    // kind and apiVersion are no fields of the message, and scalars all the same.
    if (found == members.end()) return free_form_;
    *known = true;
    return found->second;
}

ApplyType ApplySchema::element(const ApplyType& list) {
    ApplyType out;
    out.shape = list.message == nullptr ? Shape::kScalar : is_atomic(*list.message) ? Shape::kAtomic : Shape::kObject;
    out.message = list.message;
    return out;
}

std::string_view ApplySchema::default_of_key(std::string_view key) {
    // The only default among the keys of Kubernetes' lists: of the ports of containers and of services.
    return key == "protocol" ? std::string_view("\"TCP\"") : std::string_view();
}

}  // namespace sluice::codec
