// cel-go's extension "strings", version 2: charAt, indexOf, lastIndexOf, lowerAscii, upperAscii, replace,
// split, join, substring, trim, strings.quote; format is in format_string.cc. Places are counted in code
// points.
#include <algorithm>

#include "control/cel/access_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions/format_string_private.h"
#include "control/cel/functions_private.h"
#include "control/cel/utf8_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

std::string_view text(const Value& value) { return value.as_string()->view(); }

Error out_of_range(std::int64_t index) { return failed("index out of range: {}", index); }

// What scanning the text for code points takes.
bool scan(CallContext& context, std::string_view scanned) {
    return context.meter.work(scanned.size());
}
bool search(CallContext& context, std::string_view whole, std::string_view part) {
    return scan(context, whole) && count_search(&context.meter, whole.size(), part.size());
}

std::int64_t length(std::string_view value) {
    return static_cast<std::int64_t>(count_code_points(value));
}

Result<Value> char_at(CallContext& context, Args args) {
    const std::string_view whole = text(args[0]);
    const std::int64_t index = *args[1].as_int();
    if (!scan(context, whole)) return Meter::stopped();
    if (index < 0 || index > length(whole)) return out_of_range(index);
    const std::size_t at = byte_of_code_point(whole, static_cast<std::size_t>(index));
    if (at == whole.size()) return Value::string(std::string());
    return Value::string(args[0].as_string()->part(at, code_point_size(whole, at)));
}

Result<Value> index_of(CallContext& context, Args args) {
    const std::string_view whole = text(args[0]);
    const std::string_view part = text(args[1]);
    const std::int64_t offset = args.size() > 2 ? *args[2].as_int() : 0;
    if (part.empty()) return Value::integer(offset);
    if (offset < 0) return out_of_range(offset);
    if (!search(context, whole, part)) return Meter::stopped();
    const std::size_t from = byte_of_code_point(whole, static_cast<std::size_t>(offset));
    const std::size_t found = from >= whole.size() ? whole.npos : whole.find(part, from);
    return Value::integer(found == whole.npos ? -1 : length(whole.substr(0, found)));
}

Result<Value> last_index_of(CallContext& context, Args args) {
    const std::string_view whole = text(args[0]);
    const std::string_view part = text(args[1]);
    if (!search(context, whole, part)) return Meter::stopped();
    const std::int64_t size = length(whole);
    if (part.empty()) return Value::integer(args.size() > 2 ? *args[2].as_int() : size);
    const std::int64_t offset = args.size() > 2 ? *args[2].as_int() : size - 1;
    if (offset < 0) {
        // An empty text has nothing at its last place, which is before its first.
        return args.size() > 2 ? Result<Value>(out_of_range(offset)) : out_of_range(-1);
    }
    if (offset >= size) return Value::integer(-1);
    const std::size_t from = byte_of_code_point(whole, static_cast<std::size_t>(offset));
    const std::size_t found = whole.rfind(part, from);
    return Value::integer(found == whole.npos ? -1 : length(whole.substr(0, found)));
}

template <char first, int shift>
Result<Value> ascii(CallContext& context, Args args) {
    if (!context.meter.build(text(args[0]).size())) return Meter::stopped();
    std::string out(text(args[0]));
    for (char& c : out) {
        if (c >= first && c <= first + ('z' - 'a')) c = static_cast<char>(c + shift);
    }
    return Value::string(std::move(out));
}

// Go's strings.Replace: an empty "old" is before each code point and at the end. most: negative, all.
Result<Value> replace(CallContext& context, Args args) {
    const std::string_view whole = text(args[0]);
    const std::string_view old = text(args[1]);
    const std::string_view by = text(args[2]);
    const std::int64_t most = args.size() > 3 ? *args[3].as_int() : -1;
    if (!search(context, whole, old)) return Meter::stopped();
    std::string out;
    std::size_t at = 0;
    std::int64_t count = 0;
    const auto put = [&](std::string_view part) {
        if (!context.meter.build(part.size())) return false;
        out += part;
        return true;
    };
    while (most < 0 || count < most) {
        std::size_t found = at;
        if (!old.empty()) {
            found = whole.find(old, at);
        } else if (count > 0) {
            // After the first, one code point further.
            found = at < whole.size() ? at + code_point_size(whole, at) : whole.npos;
        }
        if (found == whole.npos) break;
        if (!put(whole.substr(at, found - at)) || !put(by)) return Meter::stopped();
        at = found + old.size();
        ++count;
    }
    if (!put(whole.substr(at))) return Meter::stopped();
    return Value::string(std::move(out));
}

// Go's strings.SplitN: an empty separator is between code points; most of 0 gives nothing, negative: all.
Result<Value> split(CallContext& context, Args args) {
    const SharedText& whole = *args[0].as_string();
    const std::string_view separator = text(args[1]);
    const std::int64_t most = args.size() > 2 ? *args[2].as_int() : -1;
    if (!search(context, whole.view(), separator)) return Meter::stopped();
    std::vector<Value> out;
    if (most == 0) return Value::list(std::move(out));
    std::size_t at = 0;
    while (most < 0 || static_cast<std::int64_t>(out.size()) < most - 1) {
        std::size_t end = 0;
        if (separator.empty()) {
            if (at >= whole.view().size()) break;
            end = at + code_point_size(whole.view(), at);
            if (end == whole.view().size()) break;
        } else {
            end = whole.view().find(separator, at);
            if (end == std::string_view::npos) break;
        }
        if (!context.meter.build(sizeof(Value))) return Meter::stopped();
        out.push_back(Value::string(whole.part(at, end - at)));
        at = end + separator.size();
    }
    if (!separator.empty() || at < whole.view().size()) {
        out.push_back(Value::string(whole.part(at, whole.view().size() - at)));
    }
    return Value::list(std::move(out));
}

