// Which names a definition gets, when several ask for the same. Pure. Private to custom/.
#pragma once

#include <set>
#include <string>

#include "control/apiserver/registry/custom/definition_private.h"

namespace sluice::registry {

// The names that other definitions of the group have, as resources and as kinds.
struct TakenNames {
    std::set<std::string> resources;
    std::set<std::string> kinds;

    void add(const extv1::CustomResourceDefinitionNames& names);
};

// Brings status.acceptedNames and the condition NamesAccepted up to date with spec.names: what is taken keeps the
// name that was accepted before. False when nothing changed.
bool accept_names(Definition* definition, const TakenNames& taken);

}  // namespace sluice::registry
