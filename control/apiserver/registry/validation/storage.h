// Validation of the kinds of storage.k8s.io, in Kubernetes' words: everything but metadata. Pure and thread-safe.
#pragma once

#include "control/apiserver/registry/validation/field_errors.h"

namespace k8s::io::api::storage::v1 {
class CSIDriver;
class CSINode;
class CSIStorageCapacity;
class StorageClass;
class VolumeAttachment;
}  // namespace k8s::io::api::storage::v1

namespace sluice::registry {

namespace storagev1 = ::k8s::io::api::storage::v1;

void validate_storage_class(const storagev1::StorageClass& object, FieldErrors* errors);
void validate_storage_class_update(const storagev1::StorageClass& object,
                                   const storagev1::StorageClass& old, FieldErrors* errors);
void validate_csi_driver(const storagev1::CSIDriver& object, FieldErrors* errors);
void validate_csi_driver_update(const storagev1::CSIDriver& object, const storagev1::CSIDriver& old,
                                FieldErrors* errors);
void validate_csi_storage_capacity(const storagev1::CSIStorageCapacity& object,
                                   FieldErrors* errors);
void validate_csi_storage_capacity_update(const storagev1::CSIStorageCapacity& object,
                                          const storagev1::CSIStorageCapacity& old,
                                          FieldErrors* errors);
void validate_csi_node(const storagev1::CSINode& object, FieldErrors* errors);
void validate_csi_node_update(const storagev1::CSINode& object, const storagev1::CSINode& old,
                              FieldErrors* errors);
void validate_volume_attachment(const storagev1::VolumeAttachment& object, FieldErrors* errors);
// What is checked of a new VolumeAttachment only.
void check_csi_attacher(const storagev1::VolumeAttachment& object, FieldErrors* errors);

}  // namespace sluice::registry
