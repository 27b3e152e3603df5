// Any bytes as an envelope and as each kind: nothing breaks, and what is accepted is in normal form.
#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/codec/scheme.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::codec;
    if (size == 0) return 0;
    const auto& info = all_kinds()[data[0] % all_kinds().size()];
    const auto object = data[0] & 0x80U ? info.new_list() : info.new_object();
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    const auto envelope = open_envelope(bytes);
    if (!decode_protobuf_raw(envelope ? envelope->raw : bytes, object.get())) return 0;
    const std::string once = encode_protobuf_raw(*object);
    SLUICE_ASSERT(normalise(object.get()));
    SLUICE_ASSERT(encode_protobuf_raw(*object) == once);
    SLUICE_ASSERT(decode_protobuf_raw(once, object.get()));
    SLUICE_ASSERT(encode_protobuf_raw(*object) == once);
    // Strings that are not UTF-8 change once on their way through JSON, then no more.
    const std::string json = encode_json(*object, &info.gvk);
    SLUICE_ASSERT(decode_json(json, object.get()));
    SLUICE_ASSERT(encode_json(*object, &info.gvk).size() <= json.size());
    return 0;
}
