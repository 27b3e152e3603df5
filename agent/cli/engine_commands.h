// What `sluice` asks of a DPDK engine itself, by its socket: `capture`, `drain`, and its part of `status`.
#pragma once

#include <cstdint>
#include <string>

#include "agent/cli/render.h"
#include "api/base/result.h"
#include "dataplane/dpdk/service/control.h"

namespace sluice::cli {

struct CaptureCommand {
    std::string socket;
    std::string file;
    std::string source;       // as parse_target() reads it; empty: any
    std::string destination;
    std::string protocol;     // "tcp", "udp", "sctp", "icmp", "icmpv6"; empty: any
    std::uint32_t packets = 10000;
    std::uint32_t seconds = 60;
    std::uint32_t snap_length = 262144;
    Format format = Format::kTable;
};

// The file's path is made absolute, for the engine writes it.
Result<dpdk::CaptureOptions> capture_options(const CaptureCommand& command);
// Until a limit is reached, or SIGINT or SIGTERM comes, or the engine goes.
Result<std::string> capture(const CaptureCommand& command);

struct DrainCommand {
    std::string socket;
    std::uint32_t idle_s = 10;     // a flow that was not used for as long is over
    std::uint32_t timeout_s = 300;
    bool undo = false;
};
Result<std::string> drain(const DrainCommand& command);

[[nodiscard]] std::string render_engine(const dpdk::EngineState& engine, Format format);
// The tables' status with the engine's, or with why it does not answer.
Result<std::string> engine_status(const std::string& socket, const dataplane::ImageStatus& tables, Format format);

}  // namespace sluice::cli
