// Checks of addresses and ranges that several kinds share.
#pragma once

#include <string>

#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

// Traffic is never sent to these through a Service: unspecified, loopback, link-local.
void check_not_special(const std::string& text, const std::string& field, FieldErrors* errors);
// "10.0.0.0/8"; host bits may be set, white space around it is trimmed.
void check_cidr(const std::string& text, const std::string& field, FieldErrors* errors);

}  // namespace sluice::registry
