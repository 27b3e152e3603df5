// Writes of this process itself, through the same code that serves requests: defaults, validation, system metadata.
#pragma once

#include "control/apiserver/registry/api.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

void amend_object(Core& core, const codec::KindInfo& kind, const std::string& name_space,
                  const std::string& name, Amend change, std::function<void(Result<void>)> done,
                  bool status = false);

}  // namespace sluice::registry
