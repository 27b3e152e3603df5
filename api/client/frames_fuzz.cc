// Hostile watch streams: whatever the bytes and the pieces they come in, frames are bounded and decoding ends.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <google/protobuf/message.h>

#include "api/client/client.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::client;  // NOLINT: one function
    if (size < 2) return 0;
    static const auto* kind = sluice::codec::find_resource("", "v1", "services");
    const Encoding encoding = (data[0] & 1U) != 0 ? Encoding::kJson : Encoding::kProtobuf;
    const std::size_t piece = data[1] + std::size_t{1};
    const std::string_view bytes(reinterpret_cast<const char*>(data + 2), size - 2);
    FrameReader reader(encoding);
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        reader.append(bytes.substr(at, piece));
        while (true) {
            const auto frame = reader.next();
            if (!frame) return 0;
            if (!*frame) break;
            (void)decode_watch_event(encoding, **frame, *kind);
        }
    }
    return 0;
}
