// Sets of fields of an object, as server-side apply keeps them for each manager (metadata.managedFields, fieldsV1).
//
// A path is a sequence of elements: a member of an object (f:name), an element of a list that is told by its keys
// (k:{...}), by its value (v:...) or by its index (i:N). A set is a tree: which elements belong to it, and sets below
// elements. Values; no set refers to another.
#pragma once

#include <compare>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::codec {

// Depth of a set that is read; deeper is refused.
inline constexpr int kMaxFieldSetDepth = 256;

struct PathElement {
    enum class Kind : unsigned char { kField, kKey, kValue, kIndex };
    Kind kind = Kind::kField;
    // The name; or JSON as it stands behind "k:", "v:", "i:", its keys in order.
    std::string text;

    static PathElement field(std::string name) { return {Kind::kField, std::move(name)}; }
    bool operator==(const PathElement&) const = default;
    // Names by their bytes; numbers in keys, values and indices by their value, as Kubernetes orders them.
    std::strong_ordering operator<=>(const PathElement& other) const;
    // "f:name" and the like.
    [[nodiscard]] std::string to_string() const;
    // kInvalidArgument names the text.
    static Result<PathElement> parse(std::string_view text);
};

class FieldSet {
public:
    using Children = std::map<PathElement, FieldSet>;

    [[nodiscard]] bool empty() const { return members_.empty() && children_.empty(); }
    [[nodiscard]] bool has(const PathElement& element) const { return members_.contains(element); }
    // The set below an element, or null.
    [[nodiscard]] const FieldSet* below(const PathElement& element) const;
    [[nodiscard]] const std::set<PathElement>& members() const { return members_; }
    [[nodiscard]] const Children& children() const { return children_; }

    void insert(const PathElement& element) { members_.insert(element); }
    // The set below an element, made if there is none; drop_empty() takes away those that stayed empty.
    FieldSet& make_below(const PathElement& element) { return children_[element]; }
    void drop_empty();
    // A path of members: {"metadata", "name"}.
    void insert_path(std::initializer_list<std::string_view> path);

    [[nodiscard]] FieldSet united(const FieldSet& other) const;
    [[nodiscard]] FieldSet intersected(const FieldSet& other) const;
    [[nodiscard]] FieldSet minus(const FieldSet& other) const;
    // Without the other's members and all that is below them.
    [[nodiscard]] FieldSet without_subtrees(const FieldSet& other) const;
    // fieldsV1: members as "f:a": {}, sets as objects, which hold "." if their element is a member too. The parts are
    // in the order in which Kubernetes writes them.
    [[nodiscard]] std::string to_json() const;
    static Result<FieldSet> from_json(std::string_view text);

    bool operator==(const FieldSet&) const = default;

private:
    void write(std::string* out, bool dot) const;

    std::set<PathElement> members_;
    Children children_;
};

}  // namespace sluice::codec
