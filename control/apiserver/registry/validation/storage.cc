#include "control/apiserver/registry/validation/storage.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "api/codec/protobuf.h"
#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/paths.h"
#include "control/apiserver/registry/validation/scheduling.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::size_t kMaxParameters = 512;
constexpr std::size_t kMaxParameterBytes = 256U << 10U;
constexpr std::size_t kMaxAttachmentMetadataBytes = 256U << 10U;
constexpr std::size_t kMaxErrorBytes = 1024;
constexpr std::size_t kMaxNodeIdBytes = 192;
constexpr std::int64_t kMinTokenSeconds = 600;
constexpr std::int64_t kMaxTokenSeconds = std::int64_t{1} << 32U;
constexpr std::string_view kImmutable = "field is immutable";

template <class Map>
bool same_map(const Map& a, const Map& b) {
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a) {
        const auto found = b.find(key);
        if (found == b.end() || found->second != value) return false;
    }
    return true;
}

bool same_message(const google::protobuf::Message& a, const google::protobuf::Message& b) {
    return codec::encode_protobuf_raw(a) == codec::encode_protobuf_raw(b);
}

void check_parameters(const storagev1::StorageClass& object, FieldErrors* errors) {
    if (object.parameters().size() > kMaxParameters) {
        errors->too_long("parameters", kMaxParameters);
        return;
    }
    std::size_t total = 0;
    for (const auto& [key, value] : object.parameters()) {
        if (key.empty()) errors->invalid("parameters", key, "field can not be empty.");
        total += key.size() + value.size();
    }
    if (total > kMaxParameterBytes) errors->too_long("parameters", kMaxParameterBytes);
}

using Topology = std::map<std::string, std::set<std::string>>;

Topology check_topology(const corev1::TopologySelectorTerm& term, const std::string& field,
                        FieldErrors* errors) {
    Topology topology;
    for (int i = 0; i < term.matchlabelexpressions_size(); ++i) {
        const auto& expression = term.matchlabelexpressions(i);
        const std::string path = field_index(field + ".matchLabelExpressions", i);
        std::set<std::string> values;
        if (expression.values_size() == 0) errors->required(path + ".values");
        for (int j = 0; j < expression.values_size(); ++j) {
            if (!values.insert(expression.values(j)).second) {
                errors->duplicate(field_index(path + ".values", j), expression.values(j));
            }
        }
        errors->invalid_all(path + ".key", expression.key(),
                            check_qualified_name(expression.key()));
        if (topology.contains(expression.key())) {
            errors->duplicate(path + ".key", expression.key());
        }
        topology[expression.key()] = std::move(values);
    }
    return topology;
}

void check_error(const storagev1::VolumeError& error, const std::string& field,
                 FieldErrors* errors) {
    if (error.message().size() > kMaxErrorBytes) {
        // Upstream names the limit of the metadata here.
        errors->too_long(field + ".message", kMaxAttachmentMetadataBytes);
    }
}

}  // namespace

void validate_storage_class(const storagev1::StorageClass& object, FieldErrors* errors) {
    if (object.provisioner().empty()) {
        errors->required("provisioner");
    } else {
        errors->invalid_all("provisioner", ascii_lower(object.provisioner()),
                            check_qualified_name(ascii_lower(object.provisioner())));
    }
    check_parameters(object, errors);
    const std::string& policy = object.reclaimpolicy();
    if (!policy.empty() && policy != "Delete" && policy != "Retain") {
        errors->not_supported("reclaimPolicy", policy, {"Delete", "Retain"});
    }
    const std::string& mode = object.volumebindingmode();
    if (!object.has_volumebindingmode()) {
        errors->required("volumeBindingMode");
    } else if (mode != "Immediate" && mode != "WaitForFirstConsumer") {
        errors->not_supported("volumeBindingMode", mode, {"Immediate", "WaitForFirstConsumer"});
    }
    std::set<Topology> topologies;
    for (int i = 0; i < object.allowedtopologies_size(); ++i) {
        const std::string field = field_index("allowedTopologies", i);
        if (!topologies.insert(check_topology(object.allowedtopologies(i), field, errors)).second) {
            errors->duplicate(field + ".matchLabelExpressions", "");
        }
    }
}

