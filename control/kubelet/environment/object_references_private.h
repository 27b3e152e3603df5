// Which ConfigMaps and Secrets a pod refers to: by env, envFrom, volumes and imagePullSecrets.
#pragma once

#include <compare>
#include <set>
#include <string>

namespace k8s::io::api::core::v1 {
class Pod;
}

namespace sluice::kubelet {

struct ObjectKey {
    bool is_secret = false;
    std::string namespace_name;
    std::string name;
    auto operator<=>(const ObjectKey&) const = default;
};

// Pure.
[[nodiscard]] std::set<ObjectKey> objects_of(const ::k8s::io::api::core::v1::Pod& pod);

}  // namespace sluice::kubelet
