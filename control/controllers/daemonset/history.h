// The templates that a DaemonSet has had, each in a ControllerRevision. Pure.
//
// kubectl reads these: `rollout history` applies the data to the DaemonSet as a strategic merge
// patch, `rollout undo` sends it, and compares it byte for byte with what it makes of the present
// template; so the text is as Go writes it, members in alphabetical order.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace k8s::io::api::apps::v1 {
class ControllerRevision;
class DaemonSet;
}  // namespace k8s::io::api::apps::v1

namespace sluice::controllers {

using DaemonSet = ::k8s::io::api::apps::v1::DaemonSet;
using ControllerRevision = ::k8s::io::api::apps::v1::ControllerRevision;
using RevisionPtr = std::shared_ptr<const ControllerRevision>;
using Revisions = std::vector<RevisionPtr>;

// {"spec":{"template":{"$patch":"replace",...}}}
[[nodiscard]] std::string template_patch(const DaemonSet& set);
// The revision records that template, however its data is spaced and ordered.
[[nodiscard]] bool records(const ControllerRevision& revision, const std::string& patch);
// A new one, without owner.
[[nodiscard]] ControllerRevision make_revision(const DaemonSet& set, const std::string& patch,
                                               std::int64_t number);
[[nodiscard]] std::int64_t highest_revision(const Revisions& revisions);
// The label by which pods name it; empty without.
[[nodiscard]] std::string hash_of(const ControllerRevision& revision);
// Those beyond the limit, oldest first, without those that pods are still of.
[[nodiscard]] Revisions superfluous(Revisions old, int limit,
                                    const std::set<std::string>& live_hashes);

}  // namespace sluice::controllers
