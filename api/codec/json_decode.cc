// JSON trees to messages, from the plans. The first error ends the decoding; Kubernetes goes on, but
// reports the first one, too.
#include <google/protobuf/message.h>

#include <algorithm>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/value.hpp>
#include <limits>
#include <optional>

#include "api/codec/json.h"
#include "api/codec/json_document.h"
#include "api/codec/json_map.h"
#include "api/codec/json_plan_internal.h"
#include "api/codec/json_text.h"
#include "api/codec/json_tree_internal.h"
#include "api/codec/quantity.h"
#include "api/codec/time.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "api/kubernetes/runtime/runtime.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
namespace apiextensionsv1 = ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1;
using PbIntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;
using PbQuantity = ::k8s::io::apimachinery::pkg::api::resource::Quantity;
using PbRawExtension = ::k8s::io::apimachinery::pkg::runtime::RawExtension;

constexpr std::int64_t kIntOrStringIsString = 1;
// Of the first block of a document's arena; later blocks double.
constexpr std::size_t kArenaBytes = 16U << 10U;

std::string_view text_of(const json::string& text) {
    return {text.data(), text.size()};
}

// As Go's error names a value that does not fit.
std::string describe(const json::value& value) {
    switch (value.kind()) {
        case json::kind::null: return "null";
        case json::kind::bool_: return "bool";
        case json::kind::string: return "string";
        case json::kind::array: return "array";
        case json::kind::object: return "object";
        default: return "number";
    }
}

template <class Integer>
bool read_integer(const json::value& value, Integer* out) {
    if (const auto* i = value.if_int64()) {
        if (!std::in_range<Integer>(*i)) return false;
        *out = static_cast<Integer>(*i);
        return true;
    }
    if (const auto* u = value.if_uint64()) {
        if (!std::in_range<Integer>(*u)) return false;
        *out = static_cast<Integer>(*u);
        return true;
    }
    return false;
}

class Decoder {
public:
    Decoder(FieldWarnings* warnings, std::size_t budget_bytes)
        : warnings_(warnings), budget_bytes_(budget_bytes) {}

    Result<void> root(const json::value& value, Message* message) {
        const auto& type = *message->GetDescriptor();
        const MessagePlan& plan = plan_of(type);
        const ValueKind kind = message_kind(type);
        if (value.is_null()) return {};
        if (kind != ValueKind::kMessage) {
            return special(value, kind, plan.go_type, message);
        }
        const auto* object = value.if_object();
        if (object == nullptr) {
            return make_error(Code::kInvalidArgument,
                              "json: cannot unmarshal {} into Go value of type {}",
                              describe(value), plan.go_type);
        }
        return members(*object, plan, message, true);
    }

private:
    // One step from the document's root to the value at hand.
    struct Step {
        std::string_view name;     // a member's or a map's key; empty for an element
        std::size_t index = 0;     // of an element
        const MessagePlan* owner = nullptr;  // the struct, if the step is one of its fields
    };

    [[nodiscard]] std::string path() const {
        std::string out;
        for (const auto& step : steps_) {
            if (step.name.data() == nullptr) {
                out += '[' + std::to_string(step.index) + ']';
                continue;
            }
            if (!out.empty()) out += '.';
            out += step.name;
        }
        return out;
    }

    // Go counts struct fields only: neither elements nor the keys of maps.
    [[nodiscard]] Error mismatch(std::string_view value, std::string_view go_type) const {
        const MessagePlan* owner = nullptr;
        std::string fields;
        for (const auto& step : steps_) {
            if (step.owner == nullptr) continue;
            owner = step.owner;
            fields += '.';
            fields += step.name;
        }
        if (owner == nullptr) {
            return make_error(Code::kInvalidArgument,
                              "json: cannot unmarshal {} into Go value of type {}", value, go_type);
        }
        return make_error(Code::kInvalidArgument,
                          "json: cannot unmarshal {} into Go struct field {}{} of type {}", value,
                          owner->go_name, fields, go_type);
    }
    [[nodiscard]] Error mismatch(const json::value& value, std::string_view go_type) const {
        return mismatch(describe(value), go_type);
    }
    // A number that is no integer, or not one of the type's range: Go quotes it.
    [[nodiscard]] Error integer_mismatch(const json::value& value, std::string_view go_type) const {
        if (!value.is_number()) return mismatch(value, go_type);
        return mismatch("number " + write_json(value), go_type);
    }

