// Request bodies into typed objects: JSON, YAML and the protobuf envelope, with Kubernetes' field validation.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/apiserver/registry/rest/options.h"
#include "control/apiserver/registry/strategies/strategy.h"

namespace boost::json {
class value;
}

namespace sluice::registry {

// The object in the body, which must be of the kind `served` (kind and apiVersion may be absent); what is returned is
// of the strategy's kind, the version in which it is stored. Unknown and duplicate fields are refused, added to
// *warnings or passed over, as asked. Defaults are not yet set.
Answer<std::unique_ptr<Message>> read_body(const http::Request& request, const Strategy& strategy,
                                           const codec::KindInfo& served,
                                           FieldValidation validation,
                                           std::vector<std::string>* warnings);

// What refusals of a patched document show, and what was found in the patch itself.
struct PatchedBy {
    std::vector<std::string> findings;        // such as duplicate fields
    std::function<std::string()> shown;       // the patch or the document, as kube-apiserver shows it
};

// A patched document into a typed object, with the same field validation; by: null for a document that is a body.
Answer<std::unique_ptr<Message>> read_document(const boost::json::value& document,
                                               const Strategy& strategy,
                                               const codec::KindInfo& served,
                                               FieldValidation validation,
                                               std::vector<std::string>* warnings,
                                               const PatchedBy* by = nullptr);

}  // namespace sluice::registry
