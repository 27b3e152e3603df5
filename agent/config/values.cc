// See values.h.
#include "agent/config/values.h"

#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

namespace sluice::config {
namespace {

namespace json = boost::json;

struct Unit {
    std::string_view name;
    std::int64_t ns;
};
// Longer names first where one begins with the other.
constexpr Unit kUnits[] = {{"ns", 1},
                           {"us", 1'000},
                           {"\u00b5s", 1'000},
                           {"\u03bcs", 1'000},
                           {"ms", 1'000'000},
                           {"s", 1'000'000'000},
                           {"m", 60'000'000'000},
                           {"h", 3'600'000'000'000}};

Error expected(const char* what, std::string_view got) {
    return make_error(Code::kInvalidArgument, "\"{}\" is not {}", got, what);
}

template <class Int>
Result<Int> parse_int(std::string_view text) {
    Int value{};
    if (!text.empty() && text.front() == '+') text.remove_prefix(1);
    const auto end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec == std::errc::result_out_of_range) {
        return make_error(Code::kInvalidArgument, "{} is not between {} and {}", text,
                          std::numeric_limits<Int>::min(), std::numeric_limits<Int>::max());
    }
    if (parsed.ec != std::errc{} || parsed.ptr != end) return expected("a whole number", text);
    return value;
}

// The spellings that Go's strconv takes.
Result<bool> parse_bool(std::string_view text) {
    for (const char* yes : {"1", "t", "T", "true", "TRUE", "True"}) {
        if (text == yes) return true;
    }
    for (const char* no : {"0", "f", "F", "false", "FALSE", "False"}) {
        if (text == no) return false;
    }
    return expected("true or false", text);
}

Result<double> parse_double(std::string_view text) {
    double value = 0;
    const auto end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc{} || parsed.ptr != end || !std::isfinite(value)) {
        return expected("a number", text);
    }
    return value;
}

// Digits with an optional fraction and suffix; enough to tell a size from a slip of the pen.
Result<QuantityText> parse_quantity(std::string_view text) {
    std::string_view rest = text;
    std::size_t digits = 0;
    if (!rest.empty() && (rest.front() == '+' || rest.front() == '-')) rest.remove_prefix(1);
    while (!rest.empty() && ((rest.front() >= '0' && rest.front() <= '9') || rest.front() == '.')) {
        digits += rest.front() != '.' ? 1 : 0;
        rest.remove_prefix(1);
    }
    for (const char* suffix : {"", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}) {
        if (digits > 0 && rest == suffix) return QuantityText{std::string(text)};
    }
    return expected("a quantity", text);
}

Result<std::string_view> text_of(const json::value& value) {
    if (!value.is_string()) return make_error(Code::kInvalidArgument, "must be a string");
    return std::string_view(value.get_string().data(), value.get_string().size());
}

template <class Int>
Result<Int> int_of(const json::value& value) {
    if (value.is_double() || !value.is_number()) {
        return make_error(Code::kInvalidArgument, "must be a whole number");
    }
    boost::system::error_code error;
    const Int out = value.to_number<Int>(error);
    if (error) {
        return make_error(Code::kInvalidArgument, "{} is not between {} and {}",
                          json::serialize(value), std::numeric_limits<Int>::min(),
                          std::numeric_limits<Int>::max());
    }
    return out;
}

Result<void> read(const json::value& value, bool* out) {
    if (!value.is_bool()) return make_error(Code::kInvalidArgument, "must be true or false");
    *out = value.get_bool();
    return {};
}
Result<void> read(const json::value& value, std::int32_t* out) {
    SLUICE_TRY_ASSIGN(*out, int_of<std::int32_t>(value));
    return {};
}
Result<void> read(const json::value& value, std::uint32_t* out) {
    SLUICE_TRY_ASSIGN(*out, int_of<std::uint32_t>(value));
    return {};
}
Result<void> read(const json::value& value, double* out) {
    if (!value.is_number()) return make_error(Code::kInvalidArgument, "must be a number");
    *out = value.to_number<double>();
    return {};
}
Result<void> read(const json::value& value, std::string* out) {
    SLUICE_TRY_ASSIGN(const auto text, text_of(value));
    *out = std::string(text);
    return {};
}
Result<void> read(const json::value& value, Duration* out) {
    if (!value.is_string()) {
        return make_error(Code::kInvalidArgument, "must be a duration in quotes, such as \"30s\"");
    }
    SLUICE_TRY_ASSIGN(const auto text, text_of(value));
    SLUICE_TRY_ASSIGN(*out, parse_duration(text));
    return {};
}
template <class T>
Result<void> read(const json::value& value, std::optional<T>* out) {
    T inner{};
    SLUICE_TRY(read(value, &inner));
    *out = inner;
    return {};
}
Result<void> too_many(std::size_t count) {
    if (count <= kMaxEntries) return {};
    return make_error(Code::kResourceExhausted, "has {} entries; at most {} are read", count, kMaxEntries);
}
Result<void> read(const json::value& value, std::vector<std::string>* out) {
    if (!value.is_array()) return make_error(Code::kInvalidArgument, "must be a list of strings");
    SLUICE_TRY(too_many(value.get_array().size()));
    out->clear();
    for (const auto& entry : value.get_array()) {
        if (!entry.is_string()) return make_error(Code::kInvalidArgument, "must be a list of strings");
        out->emplace_back(entry.get_string());
    }
    return {};
}
Result<void> read(const json::value& value, FeatureGates* out) {
    if (!value.is_object()) {
        return make_error(Code::kInvalidArgument, "must map names to true or false");
    }
    SLUICE_TRY(too_many(value.get_object().size()));
    out->clear();
    for (const auto& [name, on] : value.get_object()) {
        if (!on.is_bool()) {
            return make_error(Code::kInvalidArgument, "{} must be true or false", std::string_view(name));
        }
        (*out)[std::string(name)] = on.get_bool();
    }
    return {};
}
Result<void> read(const json::value& value, FlushFrequency* out) {
    if (value.is_string()) return read(value, &out->value);
    SLUICE_TRY_ASSIGN(const auto ns, int_of<std::int64_t>(value));
    out->value = Duration(ns);
    return {};
}
Result<void> read(const json::value& value, QuantityText* out) {
    const std::string number = value.is_number() ? json::serialize(value) : "";
    std::string_view text = number;
    if (!value.is_number()) {
        SLUICE_TRY_ASSIGN(text, text_of(value));
    }
    SLUICE_TRY_ASSIGN(*out, parse_quantity(text));
    return {};
}
Result<void> read(const json::value& value, VerbosityRules* out) {
    const auto wrong = make_error(Code::kInvalidArgument,
                                  "must be a list of objects with filePattern and verbosity");
    if (!value.is_array()) return wrong;
    SLUICE_TRY(too_many(value.get_array().size()));
    out->clear();
    for (const auto& entry : value.get_array()) {
        if (!entry.is_object()) return wrong;
        VerbosityRule rule;
        for (const auto& [key, inner] : entry.get_object()) {
            if (key == "filePattern" && inner.is_string()) {
                rule.file_pattern = std::string(inner.get_string());
            } else if (key == "verbosity") {
                SLUICE_TRY_ASSIGN(rule.verbosity, int_of<std::uint32_t>(inner));
            } else {
                return wrong;
            }
        }
        out->push_back(std::move(rule));
    }
    return {};
}

Result<void> scan(std::string_view text, bool* out) {
    SLUICE_TRY_ASSIGN(*out, parse_bool(text));
    return {};
}
template <class T>
Result<void> scan_number(std::string_view text, T* out) {
    SLUICE_TRY_ASSIGN(*out, parse_int<T>(text));
    return {};
}
Result<void> scan(std::string_view text, std::int32_t* out) { return scan_number(text, out); }
Result<void> scan(std::string_view text, std::uint32_t* out) { return scan_number(text, out); }
Result<void> scan(std::string_view text, double* out) {
    SLUICE_TRY_ASSIGN(*out, parse_double(text));
    return {};
}
Result<void> scan(std::string_view text, std::string* out) {
    *out = std::string(text);
    return {};
}
Result<void> scan(std::string_view text, Duration* out) {
    SLUICE_TRY_ASSIGN(*out, parse_duration(text));
    return {};
}
Result<void> scan(std::string_view text, FlushFrequency* out) { return scan(text, &out->value); }
Result<void> scan(std::string_view text, QuantityText* out) {
    SLUICE_TRY_ASSIGN(*out, parse_quantity(text));
    return {};
}
template <class T>
Result<void> scan(std::string_view text, std::optional<T>* out) {
    T inner{};
    SLUICE_TRY(scan(text, &inner));
    *out = inner;
    return {};
}
// f for each piece between commas; an empty text has none.
template <class F>
Result<void> each_piece(std::string_view text, const F& f) {
    while (!text.empty()) {
        const auto comma = text.find(',');
        SLUICE_TRY(f(text.substr(0, comma)));
        text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    }
    return {};
}
Result<void> scan(std::string_view text, std::vector<std::string>* out) {
    return each_piece(text, [&](std::string_view piece) -> Result<void> {
        out->emplace_back(piece);
        return too_many(out->size());
    });
}
Result<void> scan(std::string_view text, FeatureGates* out) {
    return each_piece(text, [&](std::string_view piece) -> Result<void> {
        const auto equal = piece.find('=');
        if (equal == std::string_view::npos) return expected("NAME=true or NAME=false", piece);
        SLUICE_TRY_ASSIGN((*out)[std::string(piece.substr(0, equal))],
                          parse_bool(piece.substr(equal + 1)));
        return too_many(out->size());
    });
}
Result<void> scan(std::string_view text, VerbosityRules* out) {
    return each_piece(text, [&](std::string_view piece) -> Result<void> {
        const auto equal = piece.find('=');
        if (equal == std::string_view::npos) return expected("PATTERN=NUMBER", piece);
        SLUICE_TRY_ASSIGN(const auto level, parse_int<std::uint32_t>(piece.substr(equal + 1)));
        out->push_back({std::string(piece.substr(0, equal)), level});
        return too_many(out->size());
    });
}

json::value shown(bool value) { return value; }
json::value shown(std::int32_t value) { return value; }
json::value shown(std::uint32_t value) { return value; }
json::value shown(double value) {
    // A whole number is written as one, as Go does.
    if (value == std::floor(value) && std::fabs(value) < 1e15) return static_cast<std::int64_t>(value);
    return value;
}
json::value shown(const std::string& value) { return json::string(value); }
json::value shown(Duration value) { return json::string(format_duration(value)); }
json::value shown(const FlushFrequency& value) { return shown(value.value); }
json::value shown(const QuantityText& value) {
    return json::string(value.text.empty() ? "0" : value.text);
}
template <class T>
json::value shown(const std::optional<T>& value) {
    return value ? shown(*value) : json::value(nullptr);
}
json::value shown(const std::vector<std::string>& value) {
    if (value.empty()) return nullptr;
    json::array out;
    for (const auto& entry : value) out.emplace_back(entry);
    return out;
}
json::value shown(const FeatureGates& value) {
    json::object out;
    for (const auto& [name, on] : value) out[name] = on;
    return out;
}
json::value shown(const VerbosityRules& value) {
    json::array out;
    for (const auto& rule : value) {
        out.push_back({{"filePattern", rule.file_pattern}, {"verbosity", rule.verbosity}});
    }
    return out;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
    const auto wrong = [whole = text] {
        return expected("a duration such as 30s, 1m30s or 250ms", whole);
    };
    std::string_view rest = text;
    const bool negative = !rest.empty() && rest.front() == '-';
    if (negative || (!rest.empty() && rest.front() == '+')) rest.remove_prefix(1);
    if (rest == "0") return Duration(0);
    if (rest.empty()) return wrong();
    // Long double holds 64 bits of integer, so that nanoseconds stay exact.
    constexpr long double kMost = 9'223'372'036'854'775'808.0L;
    long double total = 0;
    while (!rest.empty()) {
        long double number = 0, scale = 1;
        bool digits = false, fraction = false;
        for (; !rest.empty(); rest.remove_prefix(1)) {
            const char c = rest.front();
            if (c == '.' && !fraction) {
                fraction = true;
            } else if (c >= '0' && c <= '9') {
                digits = true;
                number = number * 10 + (c - '0');
                if (fraction) scale *= 10;
            } else {
                break;
            }
        }
        const Unit* unit = nullptr;
        for (const Unit& candidate : kUnits) {
            if (!rest.starts_with(candidate.name)) continue;
            if (unit == nullptr || candidate.name.size() > unit->name.size()) unit = &candidate;
        }
        if (!digits || unit == nullptr) return wrong();
        rest.remove_prefix(unit->name.size());
        // In this order, for a tenth is no binary fraction.
        total += number * static_cast<long double>(unit->ns) / scale;
        if (!(total <= kMost)) return wrong();
    }
    // Of the numbers below zero there is one more.
    if (total == kMost) return negative ? Result<Duration>(Duration::min()) : wrong();
    const auto ns = static_cast<std::int64_t>(total);
    return Duration(negative ? -ns : ns);
}

std::string format_duration(Duration duration) {
    std::int64_t ns = duration.count();
    if (ns == 0) return "0s";
    std::string out = ns < 0 ? "-" : "";
    const std::uint64_t size = ns < 0 ? 0 - static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
    const auto decimal = [](std::uint64_t value, std::uint64_t unit, int digits) {
        std::string text = std::to_string(value / unit);
        if (value % unit == 0) return text;
        std::string part = std::to_string(value % unit);
        part.insert(0, static_cast<std::size_t>(digits) - part.size(), '0');
        part.resize(part.find_last_not_of('0') + 1);
        return text + "." + part;
    };
    if (size < 1'000) return out + std::to_string(size) + "ns";
    if (size < 1'000'000) return out + decimal(size, 1'000, 3) + "\u00b5s";
    if (size < 1'000'000'000) return out + decimal(size, 1'000'000, 6) + "ms";
    const std::uint64_t minutes = size / 60'000'000'000;
    if (minutes >= 60) out += std::to_string(minutes / 60) + "h";
    if (minutes > 0) out += std::to_string(minutes % 60) + "m";
    return out + decimal(size % 60'000'000'000, 1'000'000'000, 9) + "s";
}

Result<void> from_json(const json::value& value, const Slot& slot) {
    if (value.is_null()) return {};
    return std::visit([&](auto* out) { return read(value, out); }, slot);
}

json::value to_json(const Slot& slot) {
    return std::visit([](const auto* value) { return json::value(shown(*value)); }, slot);
}

Result<void> from_text(std::string_view text, const Slot& slot) {
    return std::visit([&](auto* out) { return scan(text, out); }, slot);
}

bool is_bool(const Slot& slot) {
    return std::holds_alternative<bool*>(slot) || std::holds_alternative<std::optional<bool>*>(slot);
}

const char* kind_name(const Slot& slot) {
    static constexpr const char* kNames[] = {"",     "",         "INT",      "INT",  "INT",
                                             "NUM",  "TEXT",     "LIST",     "DURATION",
                                             "DURATION", "NAME=BOOL,...", "DURATION", "QUANTITY",
                                             "PATTERN=INT,..."};
    static_assert(std::size(kNames) == std::variant_size_v<Slot>);
    return kNames[slot.index()];
}

void reset(const Slot& slot) {
    std::visit([](auto* value) { *value = std::remove_pointer_t<decltype(value)>{}; }, slot);
}

bool is_empty(const Slot& slot) {
    return std::visit(
        [](const auto* value) { return *value == std::remove_cvref_t<decltype(*value)>{}; }, slot);
}

}  // namespace sluice::config
