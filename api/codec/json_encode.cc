// Messages to JSON text, straight from the plans: no document tree is built, so a list of 10,000
// objects costs one growing string.
#include <google/protobuf/message.h>

#include <algorithm>
#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/codec/json_map.h"
#include "api/codec/json_plan_internal.h"
#include "api/codec/json_text.h"
#include "api/codec/time.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "api/kubernetes/runtime/runtime.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"

namespace sluice::codec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
namespace apiextensionsv1 = ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1;
using PbIntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;
using PbQuantity = ::k8s::io::apimachinery::pkg::api::resource::Quantity;
using PbRawExtension = ::k8s::io::apimachinery::pkg::runtime::RawExtension;

constexpr std::int64_t kIntOrStringIsString = 1;

class Encoder {
public:
    explicit Encoder(std::string* out) : out_(out) {}

    void object(const Message& message, const MessagePlan& plan, const GroupVersionKind* gvk) {
        out_->push_back('{');
        bool first = true;
        if (gvk != nullptr) {
            out_->append("\"kind\":");
            append_json_string(gvk->kind, out_);
            first = false;
            // The kinds of the oldest discovery (APIVersions) have no apiVersion.
            if (!gvk->version.empty()) {
                out_->append(",\"apiVersion\":");
                append_json_string(gvk->api_version(), out_);
            }
        }
        members(message, plan, &first);
        if (plan.rest != nullptr) rest(message, plan, &first);
        out_->push_back('}');
    }

    void value(const Message& message, ValueKind kind, const MessagePlan& plan) {
        switch (kind) {
            case ValueKind::kTime:
                time(static_cast<const metav1::Time&>(message));
                return;
            case ValueKind::kMicroTime:
                micro_time(static_cast<const metav1::MicroTime&>(message));
                return;
            case ValueKind::kDuration:
                append_json_string(
                    format_duration_ns(static_cast<const metav1::Duration&>(message).duration()),
                    out_);
                return;
            case ValueKind::kQuantity: {
                const auto& text = static_cast<const PbQuantity&>(message).string();
                append_json_string(text.empty() ? "0" : std::string_view(text), out_);
                return;
            }
            case ValueKind::kIntOrString: {
                const auto& either = static_cast<const PbIntOrString&>(message);
                if (either.type() == kIntOrStringIsString) {
                    append_json_string(either.strval(), out_);
                } else {
                    append_json_int(either.intval(), out_);
                }
                return;
            }
            case ValueKind::kRawExtension:
                embedded(static_cast<const PbRawExtension&>(message).raw());
                return;
            case ValueKind::kFieldsV1:
                embedded(static_cast<const metav1::FieldsV1&>(message).raw());
                return;
            case ValueKind::kStringList:
                string_list(message);
                return;
            case ValueKind::kJson:
                embedded(static_cast<const apiextensionsv1::JSON&>(message).raw());
                return;
            case ValueKind::kSchemaOrBool: {
                const auto& either =
                    static_cast<const apiextensionsv1::JSONSchemaPropsOrBool&>(message);
                if (either.has_schema()) return schema(either.schema());
                out_->append(either.allows() ? "true" : "false");
                return;
            }
            case ValueKind::kSchemaOrArray:
                return schemas(
                    static_cast<const apiextensionsv1::JSONSchemaPropsOrArray&>(message));
            case ValueKind::kSchemaOrStrings: {
                const auto& either =
                    static_cast<const apiextensionsv1::JSONSchemaPropsOrStringArray&>(message);
                if (either.property_size() == 0 && either.has_schema()) {
                    return schema(either.schema());
                }
                return strings(either.property());
            }
            default: object(message, plan, nullptr); return;
        }
    }

private:
    void members(const Message& message, const MessagePlan& plan, bool* first) {
        const Reflection& reflection = *plan.reflection;
        for (const FieldPlan& field : plan.fields) {
            if (field.hidden) continue;
            switch (field.shape) {
                case FieldShape::kSingular: singular(message, reflection, field, first); break;
                case FieldShape::kList: list(message, reflection, field, first); break;
                case FieldShape::kMap: map(message, field, first); break;
            }
        }
    }

