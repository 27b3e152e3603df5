// Type parameters and what they stand for, as cel-go's checker has it (checker/types.go). Private to cel/.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/cel/type.h"

namespace sluice::cel {

// Substitutions of type variables; those of an attempt that failed are taken back.
class Unifier {
public:
    [[nodiscard]] Type fresh();
    // Whether a value of type b can be used where a is wanted; variables are bound so that it can.
    [[nodiscard]] bool assignable(const Type& a, const Type& b);
    [[nodiscard]] bool assignable(const std::vector<Type>& a, const std::vector<Type>& b);
    // The type with variables replaced; those that stand for nothing become dyn if asked so.
    [[nodiscard]] Type substitute(const Type& type, bool free_to_dyn) const;
    // The less specific of two types of which one is assignable to the other.
    [[nodiscard]] static const Type& most_general(const Type& a, const Type& b);

private:
    bool unify(const Type& a, const Type& b);
    bool unify_all(const std::vector<Type>& a, const std::vector<Type>& b);
    // First: bound now, or before. Second: b was bound before.
    std::pair<bool, bool> bind(const Type& a, const Type& b);
    [[nodiscard]] bool occurs(const Type& variable, const Type& within) const;
    void set(const std::string& name, Type type);
    void undo(std::size_t mark);
    [[nodiscard]] const Type* find(const Type& variable) const;

    std::unordered_map<std::string, Type> bound_;
    std::vector<std::pair<std::string, std::optional<Type>>> trail_;
    int next_ = 0;
};

// The declared types of an overload with its parameters made fresh variables.
class Instance {
public:
    explicit Instance(Unifier* unifier) : unifier_(unifier) {}
    [[nodiscard]] Type of(const Type& type);

private:
    Unifier* unifier_;
    std::vector<std::pair<std::string, Type>> fresh_;
};

}  // namespace sluice::cel
