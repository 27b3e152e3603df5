// PodLogOptions: what a client may ask of a log, with Kubernetes' validation.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "control/http/server.h"

namespace sluice::apiserver {

// The query for the kubelet, "?follow=true&tailLines=5" or empty; or the answer that refuses the options.
[[nodiscard]] tl::expected<std::string, http::Response> log_options_query(
    const http::Request& request, std::string_view pod);

}  // namespace sluice::apiserver