    void key(const FieldPlan& field, bool* first) {
        if (!*first) out_->push_back(',');
        *first = false;
        out_->append(field.key_text);
    }

    void null(const FieldPlan& field, bool* first) {
        key(field, first);
        out_->append("null");
    }

    // Whether the member is written, given whether its value is other than zero.
    [[nodiscard]] static bool written(const FieldPlan& field, bool present, bool nonzero) {
        return field.pointer ? present : field.always || nonzero;
    }

    void singular(const Message& message, const Reflection& reflection, const FieldPlan& field,
                  bool* first) {
        const FieldDescriptor* descriptor = field.field;
        const bool present = reflection.HasField(message, descriptor);
        if (!present && !field.inlined) {
            if (!field.always) return;
            if (field.pointer) return null(field, first);
        }
        switch (field.kind) {
            case ValueKind::kString: {
                const std::string& text =
                    reflection.GetStringReference(message, descriptor, &scratch_);
                if (!written(field, present, !text.empty())) return;
                key(field, first);
                append_json_string(text, out_);
                return;
            }
            case ValueKind::kBytes: {
                const std::string& bytes =
                    reflection.GetStringReference(message, descriptor, &scratch_);
                if (!written(field, present, !bytes.empty())) return;
                key(field, first);
                if (bytes.empty() && !present) {
                    out_->append("null");
                } else {
                    append_json_base64(bytes, out_);
                }
                return;
            }
            case ValueKind::kBool: {
                const bool value = reflection.GetBool(message, descriptor);
                if (!written(field, present, value)) return;
                key(field, first);
                out_->append(value ? "true" : "false");
                return;
            }
            case ValueKind::kInt32:
                return integer(reflection.GetInt32(message, descriptor), field, present, first);
            case ValueKind::kInt64:
                return integer(reflection.GetInt64(message, descriptor), field, present, first);
            case ValueKind::kUint32:
                return integer(reflection.GetUInt32(message, descriptor), field, present, first);
            case ValueKind::kUint64: {
                const std::uint64_t value = reflection.GetUInt64(message, descriptor);
                if (!written(field, present, value != 0)) return;
                key(field, first);
                append_json_uint(value, out_);
                return;
            }
            case ValueKind::kDouble:
            case ValueKind::kFloat: {
                const double value = field.kind == ValueKind::kDouble
                                         ? reflection.GetDouble(message, descriptor)
                                         : static_cast<double>(
                                               reflection.GetFloat(message, descriptor));
                if (!written(field, present, value != 0)) return;
                key(field, first);
                append_json_double(value, out_);
                return;
            }
            default: break;
        }
        // An absent message that is written all the same is its type's empty message.
        const Message& sub = reflection.GetMessage(message, descriptor);
        if (field.inlined) return members(sub, *field.value_plan, first);
        key(field, first);
        value(sub, field.kind, *field.value_plan);
    }

    void integer(std::int64_t value, const FieldPlan& field, bool present, bool* first) {
        if (!written(field, present, value != 0)) return;
        key(field, first);
        append_json_int(value, out_);
    }

    void empty_collection(const FieldPlan& field, bool* first) {
        if (!field.always) return;
        key(field, first);
        out_->append(field.empty_list ? "[]" : "null");
    }

    void list(const Message& message, const Reflection& reflection, const FieldPlan& field,
              bool* first) {
        const int size = reflection.FieldSize(message, field.field);
        if (size == 0) return empty_collection(field, first);
        key(field, first);
        out_->push_back('[');
        for (int i = 0; i < size; ++i) {
            if (i > 0) out_->push_back(',');
            element(message, reflection, field, i);
        }
        out_->push_back(']');
    }

