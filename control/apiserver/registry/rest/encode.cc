#include "control/apiserver/registry/rest/encode.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/runtime/runtime.pb.h"

namespace sluice::registry {

namespace {

namespace metav1 = ::sluice::codec::metav1;

const codec::GroupVersionKind kStatusKind{"", "v1", "Status"};

std::string quoted(std::string_view text) {
    return boost::json::serialize(boost::json::value(text));
}

// Tables and lists are written as JSON text first; YAML is made from that.
std::string as_yaml(const std::string& json) {
    const auto value = codec::parse_json(json);
    SLUICE_ASSERT(value.has_value());  // we wrote it
    return codec::json_to_yaml(*value);
}

// JSON text as an answer's body.
std::string finished(std::string json, Encoding encoding) {
    if (encoding == Encoding::kYaml) return as_yaml(json);
    json += '\n';
    return json;
}

// "{" kind and apiVersion, then the members of `body` (an object with at least one member).
std::string with_kind(std::string_view api_version, std::string_view kind, std::string_view body) {
    constexpr std::size_t kWords = 32;  // of the text around them, and a line's end
    std::string out;
    out.reserve(kWords + kind.size() + api_version.size() + body.size());
    out.append(R"({"kind":")").append(kind).append(R"(","apiVersion":")").append(api_version);
    out.append("\",").append(body.substr(1));
    return out;
}

std::string meta_api_version(const OutputFormat& format) {
    return "meta.k8s.io/" + format.form_version;
}

std::string list_meta_json(const ListPage& page) {
    std::string out = fmt::format(R"({{"resourceVersion":"{}")", page.revision);
    if (!page.continue_token.empty()) {
        out += R"(,"continue":)" + quoted(page.continue_token);
    }
    if (page.remaining) out += fmt::format(R"(,"remainingItemCount":{})", *page.remaining);
    return out + "}";
}

void fill_list_meta(const ListPage& page, metav1::ListMeta* meta) {
    meta->set_selflink("");
    meta->set_resourceversion(std::to_string(page.revision));
    if (!page.continue_token.empty()) meta->set_continue_(page.continue_token);
    if (page.remaining) meta->set_remainingitemcount(static_cast<std::int64_t>(*page.remaining));
}

// The beginning of a length-delimited protobuf field, whose bytes follow.
void append_field_head(std::string* out, std::uint32_t number, std::uint64_t size) {
    out->push_back(static_cast<char>((number << 3U) | 2U));
    while (size >= 0x80) {
        out->push_back(static_cast<char>((size & 0x7fU) | 0x80U));
        size >>= 7U;
    }
    out->push_back(static_cast<char>(size));
}

// The field, appended by hand so that items are not copied through messages.
void append_field(std::string* out, std::uint32_t number, std::string_view bytes) {
    append_field_head(out, number, bytes.size());
    out->append(bytes);
}

// How long such a field is, of bytes of this size.
std::size_t field_size(std::size_t bytes) {
    std::size_t head = 2;
    for (std::size_t rest = bytes; rest >= 0x80; rest >>= 7U) ++head;
    return head + bytes;
}

// The envelope of kube-apiserver's protobuf up to the object, of which `size` bytes follow. Then kEnvelopeEnd.
std::string envelope_head(const codec::GroupVersionKind& gvk, std::size_t size) {
    std::string type_meta;
    append_field(&type_meta, 1, gvk.api_version());
    append_field(&type_meta, 2, gvk.kind);
    constexpr std::size_t kRoom = 32;  // for the magic, three heads and the end
    std::string out;
    out.reserve(size + type_meta.size() + kRoom);
    out.append("k8s\0", 4);
    append_field(&out, 1, type_meta);
    append_field_head(&out, 2, size);
    return out;
}

constexpr std::string_view kEnvelopeEnd{"\x1a\0\x22\0", 4};  // no encoding and no content type, both empty
constexpr std::size_t kListEnd = 4;  // "]}" and a line's end

// The object in the version that was asked for.
const StoredObject& shown(const StoredObject& object, const OutputFormat& format) {
    return format.served == nullptr ? object : object.as(*format.served);
}

std::string partial_json(const StoredObject& object, const OutputFormat& format) {
    return fmt::format(
        R"({{"kind":"PartialObjectMetadata","apiVersion":"{}","metadata":{}}})",
        meta_api_version(format), codec::encode_json(object.meta()));
}

std::string partial_raw(const StoredObject& object) {
    std::string out;
    append_field(&out, 1, object.meta().SerializeAsString());
    return out;
}

// Written straight into one string, as a list can be as long as all objects of a kind.
std::string protobuf_list(const ListPage& page, const OutputFormat& format,
                          const codec::GroupVersionKind& gvk) {
    metav1::ListMeta meta;
    fill_list_meta(page, &meta);
    const std::string meta_raw = meta.SerializeAsString();
    std::vector<std::string> partials;
    std::size_t size = field_size(meta_raw.size());
    for (const ObjectPtr& item : page.items) {
        const StoredObject& wanted = shown(*item, format);
        if (format.form == Form::kPartialMetadata) partials.push_back(partial_raw(wanted));
        size += field_size(format.form == Form::kPartialMetadata ? partials.back().size()
                                                                 : wanted.raw().size());
    }
    std::string out = envelope_head(gvk, size);
    append_field(&out, 1, meta_raw);
    for (std::size_t i = 0; i < page.items.size(); ++i) {
        append_field(&out, 2, partials.empty() ? shown(*page.items[i], format).raw() : partials[i]);
    }
    out.append(kEnvelopeEnd);
    return out;
}

std::string columns_json(const Strategy& strategy) {
    std::string out = "[";
    for (const Column& column : strategy.columns()) {
        if (out.size() > 1) out += ',';
        out += fmt::format(
            R"({{"name":{},"type":"{}","format":"{}","description":{},"priority":{}}})",
            quoted(column.name), column.type, column.format, quoted(column.description),
            column.priority);
    }
    return out + "]";
}

std::string cell_json(const Cell& cell) {
    if (const auto* text = std::get_if<std::string>(&cell)) return quoted(*text);
    if (const auto* number = std::get_if<std::int64_t>(&cell)) return std::to_string(*number);
    if (const auto* truth = std::get_if<bool>(&cell)) return *truth ? "true" : "false";
    if (const auto* real = std::get_if<double>(&cell)) return codec::write_json(*real);
    return "null";
}

const codec::KindInfo& shown_kind(const Strategy& strategy, const OutputFormat& format) {
    return format.served == nullptr ? strategy.kind() : *format.served;
}

std::string row_json(const Strategy& strategy, const StoredObject& object,
                     const OutputFormat& format, RowObject rows) {
    std::string out = R"({"cells":[)";
    bool first = true;
    for (const Cell& cell : strategy.row(object.message())) {
        if (!first) out += ',';
        first = false;
        out += cell_json(cell);
    }
    out += ']';
    const StoredObject& carried = shown(object, format);
    if (rows == RowObject::kMetadata) out += R"(,"object":)" + partial_json(carried, format);
    if (rows == RowObject::kFull) out += R"(,"object":)" + object_json(carried);
    return out + "}";
}

std::string table_json(const Strategy& strategy, std::string_view list_meta,
                       const std::vector<ObjectPtr>& items, const OutputFormat& format,
                       RowObject rows) {
    std::string out =
        fmt::format(R"({{"kind":"Table","apiVersion":"{}","metadata":{},"columnDefinitions":{},)",
                    meta_api_version(format), list_meta, columns_json(strategy));
    out += R"("rows":[)";
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i != 0) out += ',';
        out += row_json(strategy, *items[i], format, rows);
        // Rows are much alike: room for all of them is asked for once.
        if (i == 0) out.reserve(out.size() * items.size());
    }
    out += "]}";
    return out;
}

