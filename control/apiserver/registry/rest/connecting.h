// Connections to Pods, Services and nodes, which are made beside the resource API, but admitted like writes.
#pragma once

#include <functional>
#include <memory>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

// Runs the task on a thread where admission may wait; answers the call with 429 when too many wait already.
void run_where_admission_waits(const Admission& admission, const CallPtr& call, std::function<void()> task);

// Api::admit_connection, for exec, attach, portforward and proxy; logs go on unasked, and any other path is refused
// with 400.
void ask_about_connection(Core& core, std::shared_ptr<const http::Request> request,
                          std::shared_ptr<http::Responder> responder, std::function<void()> go_on);

}  // namespace sluice::registry
