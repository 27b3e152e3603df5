// Parsing and matching of label selectors and field selectors, as they arrive in list requests.
// The grammar and the wording of errors are kube-apiserver's, because clients show them to people.
#include "api/codec/selector.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <utility>

#include "api/codec/selector_names.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace {

namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;

enum class Token : std::uint8_t {
    kError,
    kEnd,
    kClosedPar,
    kComma,
    kNot,
    kDoubleEquals,
    kEquals,
    kGreater,
    kIdentifier,
    kIn,
    kLess,
    kNotEquals,
    kNotIn,
    kOpenPar,
};

struct Item {
    Token token = Token::kEnd;
    std::string text;
};

bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool is_symbol(char c) {
    return c == '=' || c == '!' || c == '(' || c == ')' || c == ',' || c == '>' || c == '<';
}

Token symbol_token(std::string_view text) {
    if (text == ")") return Token::kClosedPar;
    if (text == ",") return Token::kComma;
    if (text == "!") return Token::kNot;
    if (text == "==") return Token::kDoubleEquals;
    if (text == "=") return Token::kEquals;
    if (text == ">") return Token::kGreater;
    if (text == "<") return Token::kLess;
    if (text == "!=") return Token::kNotEquals;
    if (text == "(") return Token::kOpenPar;
    return Token::kError;
}

// Longest symbol first: "==" and "!=" before "=" and "!". Every special character alone is a
// symbol, so a run of them always yields tokens.
std::vector<Item> scan(std::string_view text) {
    std::vector<Item> items;
    std::size_t pos = 0;
    while (pos < text.size()) {
        if (is_space(text[pos])) {
            ++pos;
            continue;
        }
        if (is_symbol(text[pos])) {
            std::size_t length = 2;
            Token token =
                pos + 2 <= text.size() ? symbol_token(text.substr(pos, 2)) : Token::kError;
            if (token == Token::kError) {
                length = 1;
                token = symbol_token(text.substr(pos, 1));
            }
            items.push_back({token, std::string(text.substr(pos, length))});
            pos += length;
            continue;
        }
        const std::size_t begin = pos;
        while (pos < text.size() && !is_space(text[pos]) && !is_symbol(text[pos])) ++pos;
        const std::string_view word = text.substr(begin, pos - begin);
        Token token = Token::kIdentifier;
        if (word == "in") token = Token::kIn;
        if (word == "notin") token = Token::kNotIn;
        items.push_back({token, std::string(word)});
    }
    items.push_back({Token::kEnd, ""});
    return items;
}

constexpr std::string_view kOperatorNames = "in, notin, =, ==, !=, gt, lt";

bool parse_int64(std::string_view text, std::int64_t* value) {
    if (text.starts_with('+')) {
        text.remove_prefix(1);
        if (text.starts_with('-')) return false;
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
    return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

std::string quoted_list(const std::vector<std::string>& values) {
    std::string out = "[]string{";
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i > 0) out += ", ";
        out += quote(values[i]);
    }
    return out + "}";
}

// Several problems are joined as Kubernetes' aggregate error joins them.
std::string join_problems(const std::vector<std::string>& problems) {
    if (problems.size() == 1) return problems.front();
    std::string out = "[";
    for (std::size_t i = 0; i < problems.size(); ++i) {
        if (i > 0) out += ", ";
        out += problems[i];
    }
    return out + "]";
}

