// Warnings about a policy's expressions, from the types of the objects that it is about. Pure; nothing depends on them.
#pragma once

#include <string>
#include <vector>

#include "api/codec/scheme.h"
#include "api/kubernetes/admissionregistration/v1/policy.pb.h"
#include "control/cel/type.h"

namespace sluice::admission {

// Kinds that one rule of a policy is checked with.
inline constexpr std::size_t kMaxCheckedKinds = 10;

struct TypeWarning {
    std::string field;  // "spec.validations[0].expression"
    std::string text;
};

// Of validations and their messages, for each kind of the scheme that the policy names without "*".
[[nodiscard]] std::vector<TypeWarning> check_types(
    const ::k8s::io::api::admissionregistration::v1::ValidatingAdmissionPolicy& policy);

// What expressions see of objects of a kind of the scheme. Fields are looked up when they are named.
[[nodiscard]] cel::Type type_of(const codec::KindInfo& kind);

}  // namespace sluice::admission