    void warn_unknown(std::string_view name) {
        if (warnings_ == nullptr || warnings_->size() >= kMaxFieldWarnings) return;
        steps_.push_back({.name = name});
        auto warning = "unknown field " + quoted(path());
        steps_.pop_back();
        if (std::ranges::find(*warnings_, warning) == warnings_->end()) {
            warnings_->push_back(std::move(warning));
        }
    }

    Result<void> charge(const MessagePlan& plan) {
        if (plan.instance_bytes > budget_bytes_) {
            return make_error(Code::kResourceExhausted,
                              "{}: the document holds more elements than its size justifies",
                              path());
        }
        budget_bytes_ -= plan.instance_bytes;
        return {};
    }

    // typed: kind and apiVersion are fields of this struct (Go's TypeMeta).
    // NOLINTNEXTLINE(misc-no-recursion): a parsed tree has at most kMaxJsonDepth levels.
    Result<void> members(const json::object& object, const MessagePlan& plan, Message* message,
                         bool typed) {
        json::object rest(object.storage());
        for (const auto& member : object) {
            const std::string_view name{member.key().data(), member.key().size()};
            const auto found = plan.members.find(name);
            if (found == plan.members.end()) {
                if (plan.rest != nullptr && name != "kind" && name != "apiVersion") {
                    rest.emplace(member.key(), member.value());
                } else if (typed && (name == "kind" || name == "apiVersion")) {
                    SLUICE_TRY(type_meta(name, member.value(), plan));
                } else {
                    warn_unknown(name);
                }
                continue;
            }
            if (member.value().is_null()) continue;
            const FieldPlan& field = *found->second.field;
            Message* target = message;
            const Reflection* reflection = plan.reflection;
            for (const FieldPlan* inlined : found->second.inlined) {
                target = reflection->MutableMessage(target, inlined->field);
                reflection = inlined->value_plan->reflection;
            }
            steps_.push_back({.name = field.name, .owner = &plan});
            SLUICE_TRY(field_value(member.value(), field, plan, *reflection, target));
            steps_.pop_back();
        }
        if (plan.has_inlined) clear_empty_inlined(plan, message);
        if (!rest.empty()) {
            plan.reflection->SetString(message, plan.rest, write_sorted_json(std::move(rest)));
        }
        return {};
    }

    static void clear_empty_inlined(const MessagePlan& plan, Message* message) {
        for (const FieldPlan& field : plan.fields) {
            if (!field.inlined || !plan.reflection->HasField(*message, field.field)) continue;
            if (is_zero(plan.reflection->GetMessage(*message, field.field), field.kind,
                        *field.value_plan)) {
                plan.reflection->ClearField(message, field.field);
            }
        }
    }

