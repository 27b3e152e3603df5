#include "api/codec/protobuf.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include <limits>

#include "api/codec/json.h"
#include "api/codec/protobuf_normal.h"
#include "api/codec/protobuf_scan.h"
#include "api/kubernetes/runtime/runtime.pb.h"

namespace sluice::codec {
namespace {

using google::protobuf::Message;
using PbTypeMeta = ::k8s::io::apimachinery::pkg::runtime::TypeMeta;
using PbUnknown = ::k8s::io::apimachinery::pkg::runtime::Unknown;

// Behind what is in *out. REQUIRES: `size` is message.ByteSizeLong(), after which the message was not changed.
void append_message(const google::protobuf::MessageLite& message, std::size_t size, std::string* out) {
    SLUICE_ASSERT(size <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
    const std::size_t before = out->size();
    out->resize(before + size);
    google::protobuf::io::ArrayOutputStream stream(out->data() + before, static_cast<int>(size));
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeWithCachedSizes(&coded);
    coded.Trim();
    SLUICE_ASSERT(!coded.HadError() && static_cast<std::size_t>(coded.ByteCount()) == size);
}

// The beginning of a length-delimited field, whose bytes follow.
void append_head(int number, std::size_t size, std::string* out) {
    constexpr std::size_t kMore = 0x80;
    const auto tag = (static_cast<unsigned>(number) << 3U) | static_cast<unsigned>(WireType::kBytes);
    out->push_back(static_cast<char>(tag));
    for (; size >= kMore; size >>= 7U) out->push_back(static_cast<char>((size & (kMore - 1)) | kMore));
    out->push_back(static_cast<char>(size));
}

void append_field(int number, std::string_view bytes, std::string* out) {
    append_head(number, bytes.size(), out);
    out->append(bytes);
}

}  // namespace

std::string encode_protobuf_raw(const Message& message) {
    std::string out;
    append_message(message, message.ByteSizeLong(), &out);
    return out;
}

std::string encode_protobuf(const Message& message, const GroupVersionKind& gvk) {
    std::string type;
    append_field(PbTypeMeta::kApiVersionFieldNumber, gvk.api_version(), &type);
    append_field(PbTypeMeta::kKindFieldNumber, gvk.kind, &type);
    const std::size_t size = message.ByteSizeLong();
    constexpr std::size_t kHeads = 24;  // at most, of all fields
    std::string out;
    out.reserve(kProtobufMagic.size() + kHeads + type.size() + size);
    out = kProtobufMagic;
    append_field(PbUnknown::kTypeMetaFieldNumber, type, &out);
    append_head(PbUnknown::kRawFieldNumber, size, &out);
    append_message(message, size, &out);
    // Go's decoder is given these two as well, empty.
    append_field(PbUnknown::kContentEncodingFieldNumber, {}, &out);
    append_field(PbUnknown::kContentTypeFieldNumber, {}, &out);
    return out;
}

Result<Envelope> open_envelope(std::string_view bytes) {
    if (!bytes.starts_with(kProtobufMagic)) {
        return make_error(Code::kInvalidArgument,
                          "provided data does not appear to be a protobuf message, expected prefix "
                          "[107 56 115 0]");
    }
    WireReader reader(bytes.substr(kProtobufMagic.size()));
    std::string_view type_meta;
    std::string_view encoding;
    Envelope envelope;
    WireField field;
    while (reader.next(&field)) {
        if (field.wire_type != WireType::kBytes) continue;
        switch (field.number) {
            case PbUnknown::kTypeMetaFieldNumber: type_meta = field.bytes; break;
            case PbUnknown::kRawFieldNumber: envelope.raw = field.bytes; break;
            case PbUnknown::kContentEncodingFieldNumber: encoding = field.bytes; break;
            default: break;
        }
    }
    if (reader.malformed()) {
        return make_error(Code::kInvalidArgument, "unable to decode the protobuf envelope");
    }
    if (!encoding.empty()) {
        return make_error(Code::kInvalidArgument,
                          "the protobuf envelope has the content encoding {}, which is not "
                          "supported",
                          encoding);
    }
    PbTypeMeta type;
    if (!type.ParsePartialFromArray(type_meta.data(), static_cast<int>(type_meta.size()))) {
        return make_error(Code::kInvalidArgument,
                          "unable to decode the type in the protobuf envelope");
    }
    SLUICE_TRY_ASSIGN(envelope.gvk, GroupVersionKind::parse(type.apiversion(), type.kind()));
    return envelope;
}

Result<void> decode_protobuf_raw(std::string_view raw, Message* message) {
    message->Clear();
    if (raw.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
        return make_error(Code::kResourceExhausted, "a protobuf message of {} bytes", raw.size());
    }
    SLUICE_TRY(check_wire_size(raw, *message->GetDescriptor(),
                               kMinDecodedBytes + kMaxDecodedExpansion * raw.size()));
    google::protobuf::io::CodedInputStream stream(
        reinterpret_cast<const std::uint8_t*>(raw.data()), static_cast<int>(raw.size()));
    stream.SetRecursionLimit(kMaxProtobufDepth);
    if (!message->MergePartialFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) {
        return make_error(Code::kInvalidArgument, "unable to decode the protobuf message {}",
                          message->GetDescriptor()->name());
    }
    if (is_normal(raw, *message->GetDescriptor())) return {};
    return normalise(message);
}

}  // namespace sluice::codec
