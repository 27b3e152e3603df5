// metadata.managedFields: who owns which fields, recorded with each write. The rules are those of api/codec/apply; here
// they meet requests, strategies and stored objects.
#pragma once

#include <string>

#include "api/codec/apply/managers.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

enum class Part { kMain, kStatus, kApproval, kFinalize };

// In whose name a write is recorded.
struct FieldWriter {
    const codec::KindInfo* kind = nullptr;  // in whose version the client writes
    std::string manager;                    // never empty
    std::string subresource;
    // Kubernetes gives the writes of the subresource scale no time.
    bool timeless = false;
};

// The name that the client gave, or the first part of its User-Agent.
[[nodiscard]] FieldWriter field_writer(const Call& call, const WriteOptions& options);

// Sets managedFields of an object that is about to be made; what a client sent there is taken when it can be read.
// Null: nobody is recorded. REQUIRES: defaults are set, and the object is in its normal form.
void track_creation(const Strategy& strategy, const FieldWriter* writer, Message* object);
// The same for a change of `existing`. An object whose fields are not tracked stays so.
void track_update(const Strategy& strategy, const StoredObject& existing, const FieldWriter* writer,
                  Part part, Message* object);
// Gives entries the times they had when nothing but times has changed, so that such a write is none.
void keep_times(const StoredObject& existing, Message* object);

// Fields that a write of this part cannot change, and therefore does not own.
[[nodiscard]] const codec::FieldSet& reset_fields(const codec::KindInfo& kind, Part part);

}  // namespace sluice::registry