Result<Value> join(CallContext& context, Args args) {
    const ListValue& list = **args[0].as_list();
    const std::string_view separator = args.size() > 1 ? text(args[1]) : std::string_view();
    std::string out;
    for (std::size_t i = 0; i < list.size(); ++i) {
        SLUICE_TRY_ASSIGN(const Value element, list.at(i));
        if (element.as_string() == nullptr) return failed("join: invalid input: {}", shown(element));
        if (!context.meter.build(separator.size() + text(element).size() + 1)) {
            return Meter::stopped();
        }
        if (i > 0) out += separator;
        out += text(element);
    }
    return Value::string(std::move(out));
}

Result<Value> substring(CallContext& context, Args args) {
    const SharedText& whole = *args[0].as_string();
    if (!scan(context, whole.view())) return Meter::stopped();
    const std::int64_t size = length(whole.view());
    const std::int64_t start = *args[1].as_int();
    const std::int64_t end = args.size() > 2 ? *args[2].as_int() : size;
    if (args.size() > 2 && start > end) {
        return failed("invalid substring range. start: {}, end: {}", start, end);
    }
    if (start < 0 || start > size) return out_of_range(start);
    if (end < 0 || end > size) return out_of_range(end);
    const std::size_t from = byte_of_code_point(whole.view(), static_cast<std::size_t>(start));
    const std::size_t to = byte_of_code_point(whole.view(), static_cast<std::size_t>(end));
    return Value::string(whole.part(from, to - from));
}

// Unicode's white space, by its code points.
bool is_space(std::uint32_t c) {
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

Result<Value> trim(CallContext& context, Args args) {
    const SharedText& whole = *args[0].as_string();
    if (!scan(context, whole.view())) return Meter::stopped();
    std::size_t from = whole.view().size();
    std::size_t to = 0;
    for (std::size_t at = 0; at < whole.view().size();) {
        const std::size_t size = code_point_size(whole.view(), at);
        if (!is_space(code_point_at(whole.view(), at))) {
            from = std::min(from, at);
            to = at + size;
        }
        at += size;
    }
    return Value::string(to == 0 ? whole.part(0, 0) : whole.part(from, to - from));
}

Result<Value> quote(CallContext& context, Args args) {
    if (!context.meter.build(2 * text(args[0]).size() + 2)) return Meter::stopped();
    constexpr std::string_view kEscaped = "\a\b\f\n\r\t\v\\\"";
    constexpr std::string_view kLetters = "abfnrtv\\\"";
    std::string out = "\"";
    for (const char c : text(args[0])) {
        const auto at = kEscaped.find(c);
        if (at == kEscaped.npos) {
            out += c;
        } else {
            out += '\\';
            out += kLetters[at];
        }
    }
    return Value::string(out + "\"");
}

Result<Value> format(CallContext& context, Args args) {
    SLUICE_TRY_ASSIGN(std::string out,
                      format_string(text(args[0]), **args[1].as_list(), &context.meter));
    return Value::string(std::move(out));
}

}  // namespace

void add_strings(FunctionTable* table) {
    const Type s = Type::string();
    const Type i = Type::integer();
    const Type list = Type::list(s);
    table->member("charAt", "string_char_at_int", {s, i}, s, char_at);
    table->member("indexOf", "string_index_of_string", {s, s}, i, index_of,
                  CostRule::kTextTraversal);
    table->member("indexOf", "string_index_of_string_int", {s, s, i}, i, index_of,
                  CostRule::kTextTraversal);
    table->member("lastIndexOf", "string_last_index_of_string", {s, s}, i, last_index_of,
                  CostRule::kTextTraversal);
    table->member("lastIndexOf", "string_last_index_of_string_int", {s, s, i}, i, last_index_of,
                  CostRule::kTextTraversal);
    table->member("lowerAscii", "string_lower_ascii", {s}, s, ascii<'A', 'a' - 'A'>,
                  CostRule::kResize);
    table->member("upperAscii", "string_upper_ascii", {s}, s, ascii<'a', 'A' - 'a'>,
                  CostRule::kResize);
    table->member("replace", "string_replace_string_string", {s, s, s}, s, replace,
                  CostRule::kReplace);
    table->member("replace", "string_replace_string_string_int", {s, s, s, i}, s, replace,
                  CostRule::kReplace);
    table->member("split", "string_split_string", {s, s}, list, split, CostRule::kSplit);
    table->member("split", "string_split_string_int", {s, s, i}, list, split, CostRule::kSplit);
    table->member("substring", "string_substring_int", {s, i}, s, substring, CostRule::kResize);
    table->member("substring", "string_substring_int_int", {s, i, i}, s, substring,
                  CostRule::kResize);
    table->member("trim", "string_trim", {s}, s, trim, CostRule::kResize);
    table->member("join", "list_join", {list}, s, join, CostRule::kJoin);
    table->member("join", "list_join_string", {list, s}, s, join, CostRule::kJoin);
    table->global("strings.quote", "strings_quote", {s}, s, quote, CostRule::kQuote);
    table->member("format", "string_format", {s, Type::list(Type::dyn())}, s, format,
                  CostRule::kFormatString);
}

}  // namespace sluice::cel
