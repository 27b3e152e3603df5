// JSON text to a document tree and back, with limits; Boost.JSON's parser under a handler that also
// names duplicate members.
#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/serializer.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_stack.hpp>
#include <exception>
#include <limits>
#include <string>
#include <vector>

#include "api/codec/json.h"
#include "api/codec/json_text.h"
#include "api/codec/json_tree_internal.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;
using boost::system::error_code;

// Feeds a value_stack and, when asked, remembers the members of each open object.
class TreeHandler {
public:
    static constexpr std::size_t max_object_size = json::object::max_size();
    static constexpr std::size_t max_array_size = json::array::max_size();
    static constexpr std::size_t max_key_size = json::string::max_size();
    static constexpr std::size_t max_string_size = json::string::max_size();

    explicit TreeHandler(FieldWarnings* warnings) : warnings_(warnings) {}

    json::value release() { return stack.release(); }
    // Of all objects, as they came: more than the tree has if one came twice.
    [[nodiscard]] std::size_t members() const { return members_; }

    bool on_document_begin(error_code&) { return true; }
    bool on_document_end(error_code&) { return true; }
    bool on_object_begin(error_code&) {
        if (warnings_ != nullptr) levels_.push_back(Level{true, 0, {}});
        return true;
    }
    bool on_object_end(std::size_t size, error_code&) {
        members_ += size;
        stack.push_object(size);
        close_level();
        return true;
    }
    bool on_array_begin(error_code&) {
        if (warnings_ != nullptr) levels_.push_back(Level{});
        return true;
    }
    bool on_array_end(std::size_t size, error_code&) {
        stack.push_array(size);
        close_level();
        return true;
    }
    bool on_key_part(json::string_view text, std::size_t, error_code&) {
        stack.push_chars(text);
        if (warnings_ != nullptr) partial_key_.append(text.data(), text.size());
        return true;
    }
    bool on_key(json::string_view text, std::size_t, error_code&) {
        stack.push_key(text);
        if (warnings_ != nullptr) {
            partial_key_.append(text.data(), text.size());
            note_key();
        }
        return true;
    }
    bool on_string_part(json::string_view text, std::size_t, error_code&) {
        stack.push_chars(text);
        return true;
    }
    bool on_string(json::string_view text, std::size_t, error_code&) {
        stack.push_string(text);
        return next();
    }
    bool on_number_part(json::string_view, error_code&) { return true; }
    bool on_int64(std::int64_t value, json::string_view, error_code&) {
        stack.push_int64(value);
        return next();
    }
    bool on_uint64(std::uint64_t value, json::string_view, error_code&) {
        stack.push_uint64(value);
        return next();
    }
    bool on_double(double value, json::string_view, error_code&) {
        stack.push_double(value);
        return next();
    }
    bool on_bool(bool value, error_code&) {
        stack.push_bool(value);
        return next();
    }
    bool on_null(error_code&) {
        stack.push_null();
        return next();
    }
    bool on_comment_part(json::string_view, error_code&) { return true; }
    bool on_comment(json::string_view, error_code&) { return true; }

    json::value_stack stack;

private:
    struct Level {
        bool is_object = false;
        std::size_t index = 0;          // of an array
        std::vector<std::string> keys;  // of an object, as they came
    };

    // A value of the innermost level is complete.
    bool next() {
        if (!levels_.empty() && !levels_.back().is_object) ++levels_.back().index;
        return true;
    }
    void note_key() {
        levels_.back().keys.push_back(std::move(partial_key_));
        partial_key_.clear();
    }
    void close_level() {
        if (warnings_ == nullptr) return;
        Level level = std::move(levels_.back());
        levels_.pop_back();
        if (level.keys.size() > 1) {
            std::ranges::sort(level.keys);
            for (std::size_t i = 1; i < level.keys.size(); ++i) {
                const bool repeated = level.keys[i] == level.keys[i - 1];
                const bool named = i > 1 && level.keys[i] == level.keys[i - 2];
                if (repeated && !named && warnings_->size() < kMaxFieldWarnings) {
                    warnings_->push_back("duplicate field " + quoted(path() + level.keys[i]));
                }
            }
        }
        next();
    }
    // Where the level just closed stands, with a trailing point: "spec.ports[0].".
    [[nodiscard]] std::string path() const {
        std::string out;
        for (const auto& level : levels_) {
            if (!level.is_object) {
                out += '[' + std::to_string(level.index) + ']';
            } else {
                if (!out.empty()) out += '.';
                out += level.keys.back();
            }
        }
        if (!out.empty()) out += '.';
        return out;
    }

    FieldWarnings* warnings_;
    std::size_t members_ = 0;
    std::vector<Level> levels_;
    std::string partial_key_;
};

