// Bytes of a hostile peer: nothing but an error may come of them, and pieces must not matter.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "control/streaming/spdy.h"
#include "control/streaming/websocket.h"

using sluice::streaming::SpdyEvent;
using sluice::streaming::SpdyReader;
using sluice::streaming::WebSocketEvent;
using sluice::streaming::WebSocketReader;

namespace {

template <class Reader, class Event, class Note>
std::string read(std::string_view bytes, std::size_t piece, Note note) {
    Reader reader;
    std::string seen;
    while (!bytes.empty()) {
        const std::string_view now = bytes.substr(0, piece);
        bytes.remove_prefix(now.size());
        if (!reader.feed(now, [&](const Event& event) { note(event, &seen); })) return seen + "!";
    }
    return seen;
}

std::string spdy(std::string_view bytes, std::size_t piece) {
    return read<SpdyReader, SpdyEvent>(bytes, piece, [](const SpdyEvent& event, std::string* seen) {
        // Data comes in pieces of any size.
        if (event.kind == SpdyEvent::Kind::kData) {
            *seen += event.data;
        } else {
            *seen += std::to_string(event.stream) + ' ' + std::to_string(event.headers.size());
        }
    });
}

std::string websocket(std::string_view bytes, std::size_t piece) {
    return read<WebSocketReader, WebSocketEvent>(
        bytes, piece,
        [](const WebSocketEvent& event, std::string* seen) { *seen += event.data; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    if (spdy(bytes, 1) != spdy(bytes, 4'096)) std::abort();
    if (websocket(bytes, 1) != websocket(bytes, 4'096)) std::abort();
    return 0;
}
