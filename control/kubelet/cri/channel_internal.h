// The gRPC channel to the runtime's socket, for the two clients of this folder.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "api/base/result.h"

namespace sluice::kubelet {

std::shared_ptr<grpc::Channel> make_channel(const std::string& socket_path);
Error error_of(const grpc::Status& status);

}  // namespace sluice::kubelet