// Checks key, number of values and each value.
Result<Requirement> make_requirement(std::string key, Requirement::Operator op,
                                     std::vector<std::string> values) {
    using Operator = Requirement::Operator;
    std::vector<std::string> problems;
    if (const std::string why = check_label_key(key); !why.empty()) {
        problems.push_back(fmt::format("key: Invalid value: {}: {}", quote(key), why));
    }
    const auto wrong_values = [&](std::string_view why) {
        problems.push_back(fmt::format("values: Invalid value: {}: {}", quoted_list(values), why));
    };
    switch (op) {
        case Operator::kIn:
        case Operator::kNotIn:
            if (values.empty())
                wrong_values("for 'in', 'notin' operators, values set can't be empty");
            break;
        case Operator::kEquals:
        case Operator::kNotEquals:
            if (values.size() != 1)
                wrong_values("exact-match compatibility requires one single value");
            break;
        case Operator::kExists:
        case Operator::kDoesNotExist:
            if (!values.empty())
                wrong_values("values set must be empty for exists and does not exist");
            break;
        case Operator::kGreater:
        case Operator::kLess:
            if (values.size() != 1) {
                wrong_values("for 'Gt', 'Lt' operators, exactly one value is required");
            }
            for (std::size_t i = 0; i < values.size(); ++i) {
                std::int64_t number = 0;
                if (!parse_int64(values[i], &number)) {
                    problems.push_back(
                        fmt::format("values[{}]: Invalid value: {}: for 'Gt', 'Lt' operators, the "
                                    "value must be "
                                    "an integer",
                                    i, quote(values[i])));
                }
            }
            break;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (const std::string why = check_label_value(values[i]); !why.empty()) {
            problems.push_back(fmt::format("values[{}][{}]: Invalid value: {}: {}", i, key,
                                           quote(values[i]), why));
        }
    }
    if (!problems.empty()) return Error{Code::kInvalidArgument, join_problems(problems), 0};
    return Requirement{std::move(key), op, std::move(values)};
}

Error found_instead(std::string_view found, std::string_view expected) {
    return make_error(Code::kInvalidArgument, "found '{}', expected: {}", found, expected);
}

// Recursive descent over the tokens. `in` and `notin` are operators only where an operator may
// stand: they are valid keys and values elsewhere.
class LabelParser {
public:
    explicit LabelParser(std::string_view text) : items_(scan(text)) {}

    Result<std::vector<Requirement>> parse() {
        std::vector<Requirement> requirements;
        for (;;) {
            const Token token = peek_value();
            if (token == Token::kEnd) return requirements;
            if (token != Token::kIdentifier && token != Token::kNot) {
                return found_instead(items_[position_].text, "!, identifier, or 'end of string'");
            }
            auto requirement = parse_requirement();
            if (!requirement) {
                return Error{requirement.error().code,
                             "unable to parse requirement: " + requirement.error().message, 0};
            }
            requirements.push_back(*std::move(requirement));
            const Item& separator = take();
            if (separator.token == Token::kEnd) return requirements;
            if (separator.token != Token::kComma) {
                return found_instead(separator.text, "',' or 'end of string'");
            }
            const Token next = peek_value();
            if (next != Token::kIdentifier && next != Token::kNot) {
                return found_instead(items_[position_].text, "identifier after ','");
            }
        }
    }

private:
    using Operator = Requirement::Operator;

    static Token as_value(Token token) {
        return token == Token::kIn || token == Token::kNotIn ? Token::kIdentifier : token;
    }
    [[nodiscard]] Token peek_value() const { return as_value(items_[position_].token); }
    // The end is never passed: it is taken again and again.
    const Item& take() {
        const Item& item = items_[position_];
        if (position_ + 1 < items_.size()) ++position_;
        return item;
    }

    Result<Requirement> parse_requirement() {
        bool negated = false;
        const Item* key = &take();
        if (key->token == Token::kNot) {
            negated = true;
            key = &take();
        }
        if (as_value(key->token) != Token::kIdentifier)
            return found_instead(key->text, "identifier");
        if (const std::string why = check_label_key(key->text); !why.empty()) {
            return make_error(Code::kInvalidArgument, "<nil>: Invalid value: {}: {}",
                              quote(key->text), why);
        }
        const Token next = peek_value();
        if (negated) return make_requirement(key->text, Operator::kDoesNotExist, {});
        if (next == Token::kEnd || next == Token::kComma) {
            return make_requirement(key->text, Operator::kExists, {});
        }
        const Item& op = take();
        switch (op.token) {
            case Token::kIn: return parse_set(key->text, Operator::kIn);
            case Token::kNotIn: return parse_set(key->text, Operator::kNotIn);
            case Token::kEquals:
            case Token::kDoubleEquals: return parse_exact(key->text, Operator::kEquals);
            case Token::kNotEquals: return parse_exact(key->text, Operator::kNotEquals);
            case Token::kGreater: return parse_exact(key->text, Operator::kGreater);
            case Token::kLess: return parse_exact(key->text, Operator::kLess);
            default: return found_instead(op.text, kOperatorNames);
        }
    }

