// CustomResourceDefinitions as objects: what the parts of this folder share. Private to custom/.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

namespace extv1 = ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1;
using Definition = extv1::CustomResourceDefinition;
using DefinitionVersion = extv1::CustomResourceDefinitionVersion;

inline constexpr char kCleanupFinalizer[] = "customresourcecleanup.apiextensions.k8s.io";
inline constexpr int kMaxDefinitionVersions = 64;
inline constexpr int kMaxSelectableFields = 8;
inline constexpr int kMaxPrinterColumns = 64;

// Whether the condition is there with the status True.
[[nodiscard]] bool condition_holds(const Definition& definition, std::string_view type);
// Sets it; the time of transition changes with the status only. False when everything was as it is.
bool set_condition(Definition* definition, const char* type, const char* status,
                   const char* reason, const std::string& message);

// Everything about one definition but its metadata (definition_validation.cc).
void check_definition(const Definition& definition, FieldErrors* errors);
// What may not change; metadata is already checked.
void check_definition_update(const Definition& definition, const Definition& old,
                             FieldErrors* errors);
// Whom the conversion's webhook is trusted by, if it says so: kInvalidArgument in Kubernetes' words.
Result<void> check_conversion_authority(const Definition& definition);
void check_definition_names(const extv1::CustomResourceDefinitionNames& names,
                            const std::string& path, FieldErrors* errors);

}  // namespace sluice::registry
