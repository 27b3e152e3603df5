// Fuzzes label and field selectors: what is accepted selects as it did once written and read again, and every error
// says something.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "api/codec/selector.h"

namespace {

using sluice::codec::FieldSelector;
using sluice::codec::LabelSelector;

// Objects that a selector may be about: with its keys, its values, and without.
void same_choice(const LabelSelector& one, const LabelSelector& other) {
    std::vector<std::optional<std::string>> labels = {std::nullopt, "", "1"};
    for (const auto& requirement : one.requirements()) {
        if (!requirement.values.empty()) labels.emplace_back(requirement.values.front());
    }
    if (labels.size() > 16) labels.resize(16);
    for (const auto& label : labels) {
        const auto lookup = [&](std::string_view) -> std::optional<std::string_view> { return label; };
        SLUICE_ASSERT(one.matches(lookup) == other.matches(lookup));
    }
}

std::string written(const FieldSelector& selector) {
    const auto escaped = [](std::string_view text) {
        std::string out;
        for (const char c : text) {
            if (c == '\\' || c == ',' || c == '=') out += '\\';
            out += c;
        }
        return out;
    };
    std::string out;
    for (const auto& term : selector.terms()) {
        if (!out.empty()) out += ',';
        out += term.field + (term.equal ? "=" : "!=") + escaped(term.value);
    }
    return out;
}

// Terms come in the order of their text, in which an operator may be written in two ways.
std::vector<std::tuple<std::string, bool, std::string>> sorted(const FieldSelector& selector) {
    std::vector<std::tuple<std::string, bool, std::string>> out;
    for (const auto& term : selector.terms()) out.emplace_back(term.field, term.equal, term.value);
    std::ranges::sort(out);
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto labels = LabelSelector::parse(text);
    if (labels) {
        const auto again = LabelSelector::parse(labels->to_string());
        SLUICE_ASSERT(again && again->to_string() == labels->to_string());
        same_choice(*labels, *again);
    } else {
        SLUICE_ASSERT(!labels.error().message.empty());
    }
    const auto fields = FieldSelector::parse(text);
    if (fields) {
        const auto again = FieldSelector::parse(written(*fields));
        SLUICE_ASSERT(again && again->terms().size() == fields->terms().size());
        SLUICE_ASSERT(sorted(*again) == sorted(*fields));
    } else {
        SLUICE_ASSERT(!fields.error().message.empty());
    }
    return 0;
}
