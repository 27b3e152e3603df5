// JSON patch (RFC 6902) over JSON pointers (RFC 6901).
// Deviations, as in kube-apiserver: a test for null passes on a member that is not there, and an
// index may count from the end ("/list/-1" is the last element).
#include <boost/json.hpp>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/codec/patch.h"
#include "api/codec/patch_values_internal.h"

namespace sluice::codec {
namespace json = boost::json;

namespace {

// Each insertion or removal moves the elements behind it; a patch may move this many in all, so
// that ten thousand operations on one long list stay a matter of milliseconds.
constexpr std::size_t kMaxMovedElements = 20'000'000;

struct Operation {
    std::string op;
    std::vector<std::string> path;
    std::string path_text;
    std::vector<std::string> from;
    std::string from_text;
    const json::value* value = nullptr;
};

Error missing(const Operation& operation, std::string_view path) {
    return make_error(Code::kFailedPrecondition,
                      "{} operation does not apply: doc is missing path: {}", operation.op, path);
}

Result<std::vector<std::string>> parse_pointer(std::string_view text) {
    std::vector<std::string> tokens;
    if (text.empty()) return tokens;
    if (text.front() != '/') {
        return make_error(Code::kInvalidArgument, "json patch: path \"{}\" does not begin with '/'",
                          text);
    }
    std::string token;
    for (std::size_t i = 1; i <= text.size(); ++i) {
        if (i == text.size() || text[i] == '/') {
            tokens.push_back(std::move(token));
            token.clear();
            continue;
        }
        if (text[i] != '~') {
            token += text[i];
            continue;
        }
        const char next = i + 1 < text.size() ? text[i + 1] : '\0';
        if (next != '0' && next != '1') {
            return make_error(Code::kInvalidArgument,
                              "json patch: path \"{}\" has '~' without '0' or '1' behind it", text);
        }
        token += next == '0' ? '~' : '/';
        ++i;
    }
    return tokens;
}

Result<std::string> text_member(const json::object& members, std::string_view name,
                                std::size_t index) {
    const json::value* value = members.if_contains(name);
    const json::string* text = value == nullptr ? nullptr : value->if_string();
    if (text == nullptr) {
        return make_error(Code::kInvalidArgument,
                          "json patch: operation {}: member \"{}\" is missing or not a string",
                          index, name);
    }
    return std::string(text->data(), text->size());
}

Result<Operation> parse_operation(const json::value& value, std::size_t index) {
    const json::object* members = value.if_object();
    if (members == nullptr) {
        return make_error(Code::kInvalidArgument, "json patch: operation {} is not an object",
                          index);
    }
    Operation operation;
    SLUICE_TRY_ASSIGN(operation.op, text_member(*members, "op", index));
    const std::string& op = operation.op;
    const bool has_from = op == "move" || op == "copy";
    const bool has_value = op == "add" || op == "replace" || op == "test";
    if (!has_from && !has_value && op != "remove") {
        return make_error(Code::kInvalidArgument, "json patch: operation {}: unknown op \"{}\"",
                          index, op);
    }
    SLUICE_TRY_ASSIGN(operation.path_text, text_member(*members, "path", index));
    SLUICE_TRY_ASSIGN(operation.path, parse_pointer(operation.path_text));
    if (has_from) {
        SLUICE_TRY_ASSIGN(operation.from_text, text_member(*members, "from", index));
        SLUICE_TRY_ASSIGN(operation.from, parse_pointer(operation.from_text));
    }
    if (has_value) {
        operation.value = members->if_contains("value");
        if (operation.value == nullptr) {
            return make_error(Code::kInvalidArgument,
                              "json patch: operation {}: member \"value\" is missing", index);
        }
    }
    return operation;
}

// An index of an array of that size; past_end also allows "-" and the size itself, for insertion.
std::optional<std::size_t> array_index(std::string_view token, std::size_t size, bool past_end) {
    if (token == "-") return past_end ? std::optional(size) : std::nullopt;
    const bool from_end = token.starts_with('-');
    if (from_end) token.remove_prefix(1);
    if (token.empty() || (token.size() > 1 && token.front() == '0')) return std::nullopt;
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), number);
    if (error != std::errc{} || end != token.data() + token.size()) return std::nullopt;
    const std::size_t limit = past_end ? size + 1 : size;
    if (from_end) {
        if (number == 0 || number > limit) return std::nullopt;
        return limit - number;
    }
    return number < limit ? std::optional(number) : std::nullopt;
}

json::value* child(json::value* parent, const std::string& token) {
    if (auto* object = parent->if_object()) return object->if_contains(token);
    if (auto* array = parent->if_array()) {
        const auto index = array_index(token, array->size(), false);
        return index ? &(*array)[*index] : nullptr;
    }
    return nullptr;
}

// Null when there is none. depth: how many tokens of the path to follow.
json::value* find(json::value* document, const std::vector<std::string>& path, std::size_t depth) {
    json::value* at = document;
    for (std::size_t i = 0; i < depth && at != nullptr; ++i) at = child(at, path[i]);
    return at;
}

class Applier {
public:
    explicit Applier(json::value* document) : document_(document) {}

