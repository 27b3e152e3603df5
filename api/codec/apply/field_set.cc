#include "api/codec/apply/field_set.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <charconv>
#include <iterator>
#include <vector>

namespace sluice::codec {
namespace {

namespace json = boost::json;

constexpr std::string_view kPrefixes = "fkvi";  // in the order of PathElement::Kind

// As Boost.JSON writes a string, which takes far longer for one as short as a name.
void append_quoted(std::string_view text, std::string* out) {
    const std::size_t before = out->size();
    *out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte > 0x7e) {
            out->resize(before);
            *out += json::serialize(json::string(text.data(), text.size()));
            return;
        }
        if (c == '"' || c == '\\') *out += '\\';
        *out += c;
    }
    *out += '"';
}

Error malformed(std::string_view text) {
    return make_error(Code::kInvalidArgument, "\"{}\" is no element of a field path", text);
}

// JSON of a key with its members in order, so that equal keys have one text.
Result<std::string> canonical(std::string_view text, bool object) {
    boost::system::error_code error;
    json::value value = json::parse({text.data(), text.size()}, error);
    if (error || value.is_object() != object || value.is_array()) return malformed(text);
    if (!object) return json::serialize(value);
    std::vector<std::pair<std::string, json::value>> members;
    for (const auto& [name, member] : value.as_object()) {
        if (member.is_object() || member.is_array()) return malformed(text);
        members.emplace_back(std::string(name), member);
    }
    std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::string out = "{";
    for (const auto& [name, member] : members) {
        if (out.size() > 1) out += ',';
        append_quoted(name, &out);
        out += ":" + json::serialize(member);
    }
    return out + "}";
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// JSON texts, where runs of digits outside of strings compare by their value.
std::strong_ordering compare_json(std::string_view a, std::string_view b) {
    bool in_string = false;
    std::size_t i = 0;
    while (i < a.size() && i < b.size()) {
        if (!in_string && is_digit(a[i]) && is_digit(b[i])) {
            std::size_t a_end = i;
            std::size_t b_end = i;
            while (a_end < a.size() && is_digit(a[a_end])) ++a_end;
            while (b_end < b.size() && is_digit(b[b_end])) ++b_end;
            if (a_end != b_end) return a_end <=> b_end;
        }
        if (a[i] != b[i]) return static_cast<unsigned char>(a[i]) <=> static_cast<unsigned char>(b[i]);
        if (a[i] == '"' && (i == 0 || a[i - 1] != '\\')) in_string = !in_string;
        ++i;
    }
    return a.size() <=> b.size();
}

Result<void> read(const json::value& from, int depth, FieldSet* out, bool* is_member) {
    if (depth > kMaxFieldSetDepth) {
        return make_error(Code::kInvalidArgument, "fieldsV1 is deeper than {}", kMaxFieldSetDepth);
    }
    if (!from.is_object()) return make_error(Code::kInvalidArgument, "fieldsV1 holds a value that is no object");
    for (const auto& [name, value] : from.as_object()) {
        if (name == ".") {
            *is_member = true;
            continue;
        }
        SLUICE_TRY_ASSIGN(const auto element, PathElement::parse(name));
        if (value.is_object() && value.as_object().empty()) {
            out->insert(element);
            continue;
        }
        bool member = false;
        FieldSet& below = out->make_below(element);
        SLUICE_TRY(read(value, depth + 1, &below, &member));
        if (member) out->insert(element);
    }
    return {};
}

}  // namespace

std::strong_ordering PathElement::operator<=>(const PathElement& other) const {
    if (kind != other.kind) return kind <=> other.kind;
    return kind == Kind::kField ? text <=> other.text : compare_json(text, other.text);
}

std::string PathElement::to_string() const {
    return std::string(1, kPrefixes[static_cast<std::size_t>(kind)]) + ":" + text;
}

Result<PathElement> PathElement::parse(std::string_view text) {
    if (text.size() < 2 || text[1] != ':') return malformed(text);
    const std::size_t kind = kPrefixes.find(text[0]);
    if (kind == std::string_view::npos) return malformed(text);
    const std::string_view rest = text.substr(2);
    PathElement out{static_cast<Kind>(kind), std::string(rest)};
    if (out.kind == Kind::kKey || out.kind == Kind::kValue) {
        auto same = canonical(rest, out.kind == Kind::kKey);
        if (!same) return malformed(text);
        out.text = std::move(*same);
    } else if (out.kind == Kind::kIndex) {
        int index = 0;
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
        if (error != std::errc() || end != rest.data() + rest.size()) return malformed(text);
    }
    return out;
}

