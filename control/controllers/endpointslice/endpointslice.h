// Which pods stand behind a Service: EndpointSlices and the older Endpoints of Services with
// selectors, and slices that mirror Endpoints made by hand.
#pragma once

#include <memory>

#include "control/controllers/controller.h"

namespace sluice::controllers {

// Values of the label endpointslice.kubernetes.io/managed-by. Slices without one of them belong to
// somebody else and are never touched.
inline constexpr char kSliceManager[] = "endpointslice-controller.k8s.io";
inline constexpr char kMirrorManager[] = "endpointslicemirroring-controller.k8s.io";

// REQUIRES, for all three: made before the informers start.
std::unique_ptr<Controller> make_endpoint_slice_controller(Context& context);
std::unique_ptr<Controller> make_endpoints_controller(Context& context);
std::unique_ptr<Controller> make_endpoint_slice_mirroring_controller(Context& context);

}  // namespace sluice::controllers
