// The files of volumes that are made from API objects: configMap, secret, downwardAPI and
// projected.
#pragma once

#include "control/kubelet/environment/environment.h"
#include "control/kubelet/objects.h"
#include "control/kubelet/volumes/atomic_writer_private.h"

namespace k8s::io::api::core::v1 {
class Volume;
}

namespace sluice::kubelet {

// True for the four kinds.
[[nodiscard]] bool is_projected(const corev1::Volume& volume);
// kNotFound for objects and keys that are missing and not optional, kUnimplemented for sources that
// are not had.
Result<Payload> make_payload(const corev1::Pod& pod, const corev1::Volume& volume,
                             const PodFacts& facts, ObjectSource& objects);

}  // namespace sluice::kubelet