std::string single_row_table(const Strategy& strategy, const StoredObject& object,
                             const OutputFormat& format, RowObject rows, bool columns) {
    return fmt::format(
        R"({{"kind":"Table","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}},)"
        R"("columnDefinitions":{},"rows":[{}]}})",
        meta_api_version(format), object.meta().resourceversion(),
        columns ? columns_json(strategy) : std::string("null"),
        row_json(strategy, object, format, rows));
}

std::string_view event_name(EventType type) {
    switch (type) {
        case EventType::kAdded: return "ADDED";
        case EventType::kModified: return "MODIFIED";
        case EventType::kDeleted: return "DELETED";
        case EventType::kBookmark: return "BOOKMARK";
    }
    return "";
}

// A frame's length (4 bytes, big-endian) before a WatchEvent: kube-apiserver's stream serializer writes the event
// itself without an envelope, and the object inside it with one.
std::string protobuf_frame(std::string_view type, std::string_view enveloped) {
    std::string extension;
    append_field(&extension, 1, enveloped);
    std::string event;
    append_field(&event, 1, type);
    append_field(&event, 2, extension);
    const auto size = static_cast<std::uint32_t>(event.size());
    std::string out;
    out.reserve(event.size() + 4);
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        out.push_back(static_cast<char>((size >> shift) & 0xffU));
    }
    return out + event;
}

std::string text_frame(std::string_view type, const std::string& json, Encoding encoding) {
    std::string frame = fmt::format(R"({{"type":"{}","object":{}}})", type, json);
    if (encoding == Encoding::kYaml) return "---\n" + as_yaml(frame);
    return frame + "\n";
}

}  // namespace

std::string object_json(const StoredObject& object) {
    // Objects of custom kinds carry their kind everywhere.
    if (object.kind().custom != nullptr) return object.json();
    const auto& gvk = object.kind().gvk;
    return with_kind(gvk.api_version(), gvk.kind, object.json());
}

std::string wrap_protobuf(const codec::GroupVersionKind& gvk, std::string_view raw) {
    std::string out = envelope_head(gvk, raw.size());
    out.append(raw).append(kEnvelopeEnd);
    return out;
}

