// Reads an image into the views of inspect.h. On Tables alone, so that it is tested without a kernel.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/ebpf/inspect.h"
#include "dataplane/image/layout.h"

namespace sluice::dataplane {

struct FlowCounts;

ImageStatus read_status(const image::Tables& tables);  // without programs, flows and kernel_bytes
std::vector<ServiceView> read_services(const image::Tables& tables);  // sorted by name
std::vector<DropView> read_drops(const image::Tables& tables);        // every reason but "none"
TrafficReport read_traffic(const image::Tables& tables, const FlowCounts& flows);

ServiceView view_service(const image::Tables& tables, std::uint32_t index);
FrontendView view_frontend(const sluice_frontend& frontend);
// The backends of a set with their shares.
std::vector<BackendView> view_set(const image::Tables& tables, std::uint64_t word);
BackendView view_backend(const image::Tables& tables, std::uint32_t index);

// "10.0.0.0/8".
std::string range_text(const sluice_cidr& cidr);
// Names of a service and of what a backend stands for; empty if the index is outside of the table.
std::string name_of_service(const image::Tables& tables, std::uint32_t index);
std::string name_of_backend(const image::Tables& tables, std::uint32_t index);
// Whether the backend still serves whoever chose it in this incarnation.
bool backend_serves(const image::Tables& tables, std::uint32_t index, std::uint32_t incarnation);

}  // namespace sluice::dataplane
