// Reads an image into the views of inspect.h. On Tables alone, so that it is tested without a
// kernel.
#pragma once

#include <vector>

#include "dataplane/ebpf/inspect.h"
#include "dataplane/image/layout.h"

namespace sluice::dataplane {

struct Question {
    IpAddress source;
    IpAddress destination;
    std::uint16_t destination_port = 0;
    Protocol protocol = Protocol::kTcp;
    bool from_outside = false;
};

ImageStatus read_status(const image::Tables& tables);  // without programs and kernel_bytes
std::vector<ServiceView> read_services(const image::Tables& tables);  // sorted by name
std::vector<DropView> read_drops(const image::Tables& tables);        // every reason but "none"
Explanation explain_packet(const image::Tables& tables, const Question& question);

}  // namespace sluice::dataplane
