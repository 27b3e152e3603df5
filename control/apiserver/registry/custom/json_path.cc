#include "control/apiserver/registry/custom/json_path_private.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "api/codec/json.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace sluice::registry {

namespace json = boost::json;

class JsonPath::Parser {
public:
    explicit Parser(std::string_view text) : rest_(text) {}

    Result<std::vector<Step>> run() {
        std::vector<Step> steps;
        while (!rest_.empty()) {
            if (steps.size() >= kMaxPathSteps) {
                return make_error(Code::kInvalidArgument, "has more than {} steps", kMaxPathSteps);
            }
            Step step;
            if (rest_.starts_with("..")) {
                rest_.remove_prefix(2);
                step.kind = StepKind::kDescend;
                step.name = name();
            } else if (rest_.front() == '.') {
                rest_.remove_prefix(1);
                if (rest_.empty()) break;  // "." is the whole
                if (rest_.front() == '[') continue;
                step.name = name();
                if (step.name == "*") step.kind = StepKind::kAll;
            } else if (rest_.front() == '[') {
                SLUICE_TRY(bracket(&step));
            } else if (steps.empty()) {
                step.name = name();
            } else {
                return make_error(Code::kInvalidArgument, "unexpected {} in a path",
                                  go_quote(rest_.substr(0, 1)));
            }
            if (step.kind == StepKind::kMember && step.name.empty()) {
                return make_error(Code::kInvalidArgument, "a member's name is empty");
            }
            steps.push_back(std::move(step));
        }
        return steps;
    }

private:
    // Up to the next dot or bracket; a backslash takes the next character as it is.
    std::string name() {
        std::string out;
        while (!rest_.empty() && rest_.front() != '.' && rest_.front() != '[') {
            if (rest_.front() == '\\' && rest_.size() > 1) rest_.remove_prefix(1);
            out += rest_.front();
            rest_.remove_prefix(1);
        }
        return out;
    }

    // The text up to the bracket's end, which may hold quoted brackets.
    Result<std::string_view> inside() {
        char quote = 0;
        int depth = 0;
        for (std::size_t i = 0; i < rest_.size(); ++i) {
            const char c = rest_[i];
            if (quote != 0) {
                if (c == '\\') ++i;
                if (c == quote) quote = 0;
            } else if (c == '"' || c == '\'') {
                quote = c;
            } else if (c == '[') {
                ++depth;
            } else if (c == ']' && --depth == 0) {
                const std::string_view text = rest_.substr(1, i - 1);
                rest_.remove_prefix(i + 1);
                return text;
            }
        }
        return make_error(Code::kInvalidArgument, "unterminated array");
    }

    static std::string_view trim(std::string_view text) {
        while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
        return text;
    }

    static bool number(std::string_view text, long* out) {
        const auto done = std::from_chars(text.data(), text.data() + text.size(), *out);
        return done.ec == std::errc() && done.ptr == text.data() + text.size();
    }

    static bool quoted(std::string_view text) {
        return text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
               text.back() == text.front();
    }

    Result<void> bracket(Step* step) {
        SLUICE_TRY_ASSIGN(std::string_view text, inside());
        text = trim(text);
        if (text == "*") {
            step->kind = StepKind::kAll;
            return {};
        }
        if (quoted(text)) {
            step->name = text.substr(1, text.size() - 2);
            return {};
        }
        if (text.starts_with("?(") && text.ends_with(")")) {
            step->kind = StepKind::kFilter;
            return filter(trim(text.substr(2, text.size() - 3)), step);
        }
        const std::size_t colon = text.find(':');
        if (colon == std::string_view::npos) {
            step->kind = StepKind::kIndex;
            if (number(text, &step->from)) return {};
            return make_error(Code::kInvalidArgument, "invalid array index {}", go_quote(text));
        }
        step->kind = StepKind::kSlice;
        const std::string_view from = trim(text.substr(0, colon));
        const std::string_view to = trim(text.substr(colon + 1));
        step->has_from = !from.empty();
        step->has_to = !to.empty();
        if ((step->has_from && !number(from, &step->from)) ||
            (step->has_to && !number(to, &step->to))) {
            return make_error(Code::kInvalidArgument, "invalid array index {}", go_quote(text));
        }
        return {};
    }

