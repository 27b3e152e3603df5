// The ConfigMaps and Secrets that this node's pods refer to, as they are now at the API server. What pods share is
// fetched and followed once.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "api/client/client.h"

namespace k8s::io::api::core::v1 {
class ConfigMap;
class Pod;
class Secret;
}  // namespace k8s::io::api::core::v1

namespace sluice::kubelet {

namespace corev1 = ::k8s::io::api::core::v1;

// Objects followed at a time, over all pods; beyond it a pod's start fails with kResourceExhausted.
inline constexpr std::size_t kMaxFollowedObjects = 4'096;

// Thread-safe.
class ObjectSource {
public:
    virtual ~ObjectSource() = default;

    // From now on what the pod refers to is followed, until forget_pod. Calling it again is harmless.
    virtual void follow_pod(const corev1::Pod& pod) = 0;
    virtual void forget_pod(const std::string& uid) = 0;

    // As known now; fetched when not yet known, which may wait for the server. kNotFound when there is none (the message
    // is Kubernetes': `configmap "web" not found`).
    virtual Result<std::shared_ptr<const corev1::ConfigMap>> config_map(
        const std::string& namespace_name, const std::string& name) = 0;
    virtual Result<std::shared_ptr<const corev1::Secret>> secret(const std::string& namespace_name,
                                                                 const std::string& name) = 0;
    // Called with the uid of each pod that refers to an object that changed; on a thread of the source, must not block.
    virtual void on_change(std::function<void(const std::string& pod_uid)> callback) = 0;

    // client outlives it.
    static std::unique_ptr<ObjectSource> create(client::Client& client);
};

}  // namespace sluice::kubelet
