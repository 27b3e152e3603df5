#include "control/apiserver/registry/custom/naming_private.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace sluice::registry {

namespace {

struct Conflict {
    const char* reason = nullptr;  // null: none
    std::string message;
};

bool is_taken(const std::string& wanted, const std::string& accepted,
              const std::set<std::string>& taken) {
    return wanted != accepted && taken.contains(wanted);
}

std::string in_use(const std::string& name) { return fmt::format("\"{}\" is already in use", name); }

void short_names(const extv1::CustomResourceDefinitionNames& wanted, const TakenNames& taken,
                 extv1::CustomResourceDefinitionNames* accepted, Conflict* conflict) {
    const auto& had = accepted->shortnames();
    std::vector<std::string> refused;
    for (const std::string& name : wanted.shortnames()) {
        if (std::find(had.begin(), had.end(), name) != had.end()) continue;
        if (taken.resources.contains(name)) refused.push_back(in_use(name));
    }
    if (refused.empty()) {
        *accepted->mutable_shortnames() = wanted.shortnames();
        return;
    }
    conflict->reason = "ShortNamesConflict";
    conflict->message = refused.size() == 1 ? refused.front()
                                            : fmt::format("[{}]", fmt::join(refused, ", "));
}

}  // namespace

void TakenNames::add(const extv1::CustomResourceDefinitionNames& names) {
    for (const std::string& name : {names.plural(), names.singular()}) {
        if (!name.empty()) resources.insert(name);
    }
    resources.insert(names.shortnames().begin(), names.shortnames().end());
    for (const std::string& name : {names.kind(), names.listkind()}) {
        if (!name.empty()) kinds.insert(name);
    }
}

bool accept_names(Definition* definition, const TakenNames& taken) {
    const auto& wanted = definition->spec().names();
    auto* accepted = definition->mutable_status()->mutable_acceptednames();
    const std::string before = accepted->SerializeAsString();
    Conflict conflict;
    const auto take = [&](const std::string& name, std::string* to,
                          const std::set<std::string>& others, const char* reason) {
        if (is_taken(name, *to, others)) {
            conflict = {reason, in_use(name)};
        } else {
            *to = name;
        }
    };
    take(wanted.plural(), accepted->mutable_plural(), taken.resources, "PluralConflict");
    take(wanted.singular(), accepted->mutable_singular(), taken.resources, "SingularConflict");
    short_names(wanted, taken, accepted, &conflict);
    take(wanted.kind(), accepted->mutable_kind(), taken.kinds, "KindConflict");
    take(wanted.listkind(), accepted->mutable_listkind(), taken.kinds, "ListKindConflict");
    *accepted->mutable_categories() = wanted.categories();
    const bool free = conflict.reason == nullptr;
    const bool changed =
        set_condition(definition, "NamesAccepted", free ? "True" : "False",
                      free ? "NoConflicts" : conflict.reason,
                      free ? "no conflicts found" : conflict.message);
    return changed || before != accepted->SerializeAsString();
}

}  // namespace sluice::registry