Error syntax_error(std::string_view text, std::size_t offset, const error_code& code) {
    if (code == json::error::incomplete) {
        return make_error(Code::kInvalidArgument, "unexpected end of JSON input");
    }
    const std::size_t end = std::min(offset, text.size());
    const auto line = std::ranges::count(text.substr(0, end), '\n') + 1;
    return make_error(Code::kInvalidArgument, "invalid JSON at line {}, byte {}: {}", line, end,
                      code.message());
}

// NOLINTNEXTLINE(misc-no-recursion): a parsed tree has at most kMaxJsonDepth levels.
std::size_t members_in(const json::value& tree) {
    std::size_t count = 0;
    if (const auto* object = tree.if_object()) {
        count = object->size();
        for (const auto& member : *object) count += members_in(member.value());
    } else if (const auto* array = tree.if_array()) {
        for (const auto& element : *array) count += members_in(element);
    }
    return count;
}

// members: how many came.
Result<json::value> parse_tree(std::string_view text, FieldWarnings* warnings,
                               const json::storage_ptr& storage, std::size_t* members) {
    json::parse_options options;
    options.max_depth = kMaxJsonDepth;
    options.allow_invalid_utf8 = false;
    json::basic_parser<TreeHandler> parser(options, warnings);
    parser.handler().stack.reset(storage);
    error_code code;
    std::size_t used = parser.write_some(false, text.data(), text.size(), code);
    if (!code && used < text.size()) {
        const auto rest = text.find_first_not_of(" \t\r\n", used);
        if (rest != std::string_view::npos) {
            used = rest;
            code = json::error::extra_data;
        }
    }
    if (code) return syntax_error(text, used, code);
    *members = parser.handler().members();
    return parser.handler().release();
}

// To remember all names costs far more than to count them, and hardly a document has one twice.
Result<json::value> parse_and_warn(std::string_view text, FieldWarnings* warnings,
                                   const json::storage_ptr& storage) {
    std::size_t members = 0;
    auto tree = parse_tree(text, nullptr, storage, &members);
    if (!tree || warnings == nullptr || members == members_in(*tree)) return tree;
    return parse_tree(text, warnings, storage, &members);
}

void append_value(const json::value& value, bool sorted, std::string* out);

void append_object(const json::object& object, bool sorted, std::string* out) {
    std::vector<const json::key_value_pair*> members;
    members.reserve(object.size());
    for (const auto& member : object) members.push_back(&member);
    if (sorted) {
        std::ranges::sort(members, {}, [](const auto* member) { return member->key(); });
    }
    out->push_back('{');
    bool first = true;
    for (const auto* member : members) {
        if (!first) out->push_back(',');
        first = false;
        append_json_string({member->key().data(), member->key().size()}, out);
        out->push_back(':');
        append_value(member->value(), sorted, out);
    }
    out->push_back('}');
}

// NOLINTNEXTLINE(misc-no-recursion): a parsed tree has at most kMaxJsonDepth levels.
void append_value(const json::value& value, bool sorted, std::string* out) {
    switch (value.kind()) {
        case json::kind::null: out->append("null"); return;
        case json::kind::bool_: out->append(value.get_bool() ? "true" : "false"); return;
        case json::kind::int64: append_json_int(value.get_int64(), out); return;
        case json::kind::uint64: append_json_uint(value.get_uint64(), out); return;
        case json::kind::double_: append_json_double(value.get_double(), out); return;
        case json::kind::string:
            append_json_string({value.get_string().data(), value.get_string().size()}, out);
            return;
        case json::kind::array: {
            out->push_back('[');
            bool first = true;
            for (const auto& element : value.get_array()) {
                if (!first) out->push_back(',');
                first = false;
                append_value(element, sorted, out);
            }
            out->push_back(']');
            return;
        }
        case json::kind::object: append_object(value.get_object(), sorted, out); return;
    }
}

}  // namespace

Result<json::value> parse_json_in(std::string_view text, FieldWarnings* warnings,
                                  const json::storage_ptr& storage) {
    // Boost.JSON reports an impossible size or memory that cannot be had by an exception.
    try {
        return parse_and_warn(text, warnings, storage);
    } catch (const std::exception& exception) {
        return make_error(Code::kResourceExhausted, "json document of {} bytes: {}", text.size(),
                          exception.what());
    }
}

Result<json::value> parse_json(std::string_view text, FieldWarnings* warnings) {
    return parse_json_in(text, warnings, json::storage_ptr());
}

std::string write_sorted_json(const json::value& value) {
    std::string out;
    append_value(value, true, &out);
    return out;
}

std::string write_json(const json::value& value) {
    std::string out;
    append_value(value, false, &out);
    return out;
}

}  // namespace sluice::codec
