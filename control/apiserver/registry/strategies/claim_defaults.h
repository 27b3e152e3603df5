// What Kubernetes fills into PersistentVolumeClaims, those in a StatefulSet's templates included. Pure and thread-safe.
#pragma once

namespace k8s::io::api::core::v1 {
class PersistentVolumeClaim;
}

namespace sluice::registry {

void default_claim(::k8s::io::api::core::v1::PersistentVolumeClaim* claim);

}  // namespace sluice::registry
