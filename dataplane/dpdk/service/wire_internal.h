// Values and errors as api/sluice/dpdk.proto carries them, for both ends of the socket.
#pragma once

#include <grpcpp/support/status.h>

#include "api/base/result.h"
#include "api/sluice/dpdk.pb.h"
#include "dataplane/dpdk/service/control.h"
#include "dataplane/dpdk/service/state.h"

namespace sluice::dpdk {

namespace wire = sluice::dpdk::v1;

// The one mapping of errors: codes have the same numbers, the sentence goes along.
grpc::Status to_status(const Result<void>& result);
grpc::Status to_status(const Error& error);
// REQUIRES: !status.ok().
Error error_of(const grpc::Status& status);

void to_wire(const EngineState& state, wire::StatusReply& out);
EngineState from_wire(const wire::StatusReply& message);

// kInvalidArgument names the field. Zeroes become the defaults.
Result<CaptureOptions> from_wire(const wire::CaptureRequest& message);
wire::CaptureRequest to_wire(const CaptureOptions& options);

}  // namespace sluice::dpdk