    void element(const Message& message, const Reflection& reflection, const FieldPlan& field,
                 int i) {
        const FieldDescriptor* descriptor = field.field;
        switch (field.kind) {
            case ValueKind::kString:
                append_json_string(
                    reflection.GetRepeatedStringReference(message, descriptor, i, &scratch_), out_);
                return;
            case ValueKind::kBytes:
                append_json_base64(
                    reflection.GetRepeatedStringReference(message, descriptor, i, &scratch_), out_);
                return;
            case ValueKind::kBool:
                out_->append(reflection.GetRepeatedBool(message, descriptor, i) ? "true" : "false");
                return;
            case ValueKind::kInt32:
                return append_json_int(reflection.GetRepeatedInt32(message, descriptor, i), out_);
            case ValueKind::kInt64:
                return append_json_int(reflection.GetRepeatedInt64(message, descriptor, i), out_);
            case ValueKind::kUint32:
                return append_json_uint(reflection.GetRepeatedUInt32(message, descriptor, i), out_);
            case ValueKind::kUint64:
                return append_json_uint(reflection.GetRepeatedUInt64(message, descriptor, i), out_);
            case ValueKind::kDouble:
                return append_json_double(reflection.GetRepeatedDouble(message, descriptor, i),
                                          out_);
            case ValueKind::kFloat:
                return append_json_double(
                    static_cast<double>(reflection.GetRepeatedFloat(message, descriptor, i)), out_);
            default:
                value(reflection.GetRepeatedMessage(message, descriptor, i), field.kind,
                      *field.value_plan);
        }
    }

    void map(const Message& message, const FieldPlan& field, bool* first) {
        if (field.kind == ValueKind::kQuantity) {
            entries(read_map<PbQuantity>(message, field.field), field, first,
                    [&](const PbQuantity& quantity) {
                        value(quantity, ValueKind::kQuantity, *field.value_plan);
                    });
        } else if (field.value_plan != nullptr) {
            message_entries(message, field, first);
        } else {
            entries(read_map<std::string>(message, field.field), field, first,
                    [&](const std::string& text) {
                        if (field.kind == ValueKind::kBytes) {
                            append_json_base64(text, out_);
                        } else {
                            append_json_string(text, out_);
                        }
                    });
        }
    }

    template <class Value, class Write>
    void entries(const google::protobuf::Map<std::string, Value>& map, const FieldPlan& field,
                 bool* first, Write write) {
        if (map.empty()) return empty_collection(field, first);
        key(field, first);
        std::vector<const typename google::protobuf::Map<std::string, Value>::value_type*> sorted;
        sorted.reserve(map.size());
        for (const auto& entry : map) sorted.push_back(&entry);
        std::ranges::sort(sorted, {}, [](const auto* entry) { return std::string_view(entry->first); });
        char separator = '{';
        for (const auto* entry : sorted) {
            out_->push_back(separator);
            append_json_string(entry->first, out_);
            out_->push_back(':');
            write(entry->second);
            separator = ',';
        }
        out_->push_back('}');
    }

    // NOLINTNEXTLINE(misc-no-recursion): types nest as deep as they are declared.
    void message_entries(const Message& message, const FieldPlan& field, bool* first) {
        std::vector<std::pair<std::string, const Message*>> sorted;
        read_message_map(message, field.field,
                         [&](const std::string& name, const Message& entry) {
                             sorted.emplace_back(name, &entry);
                         });
        if (sorted.empty()) return empty_collection(field, first);
        key(field, first);
        std::ranges::sort(sorted, {}, [](const auto& entry) { return entry.first; });
        char separator = '{';
        for (const auto& [name, entry] : sorted) {
            out_->push_back(separator);
            append_json_string(name, out_);
            out_->push_back(':');
            value(*entry, field.kind, *field.value_plan);
            separator = ',';
        }
        out_->push_back('}');
    }