void validate_storage_class_update(const storagev1::StorageClass& object,
                                   const storagev1::StorageClass& old, FieldErrors* errors) {
    if (!same_map(object.parameters(), old.parameters())) {
        errors->forbidden("parameters", "updates to parameters are forbidden.");
    }
    if (object.provisioner() != old.provisioner()) {
        errors->forbidden("provisioner", "updates to provisioner are forbidden.");
    }
    if (object.reclaimpolicy() != old.reclaimpolicy()) {
        errors->forbidden("reclaimPolicy", "updates to reclaimPolicy are forbidden.");
    }
    if (object.volumebindingmode() != old.volumebindingmode()) {
        errors->invalid("volumeBindingMode", object.volumebindingmode(), kImmutable);
    }
}

void validate_csi_driver(const storagev1::CSIDriver& object, FieldErrors* errors) {
    const auto& spec = object.spec();
    const std::string& policy = spec.fsgrouppolicy();
    if (spec.has_fsgrouppolicy() && policy != "ReadWriteOnceWithFSType" && policy != "File" &&
        policy != "None") {
        errors->not_supported("spec.fsGroupPolicy", policy,
                              {"File", "None", "ReadWriteOnceWithFSType"});
    }
    std::set<std::string> audiences;
    for (int i = 0; i < spec.tokenrequests_size(); ++i) {
        const auto& request = spec.tokenrequests(i);
        const std::string field = field_index("spec.tokenRequests", i);
        if (!audiences.insert(request.audience()).second) {
            errors->duplicate(field + ".audience", request.audience());
            continue;
        }
        if (!request.has_expirationseconds()) continue;
        if (request.expirationseconds() < kMinTokenSeconds) {
            errors->invalid(field + ".expirationSeconds", request.expirationseconds(),
                            "may not specify a duration less than 10 minutes");
        }
        if (request.expirationseconds() > kMaxTokenSeconds) {
            errors->invalid(field + ".expirationSeconds", request.expirationseconds(),
                            "may not specify a duration larger than 2^32 seconds");
        }
    }
    for (const std::string& mode : spec.volumelifecyclemodes()) {
        if (mode != "Persistent" && mode != "Ephemeral") {
            errors->not_supported("spec.volumeLifecycleModes", mode, {"Persistent", "Ephemeral"});
        }
    }
}

void validate_csi_driver_update(const storagev1::CSIDriver& object, const storagev1::CSIDriver& old,
                                FieldErrors* errors) {
    const auto& now = object.spec();
    const auto& before = old.spec();
    if (now.attachrequired() != before.attachrequired()) {
        // Upstream's path has this spelling.
        errors->invalid("spec.attachedRequired",
                        BadValue::verbatim(now.attachrequired() ? "true" : "false"), kImmutable);
    }
    const std::vector<std::string> modes(now.volumelifecyclemodes().begin(),
                                         now.volumelifecyclemodes().end());
    const std::vector<std::string> old_modes(before.volumelifecyclemodes().begin(),
                                             before.volumelifecyclemodes().end());
    if (modes != old_modes) {
        std::vector<std::string> quoted;
        for (const std::string& mode : modes) quoted.push_back(go_quote(mode));
        errors->invalid("spec.volumeLifecycleModes",
                        BadValue::verbatim(fmt::format("[]storage.VolumeLifecycleMode{{{}}}",
                                                       fmt::join(quoted, ", "))),
                        kImmutable);
    }
}

void validate_csi_storage_capacity(const storagev1::CSIStorageCapacity& object,
                                   FieldErrors* errors) {
    validate_label_selector(object.nodetopology(), "nodeTopology", errors);
    errors->invalid_all("storageClassName", object.storageclassname(),
                        check_dns1123_subdomain(object.storageclassname()));
    if (!object.has_capacity()) return;
    const auto capacity = codec::Quantity::parse(object.capacity().string());
    if (capacity && capacity->is_negative()) {
        errors->invalid("capacity", capacity->to_string(),
                        "must be greater than or equal to 0");
    }
}

