// Managers as objects carry them: metadata.managedFields.
#pragma once

#include "api/codec/apply/managers.h"
#include "api/codec/scheme.h"

namespace sluice::codec {

// kInvalidArgument names the entry that is none, in Kubernetes' words.
Result<Managers> read_managers(const metav1::ObjectMeta& meta);
// In the order in which Kubernetes lists them: by operation, time, name, version and subresource.
void write_managers(const Managers& managers, metav1::ObjectMeta* meta);

// A client takes all ownership away by one entry without content.
[[nodiscard]] bool resets_managers(const metav1::ObjectMeta& meta);
// The same but for the times.
[[nodiscard]] bool same_but_times(const metav1::ObjectMeta& a, const metav1::ObjectMeta& b);

}  // namespace sluice::codec
