// fieldPath of rules: a JSON path of members and entries, ".spec.x['a.b']".
#include <algorithm>

#include "control/apiserver/registry/custom/rules_private.h"

namespace sluice::registry {
namespace {

// The text up to the next delimiter; a quoted text in whole.
std::string_view next_token(std::string_view* rest) {
    const auto take = [rest](std::size_t size) {
        const std::string_view token = rest->substr(0, size);
        rest->remove_prefix(token.size());
        return token;
    };
    if (rest->empty()) return {};
    if (rest->front() == '\'') {
        for (std::size_t i = 1; i < rest->size(); ++i) {
            if ((*rest)[i] == '\'' && (*rest)[i - 1] != '\\') return take(i + 1);
        }
        return take(rest->size());
    }
    const std::size_t end = rest->find_first_of(".[]");
    return take(end == 0 ? 1 : end);
}

Result<std::string> unquoted(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            out += text[i];
            continue;
        }
        constexpr std::string_view kEscapes = "abfnrtv'\\";
        constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v'\\";
        const std::size_t found = kEscapes.find(text[++i]);
        if (found == std::string_view::npos) {
            return make_error(Code::kInvalidArgument, "invalid string literal: invalid escape char \\{}", text[i]);
        }
        out += kMeanings[found];
    }
    return out;
}

}  // namespace

Result<std::string> normalized_field_path(std::string_view path, const Schema& schema) {
    const auto bad = [](const char* why) { return make_error(Code::kInvalidArgument, "{}", why); };
    const Schema* at = &schema;
    std::string out;
    while (!path.empty()) {
        const std::string_view token = next_token(&path);
        std::string name;
        if (token == "[") {
            const std::string_view quoted = next_token(&path);
            if (quoted.empty()) return bad("unexpected end of JSON path");
            if (quoted.size() < 2 || quoted.front() != '\'' || quoted.back() != '\'') {
                return make_error(Code::kInvalidArgument, "expected single quoted string but got {}", quoted);
            }
            SLUICE_TRY_ASSIGN(name, unquoted(quoted.substr(1, quoted.size() - 2)));
            const std::string_view closing = next_token(&path);
            if (closing.empty()) return bad("unexpected end of JSON path");
            if (closing != "]") return make_error(Code::kInvalidArgument, "expected ] but got {}", closing);
        } else if (token == ".") {
            if (path.empty()) return bad("unexpected end of JSON path");
            name = next_token(&path);
        } else {
            return make_error(Code::kInvalidArgument, "expected [ or . but got: {}", token);
        }
        if (!at->properties.empty()) {
            at = at->property(name);
            out = out.empty() ? name : field_child(out, name);
        } else {
            at = at->additional_schema.get();
            out = field_key(out, name);
        }
        if (at == nullptr) return bad("does not refer to a valid field");
    }
    return out;
}

}  // namespace sluice::registry
