#include "control/apiserver/audit/to_json.h"

#include <google/protobuf/message.h>

#include <boost/json/serialize.hpp>
#include <memory>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/codec/scheme.h"
#include "api/codec/yaml.h"

namespace sluice::audit {

std::optional<std::string> body_to_json(std::string_view body, std::string_view content_type) {
    if (content_type.find("yaml") != std::string_view::npos) {
        const auto value = codec::yaml_to_json(body);
        if (!value) return std::nullopt;
        return boost::json::serialize(*value);
    }
    if (content_type.find("protobuf") == std::string_view::npos) return std::nullopt;
    const auto envelope = codec::open_envelope(body);
    if (!envelope) return std::nullopt;
    codec::GroupVersionKind gvk = envelope->gvk;
    const codec::KindInfo* kind = codec::find_kind(gvk);
    const google::protobuf::Message* prototype = kind != nullptr ? kind->prototype : nullptr;
    if (kind == nullptr && gvk.kind.ends_with("List")) {
        codec::GroupVersionKind item = gvk;
        item.kind = item.kind.substr(0, item.kind.size() - 4);
        kind = codec::find_kind(item);
        if (kind != nullptr) prototype = kind->list_prototype;
    }
    if (prototype == nullptr) return std::nullopt;
    const std::unique_ptr<google::protobuf::Message> message(prototype->New());
    if (!codec::decode_protobuf_raw(envelope->raw, message.get())) return std::nullopt;
    return codec::encode_json(*message, &gvk);
}

}  // namespace sluice::audit
