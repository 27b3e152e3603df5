// What pipeline_bench sends: services in an image, and a frame for each flow.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/dpdk/pipeline/test_world.h"

namespace sluice::dpdk::bench {

enum class Mode : std::uint8_t { kNat, kSnat, kTunnel };

struct Shape {
    Mode mode = Mode::kNat;
    bool v6 = false;
    std::uint32_t flows = 1;
    std::uint32_t services = 1;
};

[[nodiscard]] const char* name_of(Mode mode);

// A world with the shape's services, each with 5 backends on another node (64, if there is only one service), and room
// for twice the flows.
std::unique_ptr<World> make_world(const Shape& shape);

// Where its packets come in.
[[nodiscard]] std::uint16_t interface_of(const Shape& shape);

// Frames of one size, one behind the other, a cache line or two each.
struct Templates {
    std::uint32_t stride = 0;
    std::uint32_t length = 0;
    std::vector<std::uint8_t> bytes;
    [[nodiscard]] std::size_t count() const { return bytes.size() / stride; }
    [[nodiscard]] const std::uint8_t* at(std::size_t i) const { return bytes.data() + i * stride; }
};

// A TCP frame of the least size for each of `count` clients, from number `first` on, service by service in turn.
Templates make_templates(const Shape& shape, std::size_t first, std::size_t count, std::uint8_t tcp_flags);

}  // namespace sluice::dpdk::bench
