// YAML text to a JSON tree: yaml-cpp finds the structure, this file gives it meaning and keeps limits.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cmath>
#include <limits>
#include <sstream>
#include <unordered_map>
#include <vector>

#include "api/codec/json.h"
#include "api/codec/json_text.h"
#include "api/codec/yaml.h"
#include "api/codec/yaml_scalar.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;

constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

// Empty documents that may follow the one that counts.
constexpr int kMaxYamlSeparators = 16;

// Leaves the parser; caught in yaml_to_json.
struct Refusal {
    Error error;
};

template <class... Args>
[[noreturn]] void refuse(Code code, int line, fmt::format_string<Args...> format, Args&&... args) {
    throw Refusal{make_error(code, "yaml: line {}: {}", line + 1,
                             fmt::format(format, std::forward<Args>(args)...))};
}

struct Cost {
    std::size_t nodes = 1;
    std::size_t bytes = 0;
};

struct Anchored {
    json::value value;
    Cost cost;
};

// One container that is open.
struct Level {
    bool is_map = false;
    YAML::anchor_t anchor = 0;
    json::array elements;
    json::object members;
    json::array merged;  // the values of <<
    bool has_key = false;
    bool merge_key = false;
    std::string key;
    Cost cost;
};

class TreeBuilder : public YAML::EventHandler {
public:
    json::value take() { return std::move(root_); }
    [[nodiscard]] bool empty() const { return root_.is_null(); }

    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        line_ = mark.line;
        scalar("?", anchor, "");
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        line_ = mark.line;
        const auto found = anchors_.find(anchor);
        if (found == anchors_.end()) {
            refuse(Code::kInvalidArgument, line_, "an anchor contains itself");
        }
        const Cost cost = found->second.cost;
        charge_copy(cost);
        const json::value& value = found->second.value;
        if (awaits_key() && !value.is_string()) {
            refuse(Code::kInvalidArgument, line_, "a key is not a text");
        }
        // The depth of what is copied counts, too.
        if (levels_.size() + depth_of(value) > static_cast<std::size_t>(kMaxJsonDepth)) too_deep();
        if (awaits_key()) {
            set_key(std::string(value.get_string()));
        } else {
            place(json::value(value), cost, 0);
        }
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& text) override {
        line_ = mark.line;
        scalar(tag, anchor, text);
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        line_ = mark.line;
        open(false, tag, "seq", anchor);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        line_ = mark.line;
        open(true, tag, "map", anchor);
    }
    void OnMapEnd() override { close(); }

