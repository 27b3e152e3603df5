// Strategic merge patch: maps are merged, lists are replaced, merged by key or merged as sets, as
// the options of each field say, and directives in the patch override that.
//
//   {"$patch": "replace" | "delete"}      in a map, or as an element of a list merged by key
//   "$setElementOrder/LIST": [...]        the order of the merged list
//   "$deleteFromPrimitiveList/LIST": [..] values to take out of a list merged as a set
//   "$retainKeys": [...]                  members that survive in the map
//
// Deviation from kube-apiserver: below free-form JSON, where there is no type to look up, maps are
// merged and lists replaced, where kube-apiserver fails with an internal error.
#include <algorithm>
#include <boost/json.hpp>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "api/codec/patch.h"
#include "api/codec/patch_schema.h"
#include "api/codec/patch_values_internal.h"

namespace sluice::codec {
namespace json = boost::json;

namespace {

constexpr std::string_view kDirective = "$patch";
constexpr std::string_view kRetainKeys = "$retainKeys";
constexpr std::string_view kDeletePrefix = "$deleteFromPrimitiveList";
constexpr std::string_view kOrderPrefix = "$setElementOrder";

Error bad_order_list() {
    return make_error(Code::kInvalidArgument, "Invalid patch format of setElementOrder list");
}

Error no_merge_key(const json::value& element, std::string_view key) {
    return make_error(Code::kInternal, "map: {} does not contain declared merge key: {}",
                      go_format(element), key);
}

Error unknown_directive(const json::value& directive, const json::value& element) {
    return make_error(Code::kInternal, "unknown patch type: {} in map: {}", go_format(directive),
                      go_format(element));
}

// "$prefix/name" to name.
Result<std::string_view> directive_target(std::string_view key, std::string_view prefix) {
    const std::string_view rest = key.substr(prefix.size());
    if (!rest.starts_with('/')) {
        return prefix == kOrderPrefix
                   ? bad_order_list()
                   : make_error(Code::kInvalidArgument, "Invalid patch format of primitive list");
    }
    return rest.substr(1);
}

bool is_directive(std::string_view key) {
    return key == kDirective || key == kRetainKeys || key.starts_with(kDeletePrefix) ||
           key.starts_with(kOrderPrefix);
}

bool has_directive(const json::value& value) {
    const json::object* object = value.if_object();
    return object != nullptr && object->contains(kDirective);
}

// A part of the patch that meets nothing in the document stands there as it is, without directives,
// nulls and elements that were only there to be deleted.
json::value without_directives(const json::value& patch) {
    if (const json::object* object = patch.if_object()) {
        const json::value* directive = object->if_contains(kDirective);
        json::object out;
        if (directive != nullptr && *directive == "delete") return out;
        for (const auto& member : *object) {
            if (is_directive(member.key()) || member.value().is_null()) continue;
            out.emplace(member.key(), without_directives(member.value()));
        }
        return out;
    }
    if (const json::array* array = patch.if_array()) {
        json::array out;
        out.reserve(array->size());
        for (const json::value& element : *array) {
            if (has_directive(element)) continue;
            out.push_back(without_directives(element));
        }
        return out;
    }
    return patch;
}

// What an element of a merged list is known by: itself, or the value of its merge key.
// kNotFound marks what a look-up did not find.
constexpr std::size_t kNotFound = std::numeric_limits<std::size_t>::max();

class ElementKey {
public:
    explicit ElementKey(std::string_view merge_key) : merge_key_(merge_key) {}

