// A bidirectional stream of bytes over one connection: what an upgraded HTTP connection is, at a server (Responder::
// upgrade) or at a client (dialer.h). Asio stays behind it.
//
//   reader:  read(callback) -> bytes, or "" at the peer's end; then read() again. What nobody asks for stays in the
//            kernel, so that a slow consumer slows its producer.
//   writer:  write(bytes); when_writable(callback) before the next, so that little waits in memory.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "api/base/result.h"

namespace sluice::http {

inline constexpr std::size_t kMinStreamReadBytes = 1U << 10U;   // what an idle stream keeps for reading
inline constexpr std::size_t kMaxStreamReadBytes = 64U << 10U;  // what one read brings at most
inline constexpr std::size_t kStreamLowBytes = 256U << 10U;     // when_writable: no more than this waits
// A writer that never asks when_writable and gets beyond this is at fault; its stream is closed.
inline constexpr std::size_t kMaxStreamQueuedBytes = 16U << 20U;
// After end_writing(): how long the peer may take to end its direction too.
inline constexpr unsigned kStreamLingerMs = 30'000;

// Thread-safe. Callbacks run on the connection's thread and must not block; once the stream is over they are called
// at once, from inside the call that brought them, so that callers hold no lock. A stream may outlive its server or
// dialer, whose end is its end. Dropping the last reference closes the stream.
class ByteStream {
public:
    using ReadCallback = std::function<void(Result<std::string>)>;

    virtual ~ByteStream() = default;

    // REQUIRES: no other read is waiting. Some bytes; none at the end of the peer's direction (and from then on);
    // kUnavailable when the connection broke or was closed.
    virtual void read(ReadCallback callback) = 0;
    // Sends the bytes after those before them. False once the stream is over or ended for writing.
    virtual bool write(std::string bytes) = 0;
    // Called once when no more than kStreamLowBytes wait to be sent, or when the stream is over.
    virtual void when_writable(std::function<void()> callback) = 0;
    // The peer sees the end when it has read what was written. Reading goes on for kStreamLingerMs.
    virtual void end_writing() = 0;
    // At once; what waits is dropped.
    virtual void close() = 0;
};

// Copies both directions until both have ended or one connection is lost; then both are closed. on_end is called
// once.
void pump(std::shared_ptr<ByteStream> left, std::shared_ptr<ByteStream> right,
          std::function<void()> on_end = {});

}  // namespace sluice::http
