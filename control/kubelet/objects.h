// The ConfigMaps and Secrets that this node's pods refer to, as they are now at the API server, and tokens of the
// accounts that the pods run as.
// What pods share is fetched once and followed by a watch of its own (fieldSelector metadata.name),
// as kubelet does it. What was once known is served on while the API server is away.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
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
// Watches at a time, each with a thread and a connection; further objects are read again every
// kObjectPollMs, and move to a watch when one becomes free.
inline constexpr std::size_t kMaxObjectWatches = 64;
inline constexpr std::uint32_t kObjectPollMs = 20'000;
// After an object came into use; what lives shorter never has a watch.
inline constexpr std::uint32_t kObjectWatchDelayMs = 500;

struct ObjectCounts {
    std::size_t followed = 0;
    std::size_t watched = 0;
    std::size_t polled = 0;             // for want of a free watch
    std::uint64_t watch_limit_hits = 0;  // objects that found no free watch
    std::uint64_t refused = 0;           // objects beyond kMaxFollowedObjects
    std::size_t tokens = 0;
    std::uint64_t token_failures = 0;  // requests that the server did not grant
};

// Thread-safe.
class ObjectSource {
public:
    virtual ~ObjectSource() = default;

    // From now on what the pod refers to is followed, until forget_pod. Calling it again is
    // harmless.
    virtual void follow_pod(const corev1::Pod& pod) = 0;
    virtual void forget_pod(const std::string& uid) = 0;

    // As known now; fetched when not yet known, which may wait for the server. kNotFound when there
    // is none (the message is Kubernetes': `configmap "web" not found`).
    virtual Result<std::shared_ptr<const corev1::ConfigMap>> config_map(
        const std::string& namespace_name, const std::string& name) = 0;
    virtual Result<std::shared_ptr<const corev1::Secret>> secret(const std::string& namespace_name,
                                                                 const std::string& name) = 0;
    // A token of the pod's service account for a serviceAccountToken projection, bound to the pod.
    // Kept until most of its life is over (tokens_private.h), then asked for anew, which waits for
    // the server. The message of an error begins with `failed to fetch token: `.
    virtual Result<std::string> token(const corev1::Pod& pod, const std::string& audience,
                                      std::int64_t expiration_seconds) = 0;
    // Called with the uid of each pod that refers to an object that changed, or has a token that is
    // to be renewed; on a thread of the source, must not block.
    virtual void on_change(std::function<void(const std::string& pod_uid)> callback) = 0;
    [[nodiscard]] virtual ObjectCounts counts() const { return {}; }

    // client outlives it.
    static std::unique_ptr<ObjectSource> create(client::Client& client);
};

}  // namespace sluice::kubelet