private:
    [[noreturn]] void too_deep() const {
        refuse(Code::kInvalidArgument, line_, "more than {} levels", kMaxJsonDepth);
    }

    // NOLINTNEXTLINE(misc-no-recursion): what was built has at most kMaxJsonDepth levels.
    static std::size_t depth_of(const json::value& value) {
        std::size_t deepest = 0;
        if (const auto* array = value.if_array()) {
            for (const auto& element : *array) deepest = std::max(deepest, depth_of(element));
            return deepest + 1;
        }
        if (const auto* object = value.if_object()) {
            for (const auto& member : *object) {
                deepest = std::max(deepest, depth_of(member.value()));
            }
            return deepest + 1;
        }
        return 0;
    }

    void count(std::size_t nodes) {
        nodes_ += nodes;
        if (nodes_ > kMaxYamlNodes) {
            refuse(Code::kResourceExhausted, line_, "more than {} nodes", kMaxYamlNodes);
        }
    }

    void charge_copy(Cost cost) {
        alias_bytes_ += cost.bytes;
        if (alias_bytes_ > kMaxYamlAliasBytes) {
            refuse(Code::kResourceExhausted, line_, "anchors and aliases take more than {} bytes",
                   kMaxYamlAliasBytes);
        }
        count(cost.nodes);
    }

    [[nodiscard]] bool awaits_key() const {
        return !levels_.empty() && levels_.back().is_map && !levels_.back().has_key;
    }

    void open(bool is_map, const std::string& tag, std::string_view kind, YAML::anchor_t anchor) {
        const std::string_view name(tag);
        const bool plain = tag.empty() || tag == "?" || tag == "!";
        if (!plain && !(name.starts_with(kTagPrefix) && name.substr(kTagPrefix.size()) == kind)) {
            refuse(Code::kInvalidArgument, line_, "unknown tag {}", quoted(tag));
        }
        if (awaits_key()) refuse(Code::kInvalidArgument, line_, "a key is not a text");
        if (levels_.size() >= static_cast<std::size_t>(kMaxJsonDepth)) too_deep();
        count(1);
        Level level;
        level.is_map = is_map;
        level.anchor = anchor;
        levels_.push_back(std::move(level));
    }

    void close() {
        Level level = std::move(levels_.back());
        levels_.pop_back();
        json::value value;
        if (level.is_map) {
            for (const auto& source : level.merged) merge(source, &level);
            value = std::move(level.members);
        } else {
            value = std::move(level.elements);
        }
        place(std::move(value), level.cost, level.anchor);
    }

    // What the map itself says wins over what is merged; of several sources the first.
    void merge(const json::value& source, Level* level) {
        if (const auto* object = source.if_object()) {
            for (const auto& member : *object) {
                if (!level->members.contains(member.key())) {
                    level->members.emplace(member.key(), member.value());
                }
            }
            return;
        }
        const auto* array = source.if_array();
        if (array == nullptr) bad_merge();
        for (const auto& element : *array) {
            if (!element.is_object()) bad_merge();
            merge(element, level);
        }
    }
    [[noreturn]] void bad_merge() const {
        refuse(Code::kInvalidArgument, line_,
               "map merge requires map or sequence of maps as the value");
    }

    void scalar(const std::string& tag, YAML::anchor_t anchor, const std::string& text) {
        count(1);
        if (awaits_key()) {
            key(tag, text);
            // An anchor on a key names the key's text.
            if (anchor != 0) {
                anchors_.insert_or_assign(
                    anchor, Anchored{json::value(levels_.back().key), {1, text.size()}});
            }
            return;
        }
        place(scalar_value(tag, text), {1, text.size()}, anchor);
    }

    void key(const std::string& tag, const std::string& text) {
        const YamlScalar resolved = tag == "?" ? resolve_yaml_scalar(text) : YamlString{};
        if (std::holds_alternative<YamlMerge>(resolved)) {
            levels_.back().has_key = true;
            levels_.back().merge_key = true;
            return;
        }
        const json::value value = scalar_value(tag, text);
        if (value.is_null()) refuse(Code::kInvalidArgument, line_, "a key is null");
        set_key(value.is_string() ? std::string(value.get_string()) : write_json(value));
    }

    void set_key(std::string key) {
        Level& level = levels_.back();
        if (level.members.contains(key)) {
            refuse(Code::kInvalidArgument, line_, "key {} already set in map", quoted(key));
        }
        level.cost.bytes += key.size();
        level.key = std::move(key);
        level.has_key = true;
        level.merge_key = false;
    }

    json::value scalar_value(const std::string& tag, const std::string& text) const {
        if (tag == "?" || tag.empty()) return plain_value(text);
        if (tag == "!") return json::value(text);
        const std::string_view name(tag);
        const std::string_view kind =
            name.starts_with(kTagPrefix) ? name.substr(kTagPrefix.size()) : std::string_view();
        if (kind == "str" || kind == "timestamp") return json::value(text);
        if (kind == "binary") return binary_value(text);
        json::value value = plain_value(text);
        const bool fits = (kind == "int" && (value.is_int64() || value.is_uint64())) ||
                          (kind == "float" && value.is_number()) ||
                          (kind == "bool" && value.is_bool()) || (kind == "null" && value.is_null());
        if (fits) return value;
        if (kind == "int" || kind == "float" || kind == "bool" || kind == "null") {
            refuse(Code::kInvalidArgument, line_, "cannot decode {} as a !!{}", quoted(text), kind);
        }
        refuse(Code::kInvalidArgument, line_, "unknown tag {}", quoted(tag));
    }

    json::value binary_value(const std::string& text) const {
        const auto bytes = decode_base64(text);
        if (!bytes) refuse(Code::kInvalidArgument, line_, "!!binary: {}", bytes.error().message);
        if (!is_utf8(*bytes)) {
            refuse(Code::kInvalidArgument, line_, "!!binary does not hold UTF-8 text");
        }
        return json::value(*bytes);
    }

    json::value plain_value(const std::string& text) const {
        const YamlScalar resolved = resolve_yaml_scalar(text);
        if (std::holds_alternative<YamlNull>(resolved)) return nullptr;
        if (const auto* truth = std::get_if<bool>(&resolved)) return *truth;
        if (const auto* i = std::get_if<std::int64_t>(&resolved)) return *i;
        if (const auto* u = std::get_if<std::uint64_t>(&resolved)) return *u;
        if (const auto* number = std::get_if<double>(&resolved)) return float_value(*number);
        return json::value(text);
    }

    json::value float_value(double number) const {
        if (!std::isfinite(number)) {
            refuse(Code::kInvalidArgument, line_, "json: unsupported value: {}",
                   format_double(number));
        }
        // JSON does not tell 1.0 from 1, and an integer field takes either.
        constexpr double kExact = 9'007'199'254'740'992.0;  // 2^53
        if (std::trunc(number) == number && std::fabs(number) <= kExact) {
            return static_cast<std::int64_t>(number);
        }
        return number;
    }

    void place(json::value value, Cost cost, YAML::anchor_t anchor) {
        if (anchor != 0) {
            // The copy for later aliases counts, or anchors within anchors would multiply.
            charge_copy(cost);
            anchors_.insert_or_assign(anchor, Anchored{value, cost});
        }
        if (levels_.empty()) {
            root_ = std::move(value);
            return;
        }
        Level& level = levels_.back();
        level.cost.nodes += cost.nodes;
        level.cost.bytes += cost.bytes + sizeof(json::value);
        if (!level.is_map) {
            level.elements.push_back(std::move(value));
            return;
        }
        level.has_key = false;
        if (level.merge_key) {
            level.merged.push_back(std::move(value));
        } else {
            level.members.emplace(level.key, std::move(value));
        }
        level.merge_key = false;
    }

    json::value root_;
    std::vector<Level> levels_;
    std::unordered_map<YAML::anchor_t, Anchored> anchors_;
    std::size_t nodes_ = 0;
    std::size_t alias_bytes_ = 0;
    int line_ = 0;
};

