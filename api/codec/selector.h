// Label selectors ("app=web,tier in (a,b),!x") and field selectors ("metadata.name=web,status.phase!=Running").
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class LabelSelector;
}

namespace sluice::codec {

struct Requirement {
    enum class Operator { kIn, kNotIn, kExists, kDoesNotExist, kEquals, kNotEquals, kGreater, kLess };
    std::string key;
    Operator op = Operator::kEquals;
    std::vector<std::string> values;
    auto operator<=>(const Requirement&) const = default;
};

class LabelSelector {
public:
    // Looks a label up; nullopt when the object does not carry it.
    using Lookup = std::function<std::optional<std::string_view>(std::string_view key)>;

    // The query parameter's grammar; keys and values are checked as Kubernetes checks them, and the error
    // says what kube-apiserver says. Empty text selects everything.
    static Result<LabelSelector> parse(std::string_view text);
    // From matchLabels and matchExpressions. A null LabelSelector selects nothing, an empty one everything.
    static Result<LabelSelector> from_proto(
        const ::k8s::io::apimachinery::pkg::apis::meta::v1::LabelSelector& selector);
    static LabelSelector nothing();

    [[nodiscard]] bool matches(const Lookup& lookup) const;
    [[nodiscard]] bool selects_everything() const { return !nothing_ && requirements_.empty(); }
    [[nodiscard]] const std::vector<Requirement>& requirements() const { return requirements_; }
    [[nodiscard]] std::string to_string() const;

private:
    std::vector<Requirement> requirements_;
    bool nothing_ = false;
};

class FieldSelector {
public:
    struct Term {
        std::string field;
        bool equal = true;
        std::string value;
    };
    // "a=b", "a==b", "a!=b", comma separated, with \\ \, \= escapes.
    static Result<FieldSelector> parse(std::string_view text);
    // value_of gives the field's value; fields that a kind does not support are the caller's to refuse.
    [[nodiscard]] bool matches(const std::function<std::string(std::string_view field)>& value_of) const;
    [[nodiscard]] const std::vector<Term>& terms() const { return terms_; }
    // The value a field must have, if the selector fixes it: {"metadata.name", "x"}.
    [[nodiscard]] std::optional<std::string_view> required_value(std::string_view field) const;

private:
    std::vector<Term> terms_;
};

}  // namespace sluice::codec
