// The server half of kStateful: answers each segment from what the segment itself says, and remembers
// nothing, so that it serves any number of connections and a resent question gets the same answer.
//
//     SYN -> SYN-ACK      data -> as much data      FIN -> FIN-ACK      anything else -> nothing
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/pktgen/frame_view.h"

namespace sluice::pktgen {

struct TcpServerOptions {
    std::uint8_t ttl = 64;
    std::uint32_t seed = 1;  // of the sequence numbers that the server begins with
};

enum class ServerVerdict : std::uint8_t {
    kAnswered,
    kNothing,    // RST, a bare ACK: nobody expects an answer
    kCorrupted,  // its checksum is wrong
};

struct ServerAnswer {
    ServerVerdict verdict = ServerVerdict::kNothing;
    std::size_t offset = 0;  // where the answer begins in the frame
    std::size_t bytes = 0;
};

// Turns a frame into its answer where it lies. What came through tunnels is answered outside of them,
// from the inner destination: as a server behind direct server return does.
// REQUIRES: view.kind is kTcp and views `frame`.
ServerAnswer answer_segment(const TcpServerOptions& options, const FrameView& view,
                            std::uint8_t* frame);

}  // namespace sluice::pktgen