// yaml-cpp lets any bytes through and takes U+0004 for the end of the text.
Result<void> check_text(std::string_view text) {
    if (text.size() > kMaxYamlBytes) {
        return make_error(Code::kResourceExhausted, "yaml: a document of {} bytes", text.size());
    }
    int line = 1;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n') ++line;
        if ((byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7F) {
            return make_error(Code::kInvalidArgument,
                              "yaml: line {}: control characters are not allowed", line);
        }
    }
    if (!is_utf8(text)) {
        return make_error(Code::kInvalidArgument, "yaml: the text is not UTF-8");
    }
    return {};
}

json::value parse_document(std::string_view text) {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder first;
    if (!parser.HandleNextDocument(first)) return nullptr;
    // Separators after the document are harmless; another document is not. The count is bounded because
    // yaml-cpp gives one empty document after the other for a stray ",", without reading on.
    for (int separators = 0;; ++separators) {
        TreeBuilder next;
        if (!parser.HandleNextDocument(next)) break;
        if (separators >= kMaxYamlSeparators) {
            throw Refusal{
                make_error(Code::kInvalidArgument, "yaml: text after the end of the document")};
        }
        if (!next.empty()) {
            throw Refusal{
                make_error(Code::kInvalidArgument, "yaml: the text holds several documents")};
        }
    }
    return first.take();
}

}  // namespace

Result<json::value> yaml_to_json(std::string_view text) {
    SLUICE_TRY(check_text(text));
    try {
        return parse_document(text);
    } catch (const Refusal& refusal) {
        return refusal.error;
    } catch (const YAML::Exception& exception) {
        return make_error(Code::kInvalidArgument, "yaml: line {}: {}", exception.mark.line + 1,
                          exception.msg);
    } catch (const std::exception& exception) {
        return make_error(Code::kResourceExhausted, "yaml: {}", exception.what());
    }
}

}  // namespace sluice::codec
