// A schema and a value, both hostile: whatever they are, compiling, checking, pruning and defaulting end, within the
// limits of schema_private.h, and pruning and defaulting a second time changes nothing.
//
// Input: the schema's JSON, a line feed, the value's JSON.
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "api/codec/json.h"
#include "control/apiserver/registry/custom/json_path_private.h"
#include "control/apiserver/registry/custom/structural_private.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace reg = sluice::registry;
namespace codec = sluice::codec;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::size_t line = text.find('\n');
    if (line == std::string_view::npos) return 0;
    if (const auto path = reg::JsonPath::parse(text.substr(0, line))) {
        if (const auto root = codec::parse_json(text.substr(line + 1))) (void)path->find(*root);
    }
    const auto document = codec::parse_json(text.substr(0, line));
    auto value = codec::parse_json(text.substr(line + 1));
    if (!document || !value) return 0;
    const auto schema = reg::compile_schema(*document, "schema");
    if (!schema) return 0;
    reg::FieldErrors refused;
    reg::check_structural(*document, **schema, "schema", false, &refused);
    reg::FieldErrors errors;
    reg::check_value(*value, nullptr, **schema, "", &errors);
    reg::check_lists(*value, **schema, "", &errors);
    reg::check_embedded(*value, **schema, true, "", &errors);
    // Only schemas that a definition may have are ever applied.
    if (!refused.empty()) return 0;
    std::vector<std::string> unknown;
    reg::coerce_embedded(&*value, **schema, &unknown);
    reg::prune(&*value, **schema, true, &unknown);
    reg::set_defaults(&*value, **schema);
    const std::string once = codec::write_sorted_json(*value);
    reg::coerce_embedded(&*value, **schema, nullptr);
    reg::prune(&*value, **schema, true, nullptr);
    reg::set_defaults(&*value, **schema);
    if (once != codec::write_sorted_json(*value)) __builtin_trap();
    return 0;
}
