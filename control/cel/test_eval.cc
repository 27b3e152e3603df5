#include "control/cel/test_eval.h"

#include <fmt/core.h>

#include "control/cel/functions/numbers_private.h"
#include "control/cel/functions/time_private.h"
#include "control/cel/optional_private.h"

namespace sluice::cel {

namespace {

std::string rendered_list(const ListValue& list) {
    std::string out = "[";
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (i > 0) out += ", ";
        const auto element = list.at(i);
        out += element ? rendered(*element) : "error: " + element.error().message;
    }
    out += ']';
    return out;
}

std::string rendered_map(const MapValue& map) {
    std::string out = "{";
    for (const Value& key : map.keys()) {
        if (out.size() > 1) out += ", ";
        const auto value = map.find(key);
        out += rendered(key) + ": ";
        out += !value ? "error: " + value.error().message : *value ? rendered(**value) : "nothing";
    }
    out += '}';
    return out;
}

}  // namespace

std::string rendered(const Value& value) {
    switch (value.kind()) {
        case Kind::kNull: return "null";
        case Kind::kBool: return *value.as_bool() ? "true" : "false";
        case Kind::kInt: return std::to_string(*value.as_int());
        case Kind::kUint: return std::to_string(*value.as_uint()) + "u";
        case Kind::kDouble: return short_double(*value.as_double());
        case Kind::kString: return fmt::format("'{}'", value.as_string()->view());
        case Kind::kBytes: return fmt::format("b'{}'", value.as_bytes()->view());
        case Kind::kTimestamp: return timestamp_text(*value.as_timestamp());
        case Kind::kDuration: return duration_text(*value.as_duration());
        case Kind::kList: return rendered_list(**value.as_list());
        case Kind::kMap: return rendered_map(**value.as_map());
        case Kind::kType: return value.as_type()->name();
        default: {
            const auto* optional = value.as<OptionalValue>();
            if (optional == nullptr) return value.type().to_string();
            if (!optional->value()) return "optional.none()";
            return fmt::format("optional({})", rendered(*optional->value()));
        }
    }
}

Evaluation evaluation_of(std::string_view expression, const std::vector<Given>& variables) {
    std::vector<Variable> declared;
    SimpleActivation activation;
    for (const Given& given : variables) {
        declared.push_back({given.name, given.type});
        activation.set(given.name, given.value);
    }
    std::vector<Issue> issues;
    const auto program = Environment(std::move(declared)).compile(expression, &issues);
    if (program) return program->evaluate(activation);
    std::string message = "compile:";
    for (const Issue& issue : issues) message += " " + issue.message;
    return {make_error(Code::kInvalidArgument, "{}", message), 0, false};
}

std::string result_of(std::string_view expression, const std::vector<Given>& variables) {
    const Evaluation done = evaluation_of(expression, variables);
    if (done.value) return rendered(*done.value);
    const std::string& message = done.value.error().message;
    return message.rfind("compile:", 0) == 0 ? message : "error: " + message;
}

}  // namespace sluice::cel
