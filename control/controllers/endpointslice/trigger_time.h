// When the change happened that an update of a Service's endpoints follows: the annotation
// endpoints.kubernetes.io/last-change-trigger-time of EndpointSlices and Endpoints, from which the
// agents of nodes measure how long a change takes to reach packets.
//
// It is the earliest transition of a pod's condition Ready, or creation of the Service, that no
// update before has followed. The first look at a Service gives its creation. For other changes
// (labels, ports, a pod that goes) nobody wrote down when they happened: there is none then, and
// that of the update before is taken away. The rules are those of kube-controller-manager, and two
// more: an update that fails leaves its time to the next attempt, and a pod that becomes ready in
// the very second in which it was not (times are whole seconds) has changed.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/endpointslice/desired.h"

namespace sluice::controllers::endpoints {

inline constexpr char kTriggerTime[] = "endpoints.kubernetes.io/last-change-trigger-time";

using ObjectMeta = ::k8s::io::apimachinery::pkg::apis::meta::v1::ObjectMeta;

// Sets the annotation, or takes it away.
void set_trigger_time(const std::optional<codec::Timestamp>& trigger, ObjectMeta* meta);

// Thread-safe. Memory: a time for each pod of each Service with a selector, until it is forgotten.
class TriggerTimes {
public:
    struct Readiness {
        codec::Timestamp since;
        std::string status;
    };
    struct Seen {
        std::optional<codec::Timestamp> service;
        std::map<std::string, Readiness> pods;  // [pod name], where known
    };
    struct Look {
        std::optional<codec::Timestamp> trigger;
        std::shared_ptr<const Seen> seen;
    };

    // service: "namespace/name" of the object; pods: those it selects, endpoints or not.
    [[nodiscard]] Look look(const std::string& service, const corev1::Service& object,
                            const std::vector<PodPtr>& pods) const;
    // What follows from the look is written, or nothing had to be: later looks compare with it.
    void followed(const std::string& service, Look look);
    // The Service is gone; one of this name would be new.
    void forget(const std::string& service);

private:
    mutable std::mutex mutex_;
    std::map<std::string, std::shared_ptr<const Seen>> seen_;  // [service]
};

}  // namespace sluice::controllers::endpoints
