// JSON documents to compiled schemas.
#include <boost/json/value.hpp>

#include "control/apiserver/registry/custom/schema_private.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

std::string text_of(const json::value& value) {
    const auto* text = value.if_string();
    return text == nullptr ? std::string() : std::string(text->data(), text->size());
}

class Compiler {
public:
    // NOLINTNEXTLINE(misc-no-recursion): limited by kMaxSchemaDepth.
    Result<void> compile(const json::value& document, const std::string& path, int depth,
                         Schema* out) {
        if (depth > kMaxSchemaDepth) {
            return make_error(Code::kResourceExhausted,
                              "{}: schemas are nested deeper than {} levels", path,
                              kMaxSchemaDepth);
        }
        if (++nodes_ > kMaxSchemaNodes) {
            return make_error(Code::kResourceExhausted, "{}: more than {} schemas", path,
                              kMaxSchemaNodes);
        }
        const auto* object = document.if_object();
        if (object == nullptr) return {};
        for (const auto& member : *object) {
            const std::string_view name{member.key().data(), member.key().size()};
            word(name, member.value(), out);
        }
        SLUICE_TRY(pattern(path, out));
        for (const auto& member : *object) {
            const std::string_view name{member.key().data(), member.key().size()};
            SLUICE_TRY(nested(name, member.value(), path, depth, out));
        }
        return {};
    }

private:
    static void word(std::string_view name, const json::value& value, Schema* out) {
        const auto number = [&value](std::optional<double>* to) {
            if (value.is_number()) *to = value.to_number<double>();
        };
        const auto count = [&value](std::optional<std::int64_t>* to) {
            if (value.is_int64()) *to = value.get_int64();
        };
        const auto truth = [&value] { return value.is_bool() && value.get_bool(); };
        const auto texts = [&value](std::vector<std::string>* to) {
            if (!value.is_array()) return;
            for (const auto& item : value.get_array()) to->push_back(text_of(item));
        };
        if (name == "type") out->type = text_of(value);
        if (name == "format") out->format = text_of(value);
        if (name == "pattern") out->pattern = text_of(value);
        if (name == "minimum") number(&out->minimum);
        if (name == "maximum") number(&out->maximum);
        if (name == "multipleOf") number(&out->multiple_of);
        if (name == "exclusiveMinimum") out->exclusive_minimum = truth();
        if (name == "exclusiveMaximum") out->exclusive_maximum = truth();
        if (name == "minLength") count(&out->min_length);
        if (name == "maxLength") count(&out->max_length);
        if (name == "minItems") count(&out->min_items);
        if (name == "maxItems") count(&out->max_items);
        if (name == "minProperties") count(&out->min_properties);
        if (name == "maxProperties") count(&out->max_properties);
        if (name == "uniqueItems") out->unique_items = truth();
        if (name == "nullable") out->nullable = truth();
        if (name == "x-kubernetes-int-or-string") out->int_or_string = truth();
        if (name == "x-kubernetes-embedded-resource") out->embedded = truth();
        if (name == "x-kubernetes-preserve-unknown-fields") out->preserve_unknown = truth();
        if (name == "x-kubernetes-list-type") out->list_type = text_of(value);
        if (name == "x-kubernetes-map-type") out->map_type = text_of(value);
        if (name == "x-kubernetes-list-map-keys") texts(&out->list_keys);
        if (name == "x-kubernetes-validations") rules(value, &out->rules);
        if (name == "title" || name == "description") {
            out->has_metadata_words = out->has_metadata_words || !text_of(value).empty();
        }
        if (name == "required") texts(&out->required);
        if (name == "enum" && value.is_array()) {
            out->values.assign(value.get_array().begin(), value.get_array().end());
        }
        if (name == "default" && !value.is_null()) out->fallback = value;
    }

    static void rules(const json::value& list, std::vector<RuleText>* out) {
        if (!list.is_array()) return;
        for (const json::value& item : list.get_array()) {
            RuleText& rule = out->emplace_back();
            const auto* object = item.if_object();
            if (object == nullptr) continue;
            for (const auto& member : *object) {
                const std::string_view name{member.key().data(), member.key().size()};
                const json::value& value = member.value();
                if (name == "rule") rule.rule = text_of(value);
                if (name == "message") rule.message = text_of(value);
                if (name == "messageExpression") rule.message_expression = text_of(value);
                if (name == "fieldPath") rule.field_path = text_of(value);
                if (name == "reason" && value.is_string()) rule.reason = text_of(value);
                if (name == "optionalOldSelf" && value.is_bool()) {
                    rule.optional_old_self = value.get_bool();
                }
            }
        }
    }

    static Result<void> pattern(const std::string& path, Schema* out) {
        if (out->pattern.empty()) return {};
        const std::string field = field_child(path, "pattern");
        if (out->pattern.size() > kMaxPatternBytes) {
            return make_error(Code::kResourceExhausted, "{}: longer than {} bytes", field,
                              kMaxPatternBytes);
        }
        RE2::Options options(RE2::Quiet);
        options.set_max_mem(kMaxPatternMemory);
        // The syntax of Go's regexp, which is Perl's as far as RE2 has it.
        out->expression = std::make_unique<const RE2>(out->pattern, options);
        if (!out->expression->ok()) {
            return make_error(Code::kInvalidArgument,
                              "{}: must be a valid regular expression, but isn't: error parsing "
                              "regexp: {}",
                              field, out->expression->error());
        }
        return {};
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> nested(std::string_view name, const json::value& value, const std::string& path,
                        int depth, Schema* out) {
        if (name == "properties" && value.is_object()) {
            const std::string at = field_child(path, "properties");
            for (const auto& member : value.get_object()) {
                const std::string key(member.key().data(), member.key().size());
                SLUICE_TRY(compile(member.value(), field_key(at, key), depth + 1,
                                   &out->properties[key]));
            }
        } else if (name == "items" && value.is_object()) {
            out->items = std::make_unique<Schema>();
            return compile(value, field_child(path, "items"), depth + 1, out->items.get());
        } else if (name == "not" && value.is_object()) {
            out->negated = std::make_unique<Schema>();
            return compile(value, field_child(path, "not"), depth + 1, out->negated.get());
        } else if (name == "additionalProperties") {
            if (value.is_bool()) {
                out->additional =
                    value.get_bool() ? Schema::Additional::kAny : Schema::Additional::kNone;
            } else if (value.is_object()) {
                out->additional = Schema::Additional::kSchema;
                out->additional_schema = std::make_unique<Schema>();
                return compile(value, field_child(path, "additionalProperties"), depth + 1,
                               out->additional_schema.get());
            }
        } else if (name == "allOf") {
            return list(name, value, path, depth, &out->all_of);
        } else if (name == "anyOf") {
            return list(name, value, path, depth, &out->any_of);
        } else if (name == "oneOf") {
            return list(name, value, path, depth, &out->one_of);
        }
        return {};
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> list(std::string_view name, const json::value& value, const std::string& path,
                      int depth, std::vector<Schema>* out) {
        if (!value.is_array()) return {};
        const std::string at = field_child(path, name);
        int index = 0;
        for (const auto& item : value.get_array()) {
            SLUICE_TRY(compile(item, field_index(at, index++), depth + 1, &out->emplace_back()));
        }
        return {};
    }

    std::size_t nodes_ = 0;
};

}  // namespace

Result<std::unique_ptr<Schema>> compile_schema(const json::value& document,
                                               std::string_view path) {
    auto schema = std::make_unique<Schema>();
    SLUICE_TRY(Compiler().compile(document, std::string(path), 0, schema.get()));
    return schema;
}

}  // namespace sluice::registry