    Result<Requirement> parse_exact(const std::string& key, Operator op) {
        const Token token = peek_value();
        if (token == Token::kEnd || token == Token::kComma) return make_requirement(key, op, {""});
        const Item& value = take();
        if (as_value(value.token) != Token::kIdentifier) {
            return found_instead(value.text, "identifier");
        }
        return make_requirement(key, op, {value.text});
    }

    // "(a,b)"; empty members count as the empty value, so "()" and "(,)" hold one.
    Result<Requirement> parse_set(const std::string& key, Operator op) {
        const Item& open = take();
        if (open.token != Token::kOpenPar) {
            return make_error(Code::kInvalidArgument, "found '{}' expected: '('", open.text);
        }
        std::vector<std::string> values;
        const Token first = peek_value();
        if (first != Token::kIdentifier && first != Token::kComma && first != Token::kClosedPar) {
            return found_instead(items_[position_].text, "',', ')' or identifier");
        }
        bool expect_value = true;
        for (;;) {
            const Item& item = take();
            const Token token = as_value(item.token);
            if (token == Token::kClosedPar) {
                if (expect_value) values.emplace_back();
                break;
            }
            if (token == Token::kComma) {
                if (expect_value) values.emplace_back();
                expect_value = true;
                continue;
            }
            if (!expect_value) return found_instead(item.text, "',' or ')'");
            if (token != Token::kIdentifier) {
                return found_instead(item.text, "',', or identifier");
            }
            values.push_back(item.text);
            expect_value = false;
        }
        std::ranges::sort(values);
        values.erase(std::unique(values.begin(), values.end()), values.end());
        return make_requirement(key, op, std::move(values));
    }

    std::vector<Item> items_;
    std::size_t position_ = 0;
};

void sort_by_key(std::vector<Requirement>* requirements) {
    std::ranges::stable_sort(*requirements, {}, &Requirement::key);
}

bool requirement_matches(const Requirement& requirement, const LabelSelector::Lookup& lookup) {
    using Operator = Requirement::Operator;
    const std::optional<std::string_view> label = lookup(requirement.key);
    const auto listed = [&] {
        return std::ranges::find(requirement.values, *label) != requirement.values.end();
    };
    switch (requirement.op) {
        case Operator::kIn:
        case Operator::kEquals: return label.has_value() && listed();
        case Operator::kNotIn:
        case Operator::kNotEquals: return !label.has_value() || !listed();
        case Operator::kExists: return label.has_value();
        case Operator::kDoesNotExist: return !label.has_value();
        case Operator::kGreater:
        case Operator::kLess: {
            std::int64_t have = 0;
            std::int64_t bound = 0;
            if (!label || requirement.values.size() != 1 || !parse_int64(*label, &have) ||
                !parse_int64(requirement.values.front(), &bound)) {
                return false;
            }
            return requirement.op == Operator::kGreater ? have > bound : have < bound;
        }
    }
    return false;
}

}  // namespace

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
    LabelSelector selector;
    SLUICE_TRY_ASSIGN(selector.requirements_, LabelParser(text).parse());
    sort_by_key(&selector.requirements_);
    return selector;
}

Result<LabelSelector> LabelSelector::from_proto(const metav1::LabelSelector& selector) {
    using Operator = Requirement::Operator;
    LabelSelector out;
    for (const auto& [key, value] : selector.matchlabels()) {
        SLUICE_TRY_ASSIGN(auto requirement, make_requirement(key, Operator::kEquals, {value}));
        out.requirements_.push_back(std::move(requirement));
    }
    std::ranges::sort(out.requirements_);
    for (const metav1::LabelSelectorRequirement& expression : selector.matchexpressions()) {
        Operator op = Operator::kIn;
        if (expression.operator_() == "In") {
            op = Operator::kIn;
        } else if (expression.operator_() == "NotIn") {
            op = Operator::kNotIn;
        } else if (expression.operator_() == "Exists") {
            op = Operator::kExists;
        } else if (expression.operator_() == "DoesNotExist") {
            op = Operator::kDoesNotExist;
        } else {
            return make_error(Code::kInvalidArgument, "{} is not a valid label selector operator",
                              quote(expression.operator_()));
        }
        std::vector<std::string> values(expression.values().begin(), expression.values().end());
        SLUICE_TRY_ASSIGN(auto requirement,
                          make_requirement(expression.key(), op, std::move(values)));
        out.requirements_.push_back(std::move(requirement));
    }
    sort_by_key(&out.requirements_);
    return out;
}

