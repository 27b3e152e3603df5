// SPDY/3.1 frames: bytes to events, and calls to bytes. One object per connection and end. No I/O; zlib stays in
// spdy.cc. Source: "SPDY Protocol - Draft 3.1", sections 2.2 (frames), 2.6 (control frames), 2.6.10 (header
// compression).
//
// Deviation: windows (2.6.8) are checked for their form and not kept. The peers here (container runtimes,
// Kubernetes' clients) neither keep nor update them, so that a sender who did would stop for ever after 64 KiB; TCP
// slows both ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/result.h"

namespace sluice::streaming {

inline constexpr std::size_t kMaxSpdyControlBytes = 64U << 10U;  // of one control frame
inline constexpr std::size_t kMaxSpdyHeaderBytes = 64U << 10U;   // of one header block, unpacked
inline constexpr std::size_t kMaxSpdyHeaders = 256;              // pairs in a header block
inline constexpr std::size_t kSpdyDataBytes = 32U << 10U;        // of a data frame that is sent

using SpdyHeaders = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct SpdyEvent {
    enum class Kind {
        kSynStream,  // stream, headers, fin
        kSynReply,   // stream, headers, fin
        kHeaders,    // stream, headers, fin
        kData,       // stream, data, fin: in pieces as it arrives; fin with the last one
        kReset,      // stream, code
        kPing,       // code is its number
        kGoAway,     // code is its status
    };
    Kind kind = Kind::kData;
    std::uint32_t stream = 0;
    std::uint32_t code = 0;
    bool fin = false;
    SpdyHeaders headers;
    std::string_view data;  // valid during the call
};

// Not thread-safe.
class SpdyReader {
public:
    SpdyReader();
    ~SpdyReader();
    SpdyReader(const SpdyReader&) = delete;
    SpdyReader& operator=(const SpdyReader&) = delete;

    // Calls back for each whole frame, and for data as it comes. Frames that need no answer (SETTINGS,
    // WINDOW_UPDATE) and unknown control frames are passed over, as the specification wants it. kDataLoss: not
    // SPDY/3, or beyond a limit; then nothing further may be fed.
    Result<void> feed(std::string_view bytes, const std::function<void(const SpdyEvent&)>& callback);

private:
    class Inflater;
    Result<void> control_frame(const std::function<void(const SpdyEvent&)>& callback);
    Result<SpdyHeaders> header_block(std::string_view block);

    std::unique_ptr<Inflater> inflater_;
    std::string frame_;             // head and payload of a control frame; head of a data frame
    std::size_t frame_bytes_ = 8;   // wanted in frame_
    std::uint32_t data_left_ = 0;   // of the data frame being read
    std::uint32_t data_stream_ = 0;
    bool data_fin_ = false;
};

// Not thread-safe. Each call gives the bytes to send, in order.
class SpdyWriter {
public:
    SpdyWriter();
    ~SpdyWriter();
    SpdyWriter(const SpdyWriter&) = delete;
    SpdyWriter& operator=(const SpdyWriter&) = delete;

    [[nodiscard]] std::string syn_stream(std::uint32_t stream, const SpdyHeaders& headers);
    [[nodiscard]] std::string syn_reply(std::uint32_t stream, const SpdyHeaders& headers);
    // Several frames when the data is larger than kSpdyDataBytes; fin goes with the last.
    [[nodiscard]] static std::string data(std::uint32_t stream, std::string_view bytes, bool fin);
    [[nodiscard]] static std::string reset(std::uint32_t stream, std::uint32_t code);
    [[nodiscard]] static std::string ping(std::uint32_t number);
    [[nodiscard]] static std::string go_away(std::uint32_t last_stream);

private:
    class Deflater;
    std::string pack(const SpdyHeaders& headers);
    std::unique_ptr<Deflater> deflater_;
};

}  // namespace sluice::streaming
