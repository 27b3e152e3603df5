// What a Pod refers to, for the node that it is bound to. Its spec is a tree of some thousand possible fields of which
// few can hold a reference: which ones, and the ways to them, are worked out once for each type, as this is on the way
// of each write of a Pod.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/authorization/node_graph.h"

namespace sluice::authorization {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace protobuf = ::google::protobuf;

using protobuf::FieldDescriptor;

// What a message of a type holds itself, and the fields below which there may be more.
struct Holder {
    const FieldDescriptor* claim = nullptr;   // its name
    const FieldDescriptor* secret = nullptr;  // its name
    std::vector<const FieldDescriptor*> objects;  // LocalObjectReferences
    Referred referred = Referred::kSecret;        // what those are
    std::vector<std::pair<const FieldDescriptor*, const Holder*>> below;

    [[nodiscard]] bool is_empty() const {
        return claim == nullptr && secret == nullptr && objects.empty() && below.empty();
    }
};

class Holders {
public:
    // A type that is in work holds itself, and counts as one that may hold something.
    const Holder& of(const protobuf::Descriptor& type) {
        auto& slot = all_[&type];
        if (slot != nullptr) return *slot;
        slot = std::make_unique<Holder>();
        Holder& out = *slot;
        in_work_.push_back(&out);
        const bool is_claim = type.name() == "PersistentVolumeClaimVolumeSource";
        if (is_claim) out.claim = text_field(type, "claimName");
        // Secret and Azure volumes name their Secret; all others refer to it by a message.
        if (!is_claim) out.secret = text_field(type, "secretName");
        if (type.name().starts_with("ConfigMap")) out.referred = Referred::kConfigMap;
        for (int i = 0; i < type.field_count(); ++i) {
            const FieldDescriptor* field = type.field(i);
            if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
            if (field->message_type() == corev1::LocalObjectReference::descriptor()) {
                if (!is_claim) out.objects.push_back(field);
                continue;
            }
            const Holder& below = of(*field->message_type());
            const bool in_work = std::find(in_work_.begin(), in_work_.end(), &below) != in_work_.end();
            if (in_work || !below.is_empty()) out.below.emplace_back(field, &below);
        }
        in_work_.pop_back();
        return out;
    }

private:
    static const FieldDescriptor* text_field(const protobuf::Descriptor& type, const char* name) {
        const auto* field = type.FindFieldByName(name);
        const bool text = field != nullptr && !field->is_repeated() &&
                          field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
        return text ? field : nullptr;
    }

    std::unordered_map<const protobuf::Descriptor*, std::unique_ptr<Holder>> all_;
    std::vector<const Holder*> in_work_;
};

const Holder& holder_of_spec() {
    static Holders all;
    static const Holder& spec = all.of(*corev1::PodSpec::descriptor());
    return spec;
}

using Add = std::function<void(Referred, const std::string&)>;

// Calls `visit` with each message of the field that is there.
template <class Visit>
void each(const protobuf::Message& owner, const protobuf::Reflection& reflection, const FieldDescriptor* field,
          const Visit& visit) {
    if (!field->is_repeated()) {
        if (reflection.HasField(owner, field)) visit(reflection.GetMessage(owner, field));
        return;
    }
    const int size = reflection.FieldSize(owner, field);
    for (int i = 0; i < size; ++i) visit(reflection.GetRepeatedMessage(owner, field, i));
}

// NOLINTNEXTLINE(misc-no-recursion): decoders limit the depth.
void collect(const protobuf::Message& message, const Holder& holder, const Add& add) {
    const auto& reflection = *message.GetReflection();
    if (holder.claim != nullptr) add(Referred::kClaim, reflection.GetString(message, holder.claim));
    if (holder.secret != nullptr) add(Referred::kSecret, reflection.GetString(message, holder.secret));
    for (const auto* field : holder.objects) {
        each(message, reflection, field, [&](const protobuf::Message& reference) {
            add(holder.referred, static_cast<const corev1::LocalObjectReference&>(reference).name());
        });
    }
    for (const auto& [field, below] : holder.below) {
        each(message, reflection, field,
             [&add, inner = below](const protobuf::Message& found) { collect(found, *inner, add); });
    }
}

}  // namespace

std::vector<Reference> references_of(const corev1::Pod& pod) {
    std::vector<Reference> out;
    const std::string& name_space = pod.metadata().namespace_();
    const auto add = [&](Referred kind, const std::string& name) {
        if (!name.empty()) out.push_back({kind, name_space, name});
    };
    add(Referred::kServiceAccount, pod.spec().serviceaccountname());
    for (const auto& claim : pod.spec().resourceclaims()) {
        add(Referred::kResourceClaim, claim.resourceclaimname());
    }
    for (const auto& claim : pod.status().resourceclaimstatuses()) {
        add(Referred::kResourceClaim, claim.resourceclaimname());
    }
    for (const auto& volume : pod.spec().volumes()) {
        // The claim of an ephemeral volume is named after both.
        if (volume.volumesource().has_ephemeral()) {
            add(Referred::kClaim, pod.metadata().name() + "-" + volume.name());
        }
    }
    collect(pod.spec(), holder_of_spec(), add);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

}  // namespace sluice::authorization