void validate_csi_storage_capacity_update(const storagev1::CSIStorageCapacity& object,
                                          const storagev1::CSIStorageCapacity& old,
                                          FieldErrors* errors) {
    if (object.has_nodetopology() != old.has_nodetopology() ||
        !same_message(object.nodetopology(), old.nodetopology())) {
        errors->invalid("nodeTopology", BadValue::verbatim("v1.LabelSelector{}"), kImmutable);
    }
    if (object.storageclassname() != old.storageclassname()) {
        errors->invalid("storageClassName", object.storageclassname(), kImmutable);
    }
}

void validate_csi_node(const storagev1::CSINode& object, FieldErrors* errors) {
    std::set<std::string> names;
    for (int i = 0; i < object.spec().drivers_size(); ++i) {
        const auto& driver = object.spec().drivers(i);
        const std::string field = field_index("spec.drivers", i);
        check_csi_driver_name(driver.name(), field + ".name", errors);
        if (driver.nodeid().empty()) errors->required(field + ".nodeID");
        if (driver.nodeid().size() > kMaxNodeIdBytes) {
            errors->invalid(field + ".nodeID", driver.nodeid(),
                            fmt::format("must be {} characters or less", kMaxNodeIdBytes));
        }
        if (driver.allocatable().has_count() && driver.allocatable().count() < 0) {
            errors->invalid(field + ".allocatable.count", driver.allocatable().count(),
                            "must be greater than or equal to 0");
        }
        if (!names.insert(driver.name()).second) {
            errors->duplicate(field + ".name", driver.name());
        }
        std::set<std::string> keys;
        for (const std::string& key : driver.topologykeys()) {
            if (key.empty()) errors->required(field);
            if (!keys.insert(key).second) errors->duplicate(field, key);
            errors->invalid_all(field, key, check_qualified_name(key));
        }
    }
}

void validate_csi_node_update(const storagev1::CSINode& object, const storagev1::CSINode& old,
                              FieldErrors* errors) {
    for (const auto& before : old.spec().drivers()) {
        for (const auto& driver : object.spec().drivers()) {
            if (driver.name() != before.name() || same_message(driver, before)) continue;
            errors->invalid("spec.drivers",
                            BadValue::verbatim(fmt::format(
                                "storage.CSINodeDriver{{Name:{}, NodeID:{}}}",
                                go_quote(driver.name()), go_quote(driver.nodeid()))),
                            kImmutable);
        }
    }
}

void validate_volume_attachment(const storagev1::VolumeAttachment& object, FieldErrors* errors) {
    const auto& spec = object.spec();
    if (spec.attacher().empty()) errors->required("spec.attacher");
    const auto& source = spec.source();
    if (!source.has_inlinevolumespec() && !source.has_persistentvolumename()) {
        errors->required("spec.source",
                         "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
    } else if (source.has_inlinevolumespec() && source.has_persistentvolumename()) {
        errors->forbidden("spec.source",
                          "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
    } else if (source.has_persistentvolumename() && source.persistentvolumename().empty()) {
        errors->required("spec.source.persistentVolumeName",
                         "must specify non empty persistentVolumeName");
    }
    errors->invalid_all("spec.nodeName", spec.nodename(), check_dns1123_subdomain(spec.nodename()));
    std::size_t size = 0;
    for (const auto& [key, value] : object.status().attachmentmetadata()) {
        size += key.size() + value.size();
    }
    if (size > kMaxAttachmentMetadataBytes) {
        errors->too_long("status.attachmentMetadata", kMaxAttachmentMetadataBytes);
    }
    check_error(object.status().attacherror(), "status.attachError", errors);
    check_error(object.status().detacherror(), "status.detachError", errors);
}

void check_csi_attacher(const storagev1::VolumeAttachment& object, FieldErrors* errors) {
    check_csi_driver_name(object.spec().attacher(), "spec.attacher", errors);
    const auto& source = object.spec().source();
    if (source.has_persistentvolumename()) {
        errors->invalid_all("spec.source.persistentVolumeName", source.persistentvolumename(),
                            check_dns1123_subdomain(source.persistentvolumename()));
    }
}

}  // namespace sluice::registry