    static Result<void> filter(std::string_view text, Step* step) {
        constexpr std::pair<std::string_view, Compare> kOperators[] = {
            {"==", Compare::kEqual},     {"!=", Compare::kNotEqual},
            {"<=", Compare::kLessEqual}, {">=", Compare::kGreaterEqual},
            {"<", Compare::kLess},       {">", Compare::kGreater}};
        std::string_view left = text;
        std::string_view right;
        for (const auto& [sign, compare] : kOperators) {
            const std::size_t at = text.find(sign);
            if (at == std::string_view::npos) continue;
            step->compare = compare;
            left = trim(text.substr(0, at));
            right = trim(text.substr(at + sign.size()));
            break;
        }
        if (!left.starts_with("@")) {
            return make_error(Code::kInvalidArgument, "a filter must begin with @, not {}",
                              go_quote(left));
        }
        SLUICE_TRY_ASSIGN(const JsonPath operand, JsonPath::parse(left.substr(1)));
        if (!operand.is_simple()) {
            return make_error(Code::kInvalidArgument, "a filter's operand must be a simple path");
        }
        step->operand = operand.names();
        if (step->compare == Compare::kExists) return {};
        if (quoted(right)) {
            step->literal = json::value(json::string(right.substr(1, right.size() - 2)));
            return {};
        }
        auto literal = codec::parse_json(right);
        if (!literal || literal->is_object() || literal->is_array()) {
            return make_error(Code::kInvalidArgument, "unrecognized value {} in a filter",
                              go_quote(right));
        }
        step->literal = std::move(*literal);
        return {};
    }

    std::string_view rest_;
};

Result<JsonPath> JsonPath::parse(std::string_view text) {
    JsonPath out;
    SLUICE_TRY_ASSIGN(out.steps_, Parser(text).run());
    return out;
}

bool JsonPath::is_simple() const {
    return std::ranges::all_of(steps_,
                               [](const Step& step) { return step.kind == StepKind::kMember; });
}

std::vector<std::string> JsonPath::names() const {
    std::vector<std::string> out;
    for (const Step& step : steps_) out.push_back(step.name);
    return out;
}

bool JsonPath::passes(const Step& step, const json::value& item) {
    const json::value* at = &item;
    for (const std::string& name : step.operand) {
        const auto* object = at->if_object();
        at = object == nullptr ? nullptr : object->if_contains(name);
        if (at == nullptr) return false;
    }
    if (step.compare == Compare::kExists) return true;
    if (step.compare == Compare::kEqual) return equal_values(*at, step.literal);
    if (step.compare == Compare::kNotEqual) return !equal_values(*at, step.literal);
    double order = 0;
    if (at->is_number() && step.literal.is_number()) {
        order = at->to_number<double>() - step.literal.to_number<double>();
    } else if (at->is_string() && step.literal.is_string()) {
        order = at->get_string().compare(step.literal.get_string());
    } else {
        return false;
    }
    switch (step.compare) {
        case Compare::kLess: return order < 0;
        case Compare::kLessEqual: return order <= 0;
        case Compare::kGreater: return order > 0;
        default: return order >= 0;
    }
}

// NOLINTNEXTLINE(misc-no-recursion): values have at most codec::kMaxJsonDepth levels.
void JsonPath::follow(const Step& step, const json::value& value,
                      std::vector<const json::value*>* out) {
    if (out->size() >= kMaxPathValues) return;
    const auto* object = value.if_object();
    const auto* array = value.if_array();
    const auto each = [&](auto&& use) {
        if (array != nullptr) {
            for (const json::value& item : *array) use(item);
        } else if (object != nullptr) {
            for (const auto& member : *object) use(member.value());
        }
    };
    switch (step.kind) {
        case StepKind::kMember:
            if (object == nullptr) return;
            if (const json::value* found = object->if_contains(step.name)) out->push_back(found);
            return;
        case StepKind::kAll:
            each([out](const json::value& item) { out->push_back(&item); });
            return;
        case StepKind::kFilter:
            each([&](const json::value& item) {
                if (passes(step, item)) out->push_back(&item);
            });
            return;
        case StepKind::kDescend:
            if (object != nullptr) {
                if (const json::value* found = object->if_contains(step.name)) {
                    out->push_back(found);
                }
            }
            each([&](const json::value& item) { follow(step, item, out); });
            return;
        case StepKind::kIndex:
        case StepKind::kSlice: break;
    }
    if (array == nullptr) return;
    const auto size = static_cast<long>(array->size());
    const auto placed = [size](long index) { return index < 0 ? index + size : index; };
    long from = placed(step.from);
    long to = from + 1;
    if (step.kind == StepKind::kSlice) {
        from = step.has_from ? placed(step.from) : 0;
        to = step.has_to ? placed(step.to) : size;
        from = std::max(0L, from);
    }
    if (from < 0) return;
    for (long i = from; i < std::min(to, size); ++i) {
        out->push_back(&(*array)[static_cast<std::size_t>(i)]);
    }
}

std::vector<const json::value*> JsonPath::find(const json::value& root) const {
    std::vector<const json::value*> at{&root};
    for (const Step& step : steps_) {
        std::vector<const json::value*> next;
        for (const json::value* value : at) follow(step, *value, &next);
        at = std::move(next);
    }
    return at;
}

std::string path_text(const json::value& value) {
    if (const auto* text = value.if_string()) return {text->data(), text->size()};
    if (value.is_null()) return "<nil>";
    return codec::write_sorted_json(value);
}

}  // namespace sluice::registry