    // Go's zero time and, because protobuf cannot tell it from an absent one, 1970-01-01T00:00:00Z
    // are null; so is what RFC 3339 cannot hold, which only a caller's mistake could put here.
    [[nodiscard]] static bool is_null_time(std::int64_t seconds, std::int32_t nanos) {
        return (seconds == 0 && nanos == 0) || (seconds == kMinTimeSeconds && nanos == 0) ||
               seconds < kMinTimeSeconds || seconds > kMaxTimeSeconds || nanos < 0 ||
               nanos >= 1'000'000'000;
    }
    void time(const metav1::Time& time) {
        if (is_null_time(time.seconds(), time.nanos())) {
            out_->append("null");
            return;
        }
        out_->push_back('"');
        out_->append(format_time(time.seconds()));
        out_->push_back('"');
    }
    void micro_time(const metav1::MicroTime& time) {
        if (is_null_time(time.seconds(), time.nanos())) {
            out_->append("null");
            return;
        }
        out_->push_back('"');
        out_->append(format_micro_time({time.seconds(), time.nanos()}));
        out_->push_back('"');
    }
    // NOLINTNEXTLINE(misc-no-recursion): decoders limit the depth.
    void schema(const apiextensionsv1::JSONSchemaProps& schema) {
        object(schema, plan_of(*schema.GetDescriptor()), nullptr);
    }
    // NOLINTNEXTLINE(misc-no-recursion)
    void schemas(const apiextensionsv1::JSONSchemaPropsOrArray& either) {
        if (either.jsonschemas_size() == 0) {
            if (either.has_schema()) return schema(either.schema());
            out_->append("null");
            return;
        }
        char separator = '[';
        for (const auto& one : either.jsonschemas()) {
            out_->push_back(separator);
            schema(one);
            separator = ',';
        }
        out_->push_back(']');
    }
    template <class Strings>
    void strings(const Strings& list) {
        if (list.empty()) {
            out_->append("null");
            return;
        }
        char separator = '[';
        for (const std::string& text : list) {
            out_->push_back(separator);
            append_json_string(text, out_);
            separator = ',';
        }
        out_->push_back(']');
    }
    // The text is what the decoder wrote: an object with at least one member.
    void rest(const Message& message, const MessagePlan& plan, bool* first) {
        if (!plan.reflection->HasField(message, plan.rest)) return;
        const std::string& text =
            plan.reflection->GetStringReference(message, plan.rest, &scratch_);
        if (text.size() <= 2) return;
        if (!*first) out_->push_back(',');
        *first = false;
        out_->append(text, 1, text.size() - 2);
    }
    void embedded(const std::string& document) {
        if (is_compact_tree(document)) {
            out_->append(document);
            return;
        }
        if (document.empty() || !append_embedded_json(document, out_)) out_->append("null");
    }
    void string_list(const Message& list) {
        const Reflection& reflection = *list.GetReflection();
        const FieldDescriptor* items = items_of(list);
        const int size = reflection.FieldSize(list, items);
        if (size == 0) {
            out_->append("null");
            return;
        }
        char separator = '[';
        for (int i = 0; i < size; ++i) {
            out_->push_back(separator);
            append_json_string(
                reflection.GetRepeatedStringReference(list, items, i, &scratch_), out_);
            separator = ',';
        }
        out_->push_back(']');
    }

    std::string* out_;
    std::string scratch_;
};

}  // namespace

void append_json(const Message& message, const GroupVersionKind* gvk, std::string* out) {
    const auto& type = *message.GetDescriptor();
    const MessagePlan& plan = plan_of(type);
    const ValueKind kind = message_kind(type);
    Encoder encoder(out);
    if (kind == ValueKind::kMessage) {
        encoder.object(message, plan, gvk);
    } else {
        encoder.value(message, kind, plan);
    }
}

std::string encode_json(const Message& message, const GroupVersionKind* gvk) {
    std::string out;
    append_json(message, gvk, &out);
    return out;
}

boost::json::value to_json_value(const Message& message, const GroupVersionKind* gvk) {
    auto value = parse_json(encode_json(message, gvk));
    // What the encoder writes is JSON; only the depth of a message built by hand could exceed it.
    SLUICE_ASSERT(value.has_value());
    return std::move(*value);
}

}  // namespace sluice::codec
