// Which ReplicaSet is which in a Deployment's history: revisions, annotations, equal templates.
// Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "control/controllers/deployment/rolling.h"

namespace k8s::io::api::apps::v1 {
class Deployment;
class ReplicaSet;
}  // namespace k8s::io::api::apps::v1
namespace k8s::io::api::core::v1 {
class PodTemplateSpec;
}

namespace sluice::controllers {

using Deployment = ::k8s::io::api::apps::v1::Deployment;
using ReplicaSet = ::k8s::io::api::apps::v1::ReplicaSet;
using ReplicaSetPtr = std::shared_ptr<const ReplicaSet>;
using ReplicaSets = std::vector<ReplicaSetPtr>;

inline constexpr char kRevisionAnnotation[] = "deployment.kubernetes.io/revision";
inline constexpr char kRevisionHistoryAnnotation[] = "deployment.kubernetes.io/revision-history";
inline constexpr char kDesiredReplicasAnnotation[] = "deployment.kubernetes.io/desired-replicas";
inline constexpr char kMaxReplicasAnnotation[] = "deployment.kubernetes.io/max-replicas";
inline constexpr char kTemplateHashLabel[] = "pod-template-hash";
// Of the revision-history annotation; older revisions are cut off.
inline constexpr std::size_t kMaxRevisionHistoryBytes = 2'000;

// Equal but for the label pod-template-hash, which only ReplicaSets have.
[[nodiscard]] bool same_template(const ::k8s::io::api::core::v1::PodTemplateSpec& a,
                                 const ::k8s::io::api::core::v1::PodTemplateSpec& b);

// The set of the Deployment's present template, the oldest if there are several; null when there is
// none.
[[nodiscard]] ReplicaSetPtr find_new_set(const Deployment& deployment, const ReplicaSets& sets);
// 0 without the annotation, or when it is no number that another can follow.
[[nodiscard]] std::int64_t revision_of(const ReplicaSet& set);
[[nodiscard]] std::int64_t highest_revision(const ReplicaSets& sets);

// Gives a set the Deployment's annotations (but not those that are each object's own) and the
// revision. True if anything changed.
bool annotate(const Deployment& deployment, std::int64_t revision, bool exists, ReplicaSet* set);
// The annotations that remember the Deployment's size. True if anything changed.
bool annotate_size(int wanted, const Bounds& bounds, ReplicaSet* set);
// False as well when the set does not remember a size.
[[nodiscard]] bool remembers_other_size(const ReplicaSet& set, int wanted);

[[nodiscard]] Bounds bounds_of(const Deployment& deployment);
[[nodiscard]] SetSize size_of(const ReplicaSet& set);

// What is beyond revisionHistoryLimit, the oldest revision first: of those that are not being
// deleted anyway the surplus, as far as it has no pods.
[[nodiscard]] ReplicaSets superfluous(const Deployment& deployment, const ReplicaSets& old);

}  // namespace sluice::controllers
