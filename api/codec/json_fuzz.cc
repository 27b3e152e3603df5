// Any bytes as each kind, through the JSON decoder: nothing breaks, and what is accepted encodes to text
// that decodes to the same message.
#include <google/protobuf/message.h>

#include <boost/json/value.hpp>
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
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    FieldWarnings warnings;
    if (!decode_json(text, object.get(), &warnings)) return 0;
    SLUICE_ASSERT(warnings.size() <= 2 * kMaxFieldWarnings);
    const std::string once = encode_json(*object, &info.gvk);
    const std::string bytes = encode_protobuf_raw(*object);
    SLUICE_ASSERT(decode_json(once, object.get()));
    SLUICE_ASSERT(encode_json(*object, &info.gvk) == once);
    SLUICE_ASSERT(encode_protobuf_raw(*object) == bytes);
    // The normal form is one: protobuf leads to it, too.
    SLUICE_ASSERT(decode_protobuf_raw(bytes, object.get()));
    SLUICE_ASSERT(encode_protobuf_raw(*object) == bytes);
    return 0;
}
