// Binding type variables.
#include "control/cel/unify_private.h"

#include <algorithm>

namespace sluice::cel {

namespace {

bool is_dyn_or_error(const Type& type) {
    return type.kind() == Kind::kDyn || type.kind() == Kind::kError;
}

bool takes_null(const Type& type) {
    switch (type.kind()) {
        case Kind::kNull:
        case Kind::kOpaque:
        case Kind::kObject:
        case Kind::kTimestamp:
        case Kind::kDuration: return true;
        default: return false;
    }
}

bool less_specific(const Type& a, const Type& b) {
    if (a.kind() == Kind::kDyn || a.kind() == Kind::kParam) return true;
    if (b.kind() == Kind::kDyn || b.kind() == Kind::kParam) return false;
    if (a.kind() != b.kind() || a.name() != b.name()) return false;
    if (a.kind() == Kind::kType) return true;
    const auto& left = a.parameters();
    const auto& right = b.parameters();
    return left.size() == right.size() &&
           std::equal(left.begin(), left.end(), right.begin(), less_specific);
}

// The type with each parameter changed by the function.
template <class Change>
Type rebuilt(const Type& type, Change change) {
    const auto& parameters = type.parameters();
    if (parameters.empty()) return type;
    std::vector<Type> changed;
    changed.reserve(parameters.size());
    bool same = true;
    for (const Type& parameter : parameters) {
        changed.push_back(change(parameter));
        same = same && changed.back() == parameter;
    }
    if (same) return type;
    switch (type.kind()) {
        case Kind::kList: return Type::list(changed[0], type.semantics());
        case Kind::kMap: return Type::map(changed[0], changed[1]);
        case Kind::kType: return Type::type(changed[0]);
        default: return Type::opaque(type.name(), std::move(changed));
    }
}

}  // namespace

Type Unifier::fresh() { return Type::param("_var" + std::to_string(next_++)); }

const Type* Unifier::find(const Type& variable) const {
    if (variable.kind() != Kind::kParam) return nullptr;
    const auto found = bound_.find(variable.name());
    return found == bound_.end() ? nullptr : &found->second;
}

void Unifier::set(const std::string& name, Type type) {
    const auto found = bound_.find(name);
    trail_.emplace_back(name, found == bound_.end() ? std::nullopt : std::optional(found->second));
    bound_.insert_or_assign(name, std::move(type));
}

void Unifier::undo(std::size_t mark) {
    while (trail_.size() > mark) {
        auto& [name, before] = trail_.back();
        if (before) {
            bound_.insert_or_assign(name, *before);
        } else {
            bound_.erase(name);
        }
        trail_.pop_back();
    }
}

bool Unifier::assignable(const Type& a, const Type& b) {
    const std::size_t mark = trail_.size();
    const bool ok = unify(a, b);
    if (!ok) undo(mark);
    return ok;
}

bool Unifier::assignable(const std::vector<Type>& a, const std::vector<Type>& b) {
    const std::size_t mark = trail_.size();
    const bool ok = unify_all(a, b);
    if (!ok) undo(mark);
    return ok;
}

bool Unifier::unify_all(const std::vector<Type>& a, const std::vector<Type>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!unify(a[i], b[i])) return false;
    }
    return true;
}

bool Unifier::unify(const Type& a, const Type& b) {
    if (b.kind() == Kind::kParam) {
        const auto [valid, had] = bind(a, b);
        if (valid) return true;
        if (had) return false;
    }
    if (a.kind() == Kind::kParam) return bind(b, a).first;
    if (is_dyn_or_error(a) || is_dyn_or_error(b)) return true;
    if (a.kind() == Kind::kNull) return takes_null(b);
    if (b.kind() == Kind::kNull) return takes_null(a);
    if (a.kind() == Kind::kType) return b.kind() == Kind::kType;
    return a.kind() == b.kind() && a.name() == b.name() &&
           unify_all(a.parameters(), b.parameters());
}

std::pair<bool, bool> Unifier::bind(const Type& a, const Type& b) {
    if (a == b) return {true, true};
    if (const Type* found = find(b)) {
        const Type known = *found;
        if (a == known) return {true, true};
        if (!unify(a, known)) return {false, true};
        const Type& general = most_general(a, known);
        if (!occurs(b, general)) set(b.name(), general);
        return {true, true};
    }
    if (occurs(b, a)) return {false, false};
    set(b.name(), a);
    return {true, false};
}

bool Unifier::occurs(const Type& variable, const Type& within) const {
    if (variable == within) return true;
    if (within.kind() == Kind::kParam) {
        const Type* found = find(within);
        return found != nullptr && occurs(variable, *found);
    }
    return std::any_of(within.parameters().begin(), within.parameters().end(),
                       [&](const Type& type) { return occurs(variable, type); });
}

Type Unifier::substitute(const Type& type, bool free_to_dyn) const {
    if (type.kind() == Kind::kParam) {
        if (const Type* found = find(type)) return substitute(*found, free_to_dyn);
        return free_to_dyn ? Type::dyn() : type;
    }
    return rebuilt(type, [&](const Type& part) { return substitute(part, free_to_dyn); });
}

const Type& Unifier::most_general(const Type& a, const Type& b) {
    return less_specific(a, b) ? a : b;
}

Type Instance::of(const Type& type) {
    if (type.kind() != Kind::kParam) {
        return rebuilt(type, [this](const Type& part) { return of(part); });
    }
    for (const auto& [name, variable] : fresh_) {
        if (name == type.name()) return variable;
    }
    fresh_.emplace_back(type.name(), unifier_->fresh());
    return fresh_.back().second;
}

}  // namespace sluice::cel
