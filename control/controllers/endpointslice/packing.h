// How endpoints are laid into slices: with few writes, and without slices that hold little. Pure
// and thread-safe.
//
// Hints are no part of this: they are put on what comes out (hints.h).
//
// Slices that must be written anyway are filled up; what is left goes into one slice that has room
// for all of it, and only then into new ones. Slices that could be joined are left alone, because
// joining them costs every watcher more than it saves; a slice goes when it is empty. (The same
// rules as kube-controller-manager's, so that a cluster can change from one to the other without
// its slices being rewritten.)
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/endpointslice/desired.h"

namespace sluice::controllers::endpoints {

inline constexpr std::size_t kMaxEndpointsPerSlice = 100;

using Slice = discoveryv1::EndpointSlice;
using SlicePtr = std::shared_ptr<const Slice>;

// What all slices of one Service have alike.
struct SliceTemplate {
    std::string namespace_name;
    std::string generate_name;
    std::map<std::string, std::string> labels;
    // Set: the annotations, exactly; otherwise those of existing slices stay.
    std::optional<std::map<std::string, std::string>> annotations;
    ::k8s::io::apimachinery::pkg::apis::meta::v1::OwnerReference owner;
    // An empty slice is kept where there are no endpoints, so that "no endpoints" can be told from
    // "not looked at yet".
    bool placeholder = true;
};

struct Changes {
    std::vector<Slice> create;
    std::vector<Slice> update;
    std::vector<SlicePtr> remove;
    std::vector<SlicePtr> unchanged;  // all other slices there are

    // Nothing is to be written.
    [[nodiscard]] bool empty() const { return create.empty() && update.empty() && remove.empty(); }
    // Appends another's.
    void append(Changes other);
};

// existing: the slices of this Service, this address type and this manager. Endpoints of slices to
// create and to update come without hints; slices that differ in hints alone are unchanged.
[[nodiscard]] Changes pack(const SliceTemplate& pattern, const std::string& address_type,
                           const Groups& desired, const std::vector<SlicePtr>& existing,
                           std::size_t max_endpoints = kMaxEndpointsPerSlice);

}  // namespace sluice::controllers::endpoints
