// A schema of a CustomResourceDefinition, compiled: what JSON Schema says of a value, as Kubernetes allows it in CRDs.
// Made once for each version of a CRD and then shared by all requests. Private to custom/.
#pragma once

#include <re2/re2.h>

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace sluice::registry {

// Schemas within schemas: deeper ones are refused. Each takes two levels of the document that holds it.
inline constexpr int kMaxSchemaDepth = 48;
// Schemas in one version of a CRD, counted without looking at what they hold.
inline constexpr std::size_t kMaxSchemaNodes = 50'000;
// Memory that the automaton of one pattern may take, and the length of its text.
inline constexpr std::int64_t kMaxPatternMemory = 1 << 20;
inline constexpr std::size_t kMaxPatternBytes = 16U << 10U;

// One of x-kubernetes-validations, as it is written.
struct RuleText {
    std::string rule;
    std::string message;
    std::string message_expression;
    std::string field_path;
    std::optional<std::string> reason;
    std::optional<bool> optional_old_self;
};

// Immutable once compiled; thread-safe.
struct Schema {
    enum class Additional : unsigned char { kAbsent, kAny, kNone, kSchema };

    std::string type;  // empty: any
    std::string format;
    std::string pattern;
    std::unique_ptr<const RE2> expression;  // of pattern
    std::optional<double> minimum, maximum, multiple_of;
    bool exclusive_minimum = false, exclusive_maximum = false;
    std::optional<std::int64_t> min_length, max_length, min_items, max_items, min_properties,
        max_properties;
    bool unique_items = false;
    bool nullable = false;
    bool int_or_string = false;
    bool embedded = false;
    bool preserve_unknown = false;
    bool has_metadata_words = false;  // title or description
    std::vector<RuleText> rules;
    std::vector<std::string> required;
    std::map<std::string, Schema, std::less<>> properties;
    std::unique_ptr<Schema> items;
    Additional additional = Additional::kAbsent;
    std::unique_ptr<Schema> additional_schema;  // of kSchema
    std::vector<Schema> all_of, any_of, one_of;
    std::unique_ptr<Schema> negated;  // "not"
    std::vector<boost::json::value> values;  // of "enum"
    std::optional<boost::json::value> fallback;  // "default"; never null
    std::string list_type;  // as given; empty: none
    std::string map_type;
    std::vector<std::string> list_keys;

    // Null when there is none of that name.
    [[nodiscard]] const Schema* property(std::string_view name) const {
        const auto found = properties.find(name);
        return found == properties.end() ? nullptr : &found->second;
    }
};

// document: a JSONSchemaProps as JSON. Reads what the document has of the words above and leaves judgement of their use
// to check_structural; kInvalidArgument for a pattern that is no regular expression, kResourceExhausted beyond the
// limits above. The error names the place below `path`.
Result<std::unique_ptr<Schema>> compile_schema(const boost::json::value& document,
                                               std::string_view path);

}  // namespace sluice::registry
