// Two objects side by side: merged, and compared.
#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "api/codec/apply/typed.h"
#include "api/codec/apply/typed_internal.h"
#include "api/codec/patch_values_internal.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;

using Value = const json::value*;  // null: absent
using Merged = std::optional<json::value>;

Value member_of(Value object, std::string_view name) {
    return is_nothing(object) || !object->is_object() ? nullptr : object->as_object().if_contains(name);
}

const json::array& items_of(Value list) {
    static const json::array kNone;
    return is_nothing(list) || !list->is_array() ? kNone : list->as_array();
}

// What the two are together. Where they differ in form, the second one counts, and is a leaf.
View view_of_both(const ApplyType& type, Value left, Value right) {
    if (right == nullptr) return view_of(type, left);
    const View view = view_of(type, right);
    if (left == nullptr || view_of(type, left) == view) {
        // To tell "empty" from "null", where there is nothing in either of them.
        return view != View::kLeaf && is_hollow(left) && is_hollow(right) ? View::kLeaf : view;
    }
    return View::kLeaf;
}

struct Indexed {
    std::vector<PathElement> order;
    std::map<PathElement, std::vector<Value>> items;
};

Result<Indexed> index(const ApplyType& type, Value list) {
    Indexed out;
    for (const json::value& item : items_of(list)) {
        SLUICE_TRY_ASSIGN(auto element, element_of(type, item));
        auto& same = out.items[element];
        same.push_back(&item);
        out.order.push_back(std::move(element));
    }
    return out;
}

Result<Merged> merge(const ApplyType& type, Value base, Value over, ApplySchema& schema);

Result<Merged> merge_objects(const ApplyType& type, Value base, Value over, ApplySchema& schema) {
    json::object out;
    const auto take = [&](std::string_view name, Value left, Value right) -> Result<void> {
        bool known = false;
        SLUICE_TRY_ASSIGN(auto value, merge(schema.member(type, name, &known), left, right, schema));
        if (value) out.emplace(name, std::move(*value));
        return {};
    };
    if (!is_nothing(base)) {
        for (const auto& [name, value] : base->as_object()) SLUICE_TRY(take(name, &value, member_of(over, name)));
    }
    if (!is_nothing(over)) {
        for (const auto& [name, value] : over->as_object()) {
            if (member_of(base, name) == nullptr) SLUICE_TRY(take(name, nullptr, &value));
        }
    }
    if (out.empty()) return Merged{};
    return Merged{json::value(std::move(out))};
}

// Elements that both have come in over's order; those of the base alone stay where they are among them.
Result<Merged> merge_lists(const ApplyType& type, Value base, Value over, ApplySchema& schema) {
    SLUICE_TRY_ASSIGN(const Indexed left, index(type, base));
    SLUICE_TRY_ASSIGN(const Indexed right, index(type, over));
    const ApplyType inner = ApplySchema::element(type);
    for (const auto& [element, items] : right.items) {
        if (items.size() > 1) {
            return make_error(Code::kInvalidArgument, "duplicate entries for key {}", element.text);
        }
    }
    json::array out;
    const auto take = [&](Value a, Value b) -> Result<void> {
        SLUICE_TRY_ASSIGN(auto value, merge(inner, a, b, schema));
        if (value) out.push_back(std::move(*value));
        return {};
    };
    // What the base has of a key: nothing if it has it several times, for then nobody can say which is meant.
    const auto in_base = [&](const PathElement& element) -> Value {
        const auto found = left.items.find(element);
        return found == left.items.end() || found->second.size() != 1 ? nullptr : found->second.front();
    };
    std::vector<const PathElement*> shared;  // of both, in over's order; those that are still to come
    for (const PathElement& element : right.order) {
        if (left.items.contains(element)) shared.push_back(&element);
    }
    std::size_t next_shared = 0;
    std::set<PathElement> taken;
    std::size_t l = 0;
    std::size_t r = 0;
    const json::array& base_items = items_of(base);
    while (l < left.order.size() || r < right.order.size()) {
        if (l < left.order.size() && r < right.order.size()) {
            const PathElement& element = left.order[l];
            if (element == right.order[r]) {
                taken.insert(element);
                SLUICE_TRY(take(in_base(element), right.items.at(element).front()));
                ++l;
                ++r;
                ++next_shared;
                continue;
            }
            if (right.items.contains(element) && next_shared < shared.size() && *shared[next_shared] != element) {
                ++l;
                continue;
            }
        }
        if (l < left.order.size()) {
            const PathElement& element = left.order[l];
            if (!right.items.contains(element)) {
                SLUICE_TRY(take(&base_items[l], nullptr));
                ++l;
                continue;
            }
            if (taken.contains(element)) ++l;
        }
        if (r < right.order.size()) {
            const PathElement& element = right.order[r];
            taken.insert(element);
            SLUICE_TRY(take(in_base(element), right.items.at(element).front()));
            ++r;
            if (next_shared < shared.size() && *shared[next_shared] == element) ++next_shared;
        }
    }
    if (out.empty()) return Merged{};
    return Merged{json::value(std::move(out))};
}