    Result<std::string> of(const json::value& element) const {
        if (merge_key_.empty()) {
            if (!is_scalar(element)) {
                return make_error(Code::kInternal,
                                  "cannot merge lists without merge key for type {}",
                                  element.is_object() ? "struct" : "slice");
            }
            return scalar_key(element);
        }
        const json::object* object = element.if_object();
        if (object == nullptr) {
            return make_error(Code::kInternal, "list element types are not identical: {}",
                              go_format(element));
        }
        const json::value* key = object->if_contains(merge_key_);
        if (key == nullptr) return no_merge_key(element, merge_key_);
        if (!is_scalar(*key)) {
            return make_error(Code::kInvalidArgument, "merge key {} of {} is not a scalar",
                              merge_key_, go_format(element));
        }
        return scalar_key(*key);
    }

private:
    std::string_view merge_key_;
};

// Position of the first element with each key. Elements without one (which only stored objects of
// older versions can have) are left out.
using Positions = std::unordered_map<std::string, std::size_t>;

Positions positions_of(const json::array& list, const ElementKey& key) {
    Positions positions;
    positions.reserve(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (auto name = key.of(list[i])) positions.try_emplace(*std::move(name), i);
    }
    return positions;
}

std::size_t position(const Positions& positions, const std::string& key) {
    const auto found = positions.find(key);
    return found == positions.end() ? kNotFound : found->second;
}

// Orders a merged list: elements that wanted names, in its order; the others in the order they had;
// the two are then woven together so that an old element stands before the first wanted one that
// was behind it. New elements therefore come first when nothing says where they belong.
Result<json::array> order_elements(json::array merged, const json::array& wanted,
                                   const json::array& before, const ElementKey& key) {
    struct Entry {
        json::value value;
        std::size_t wanted;
        std::size_t before;
    };
    const Positions wanted_positions = positions_of(wanted, key);
    const Positions old_positions = positions_of(before, key);
    std::vector<Entry> named;
    std::vector<Entry> others;
    for (json::value& element : merged) {
        SLUICE_TRY_ASSIGN(const std::string name, key.of(element));
        Entry entry{std::move(element), position(wanted_positions, name),
                    position(old_positions, name)};
        (entry.wanted == kNotFound ? others : named).push_back(std::move(entry));
    }
    std::ranges::stable_sort(named, {}, &Entry::wanted);
    std::ranges::stable_sort(others, {}, &Entry::before);
    json::array out;
    out.reserve(named.size() + others.size());
    std::size_t i = 0;
    std::size_t j = 0;
    while (i < others.size() || j < named.size()) {
        const bool take_other =
            i < others.size() &&
            (j == named.size() || (others[i].before != kNotFound && named[j].before != kNotFound &&
                                   others[i].before < named[j].before));
        out.push_back(std::move(take_other ? others[i++].value : named[j++].value));
    }
    return out;
}

class StrategicMerge {
public:
    Result<json::value> merge_map(json::value original, const json::object& patch,
                                  const PatchMember& type);

private:
    Result<void> retain_keys(json::object* original, const json::object& patch,
                             const json::value& directive);
    Result<bool> merge_ordered_list(json::object* original, const json::object& patch,
                                    std::string_view name, const json::value& order,
                                    const PatchMember& type);
    Result<json::value> merge_list(json::array original, const json::array& patch,
                                   const PatchMember& type);
    Result<json::array> merge_keyed_list(json::array original, const json::array& patch,
                                         const PatchMember& type, json::array* kept);
    Result<json::value> merge_value(json::value original, const json::value& patch,
                                    const PatchMember& type);

