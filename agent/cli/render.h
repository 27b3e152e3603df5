// What `sluice` shows, as a table for people or as JSON for programs. Pure: views in, text out.
#pragma once

#include <string>
#include <vector>

#include "dataplane/ebpf/inspect.h"

namespace sluice::cli {

enum class Format { kTable, kJson };

[[nodiscard]] std::string render_status(const dataplane::ImageStatus& status, Format format);
[[nodiscard]] std::string render_services(const std::vector<dataplane::ServiceView>& services,
                                          Format format);
// All service ports of one Service, in full.
[[nodiscard]] std::string render_service(const std::vector<dataplane::ServiceView>& ports,
                                         Format format);
[[nodiscard]] std::string render_drops(const std::vector<dataplane::DropView>& drops, Format format);
// Services that were refused or dropped for want of an endpoint or by source range; empty if there are none.
[[nodiscard]] std::string render_refused(const std::vector<dataplane::ServiceTraffic>& services);
[[nodiscard]] std::string render_explanation(const dataplane::Explanation& explanation,
                                             Format format);

}  // namespace sluice::cli
