// Patches as requests carry them: read from a body, and applied to an object's JSON form.
#pragma once

#include <boost/json/value.hpp>

#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/rest/negotiate.h"

namespace sluice::registry {

struct Patch {
    PatchType type = PatchType::kMerge;
    boost::json::value document;
    std::vector<std::string> findings;  // duplicate and unknown members of the patch itself
};

// 415 for an unknown Content-Type, 400 for a body that cannot be read.
Answer<Patch> read_patch(const http::Request& request);

// The patched document as an object; what was found in the patch and in the document is refused or warned of.
Answer<std::unique_ptr<Message>> read_patched(const boost::json::value& document, const Patch& patch,
                                              const Strategy& strategy, const codec::KindInfo& served,
                                              FieldValidation validation, std::vector<std::string>* warnings);

// The patched document, with kind and apiVersion. Errors as kube-apiserver answers them: 422 for a JSON patch whose
// test fails or whose path is missing, 500 for a list element without its merge key, else 400.
Answer<boost::json::value> apply_patch_to(const Message& object, const codec::GroupVersionKind& gvk,
                                          const Patch& patch);

}  // namespace sluice::registry
