// What the plugin answers on standard output: results, errors and versions as JSON, in the shape of
// the version asked for. Pure.
#pragma once

#include <string>

#include "control/cni/attachment.h"
#include "control/cni/types.h"

namespace sluice::cni {

// One line with its newline.
[[nodiscard]] std::string render_result(const Config& config, const Environment& environment,
                                        const Attached& attached);
// Of type loopback: what lies on lo.
[[nodiscard]] std::string render_loopback(const Config& config, const Environment& environment,
                                          const std::vector<LinkAddress>& addresses);
// cni_version: that of the request; empty or unknown: the newest.
[[nodiscard]] std::string render_error(const std::string& cni_version, const CniError& error);
[[nodiscard]] std::string render_versions(const std::string& cni_version);

// What went wrong in the kernel or in the store, as the specification numbers it.
[[nodiscard]] CniError to_cni_error(const Error& error);

}  // namespace sluice::cni
