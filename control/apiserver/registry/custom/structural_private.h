// Whether a CRD's schema is one that Kubernetes takes: structural (every value has one known shape), without the words
// that CRDs may not use, and with defaults that satisfy it. Pure and thread-safe. Private to custom/.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "control/apiserver/registry/custom/schema_private.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

// document: openAPIV3Schema as JSON; schema: the same, compiled. path: the field it stands in. with_status: the
// version serves the subresource status.
void check_structural(const boost::json::value& document, const Schema& schema,
                      const std::string& path, bool with_status, FieldErrors* errors);

// The parts of it in schema_words.cc: words that CRDs may not use or only together with others, and defaults that
// do not satisfy their own schema.
void check_words(const boost::json::object& document, const std::string& path,
                 FieldErrors* errors);
void check_defaults(const Schema& schema, const std::string& path, FieldErrors* errors);

}  // namespace sluice::registry