    PatchSchema schema_;
};

Result<void> StrategicMerge::retain_keys(json::object* original, const json::object& patch,
                                         const json::value& directive) {
    const Error malformed =
        make_error(Code::kInvalidArgument, "Invalid patch format of retainKeys");
    const json::array* list = directive.if_array();
    if (list == nullptr) return malformed;
    std::unordered_set<std::string_view> retained;
    for (const json::value& name : *list) {
        if (const json::string* text = name.if_string())
            retained.emplace(text->data(), text->size());
    }
    for (const auto& member : patch) {
        if (member.key() == kRetainKeys || member.value().is_null() ||
            member.key().starts_with(kDeletePrefix) || member.key().starts_with(kOrderPrefix)) {
            continue;
        }
        if (!retained.contains(member.key())) return malformed;
    }
    json::object rest;
    for (auto& member : *original) {
        if (retained.contains(member.key())) rest.emplace(member.key(), std::move(member.value()));
    }
    *original = std::move(rest);
    return {};
}

// The elements of the patch, deletions aside, must stand in the order that the directive gives, and
// none may be missing there.
Result<void> check_order(const json::array& patch, const json::array& order,
                         const ElementKey& key) {
    if (patch.empty() || order.empty()) return {};
    std::size_t at = 0;
    for (const json::value& element : patch) {
        if (has_directive(element)) continue;
        SLUICE_TRY_ASSIGN(const std::string name, key.of(element));
        bool found = false;
        while (!found && at < order.size()) {
            SLUICE_TRY_ASSIGN(const std::string ordered, key.of(order[at++]));
            found = ordered == name;
        }
        if (!found) {
            return make_error(Code::kInternal,
                              "The order in patch list:\n{}\n doesn't match {} list:\n{}\n",
                              go_format(patch), kOrderPrefix, go_format(order));
        }
    }
    return {};
}

// Merges the list `name` of the patch and puts the result in the given order. True if there was
// such a list on either side; the patch's list is then done with.
Result<bool> StrategicMerge::merge_ordered_list(json::object* original, const json::object& patch,
                                                std::string_view name, const json::value& order,
                                                const PatchMember& type) {
    const json::array* order_list = order.if_array();
    if (order_list == nullptr) return bad_order_list();
    json::value* have = original->if_contains(name);
    const json::value* want = patch.if_contains(name);
    if (want != nullptr && want->is_null()) return false;  // deleted as any member is
    if ((have != nullptr && !have->is_array()) || (want != nullptr && !want->is_array())) {
        return make_error(Code::kInternal, "expected a list for {}, but received {}", name,
                          go_format(want != nullptr && !want->is_array() ? *want : *have));
    }
    if (have == nullptr && want == nullptr) return false;
    const ElementKey key(type.merge_key);
    if (want != nullptr) SLUICE_TRY(check_order(want->get_array(), *order_list, key));

    const json::array before = have == nullptr ? json::array() : have->get_array();
    json::value merged;
    if (want == nullptr) {
        merged = before;
    } else if (have == nullptr) {
        merged = without_directives(*want);
    } else {
        SLUICE_TRY_ASSIGN(merged, merge_value(std::move(*have), *want, type));
    }
    SLUICE_TRY_ASSIGN(auto ordered,
                      order_elements(std::move(merged.get_array()), *order_list, before, key));
    original->insert_or_assign(name, std::move(ordered));
    return true;
}

// Elements with $patch first, then the rest by key. kept: the original's elements that no directive
// removed, which decide the order afterwards.
Result<json::array> StrategicMerge::merge_keyed_list(json::array original, const json::array& patch,
                                                     const PatchMember& type, json::array* kept) {
    const ElementKey key(type.merge_key);
    std::unordered_set<std::string> deleted;
    bool replace = false;
    for (const json::value& element : patch) {
        if (!element.is_object()) {
            return make_error(Code::kInternal, "list element types are not identical: {}",
                              go_format(patch));
        }
        const json::value* directive = element.get_object().if_contains(kDirective);
        if (directive == nullptr) continue;
        if (*directive == "delete") {
            SLUICE_TRY_ASSIGN(auto name, key.of(element));
            deleted.insert(std::move(name));
        } else if (*directive == "replace") {
            replace = true;
        } else if (*directive == "merge") {
            return make_error(Code::kInternal,
                              "merging lists cannot yet be specified in the patch");
        } else {
            return unknown_directive(*directive, element);
        }
    }
    json::array out;
    if (replace) {
        out = std::move(without_directives(patch).get_array());
        *kept = out;
        return out;
    }
    Positions positions;
    for (json::value& element : original) {
        SLUICE_TRY_ASSIGN(auto name, key.of(element));
        if (deleted.contains(name)) continue;
        positions.try_emplace(std::move(name), out.size());
        out.push_back(std::move(element));
    }
    *kept = out;
    PatchMember element_type;
    element_type.message = type.message;
    for (const json::value& element : patch) {
        if (has_directive(element)) continue;
        SLUICE_TRY_ASSIGN(auto name, key.of(element));
        const std::size_t at = position(positions, name);
        if (at == kNotFound) {
            positions.try_emplace(std::move(name), out.size());
            out.push_back(without_directives(element));
            continue;
        }
        SLUICE_TRY_ASSIGN(out[at],
                          merge_map(std::move(out[at]), element.get_object(), element_type));
    }
    return out;
}

Result<json::value> StrategicMerge::merge_list(json::array original, const json::array& patch,
                                               const PatchMember& type) {
    if (!type.merge_list) return without_directives(patch);
    if (patch.empty()) return json::value(std::move(original));
    const ElementKey key(type.merge_key);
    json::array kept;
    json::array merged;
    if (!type.merge_key.empty()) {
        SLUICE_TRY_ASSIGN(merged, merge_keyed_list(std::move(original), patch, type, &kept));
        json::array plain;
        for (const json::value& element : patch) {
            if (!has_directive(element)) plain.push_back(element);
        }
        SLUICE_TRY_ASSIGN(merged, order_elements(std::move(merged), plain, kept, key));
        return json::value(std::move(merged));
    }
    // A set of scalars.
    std::unordered_set<std::string> seen;
    for (const json::array* list : {&std::as_const(original), &patch}) {
        for (const json::value& element : *list) {
            SLUICE_TRY_ASSIGN(auto name, key.of(element));
            if (seen.insert(std::move(name)).second) merged.push_back(element);
        }
    }
    SLUICE_TRY_ASSIGN(merged, order_elements(std::move(merged), patch, original, key));
    return json::value(std::move(merged));
}

Result<json::value> delete_from_list(const json::array& original, const json::array& unwanted) {
    const ElementKey key("");
    std::unordered_set<std::string> names;
    for (const json::value& element : unwanted) {
        SLUICE_TRY_ASSIGN(auto name, key.of(element));
        names.insert(std::move(name));
    }
    json::array rest;
    for (const json::value& element : original) {
        SLUICE_TRY_ASSIGN(const std::string name, key.of(element));
        if (!names.contains(name)) rest.push_back(element);
    }
    return json::value(std::move(rest));
}

// Both sides exist and the patch is not null.
Result<json::value> StrategicMerge::merge_value(json::value original, const json::value& patch,
                                                const PatchMember& type) {
    if (original.is_object() && patch.is_object()) {
        if (type.replace_map) return without_directives(patch);
        return merge_map(std::move(original), patch.get_object(), type);
    }
    if (original.is_array() && patch.is_array()) {
        return merge_list(std::move(original.get_array()), patch.get_array(), type);
    }
    return without_directives(patch);
}

Result<json::value> StrategicMerge::merge_map(json::value original, const json::object& patch,
                                              const PatchMember& type) {
    if (const json::value* directive = patch.if_contains(kDirective)) {
        if (*directive == "delete") return json::value(json::object());
        if (*directive != "replace") return unknown_directive(*directive, json::value(patch));
        json::object replacement = patch;
        replacement.erase(kDirective);
        return without_directives(replacement);
    }
    json::object& object = original.is_object() ? original.get_object() : original.emplace_object();
    if (const json::value* directive = patch.if_contains(kRetainKeys)) {
        SLUICE_TRY(retain_keys(&object, patch, *directive));
    }
    // Ordered lists first: they take their patch lists with them.
    std::unordered_set<std::string_view> done;
    for (const auto& member : patch) {
        if (!member.key().starts_with(kOrderPrefix)) continue;
        SLUICE_TRY_ASSIGN(const std::string_view name,
                          directive_target(member.key(), kOrderPrefix));
        SLUICE_TRY_ASSIGN(
            const bool merged,
            merge_ordered_list(&object, patch, name, member.value(), schema_.member(type, name)));
        if (merged) done.insert(name);
    }
    std::unordered_set<std::string_view> removed;
    for (const auto& member : patch) {
        std::string_view name = member.key();
        if (name == kRetainKeys || name.starts_with(kOrderPrefix) || done.contains(name)) continue;
        const bool deletes = name.starts_with(kDeletePrefix);
        if (deletes) {
            SLUICE_TRY_ASSIGN(name, directive_target(member.key(), kDeletePrefix));
            if (!member.value().is_array()) {
                return make_error(Code::kInvalidArgument, "Invalid patch format of primitive list");
            }
        }
        json::value* have = object.if_contains(name);
        if (member.value().is_null()) {
            if (have != nullptr) removed.insert(name);
            continue;
        }
        if (deletes) {
            if (have == nullptr || !have->is_array()) continue;
            SLUICE_TRY_ASSIGN(*have,
                              delete_from_list(have->get_array(), member.value().get_array()));
            continue;
        }
        if (have == nullptr) {
            object.insert_or_assign(name, without_directives(member.value()));
            continue;
        }
        SLUICE_TRY_ASSIGN(
            auto merged, merge_value(std::move(*have), member.value(), schema_.member(type, name)));
        *have = std::move(merged);
    }
    if (!removed.empty()) {
        json::object rest;
        rest.reserve(object.size());
        for (auto& member : object) {
            if (!removed.contains(member.key()))
                rest.emplace(member.key(), std::move(member.value()));
        }
        object = std::move(rest);
    }
    return original;
}

}  // namespace

Result<void> apply_strategic_merge_patch(json::value* target, const json::value& patch,
                                         const google::protobuf::Descriptor& type) {
    const json::object* object = patch.if_object();
    if (object == nullptr) {
        return make_error(Code::kInvalidArgument,
                          "strategic merge patch: the patch is not an object");
    }
    PatchMember root;
    root.message = &type;
    StrategicMerge merge;
    SLUICE_TRY_ASSIGN(*target, merge.merge_map(*target, *object, root));
    return {};
}

}  // namespace sluice::codec
