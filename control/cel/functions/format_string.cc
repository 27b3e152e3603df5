// Formatting values into text (cel-go, ext/formatting.go; locale en_US).
#include "control/cel/functions/format_string_private.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "api/codec/json_text.h"
#include "control/cel/access_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions/numbers_private.h"
#include "control/cel/functions/time_private.h"

namespace sluice::cel {

namespace {

constexpr int kDefaultPrecision = 6;
// Nested lists and maps beyond it are refused: values that expressions can make are not so deep.
constexpr int kMaxDepth = 1000;

std::string printf_double(double value, int precision, char verb) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "\xE2\x88\x9E" : "-\xE2\x88\x9E";
    std::array<char, 400 + kMaxPrecision> buffer{};
    const int size = std::snprintf(buffer.data(), buffer.size(), verb == 'e' ? "%.*e" : "%.*f",
                                   precision, value);
    std::string out(buffer.data(), static_cast<std::size_t>(size));
    if (verb != 'e') return out;
    // As the locale writes exponents: 1.5 x 10^03, with a multiplication sign and superscript digits.
    const std::size_t e = out.find('e');
    std::string power = "\u202f\u00d7\u202f10";
    constexpr std::array<const char*, 10> kSuper = {"\u2070", "\u00b9", "\u00b2", "\u00b3",
                                                    "\u2074", "\u2075", "\u2076", "\u2077",
                                                    "\u2078", "\u2079"};
    for (std::size_t i = e + 1; i < out.size(); ++i) {
        if (out[i] == '-') power += "\u207b";
        if (out[i] >= '0' && out[i] <= '9') power += kSuper[static_cast<std::size_t>(out[i] - '0')];
    }
    out.resize(e);
    out += power;
    return out;
}

// Thousands are set apart: 1,234.5.
std::string grouped(std::string digits) {
    const std::size_t point = std::min(digits.find('.'), digits.size());
    const std::size_t first = !digits.empty() && digits[0] == '-' ? 1 : 0;
    for (std::size_t at = point; at > first + 3;) {
        at -= 3;
        digits.insert(at, 1, ',');
    }
    return digits;
}

template <class Number>
std::string in_base(Number value, int base, bool upper) {
    std::array<char, 72> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, base).ptr;
    std::string out(buffer.data(), end);
    if (upper) {
        std::transform(out.begin(), out.end(), out.begin(),
                       [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    }
    return out;
}

std::string hex_text(std::string_view bytes, bool upper) {
    const char* digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        out += digits[byte >> 4U];
        out += digits[byte & 15U];
    }
    return out;
}

class Formatter {
public:
    explicit Formatter(Meter* meter) : meter_(meter) {}

    Result<std::string> clause(const FormatClause& clause, const Value& value) {
        const auto* i = value.as_int();
        const auto* u = value.as_uint();
        switch (clause.verb) {
            case 's': return text(value);
            case 'd':
                if (i != nullptr) return std::to_string(*i);
                if (u != nullptr) return std::to_string(*u);
                break;
            case 'f':
            case 'e': {
                const auto number = floating(value);
                if (!number) break;
                const int precision = clause.precision < 0 ? kDefaultPrecision : clause.precision;
                std::string out = printf_double(*number, precision, clause.verb);
                return clause.verb == 'f' && std::isfinite(*number) ? grouped(std::move(out)) : out;
            }
            case 'b':
                if (value.as_bool() != nullptr) return std::string(*value.as_bool() ? "1" : "0");
                [[fallthrough]];
            case 'o':
            case 'x':
            case 'X': {
                const int base = clause.verb == 'b' ? 2 : clause.verb == 'o' ? 8 : 16;
                if (i != nullptr) return in_base(*i, base, clause.verb == 'X');
                if (u != nullptr) return in_base(*u, base, clause.verb == 'X');
                if (base != 16) break;
                if (const auto* s = value.as_string()) return hex(s->view(), clause.verb == 'X');
                if (const auto* b = value.as_bytes()) return hex(b->view(), clause.verb == 'X');
                break;
            }
            default: break;
        }
        return failed("error during formatting: {}",
                      format_type_error(clause.verb, value.type().name()));
    }

private:
    static std::optional<double> floating(const Value& value) {
        if (const auto* number = value.as_double()) return *number;
        const auto* name = value.as_string();
        if (name == nullptr) return std::nullopt;
        if (name->view() == "NaN") return std::nan("");
        if (name->view() == "Infinity") return HUGE_VAL;
        if (name->view() == "-Infinity") return -HUGE_VAL;
        return std::nullopt;
    }

    Result<std::string> hex(std::string_view bytes, bool upper) {
        if (!meter_->build(2 * bytes.size())) return Meter::stopped();
        return hex_text(bytes, upper);
    }

    Result<std::string> text(const Value& value) {
        if (const auto* string = value.as_string()) return copied(string->view());
        if (const auto* bytes = value.as_bytes()) return copied(bytes->view());
        if (const auto* number = value.as_double()) return short_double(*number);
        if (const auto* time = value.as_timestamp()) return timestamp_text(*time);
        if (const auto* duration = value.as_duration()) return duration_text(*duration);
        if (value.as_type() != nullptr) return value.as_type()->name();
        if (value.as_opaque() != nullptr) {
            return failed("error during formatting: {}",
                          format_type_error('s', value.type().name()));
        }
        return element(value);
    }

    Result<std::string> copied(std::string_view view) {
        if (!meter_->build(view.size())) return Meter::stopped();
        return std::string(view);
    }