LabelSelector LabelSelector::nothing() {
    LabelSelector selector;
    selector.nothing_ = true;
    return selector;
}

bool LabelSelector::matches(const Lookup& lookup) const {
    if (nothing_) return false;
    return std::ranges::all_of(requirements_, [&](const Requirement& requirement) {
        return requirement_matches(requirement, lookup);
    });
}

std::string LabelSelector::to_string() const {
    using Operator = Requirement::Operator;
    std::string out;
    for (const Requirement& requirement : requirements_) {
        if (!out.empty()) out += ',';
        if (requirement.op == Operator::kDoesNotExist) out += '!';
        out += requirement.key;
        bool set = false;
        switch (requirement.op) {
            case Operator::kEquals: out += '='; break;
            case Operator::kNotEquals: out += "!="; break;
            case Operator::kGreater: out += '>'; break;
            case Operator::kLess: out += '<'; break;
            case Operator::kIn:
                out += " in (";
                set = true;
                break;
            case Operator::kNotIn:
                out += " notin (";
                set = true;
                break;
            case Operator::kExists:
            case Operator::kDoesNotExist: break;
        }
        std::vector<std::string> values = requirement.values;
        std::ranges::sort(values);
        for (std::size_t i = 0; i < values.size(); ++i) {
            if (i > 0) out += ',';
            out += values[i];
        }
        if (set) out += ')';
    }
    return out;
}

namespace {

// At commas that no backslash precedes; the terms keep their escapes.
std::vector<std::string_view> split_terms(std::string_view text) {
    std::vector<std::string_view> terms;
    std::size_t begin = 0;
    bool escaped = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (escaped) {
            escaped = false;
        } else if (text[i] == '\\') {
            escaped = true;
        } else if (text[i] == ',') {
            terms.push_back(text.substr(begin, i - begin));
            begin = i + 1;
        }
    }
    terms.push_back(text.substr(begin));
    return terms;
}

Result<std::string> unescape(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == ',' || c == '=') {
            return make_error(Code::kInvalidArgument,
                              "invalid field selector: unescaped character in value: {}",
                              static_cast<int>(c));
        }
        if (c != '\\') {
            out += c;
            continue;
        }
        const std::string_view sequence = text.substr(i, 2);
        if (sequence != "\\\\" && sequence != "\\," && sequence != "\\=") {
            return make_error(Code::kInvalidArgument,
                              "invalid field selector: invalid escape sequence: {}", sequence);
        }
        out += sequence[1];
        ++i;
    }
    return out;
}

}  // namespace

Result<FieldSelector> FieldSelector::parse(std::string_view text) {
    FieldSelector selector;
    std::vector<std::string_view> terms = split_terms(text);
    std::ranges::sort(terms);
    for (const std::string_view part : terms) {
        if (part.empty()) continue;
        const std::size_t at = part.find_first_of("!=");
        std::size_t pos = at;
        // A lone "!" is part of the field's name: look on for the operator.
        while (pos != std::string_view::npos && part[pos] == '!' &&
               (pos + 1 >= part.size() || part[pos + 1] != '=')) {
            pos = part.find_first_of("!=", pos + 1);
        }
        if (pos == std::string_view::npos) {
            return make_error(Code::kInvalidArgument,
                              "invalid selector: '{}'; can't understand '{}'", text, part);
        }
        Term term;
        term.field = std::string(part.substr(0, pos));
        term.equal = part[pos] == '=';
        std::string_view rest = part.substr(pos);
        rest.remove_prefix(rest.starts_with("!=") || rest.starts_with("==") ? 2 : 1);
        SLUICE_TRY_ASSIGN(term.value, unescape(rest));
        selector.terms_.push_back(std::move(term));
    }
    return selector;
}

bool FieldSelector::matches(
    const std::function<std::string(std::string_view field)>& value_of) const {
    return std::ranges::all_of(terms_, [&](const Term& term) {
        return (value_of(term.field) == term.value) == term.equal;
    });
}

std::optional<std::string_view> FieldSelector::required_value(std::string_view field) const {
    for (const Term& term : terms_) {
        if (term.equal && term.field == field) return term.value;
    }
    return std::nullopt;
}

}  // namespace sluice::codec
