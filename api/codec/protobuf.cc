#include "api/codec/protobuf.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include <limits>

#include "api/codec/json.h"
#include "api/codec/protobuf_scan.h"
#include "api/kubernetes/runtime/runtime.pb.h"

namespace sluice::codec {
namespace {

using google::protobuf::Message;
using PbUnknown = ::k8s::io::apimachinery::pkg::runtime::Unknown;

void append_message(const google::protobuf::MessageLite& message, std::string* out) {
    google::protobuf::io::StringOutputStream stream(out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    // Fails on a missing required field only, which these types do not have.
    SLUICE_ASSERT(message.SerializePartialToCodedStream(&coded));
}

}  // namespace

std::string encode_protobuf_raw(const Message& message) {
    std::string out;
    out.reserve(message.ByteSizeLong());
    append_message(message, &out);
    return out;
}

std::string encode_protobuf(const Message& message, const GroupVersionKind& gvk) {
    PbUnknown unknown;
    unknown.mutable_typemeta()->set_apiversion(gvk.api_version());
    unknown.mutable_typemeta()->set_kind(gvk.kind);
    unknown.set_raw(encode_protobuf_raw(message));
    // Go's decoder is given these two as well, empty.
    unknown.set_contentencoding("");
    unknown.set_contenttype("");
    std::string out(kProtobufMagic);
    out.reserve(kProtobufMagic.size() + unknown.ByteSizeLong());
    append_message(unknown, &out);
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
    ::k8s::io::apimachinery::pkg::runtime::TypeMeta type;
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
    return normalise(message);
}

}  // namespace sluice::codec
