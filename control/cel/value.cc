// Lists and maps held in memory, optionals, and the types of values.
#include "control/cel/value.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "control/cel/optional_private.h"
#include "control/cel/scalar_key_private.h"

namespace sluice::cel {

namespace {

class VectorList final : public ListValue {
public:
    explicit VectorList(std::vector<Value> elements) : elements_(std::move(elements)) {
        for (const Value& element : elements_) depth_ = std::max(depth_, element.depth() + 1);
    }
    std::size_t size() const override { return elements_.size(); }
    Result<Value> at(std::size_t index) const override { return elements_[index]; }
    int depth() const override { return depth_; }

private:
    std::vector<Value> elements_;
    int depth_ = 1;
};

class EntriesMap final : public MapValue {
public:
    explicit EntriesMap(std::vector<std::pair<Value, Value>> entries)
        : entries_(std::move(entries)) {
        index_.reserve(entries_.size());
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            if (auto key = ScalarKey::of(entries_[i].first)) index_.emplace(*key, i);
            depth_ = std::max(depth_, entries_[i].second.depth() + 1);
        }
    }
    std::size_t size() const override { return entries_.size(); }
    Result<std::optional<Value>> find(const Value& key) const override {
        const auto scalar = ScalarKey::of(key);
        return scalar ? find_key(*scalar) : std::optional<Value>();
    }
    Result<std::optional<Value>> find(std::string_view name) const override {
        return find_key(ScalarKey::of_text(name));
    }
    std::vector<Value> keys() const override {
        std::vector<Value> out;
        out.reserve(entries_.size());
        for (const auto& entry : entries_) out.push_back(entry.first);
        return out;
    }
    int depth() const override { return depth_; }

private:
    std::optional<Value> find_key(const ScalarKey& key) const {
        const auto found = index_.find(key);
        if (found == index_.end()) return std::nullopt;
        return entries_[found->second].second;
    }

    std::vector<std::pair<Value, Value>> entries_;
    std::unordered_map<ScalarKey, std::size_t, ScalarKeyHash> index_;
    int depth_ = 1;
};

}  // namespace

Result<bool> MapValue::has(std::string_view name) const {
    SLUICE_TRY_ASSIGN(const auto found, find(name));
    return found.has_value();
}

SharedText::SharedText(std::string text) {
    auto owned = std::make_shared<const std::string>(std::move(text));
    view_ = *owned;
    owner_ = std::move(owned);
}

Value Value::list(std::vector<Value> elements) {
    return list(std::make_shared<VectorList>(std::move(elements)));
}

Value Value::map(std::vector<std::pair<Value, Value>> entries) {
    return map(std::make_shared<EntriesMap>(std::move(entries)));
}

Value Value::optional_none() {
    static const Value none = opaque(std::make_shared<OptionalValue>(std::nullopt));
    return none;
}

Value Value::optional_of(Value value) {
    return opaque(std::make_shared<OptionalValue>(std::move(value)));
}

Kind Value::kind() const {
    // In the order of Data's alternatives.
    static constexpr Kind kKinds[] = {
        Kind::kNull,      Kind::kBool,     Kind::kInt,  Kind::kUint, Kind::kDouble,
        Kind::kString,    Kind::kBytes,    Kind::kTimestamp, Kind::kDuration,
        Kind::kList,      Kind::kMap,      Kind::kType, Kind::kOpaque};
    static_assert(std::size(kKinds) == std::variant_size_v<Data>);
    return kKinds[data_.index()];
}

int Value::depth() const {
    if (const auto* list = as_list()) return (*list)->depth();
    if (const auto* map = as_map()) return (*map)->depth();
    if (const auto* opaque = as_opaque()) return (*opaque)->depth();
    return 0;
}

Type Value::type() const {
    switch (kind()) {
        case Kind::kNull: return Type::null();
        case Kind::kBool: return Type::boolean();
        case Kind::kInt: return Type::integer();
        case Kind::kUint: return Type::uinteger();
        case Kind::kDouble: return Type::number();
        case Kind::kString: return Type::string();
        case Kind::kBytes: return Type::bytes();
        case Kind::kTimestamp: return Type::timestamp();
        case Kind::kDuration: return Type::duration();
        case Kind::kList: return Type::list(Type::dyn());
        case Kind::kMap: {
            auto declared = (*as_map())->type();
            return declared ? *declared : Type::map(Type::dyn(), Type::dyn());
        }
        case Kind::kType: return Type::type(Type::dyn());
        case Kind::kOpaque: return (*as_opaque())->type();
        default: return Type::dyn();
    }
}

}  // namespace sluice::cel