    Result<void> type_meta(std::string_view name, const json::value& value,
                           const MessagePlan& plan) {
        if (value.is_null() || value.is_string()) return {};
        steps_.push_back({.name = name, .owner = &plan});
        return mismatch(value, "string");
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> field_value(const json::value& value, const FieldPlan& field,
                             const MessagePlan& plan, const Reflection& reflection,
                             Message* message) {
        switch (field.shape) {
            case FieldShape::kSingular: return singular(value, field, reflection, message);
            case FieldShape::kList: return list(value, field, plan, reflection, message);
            case FieldShape::kMap: return map(value, field, message);
        }
        return {};
    }

    // Zero values are set only where presence counts; see the normal form in protobuf.h.
    template <class Number, class Set>
    Result<void> integer(const json::value& value, const FieldPlan& field, Set set) {
        Number number = 0;
        if (!read_integer(value, &number)) return integer_mismatch(value, field.go_element_type);
        if (field.pointer || number != 0) set(number);
        return {};
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> singular(const json::value& value, const FieldPlan& field,
                          const Reflection& reflection, Message* message) {
        const FieldDescriptor* descriptor = field.field;
        switch (field.kind) {
            case ValueKind::kString: {
                const auto* text = value.if_string();
                if (text == nullptr) return mismatch(value, "string");
                if (field.pointer || !text->empty()) {
                    reflection.SetString(message, descriptor, std::string(text_of(*text)));
                }
                return {};
            }
            case ValueKind::kBytes: {
                SLUICE_TRY_ASSIGN(std::string bytes, bytes_of(value, field));
                if (field.pointer || !bytes.empty()) {
                    reflection.SetString(message, descriptor, std::move(bytes));
                }
                return {};
            }
            case ValueKind::kBool: {
                const auto* truth = value.if_bool();
                if (truth == nullptr) return mismatch(value, "bool");
                if (field.pointer || *truth) reflection.SetBool(message, descriptor, *truth);
                return {};
            }
            case ValueKind::kInt32:
                return integer<std::int32_t>(value, field, [&](std::int32_t number) {
                    reflection.SetInt32(message, descriptor, number);
                });
            case ValueKind::kInt64:
                return integer<std::int64_t>(value, field, [&](std::int64_t number) {
                    reflection.SetInt64(message, descriptor, number);
                });
            case ValueKind::kUint32:
                return integer<std::uint32_t>(value, field, [&](std::uint32_t number) {
                    reflection.SetUInt32(message, descriptor, number);
                });
            case ValueKind::kUint64:
                return integer<std::uint64_t>(value, field, [&](std::uint64_t number) {
                    reflection.SetUInt64(message, descriptor, number);
                });
            case ValueKind::kDouble:
            case ValueKind::kFloat: {
                if (!value.is_number()) return mismatch(value, field.go_element_type);
                const auto number = value.to_number<double>();
                if (!field.pointer && number == 0) return {};
                if (field.kind == ValueKind::kDouble) {
                    reflection.SetDouble(message, descriptor, number);
                } else {
                    reflection.SetFloat(message, descriptor, static_cast<float>(number));
                }
                return {};
            }
            default: break;
        }
        SLUICE_TRY(charge(*field.value_plan));
        Message* sub = reflection.MutableMessage(message, descriptor);
        SLUICE_TRY(message_value(value, field, sub));
        if (absent_when_zero(field) && is_zero(*sub, field.kind, *field.value_plan)) {
            reflection.ClearField(message, descriptor);
        }
        return {};
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> message_value(const json::value& value, const FieldPlan& field, Message* message,
                               bool typed = false) {
        const MessagePlan& plan = *field.value_plan;
        if (field.kind != ValueKind::kMessage) {
            return special(value, field.kind, field.go_element_type, message);
        }
        const auto* object = value.if_object();
        if (object == nullptr) return mismatch(value, plan.go_type);
        return members(*object, plan, message, typed);
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> list(const json::value& value, const FieldPlan& field, const MessagePlan& plan,
                      const Reflection& reflection, Message* message) {
        const auto* array = value.if_array();
        if (array == nullptr) return mismatch(value, field.go_type);
        // Of a member that came twice, the last counts.
        reflection.ClearField(message, field.field);
        const bool typed = plan.is_list && field.name == "items";
        std::size_t index = 0;
        for (const auto& element : *array) {
            steps_.push_back({.name = {}, .index = index++});
            SLUICE_TRY(list_element(element, field, typed, reflection, message));
            steps_.pop_back();
        }
        return {};
    }

    template <class Number, class Add>
    Result<void> integer_element(const json::value& value, const FieldPlan& field, Add add) {
        Number number = 0;
        if (!value.is_null() && !read_integer(value, &number)) {
            return integer_mismatch(value, field.go_element_type);
        }
        add(number);
        return {};
    }

    // A null element is a zero value.
    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> list_element(const json::value& value, const FieldPlan& field, bool typed,
                              const Reflection& reflection, Message* message) {
        const FieldDescriptor* descriptor = field.field;
        switch (field.kind) {
            case ValueKind::kString: {
                SLUICE_TRY_ASSIGN(std::string text, string_of(value));
                reflection.AddString(message, descriptor, std::move(text));
                return {};
            }
            case ValueKind::kBytes: {
                SLUICE_TRY_ASSIGN(std::string bytes, bytes_of(value, field));
                reflection.AddString(message, descriptor, std::move(bytes));
                return {};
            }
            case ValueKind::kBool: {
                if (!value.is_null() && !value.is_bool()) return mismatch(value, "bool");
                reflection.AddBool(message, descriptor, value.is_bool() && value.get_bool());
                return {};
            }
            case ValueKind::kInt32:
                return integer_element<std::int32_t>(value, field, [&](std::int32_t number) {
                    reflection.AddInt32(message, descriptor, number);
                });
            case ValueKind::kInt64:
                return integer_element<std::int64_t>(value, field, [&](std::int64_t number) {
                    reflection.AddInt64(message, descriptor, number);
                });
            case ValueKind::kUint32:
                return integer_element<std::uint32_t>(value, field, [&](std::uint32_t number) {
                    reflection.AddUInt32(message, descriptor, number);
                });
            case ValueKind::kUint64:
                return integer_element<std::uint64_t>(value, field, [&](std::uint64_t number) {
                    reflection.AddUInt64(message, descriptor, number);
                });
            case ValueKind::kDouble:
            case ValueKind::kFloat: {
                if (!value.is_null() && !value.is_number()) {
                    return mismatch(value, field.go_element_type);
                }
                const double number = value.is_null() ? 0 : value.to_number<double>();
                if (field.kind == ValueKind::kDouble) {
                    reflection.AddDouble(message, descriptor, number);
                } else {
                    reflection.AddFloat(message, descriptor, static_cast<float>(number));
                }
                return {};
            }
            default: break;
        }
        SLUICE_TRY(charge(*field.value_plan));
        Message* element = reflection.AddMessage(message, descriptor);
        if (value.is_null()) return {};
        return message_value(value, field, element, typed);
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> map(const json::value& value, const FieldPlan& field, Message* message) {
        const auto* object = value.if_object();
        if (object == nullptr) return mismatch(value, field.go_type);
        if (field.value_plan != nullptr && field.kind != ValueKind::kQuantity) {
            return message_map(*object, field, message);
        }
        if (field.kind == ValueKind::kQuantity) {
            auto* target = write_map<PbQuantity>(message, field.field);
            target->clear();
            for (const auto& entry : *object) {
                SLUICE_TRY(charge(*field.value_plan));
                const std::string_view key{entry.key().data(), entry.key().size()};
                auto& quantity = (*target)[std::string(key)];
                if (entry.value().is_null()) {
                    quantity.set_string("0");
                    continue;
                }
                SLUICE_TRY(special(entry.value(), field.kind, field.go_element_type, &quantity));
            }
            return {};
        }
        auto* target = write_map<std::string>(message, field.field);
        target->clear();
        for (const auto& entry : *object) {
            const std::string_view key{entry.key().data(), entry.key().size()};
            if (field.kind == ValueKind::kBytes) {
                SLUICE_TRY_ASSIGN((*target)[std::string(key)], bytes_of(entry.value(), field));
            } else {
                SLUICE_TRY_ASSIGN((*target)[std::string(key)], string_of(entry.value()));
            }
        }
        return {};
    }

    // A null value is a zero value.
    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> message_map(const json::object& object, const FieldPlan& field,
                             Message* message) {
        message->GetReflection()->ClearField(message, field.field);
        for (const auto& entry : object) {
            SLUICE_TRY(charge(*field.value_plan));
            const std::string_view key{entry.key().data(), entry.key().size()};
            Message* target = insert_map_message(message, field.field, std::string(key));
            // Of a key that came twice, the last counts.
            target->Clear();
            if (entry.value().is_null()) continue;
            steps_.push_back({.name = key});
            SLUICE_TRY(message_value(entry.value(), field, target));
            steps_.pop_back();
        }
        return {};
    }

    Result<std::string> string_of(const json::value& value) {
        if (value.is_null()) return std::string();
        const auto* text = value.if_string();
        if (text == nullptr) return mismatch(value, "string");
        return std::string(text_of(*text));
    }

    Result<std::string> bytes_of(const json::value& value, const FieldPlan& field) {
        if (value.is_null()) return std::string();
        const auto* text = value.if_string();
        if (text == nullptr) return mismatch(value, field.go_element_type);
        return decode_base64(text_of(*text));
    }

    Result<void> special(const json::value& value, ValueKind kind, std::string_view go_type,
                         Message* message) {
        switch (kind) {
            case ValueKind::kTime: return time(value, static_cast<metav1::Time*>(message));
            case ValueKind::kMicroTime:
                return micro_time(value, static_cast<metav1::MicroTime*>(message));
            case ValueKind::kDuration: {
                const auto* text = value.if_string();
                if (text == nullptr) return mismatch(value, "string");
                SLUICE_TRY_ASSIGN(const std::int64_t duration_ns,
                                  parse_duration_ns(text_of(*text)));
                if (duration_ns != 0) {
                    static_cast<metav1::Duration*>(message)->set_duration(duration_ns);
                }
                return {};
            }
            case ValueKind::kQuantity: return quantity(value, static_cast<PbQuantity*>(message));
            case ValueKind::kIntOrString:
                return int_or_string(value, static_cast<PbIntOrString*>(message));
            case ValueKind::kRawExtension:
                if (!value.is_null()) {
                    static_cast<PbRawExtension*>(message)->set_raw(write_json(value));
                }
                return {};
            case ValueKind::kFieldsV1:
                static_cast<metav1::FieldsV1*>(message)->set_raw(write_json(value));
                return {};
            case ValueKind::kStringList: return string_list(value, go_type, message);
            case ValueKind::kJson:
                if (!value.is_null()) {
                    static_cast<apiextensionsv1::JSON*>(message)->set_raw(write_json(value));
                }
                return {};
            case ValueKind::kSchemaOrBool:
                return schema_or_bool(
                    value, static_cast<apiextensionsv1::JSONSchemaPropsOrBool*>(message));
            case ValueKind::kSchemaOrArray:
                return schema_or_array(
                    value, static_cast<apiextensionsv1::JSONSchemaPropsOrArray*>(message));
            case ValueKind::kSchemaOrStrings:
                return schema_or_strings(
                    value, static_cast<apiextensionsv1::JSONSchemaPropsOrStringArray*>(message));
            default: break;
        }
        assertion_failed("a message with a form of its own", __FILE__, __LINE__);
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> schema(const json::value& value, apiextensionsv1::JSONSchemaProps* schema) {
        const MessagePlan& plan = plan_of(*schema->GetDescriptor());
        SLUICE_TRY(charge(plan));
        const auto* object = value.if_object();
        if (object == nullptr) return mismatch(value, plan.go_type);
        return members(*object, plan, schema, false);
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> schema_or_bool(const json::value& value,
                                apiextensionsv1::JSONSchemaPropsOrBool* either) {
        if (const auto* truth = value.if_bool()) {
            if (*truth) either->set_allows(true);
            return {};
        }
        if (!value.is_object()) {
            return make_error(Code::kInvalidArgument, "boolean or JSON schema expected");
        }
        either->set_allows(true);
        return schema(value, either->mutable_schema());
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> schema_or_array(const json::value& value,
                                 apiextensionsv1::JSONSchemaPropsOrArray* either) {
        if (value.is_object()) return schema(value, either->mutable_schema());
        const auto* array = value.if_array();
        if (array == nullptr) {
            return make_error(Code::kInvalidArgument, "JSON schema or array of them expected");
        }
        for (const auto& one : *array) SLUICE_TRY(schema(one, either->add_jsonschemas()));
        return {};
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> schema_or_strings(const json::value& value,
                                   apiextensionsv1::JSONSchemaPropsOrStringArray* either) {
        if (value.is_object()) return schema(value, either->mutable_schema());
        const auto* array = value.if_array();
        if (array == nullptr) {
            return make_error(Code::kInvalidArgument, "JSON schema or array of strings expected");
        }
        for (const auto& one : *array) {
            SLUICE_TRY_ASSIGN(std::string text, string_of(one));
            either->add_property(std::move(text));
        }
        return {};
    }

    Result<void> time(const json::value& value, metav1::Time* time) {
        const auto* text = value.if_string();
        // Kubernetes decodes these apart from the document, so that the error has no path.
        if (text == nullptr) return plain_mismatch(value, "string");
        SLUICE_TRY_ASSIGN(const Timestamp parsed, parse_time(text_of(*text)));
        if (parsed.seconds != 0 && parsed.seconds != kMinTimeSeconds) {
            time->set_seconds(parsed.seconds);
        }
        return {};
    }

    Result<void> micro_time(const json::value& value, metav1::MicroTime* time) {
        const auto* text = value.if_string();
        if (text == nullptr) return plain_mismatch(value, "string");
        SLUICE_TRY_ASSIGN(const Timestamp parsed, parse_micro_time(text_of(*text)));
        if (parsed.seconds == kMinTimeSeconds && parsed.nanos == 0) return {};
        if (parsed.seconds != 0) time->set_seconds(parsed.seconds);
        if (parsed.nanos != 0) time->set_nanos(parsed.nanos);
        return {};
    }

    static Result<void> plain_mismatch(const json::value& value, std::string_view go_type) {
        return make_error(Code::kInvalidArgument,
                          "json: cannot unmarshal {} into Go value of type {}", describe(value),
                          go_type);
    }

    Result<void> quantity(const json::value& value, PbQuantity* quantity) {
        std::string text;
        if (const auto* string = value.if_string()) {
            text = text_of(*string);
        } else if (value.is_number()) {
            text = write_json(value);
        } else {
            return mismatch(value, "resource.Quantity");
        }
        SLUICE_TRY_ASSIGN(const Quantity parsed, Quantity::parse(text));
        quantity->set_string(parsed.to_string());
        return {};
    }

    Result<void> int_or_string(const json::value& value, PbIntOrString* either) {
        if (const auto* text = value.if_string()) {
            either->set_type(kIntOrStringIsString);
            if (!text->empty()) either->set_strval(std::string(text_of(*text)));
            return {};
        }
        std::int32_t number = 0;
        if (!read_integer(value, &number)) {
            if (!value.is_number()) return plain_mismatch(value, "int32");
            return make_error(Code::kInvalidArgument,
                              "json: cannot unmarshal number {} into Go value of type int32",
                              write_json(value));
        }
        if (number != 0) either->set_intval(number);
        return {};
    }

    Result<void> string_list(const json::value& value, std::string_view go_type, Message* message) {
        const auto* array = value.if_array();
        if (array == nullptr) return mismatch(value, go_type);
        const Reflection& reflection = *message->GetReflection();
        const FieldDescriptor* items = items_of(*message);
        for (const auto& element : *array) {
            SLUICE_TRY_ASSIGN(std::string text, string_of(element));
            reflection.AddString(message, items, std::move(text));
        }
        return {};
    }

    FieldWarnings* warnings_;
    std::size_t budget_bytes_;
    std::vector<Step> steps_;
};

}  // namespace

Result<void> from_json_value(const json::value& value, Message* message, FieldWarnings* warnings) {
    message->Clear();
    return Decoder(warnings, kMaxDecodedTreeBytes).root(value, message);
}

Result<void> decode_json(std::string_view text, Message* message, FieldWarnings* warnings) {
    message->Clear();
    json::monotonic_resource arena(kArenaBytes);
    SLUICE_TRY_ASSIGN(const json::value value, parse_json_in(text, warnings, &arena));
    return Decoder(warnings, kMinDecodedBytes + kMaxDecodedExpansion * text.size())
        .root(value, message);
}

struct JsonDocument::Parsed {
    json::monotonic_resource arena{kArenaBytes};
    std::optional<json::value> value;  // in the arena
    FieldWarnings duplicates;
    std::size_t text_bytes = 0;
};

JsonDocument::JsonDocument(std::unique_ptr<Parsed> parsed) : parsed_(std::move(parsed)) {}
JsonDocument::~JsonDocument() = default;
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;

Result<JsonDocument> JsonDocument::parse(std::string_view text) {
    auto parsed = std::make_unique<Parsed>();
    auto value = parse_json_in(text, &parsed->duplicates, &parsed->arena);
    if (!value) {
        return make_error(value.error().code, "couldn't get version/kind; json parse error: {}",
                          value.error().message);
    }
    parsed->value.emplace(std::move(*value));
    parsed->text_bytes = text.size();
    return JsonDocument(std::move(parsed));
}

Result<GroupVersionKind> JsonDocument::kind() const { return json_kind_of(*parsed_->value); }

Result<void> JsonDocument::decode(Message* message, FieldWarnings* warnings) const {
    message->Clear();
    if (warnings != nullptr) {
        warnings->insert(warnings->end(), parsed_->duplicates.begin(), parsed_->duplicates.end());
    }
    return Decoder(warnings, kMinDecodedBytes + kMaxDecodedExpansion * parsed_->text_bytes)
        .root(*parsed_->value, message);
}

}  // namespace sluice::codec
