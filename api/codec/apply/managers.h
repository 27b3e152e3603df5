// Who owns which fields of an object, and what becomes of that when somebody writes it: the rules of server-side apply
// (KEP 555) and of the record that every other write leaves. Pure: no clock, no store.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/codec/apply/field_set.h"
#include "api/codec/apply/typed.h"

namespace boost::json {
class value;
}
namespace google::protobuf {
class Descriptor;
}

namespace sluice::codec {

enum class ManagerOperation : unsigned char { kApply, kUpdate };

// One entry of managedFields, without its fields.
struct Manager {
    std::string name;
    ManagerOperation operation = ManagerOperation::kUpdate;
    // "apps/v1"; empty for an apply, since a manager that applies is one whatever the version.
    std::string api_version;
    std::string subresource;
    auto operator<=>(const Manager&) const = default;
};

struct Owned {
    FieldSet fields;
    std::string time;  // RFC 3339; of the last write that changed the object; may be empty
    std::string api_version;  // that the fields are named in
};
using Managers = std::map<Manager, Owned>;

// A field that somebody else owns and that an apply would change.
struct Conflict {
    Manager manager;
    std::string api_version;
    FieldSet set;
    std::vector<std::string> fields;  // ".spec.replicas", `.spec.containers[name="web"].image`
};

// Entries of updates beyond this number are merged, oldest first, as Kubernetes does.
inline constexpr std::size_t kMaxUpdateManagers = 10;
inline constexpr const char* kOldUpdatesManager = "ancient-changes";
inline constexpr const char* kBeforeFirstApplyManager = "before-first-apply";

// What nobody owns: apiVersion, kind and what the server keeps in metadata.
const FieldSet& unowned_fields();

// A change without what nobody owns, and without `ignored` and what is below it: the fields that a write through its
// resource or subresource cannot change.
[[nodiscard]] Comparison owned_change(Comparison change, const FieldSet& ignored);

// The record of a write that is no apply: `manager` owns what changed, others lose it. change: see owned_change();
// `now`: the write's time. Managers of updates beyond kMaxUpdateManagers are merged.
void record_update(const Comparison& change, const Manager& manager, const std::string& now, Managers* managers);

// How an apply is to be done.
struct ApplyOptions {
    Manager manager;          // with its api_version
    bool force = false;       // fields of others are taken
    std::string now;          // the write's time
    const FieldSet* ignored = nullptr;  // see owned_change()
};

// Applies `config` to *object (the live object; an empty one if there is none). Fields that this manager applied before
// and does not name any more are removed, unless others own them. An apply that changes nothing keeps its time.
// Conflicts: neither *object nor *managers has changed. kInvalidArgument: the config's lists, see typed.h.
Result<std::vector<Conflict>> apply_config(boost::json::value* object, const boost::json::value& config,
                                           const google::protobuf::Descriptor& type, const ApplyOptions& options,
                                           Managers* managers);

// The fields of a configuration that kubectl once applied on its own side (its annotation) and that are still so in
// the live object: kubectl may take them over. Errors as above.
Result<FieldSet> fields_still_applied(const boost::json::value& last_applied, const boost::json::value& live,
                                      const google::protobuf::Descriptor& type);

// A path as people read it in messages.
std::vector<std::string> paths_of(const FieldSet& fields);

}  // namespace sluice::codec