std::string encode_object(const Strategy& strategy, const StoredObject& object,
                          const OutputFormat& format, RowObject rows) {
    if (format.encoding == Encoding::kProtobuf) {
        const StoredObject& wanted = shown(object, format);
        if (format.form == Form::kPartialMetadata) {
            return wrap_protobuf({"meta.k8s.io", format.form_version, "PartialObjectMetadata"},
                                 partial_raw(wanted));
        }
        return wrap_protobuf(wanted.kind().gvk, wanted.raw());
    }
    std::string json;
    switch (format.form) {
        case Form::kObject: json = object_json(shown(object, format)); break;
        case Form::kTable: json = single_row_table(strategy, object, format, rows, true); break;
        case Form::kPartialMetadata: json = partial_json(shown(object, format), format); break;
    }
    return finished(std::move(json), format.encoding);
}

std::string encode_list(const Strategy& strategy, const ListPage& page, const OutputFormat& format,
                        RowObject rows) {
    const codec::KindInfo& kind = shown_kind(strategy, format);
    const bool partial = format.form == Form::kPartialMetadata;
    if (format.encoding == Encoding::kProtobuf) {
        return protobuf_list(page, format,
                             partial ? codec::GroupVersionKind{"meta.k8s.io", format.form_version,
                                                               "PartialObjectMetadataList"}
                                     : codec::GroupVersionKind{kind.gvk.group, kind.gvk.version,
                                                               kind.list_kind()});
    }
    std::string json;
    if (format.form == Form::kTable) {
        json = table_json(strategy, list_meta_json(page), page.items, format, rows);
    } else {
        json = fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{},"items":[)",
                           partial ? "PartialObjectMetadataList" : kind.list_kind(),
                           partial ? meta_api_version(format) : kind.gvk.api_version(),
                           list_meta_json(page));
        if (!partial) {
            std::size_t size = json.size() + kListEnd;
            for (const ObjectPtr& item : page.items) size += shown(*item, format).json().size() + 1;
            json.reserve(size);
        }
        for (std::size_t i = 0; i < page.items.size(); ++i) {
            if (i != 0) json += ',';
            const StoredObject& wanted = shown(*page.items[i], format);
            if (partial) {
                json += partial_json(wanted, format);
            } else {
                json += wanted.json();
            }
        }
        json += "]}";
    }
    return finished(std::move(json), format.encoding);
}

std::string encode_status(const metav1::Status& status, Encoding encoding) {
    if (encoding == Encoding::kProtobuf) {
        return wrap_protobuf(kStatusKind, status.SerializeAsString());
    }
    return finished(codec::encode_json(status, &kStatusKind), encoding);
}

std::string encode_event(EventType type, const Strategy& strategy, const StoredObject& object,
                         const OutputFormat& format, RowObject rows, bool columns) {
    const std::string_view name = event_name(type);
    if (format.encoding == Encoding::kProtobuf) {
        return protobuf_frame(name, encode_object(strategy, object, format, rows));
    }
    switch (format.form) {
        case Form::kObject:
            return text_frame(name, object_json(shown(object, format)), format.encoding);
        case Form::kTable:
            return text_frame(name, single_row_table(strategy, object, format, rows, columns),
                              format.encoding);
        case Form::kPartialMetadata:
            return text_frame(name, partial_json(shown(object, format), format), format.encoding);
    }
    return {};
}

void append_event(std::string* out, EventType type, const Strategy& strategy,
                  const StoredObject& object, const OutputFormat& format, RowObject rows,
                  bool columns) {
    const auto make = [&] { return encode_event(type, strategy, object, format, rows, columns); };
    const bool shared = format.form == Form::kObject && format.encoding != Encoding::kYaml;
    if (!shared) {
        *out += make();
        return;
    }
    const std::size_t number = static_cast<std::size_t>(type) * 2 +
                               (format.encoding == Encoding::kProtobuf ? 1 : 0);
    *out += shown(object, format).frame(number, std::ref(make));
}

std::string encode_bookmark(const Strategy& strategy, store::Revision revision, bool initial_end,
                            const OutputFormat& format, bool columns) {
    const codec::KindInfo& kind = shown_kind(strategy, format);
    auto message = kind.new_object();
    auto& meta = codec::object_meta(*message);
    meta.set_resourceversion(std::to_string(revision));
    if (initial_end) (*meta.mutable_annotations())["k8s.io/initial-events-end"] = "true";
    const StoredObject object(kind, std::move(message), revision);
    if (format.form == Form::kTable && format.encoding != Encoding::kProtobuf) {
        // A bookmark's row would show an object that is not there, so the Table has none.
        const std::string json = fmt::format(
            R"({{"kind":"Table","apiVersion":"{}","metadata":{{"resourceVersion":"{}"}},)"
            R"("columnDefinitions":{},"rows":[]}})",
            meta_api_version(format), revision,
            columns ? columns_json(strategy) : std::string("null"));
        return text_frame("BOOKMARK", json, format.encoding);
    }
    return encode_event(EventType::kBookmark, strategy, object, format, RowObject::kNone, columns);
}

std::string encode_error_event(const metav1::Status& status, Encoding encoding) {
    if (encoding == Encoding::kProtobuf) {
        return protobuf_frame("ERROR", encode_status(status, encoding));
    }
    return text_frame("ERROR", codec::encode_json(status, &kStatusKind), encoding);
}

}  // namespace sluice::registry
