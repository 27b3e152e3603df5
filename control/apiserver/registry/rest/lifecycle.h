// What happens to any object when it is made, changed or taken away, whatever its kind: system metadata, checks in
// Kubernetes' order, finalizers. Pure decisions on one object; change_object carries them out.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/rest/field_tracking.h"

namespace sluice::registry {

// Random and unguessable.
[[nodiscard]] std::string new_uid();
// The five characters that generateName is completed with.
[[nodiscard]] std::string name_suffix();

// Namespace and name as the path has them; 400 when the body says otherwise.
Answer<void> place_in_namespace(const RequestInfo& info, Message* object);
Answer<void> match_url_name(const RequestInfo& info, const Message& object);

// 409 when a PUT names another uid than the stored object's.
StatusError uid_precondition_failed(const Strategy& strategy, const StoredObject& existing,
                                    std::string_view wanted);

// How a write came about.
struct WriteOrigin {
    // Who is recorded as the owner of what changes; null: nobody, the record stays as it is.
    const FieldWriter* writer = nullptr;
    // The object's managedFields are those of an apply, and are written as they are.
    bool applied = false;
    // Who changes the object on its way; null: nobody. The call outlives the preparation.
    Call* call = nullptr;
};

// Defaults, system metadata, the strategy's preparation, validation, reservations.
Answer<Change> prepare_creation(const Strategy& strategy, std::unique_ptr<Message> object,
                                const WriteOrigin& origin = {});

// The same for an update of `existing`. The object's resourceVersion is checked: empty is unconditional where the kind
// allows it. Nothing changed: kNothing. The last finalizer of a deleted object removed: kDelete.
Answer<Change> prepare_update(const Strategy& strategy, const StoredObject& existing,
                              std::unique_ptr<Message> object, Part part,
                              const WriteOrigin& origin = {});

Answer<Change> prepare_deletion(const Strategy& strategy, const StoredObject& existing,
                                const DeleteOptions& options);

}  // namespace sluice::registry
