#include "control/apiserver/registry/strategies/platform.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "api/codec/protobuf.h"

namespace sluice::registry {

namespace {

struct Maker {
    std::string_view group;
    std::string_view kind;
    std::unique_ptr<Strategy> (*make)(const codec::KindInfo& kind);
};

constexpr std::string_view kNetworking = "networking.k8s.io";
constexpr std::string_view kStorage = "storage.k8s.io";
constexpr std::string_view kAdmission = "admissionregistration.k8s.io";
constexpr std::string_view kFlowControl = "flowcontrol.apiserver.k8s.io";

constexpr Maker kMakers[] = {
    {kNetworking, "Ingress", make_ingress_strategy},
    {kNetworking, "IngressClass", make_ingressclass_strategy},
    {kNetworking, "NetworkPolicy", make_networkpolicy_strategy},
    {kNetworking, "ServiceCIDR", make_servicecidr_strategy},
    {kNetworking, "IPAddress", make_ipaddress_strategy},
    {kStorage, "StorageClass", make_storageclass_strategy},
    {kStorage, "CSIDriver", make_csidriver_strategy},
    {kStorage, "CSINode", make_csinode_strategy},
    {kStorage, "CSIStorageCapacity", make_csistoragecapacity_strategy},
    {kStorage, "VolumeAttachment", make_volumeattachment_strategy},
    {"scheduling.k8s.io", "PriorityClass", make_priorityclass_strategy},
    {"node.k8s.io", "RuntimeClass", make_runtimeclass_strategy},
    {kAdmission, "ValidatingWebhookConfiguration", make_validating_webhooks_strategy},
    {kAdmission, "MutatingWebhookConfiguration", make_mutating_webhooks_strategy},
    {kAdmission, "ValidatingAdmissionPolicy", make_admission_policy_strategy},
    {kAdmission, "ValidatingAdmissionPolicyBinding", make_admission_policy_binding_strategy},
    {"apiregistration.k8s.io", "APIService", make_apiservice_strategy},
    {kFlowControl, "FlowSchema", make_flowschema_strategy},
    {kFlowControl, "PriorityLevelConfiguration", make_prioritylevel_strategy},
};

std::string bytes_without_metadata(const Message& object) {
    std::unique_ptr<Message> copy(object.New());
    copy->CopyFrom(object);
    for (const char* name : {"metadata", "status"}) {
        const auto* field = copy->GetDescriptor()->FindFieldByName(name);
        if (field != nullptr) copy->GetReflection()->ClearField(copy.get(), field);
    }
    return codec::encode_protobuf_raw(*copy);
}

}  // namespace

std::unique_ptr<Strategy> make_platform_strategy(const codec::KindInfo& kind) {
    for (const Maker& maker : kMakers) {
        if (maker.kind == kind.gvk.kind && maker.group == kind.gvk.group) return maker.make(kind);
    }
    return nullptr;
}

bool same_but_metadata(const Message& a, const Message& b) {
    return bytes_without_metadata(a) == bytes_without_metadata(b);
}

std::string joined_cell(const std::vector<std::string>& values, std::string_view none) {
    if (values.empty()) return std::string(none);
    return fmt::format("{}", fmt::join(values, ","));
}

}  // namespace sluice::registry
