#include "control/apiserver/registry/validation/volume_sources.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/core/v1/volume.pb.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/apiserver/registry/validation/volumes.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

void check_path(const std::string& path, const std::string& field, FieldErrors* errors) {
    if (path.empty()) {
        errors->required(field);
        return;
    }
    if (has_backsteps(path)) errors->invalid(field, path, "must not contain '..'");
}

// The members without which a source names nothing.
struct Needed {
    std::string_view source;
    std::string_view member;
};
constexpr Needed kNeeded[] = {
    {"gcePersistentDisk", "pdName"}, {"awsElasticBlockStore", "volumeID"},
    {"glusterfs", "endpoints"},      {"glusterfs", "path"},
    {"nfs", "server"},               {"nfs", "path"},
    {"rbd", "monitors"},             {"rbd", "image"},
    {"iscsi", "targetPortal"},       {"iscsi", "iqn"},
    {"cinder", "volumeID"},          {"cephfs", "monitors"},
    {"flexVolume", "driver"},        {"azureFile", "secretName"},
    {"azureFile", "shareName"},      {"vsphereVolume", "volumePath"},
    {"quobyte", "registry"},         {"quobyte", "volume"},
    {"azureDisk", "diskName"},       {"azureDisk", "diskURI"},
    {"photonPersistentDisk", "pdID"}, {"portworxVolume", "volumeID"},
    {"scaleIO", "gateway"},          {"scaleIO", "system"},
    {"scaleIO", "volumeName"},       {"csi", "driver"},
    {"csi", "volumeHandle"},
};

bool is_empty(const Message& message, std::string_view member) {
    const FieldDescriptor* field = nullptr;
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
        if (message.GetDescriptor()->field(i)->name() == member) {
            field = message.GetDescriptor()->field(i);
        }
    }
    SLUICE_ASSERT(field != nullptr);  // the table above names members that exist
    if (field->is_repeated()) return message.GetReflection()->FieldSize(message, field) == 0;
    return message.GetReflection()->GetString(message, field).empty();
}

void check_needed(const Message& source, std::string_view name, const std::string& field,
                  FieldErrors* errors) {
    for (const Needed& needed : kNeeded) {
        if (needed.source != name || !is_empty(source, needed.member)) continue;
        errors->required(field_child(field, needed.member));
    }
}

void check_host_path(const corev1::HostPathVolumeSource& source, const std::string& field,
                     FieldErrors* errors) {
    check_path(source.path(), field + ".path", errors);
    const std::string& type = source.type();
    for (const char* known : {"", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket",
                              "CharDevice", "BlockDevice"}) {
        if (type == known) return;
    }
    errors->not_supported(field + ".type", type,
                          {"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate",
                           "File", "FileOrCreate", "Socket"});
}

void check_driver(const std::string& driver, const std::string& field, FieldErrors* errors) {
    constexpr std::size_t kMaxDriverBytes = 63;
    if (driver.size() > kMaxDriverBytes) errors->too_long(field, kMaxDriverBytes);
    std::string lower = driver;
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (!driver.empty()) errors->invalid_all(field, driver, check_dns1123_subdomain(lower));
}

}  // namespace

void validate_volume_source(const corev1::PersistentVolumeSource& source, const std::string& field,
                            FieldErrors* errors) {
    const FieldDescriptor* type = sole_volume_type(source, field, errors);
    if (type == nullptr) return;
    const std::string at = field_child(field, type->name());
    check_needed(source.GetReflection()->GetMessage(source, type), type->name(), at, errors);
    if (source.has_hostpath()) check_host_path(source.hostpath(), field + ".hostPath", errors);
    if (source.has_local()) check_path(source.local().path(), field + ".local.path", errors);
    if (source.has_nfs() && !source.nfs().path().empty() && source.nfs().path().front() != '/') {
        errors->invalid(field + ".nfs.path", source.nfs().path(), "must be an absolute path");
    }
    if (source.has_csi()) check_driver(source.csi().driver(), field + ".csi.driver", errors);
}

}  // namespace sluice::registry
