// "==" of the language.
#include <algorithm>
#include <compare>
#include <unordered_map>

#include "control/cel/compare_private.h"
#include "control/cel/errors_private.h"
#include "control/cel/escape.h"
#include "control/cel/lists_private.h"
#include "control/cel/optional_private.h"
#include "control/cel/scalar_key_private.h"
#include "control/cel/value.h"

namespace sluice::cel {

namespace {

// What merging gave: merged once more, it is merged the same way.
class MergedList final : public ListValue {
public:
    MergedList(std::vector<Value> elements, ListSemantics semantics)
        : elements_(std::move(elements)), semantics_(std::move(semantics)) {
        for (const Value& element : elements_) depth_ = std::max(depth_, element.depth() + 1);
    }
    std::size_t size() const override { return elements_.size(); }
    Result<Value> at(std::size_t index) const override { return elements_[index]; }
    const ListSemantics* semantics() const override { return &semantics_; }
    int depth() const override { return depth_; }

private:
    std::vector<Value> elements_;
    ListSemantics semantics_;
    int depth_ = 1;
};

bool is_number(Kind kind) {
    return kind == Kind::kInt || kind == Kind::kUint || kind == Kind::kDouble;
}

// What identifies an element of a list that is a set or a map; nullopt: nothing does.
Result<std::optional<std::string>> identity(const Value& element, const ListSemantics& semantics) {
    std::string out;
    if (semantics.merge == ListSemantics::Merge::kSet) {
        const auto key = ScalarKey::of(element);
        if (!key) return std::optional<std::string>();
        key->append_to(&out);
        return std::optional(std::move(out));
    }
    const auto* map = element.as_map();
    if (map == nullptr) return std::optional<std::string>();
    for (const std::string& name : semantics.keys) {
        SLUICE_TRY_ASSIGN(std::optional<Value> value, (*map)->find(name));
        if (!value) {
            // A view of an object knows the name as expressions write it.
            SLUICE_TRY_ASSIGN(value, (*map)->find(escape_name(name).value_or(name)));
        }
        const auto key = value ? ScalarKey::of(*value) : std::nullopt;
        if (key) {
            key->append_to(&out);
        } else {
            out += '-';
        }
    }
    return std::optional(std::move(out));
}

}  // namespace

Result<Value::ListRef> merge_lists(const Value::ListRef& a, const Value::ListRef& b) {
    const ListSemantics& semantics = *a->semantics();
    std::vector<Value> merged;
    std::unordered_map<std::string, std::size_t> places;
    for (std::size_t i = 0; i < a->size() + b->size(); ++i) {
        SLUICE_TRY_ASSIGN(Value element, i < a->size() ? a->at(i) : b->at(i - a->size()));
        SLUICE_TRY_ASSIGN(auto id, identity(element, semantics));
        const auto place = id && i >= a->size() ? places.find(*id) : places.end();
        if (place != places.end()) {
            merged[place->second] = std::move(element);
            continue;
        }
        if (id) places.emplace(std::move(*id), merged.size());
        merged.push_back(std::move(element));
    }
    return Value::ListRef(std::make_shared<MergedList>(std::move(merged), semantics));
}

namespace {

// One comparison, level by level.
class Equality {
public:
    explicit Equality(Meter* meter) : meter_(*meter) {}

    Result<bool> of(const Value& a, const Value& b) {
        if (!meter_.elements(1)) return Meter::stopped();
        if (is_number(a.kind()) && is_number(b.kind())) {
            return compare_numbers(a, b) == std::partial_ordering::equivalent;
        }
        if (a.kind() != b.kind()) return false;
        switch (a.kind()) {
            case Kind::kList: return within([&] { return lists(**a.as_list(), **b.as_list()); });
            case Kind::kMap: return within([&] { return maps(**a.as_map(), **b.as_map()); });
            case Kind::kType: return a.as_type()->name() == b.as_type()->name();
            case Kind::kOpaque: return within([&] { return opaque(**a.as_opaque(), **b.as_opaque()); });
            case Kind::kString:
                if (!meter_.work(a.as_string()->view().size() / 16)) return Meter::stopped();
                [[fallthrough]];
            default: return ScalarKey::of(a) == ScalarKey::of(b);
        }
    }

private:
    template <class Compare>
    Result<bool> within(const Compare& compare) {
        if (depth_ >= kMaxValueDepth) return nested_too_deeply();
        ++depth_;
        auto same = compare();
        --depth_;
        return same;
    }

    Result<bool> lists(const ListValue& a, const ListValue& b) {
        if (a.size() != b.size()) return false;
        // Each element is looked at, and hashed where the order does not count.
        if (!meter_.elements(a.size())) return Meter::stopped();
        const ListSemantics* semantics = a.semantics();
        if (semantics != nullptr && semantics->merge != ListSemantics::Merge::kAtomic) {
            return unordered(a, b, *semantics);
        }
        for (std::size_t i = 0; i < a.size(); ++i) {
            SLUICE_TRY_ASSIGN(const Value left, a.at(i));
            SLUICE_TRY_ASSIGN(const Value right, b.at(i));
            SLUICE_TRY_ASSIGN(const bool same, of(left, right));
            if (!same) return false;
        }
        return true;
    }

    Result<bool> unordered(const ListValue& a, const ListValue& b, const ListSemantics& semantics) {
        std::unordered_map<std::string, std::size_t> places;
        for (std::size_t i = 0; i < a.size(); ++i) {
            SLUICE_TRY_ASSIGN(const Value element, a.at(i));
            SLUICE_TRY_ASSIGN(auto id, identity(element, semantics));
            if (id) places.emplace(std::move(*id), i);
        }
        for (std::size_t i = 0; i < b.size(); ++i) {
            SLUICE_TRY_ASSIGN(const Value element, b.at(i));
            SLUICE_TRY_ASSIGN(const auto id, identity(element, semantics));
            const auto place = id ? places.find(*id) : places.end();
            if (place == places.end()) return false;
            SLUICE_TRY_ASSIGN(const Value other, a.at(place->second));
            SLUICE_TRY_ASSIGN(const bool same, of(other, element));
            if (!same) return false;
        }
        return true;
    }

    Result<bool> maps(const MapValue& a, const MapValue& b) {
        if (a.size() != b.size()) return false;
        if (!meter_.elements(a.size())) return Meter::stopped();
        for (const Value& key : a.keys()) {
            SLUICE_TRY_ASSIGN(const std::optional<Value> left, a.find(key));
            SLUICE_TRY_ASSIGN(const std::optional<Value> right, b.find(key));
            if (!left || !right) return false;
            SLUICE_TRY_ASSIGN(const bool same, of(*left, *right));
            if (!same) return false;
        }
        return true;
    }

    Result<bool> opaque(const OpaqueValue& a, const OpaqueValue& b) {
        if (a.type().name() != b.type().name()) return false;
        const auto* left = dynamic_cast<const OptionalValue*>(&a);
        const auto* right = dynamic_cast<const OptionalValue*>(&b);
        if (left == nullptr || right == nullptr) return a.equals(b);
        if (!left->value() || !right->value()) return left->value().has_value() == right->value().has_value();
        return of(*left->value(), *right->value());
    }

    Meter& meter_;
    int depth_ = 0;
};

}  // namespace

Result<bool> equal_values(const Value& a, const Value& b, Meter* meter) { return Equality(meter).of(a, b); }

}  // namespace sluice::cel