    // As a literal of the language.
    Result<std::string> element(const Value& value) {
        if (!meter_->build(sizeof(Value))) return Meter::stopped();
        switch (value.kind()) {
            case Kind::kString: {
                if (!meter_->build(2 * value.as_string()->view().size())) return Meter::stopped();
                return codec::quoted(value.as_string()->view());
            }
            case Kind::kBytes: {
                if (!meter_->build(4 * value.as_bytes()->view().size())) return Meter::stopped();
                std::string out(1, 'b');
                out += codec::quoted(value.as_bytes()->view());
                return out;
            }
            case Kind::kTimestamp:
                return fmt::format("timestamp(\"{}\")", timestamp_text(*value.as_timestamp()));
            case Kind::kDuration:
                return fmt::format("duration(\"{}\")", duration_text(*value.as_duration()));
            case Kind::kDouble: {
                const double number = *value.as_double();
                if (std::isnan(number)) return std::string("\"NaN\"");
                if (std::isinf(number)) return std::string(number > 0 ? "\"+Inf\"" : "\"-Inf\"");
                return printf_double(number, kDefaultPrecision, 'f');
            }
            case Kind::kList: return list(**value.as_list());
            case Kind::kMap: return map(**value.as_map());
            case Kind::kType: return value.as_type()->name();
            case Kind::kOpaque:
                return failed("error during formatting: no formatting function for {}",
                              value.type().name());
            default: return shown(value);
        }
    }

    Result<std::string> list(const ListValue& list) {
        if (++depth_ > kMaxDepth) return failed("error during formatting: too deep");
        std::string out = "[";
        for (std::size_t i = 0; i < list.size(); ++i) {
            SLUICE_TRY_ASSIGN(const Value value, list.at(i));
            SLUICE_TRY_ASSIGN(const std::string part, element(value));
            if (i > 0) out += ", ";
            out += part;
        }
        --depth_;
        out += ']';
        return out;
    }

    Result<std::string> map(const MapValue& map) {
        if (++depth_ > kMaxDepth) return failed("error during formatting: too deep");
        std::vector<std::pair<std::string, std::string>> parts;
        for (const Value& key : map.keys()) {
            SLUICE_TRY_ASSIGN(const auto value, map.find(key));
            if (!value) continue;
            SLUICE_TRY_ASSIGN(std::string name, element(key));
            SLUICE_TRY_ASSIGN(std::string part, element(*value));
            parts.emplace_back(std::move(name), std::move(part));
        }
        std::stable_sort(parts.begin(), parts.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
        std::string out = "{";
        for (const auto& [name, part] : parts) {
            if (out.size() > 1) out += ", ";
            out += name;
            out += ':';
            out += part;
        }
        --depth_;
        out += '}';
        return out;
    }

    Meter* meter_;
    int depth_ = 0;
};

}  // namespace

Result<FormatClause> parse_format_clause(std::string_view format, std::size_t at) {
    FormatClause out;
    std::size_t next = at + 1;
    if (next >= format.size()) return failed("unexpected end of string");
    if (format[next] == '.') {
        const std::size_t end = format.find_first_not_of("0123456789", ++next);
        constexpr std::string_view kPrefix =
            "could not parse formatting clause: error while parsing precision: ";
        if (end == format.npos) {
            return failed("{}could not find end of precision specifier", kPrefix);
        }
        const std::string_view digits = format.substr(next, end - next);
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(),
                                            out.precision);
        if (parsed.ec != std::errc() || out.precision > kMaxPrecision) {
            return failed("{}error while converting precision to integer: strconv.Atoi: parsing "
                          "{}: {}",
                          kPrefix, codec::quoted(digits),
                          digits.empty() ? "invalid syntax" : "value out of range");
        }
        next = end;
    }
    out.verb = format[next];
    out.size = next + 1 - at;
    if (std::string_view("sdfebxXo").find(out.verb) == std::string_view::npos) {
        return failed("could not parse formatting clause: unrecognized formatting clause \"{}\"",
                      out.verb);
    }
    return out;
}

std::string format_type_error(char verb, std::string_view type) {
    const char* what = "";
    switch (verb) {
        case 'd': what = "decimal clause can only be used on integers"; break;
        case 'f': what = "fixed-point clause can only be used on doubles"; break;
        case 'e': what = "scientific clause can only be used on doubles"; break;
        case 'b': what = "only integers and bools can be formatted as binary"; break;
        case 'o': what = "octal clause can only be used on integers"; break;
        case 's':
            what = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, "
                   "lists, types, durations, and timestamps";
            break;
        default: what = "only integers, byte buffers, and strings can be formatted as hex";
    }
    return fmt::format("{}, was given {}", what, type);
}

Result<std::string> format_string(std::string_view format, const ListValue& args, Meter* meter) {
    Formatter formatter(meter);
    std::string out;
    std::size_t used = 0;
    std::size_t at = 0;
    if (!meter->build(format.size())) return Meter::stopped();
    while (at < format.size()) {
        if (format[at] != '%') {
            out += format[at++];
            continue;
        }
        if (format.substr(at, 2) == "%%") {
            out += '%';
            at += 2;
            continue;
        }
        if (used >= args.size()) return failed("index {} out of range", used);
        SLUICE_TRY_ASSIGN(const FormatClause clause, parse_format_clause(format, at));
        SLUICE_TRY_ASSIGN(const Value value, args.at(used++));
        SLUICE_TRY_ASSIGN(const std::string part, formatter.clause(clause, value));
        out += part;
        at += clause.size;
    }
    return out;
}

}  // namespace sluice::cel
