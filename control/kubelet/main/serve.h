// Wires the kubelet's parts and runs them until a signal.
#pragma once

#include <csignal>

#include "control/kubelet/main/options.h"

namespace sluice::kubelet {

// REQUIRES: the signals are blocked in every thread. Containers go on running afterwards.
Result<void> serve(const KubeletOptions& options, const sigset_t& signals);

}  // namespace sluice::kubelet
