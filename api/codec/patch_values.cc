// Comparing and printing JSON values for the patches.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>
#include <vector>

#include "api/codec/patch_values_internal.h"

namespace sluice::codec {
namespace json = boost::json;

namespace {

bool numbers_equal(const json::value& left, const json::value& right) {
    if (left.is_double() || right.is_double()) {
        return left.to_number<double>() == right.to_number<double>();
    }
    if (left.is_uint64() && right.is_uint64()) return left.get_uint64() == right.get_uint64();
    if (left.is_int64() && right.is_int64()) return left.get_int64() == right.get_int64();
    const std::int64_t with_sign = left.is_int64() ? left.get_int64() : right.get_int64();
    const std::uint64_t without = left.is_uint64() ? left.get_uint64() : right.get_uint64();
    return with_sign >= 0 && static_cast<std::uint64_t>(with_sign) == without;
}

void append_go(const json::value& value, std::string* out) {
    if (out->size() > kMaxPrintedValueBytes) return;
    if (const auto* object = value.if_object()) {
        std::vector<std::string_view> names;
        names.reserve(object->size());
        for (const auto& member : *object) names.emplace_back(member.key());
        std::ranges::sort(names);
        *out += "map[";
        bool first = true;
        for (const std::string_view name : names) {
            if (!first) *out += ' ';
            first = false;
            *out += name;
            *out += ':';
            append_go(*object->if_contains(name), out);
            if (out->size() > kMaxPrintedValueBytes) return;
        }
        *out += ']';
    } else if (const auto* array = value.if_array()) {
        *out += '[';
        bool first = true;
        for (const json::value& element : *array) {
            if (!first) *out += ' ';
            first = false;
            append_go(element, out);
            if (out->size() > kMaxPrintedValueBytes) return;
        }
        *out += ']';
    } else if (const auto* text = value.if_string()) {
        out->append(text->data(), text->size());
    } else if (value.is_null()) {
        *out += "<nil>";
    } else {
        *out += json::serialize(value);
    }
}

}  // namespace

bool json_equal(const json::value& left, const json::value& right) {
    if (left.is_number() && right.is_number()) return numbers_equal(left, right);
    if (left.kind() != right.kind()) return false;
    if (const auto* object = left.if_object()) {
        const json::object& other = right.get_object();
        if (object->size() != other.size()) return false;
        return std::ranges::all_of(*object, [&](const auto& member) {
            const json::value* found = other.if_contains(member.key());
            return found != nullptr && json_equal(member.value(), *found);
        });
    }
    if (const auto* array = left.if_array()) {
        return std::ranges::equal(*array, right.get_array(), json_equal);
    }
    return left == right;
}

std::string scalar_key(const json::value& value) {
    // Integers of either sign type print alike; a string is told from a number by its quotes.
    return json::serialize(value);
}

std::string go_format(const json::value& value) {
    std::string out;
    append_go(value, &out);
    if (out.size() > kMaxPrintedValueBytes) {
        out.resize(kMaxPrintedValueBytes);
        // Not in the middle of a character: the text goes into a JSON answer.
        while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0U) == 0x80U) {
            out.pop_back();
        }
        if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xc0U) out.pop_back();
        out += "...";
    }
    return out;
}

std::size_t json_size(const json::value& value) {
    if (const auto* object = value.if_object()) {
        std::size_t size = 2;
        for (const auto& member : *object)
            size += member.key().size() + 4 + json_size(member.value());
        return size;
    }
    if (const auto* array = value.if_array()) {
        std::size_t size = 2;
        for (const json::value& element : *array) size += 1 + json_size(element);
        return size;
    }
    if (const auto* text = value.if_string()) return text->size() + 2;
    return value.is_number() ? 8 : 4;
}

}  // namespace sluice::codec
