// What an object uses of what ResourceQuotas count, and which quotas count it. Pure and thread-safe.
#pragma once

#include <set>
#include <string>

#include "api/codec/scheme.h"
#include "control/apiserver/registry/quota/pod_resources.h"

namespace k8s::io::api::core::v1 {
class ResourceQuota;
}

namespace sluice::registry {

// Everything by the names that a quota's spec.hard may have: "count/RESOURCE.GROUP" of every kind, "pods",
// "requests.cpu", "services.nodeports" and so on.
[[nodiscard]] Amounts usage_of(const codec::KindInfo& kind, const google::protobuf::Message& object);
// Whether the quota's scopes include the object: those of Pods by what the Pod is; a quota with scopes counts nothing
// else.
[[nodiscard]] bool in_scope(const ::k8s::io::api::core::v1::ResourceQuota& quota,
                            const google::protobuf::Message& object);
// What the containers of a Pod must say because a quota counts it: "limits.cpu for: a,b; requests.cpu for: a", or
// empty.
[[nodiscard]] std::string unspecified(const std::set<std::string>& hard, const google::protobuf::Message& object);
// The kinds that count for one name of spec.hard are those of this group and resource.
struct Counted {
    std::string group;
    std::string resource;
};
[[nodiscard]] Counted counted_by(const std::string& name);

}  // namespace sluice::registry