const FieldSet* FieldSet::below(const PathElement& element) const {
    const auto found = children_.find(element);
    return found == children_.end() ? nullptr : &found->second;
}

void FieldSet::drop_empty() {
    for (auto& [element, below] : children_) below.drop_empty();
    std::erase_if(children_, [](const auto& child) { return child.second.empty(); });
}

void FieldSet::insert_path(std::initializer_list<std::string_view> path) {
    FieldSet* at = this;
    std::size_t left = path.size();
    for (const std::string_view name : path) {
        const PathElement element = PathElement::field(std::string(name));
        if (--left == 0) {
            at->insert(element);
        } else {
            at = &at->make_below(element);
        }
    }
}

FieldSet FieldSet::united(const FieldSet& other) const {
    FieldSet out = *this;
    out.members_.insert(other.members_.begin(), other.members_.end());
    for (const auto& [element, below] : other.children_) {
        FieldSet& mine = out.children_[element];
        mine = mine.empty() ? below : mine.united(below);
    }
    return out;
}

FieldSet FieldSet::intersected(const FieldSet& other) const {
    FieldSet out;
    std::set_intersection(members_.begin(), members_.end(), other.members_.begin(), other.members_.end(),
                          std::inserter(out.members_, out.members_.end()));
    for (const auto& [element, below] : children_) {
        if (const FieldSet* theirs = other.below(element)) {
            FieldSet both = below.intersected(*theirs);
            if (!both.empty()) out.children_.emplace(element, std::move(both));
        }
    }
    return out;
}

FieldSet FieldSet::minus(const FieldSet& other) const {
    FieldSet out;
    std::set_difference(members_.begin(), members_.end(), other.members_.begin(), other.members_.end(),
                        std::inserter(out.members_, out.members_.end()));
    for (const auto& [element, below] : children_) {
        const FieldSet* theirs = other.below(element);
        FieldSet left = theirs == nullptr ? below : below.minus(*theirs);
        if (!left.empty()) out.children_.emplace(element, std::move(left));
    }
    return out;
}

FieldSet FieldSet::without_subtrees(const FieldSet& other) const {
    FieldSet out;
    std::set_difference(members_.begin(), members_.end(), other.members_.begin(), other.members_.end(),
                        std::inserter(out.members_, out.members_.end()));
    for (const auto& [element, below] : children_) {
        if (other.has(element)) continue;
        const FieldSet* theirs = other.below(element);
        FieldSet left = theirs == nullptr ? below : below.without_subtrees(*theirs);
        if (!left.empty()) out.children_.emplace(element, std::move(left));
    }
    return out;
}

void FieldSet::write(std::string* out, bool dot) const {
    *out += '{';
    bool first = true;
    const auto name = [&](std::string_view text) {
        if (!first) *out += ',';
        first = false;
        append_quoted(text, out);
        *out += ':';
    };
    if (dot) {
        name(".");
        *out += "{}";
    }
    // Two ordered lists, merged.
    auto member = members_.begin();
    auto child = children_.begin();
    while (member != members_.end() || child != children_.end()) {
        if (child == children_.end() || (member != members_.end() && *member < child->first)) {
            name((member++)->to_string());
            *out += "{}";
            continue;
        }
        const bool both = member != members_.end() && *member == child->first;
        if (both) ++member;
        name(child->first.to_string());
        (child++)->second.write(out, both);
    }
    *out += '}';
}

std::string FieldSet::to_json() const {
    std::string out;
    write(&out, false);
    return out;
}

Result<FieldSet> FieldSet::from_json(std::string_view text) {
    json::parse_options options;
    options.max_depth = kMaxFieldSetDepth + 1;
    boost::system::error_code error;
    const json::value value = json::parse({text.data(), text.size()}, error, {}, options);
    if (error) return make_error(Code::kInvalidArgument, "fieldsV1 is no JSON: {}", error.message());
    FieldSet out;
    bool ignored = false;
    SLUICE_TRY(read(value, 0, &out, &ignored));
    out.drop_empty();
    return out;
}

}  // namespace sluice::codec
