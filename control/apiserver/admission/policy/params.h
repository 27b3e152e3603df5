// The objects that a binding gives to its policy as params.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/apiserver/admission/policy/policy.h"

namespace sluice::admission {

// Where objects of a paramKind are read: a kind of the scheme, or a custom one.
struct ParamSource {
    const codec::KindInfo* kind = nullptr;
    const registry::Strategy* strategy = nullptr;
    std::shared_ptr<const registry::CustomKind> held;
};
// kNotFound: no such kind is served; in kube-apiserver's words.
Result<ParamSource> param_source(registry::Core& core, const codec::GroupVersionKind& gvk);

// One evaluation for each. A null value: the binding refers to no params. None: there are none, and that is fine.
// An error is one of the binding's configuration. name_space: of the request, empty: it is in none.
Result<std::vector<cel::Value>> collect_params(registry::Core& core, const ParamSource& source,
                                               const std::optional<PolicyBinding::Params>& wanted,
                                               std::string_view name_space);

}  // namespace sluice::admission