    Result<void> apply(const Operation& operation) {
        if (operation.op == "add") return add(operation, *operation.value);
        if (operation.op == "remove") return remove(operation, operation.path, operation.path_text);
        if (operation.op == "replace") return replace(operation);
        if (operation.op == "test") return test(operation);
        return operation.op == "move" ? move(operation) : copy(operation);
    }

private:
    Result<void> count_moved(std::size_t elements) {
        moved_ += elements;
        if (moved_ <= kMaxMovedElements) return {};
        return make_error(
            Code::kResourceExhausted,
            "json patch: its insertions and removals move more than {} array elements",
            kMaxMovedElements);
    }

    Result<void> add(const Operation& operation, json::value value) {
        if (operation.path.empty()) {
            *document_ = std::move(value);
            return {};
        }
        json::value* parent = find(document_, operation.path, operation.path.size() - 1);
        const std::string& token = operation.path.back();
        if (parent != nullptr && parent->is_object()) {
            parent->get_object().insert_or_assign(token, std::move(value));
            return {};
        }
        if (parent != nullptr && parent->is_array()) {
            json::array& array = parent->get_array();
            if (const auto index = array_index(token, array.size(), true)) {
                SLUICE_TRY(count_moved(array.size() - *index));
                array.insert(array.begin() + static_cast<std::ptrdiff_t>(*index), std::move(value));
                return {};
            }
        }
        return missing(operation, operation.path_text);
    }

    Result<void> remove(const Operation& operation, const std::vector<std::string>& path,
                        const std::string& path_text) {
        if (path.empty()) {
            return make_error(Code::kFailedPrecondition, "{} operation does not apply: {}",
                              operation.op, "the whole document cannot be removed");
        }
        json::value* parent = find(document_, path, path.size() - 1);
        if (parent != nullptr && parent->is_object()) {
            json::object& object = parent->get_object();
            if (auto* found = object.find(path.back()); found != object.end()) {
                SLUICE_TRY(count_moved(object.size()));
                object.stable_erase(found);
                return {};
            }
        } else if (parent != nullptr && parent->is_array()) {
            json::array& array = parent->get_array();
            if (const auto index = array_index(path.back(), array.size(), false)) {
                SLUICE_TRY(count_moved(array.size() - *index));
                array.erase(array.begin() + static_cast<std::ptrdiff_t>(*index));
                return {};
            }
        }
        return missing(operation, path_text);
    }

    Result<void> replace(const Operation& operation) {
        json::value* at = find(document_, operation.path, operation.path.size());
        if (at == nullptr) return missing(operation, operation.path_text);
        *at = *operation.value;
        return {};
    }

    Result<void> test(const Operation& operation) {
        const json::value* at = find(document_, operation.path, operation.path.size());
        if (at == nullptr) {
            const json::value* parent =
                operation.path.empty() ? nullptr
                                       : find(document_, operation.path, operation.path.size() - 1);
            if (parent == nullptr || !parent->is_object()) {
                return missing(operation, operation.path_text);
            }
            if (operation.value->is_null()) return {};
        } else if (json_equal(*at, *operation.value)) {
            return {};
        }
        return make_error(Code::kFailedPrecondition, "testing path {} failed", operation.path_text);
    }

    Result<void> move(const Operation& operation) {
        const json::value* source = find(document_, operation.from, operation.from.size());
        if (source == nullptr) return missing(operation, operation.from_text);
        if (operation.from == operation.path) return {};
        // RFC 6902, section 4.4: not into one of its own children.
        if (operation.from.size() < operation.path.size() &&
            std::equal(operation.from.begin(), operation.from.end(), operation.path.begin())) {
            return make_error(Code::kFailedPrecondition,
                              "move operation does not apply: {} lies inside {}",
                              operation.path_text, operation.from_text);
        }
        json::value value = std::move(*find(document_, operation.from, operation.from.size()));
        SLUICE_TRY(remove(operation, operation.from, operation.from_text));
        return add(operation, std::move(value));
    }

    Result<void> copy(const Operation& operation) {
        const json::value* source = find(document_, operation.from, operation.from.size());
        if (source == nullptr) return missing(operation, operation.from_text);
        copied_ += json_size(*source);
        if (copied_ > kMaxJsonPatchCopyBytes) {
            return make_error(
                Code::kFailedPrecondition,
                "Unable to complete the copy, the accumulated size increase of copy is "
                "{}, exceeding the limit {}",
                copied_, kMaxJsonPatchCopyBytes);
        }
        return add(operation, *source);
    }

    json::value* document_;
    std::size_t copied_ = 0;
    std::size_t moved_ = 0;
};

}  // namespace

Result<void> apply_json_patch(json::value* target, const json::value& patch) {
    const json::array* list = patch.if_array();
    if (list == nullptr) {
        return make_error(Code::kInvalidArgument,
                          "json patch: the patch is not a list of operations");
    }
    if (list->size() > kMaxJsonPatchOperations) {
        return make_error(Code::kResourceExhausted,
                          "The allowed maximum operations in a JSON patch is {}, got {}",
                          kMaxJsonPatchOperations, list->size());
    }
    // The whole patch is read before the first operation, so that a malformed one is told from one
    // that does not apply.
    std::vector<Operation> operations;
    operations.reserve(list->size());
    for (std::size_t i = 0; i < list->size(); ++i) {
        SLUICE_TRY_ASSIGN(auto operation, parse_operation((*list)[i], i));
        operations.push_back(std::move(operation));
    }
    json::value document = *target;
    Applier applier(&document);
    for (const Operation& operation : operations) SLUICE_TRY(applier.apply(operation));
    *target = std::move(document);
    return {};
}

}  // namespace sluice::codec