Result<Merged> merge(const ApplyType& type, Value base, Value over, ApplySchema& schema) {
    switch (view_of_both(type, base, over)) {
        case View::kObject: return merge_objects(type, base, over, schema);
        case View::kList: return merge_lists(type, base, over, schema);
        case View::kLeaf: break;
    }
    return Merged{over != nullptr ? *over : *base};
}

// Where a difference is noted: the three sets at the place that is being compared.
struct Place {
    FieldSet& added;
    FieldSet& modified;
    FieldSet& removed;
    [[nodiscard]] Place below(const PathElement& element) const {
        return {added.make_below(element), modified.make_below(element), removed.make_below(element)};
    }
};

Result<void> compare(const ApplyType& type, Value from, Value to, const Place& place, ApplySchema& schema);

Result<void> compare_at(const PathElement& element, const ApplyType& type, Value from, Value to, const Place& place,
                        ApplySchema& schema) {
    const View view = view_of_both(type, from, to);
    if (view == View::kLeaf && from != nullptr && to != nullptr) {
        if (!json_equal(*from, *to)) place.modified.insert(element);
        return {};
    }
    if (from == nullptr) place.added.insert(element);
    if (to == nullptr) place.removed.insert(element);
    return view == View::kLeaf ? Result<void>{} : compare(type, from, to, place.below(element), schema);
}

Result<void> compare_lists(const ApplyType& type, Value from, Value to, const Place& place, ApplySchema& schema) {
    SLUICE_TRY_ASSIGN(const Indexed left, index(type, from));
    SLUICE_TRY_ASSIGN(const Indexed right, index(type, to));
    const ApplyType inner = ApplySchema::element(type);
    static const std::vector<Value> kNone;
    const auto items = [](const Indexed& of, const PathElement& element) -> const std::vector<Value>& {
        const auto found = of.items.find(element);
        return found == of.items.end() ? kNone : found->second;
    };
    const auto first = [](const std::vector<Value>& list) { return list.empty() ? nullptr : list.front(); };
    const auto one = [&](const PathElement& element) -> Result<void> {
        const auto& a = items(left, element);
        const auto& b = items(right, element);
        if (a.size() <= 1 && b.size() <= 1) return compare_at(element, inner, first(a), first(b), place, schema);
        if (a.size() >= 2 && b.size() >= 2) {
            const bool same = std::equal(a.begin(), a.end(), b.begin(), b.end(),
                                         [](Value x, Value y) { return json_equal(*x, *y); });
            if (!same) place.modified.insert(element);
        } else if (a.size() >= 2) {
            if (!b.empty()) SLUICE_TRY(compare_at(element, inner, nullptr, first(b), place, schema));
            place.removed.insert(element);
        } else {
            if (!a.empty()) SLUICE_TRY(compare_at(element, inner, first(a), nullptr, place, schema));
            place.added.insert(element);
        }
        return {};
    };
    for (const auto& [element, unused] : left.items) SLUICE_TRY(one(element));
    for (const auto& [element, unused] : right.items) {
        if (!left.items.contains(element)) SLUICE_TRY(one(element));
    }
    return {};
}

Result<void> compare(const ApplyType& type, Value from, Value to, const Place& place, ApplySchema& schema) {
    if (view_of_both(type, from, to) == View::kList) return compare_lists(type, from, to, place, schema);
    const auto one = [&](std::string_view name, Value a, Value b) {
        bool known = false;
        return compare_at(PathElement::field(std::string(name)), schema.member(type, name, &known), a, b, place,
                          schema);
    };
    if (!is_nothing(from) && from->is_object()) {
        for (const auto& [name, value] : from->as_object()) SLUICE_TRY(one(name, &value, member_of(to, name)));
    }
    if (!is_nothing(to) && to->is_object()) {
        for (const auto& [name, value] : to->as_object()) {
            if (member_of(from, name) == nullptr) SLUICE_TRY(one(name, nullptr, &value));
        }
    }
    return {};
}

}  // namespace

Result<json::value> merged(const json::value& base, const json::value& over,
                           const google::protobuf::Descriptor& type, ApplySchema& schema) {
    SLUICE_TRY_ASSIGN(auto out, merge(ApplySchema::root(type), &base, &over, schema));
    return out ? std::move(*out) : json::value(json::object());
}

Result<Comparison> compared(const json::value& from, const json::value& to,
                            const google::protobuf::Descriptor& type, ApplySchema& schema) {
    Comparison out;
    SLUICE_TRY(compare(ApplySchema::root(type), &from, &to, {out.added, out.modified, out.removed}, schema));
    out.added.drop_empty();
    out.modified.drop_empty();
    out.removed.drop_empty();
    return out;
}

}  // namespace sluice::codec
