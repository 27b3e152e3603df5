// Who owns which fields of an object, and what becomes of that when somebody writes it: the rules of server-side apply
// (KEP 555) and of the record that every other write leaves. Pure: no clock, no store.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "api/base/result.h"
#include "api/codec/apply/field_set.h"

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
    std::string api_version;  // "apps/v1"
    std::string subresource;
    auto operator<=>(const Manager&) const = default;
};

struct Owned {
    FieldSet fields;
    std::string time;  // RFC 3339; of the last write that changed what is owned
};
using Managers = std::map<Manager, Owned>;

// A field that somebody else owns and that an apply would change.
struct Conflict {
    Manager manager;
    std::vector<std::string> fields;  // ".spec.replicas", `.spec.containers[name="web"].image`
};

// What nobody owns: apiVersion, kind and what the server keeps in metadata.
const FieldSet& unowned_fields();

// The record of a write that is no apply: `manager` owns what changed, others lose it. `now`: its time.
Result<void> record_update(const boost::json::value& live, const boost::json::value& written,
                           const google::protobuf::Descriptor& type, const Manager& manager,
                           const std::string& now, Managers* managers);

// Applies `config` to *object (the live object; an empty one if there is none). force: fields of others are taken.
// Fields that this manager applied before and does not name any more are removed, unless others own them.
// Conflicts: neither *object nor *managers has changed. kInvalidArgument: the config's lists, see typed.h.
Result<std::vector<Conflict>> apply_config(boost::json::value* object, const boost::json::value& config,
                                           const google::protobuf::Descriptor& type, const Manager& manager,
                                           bool force, const std::string& now, Managers* managers);

// A path as people read it in messages.
std::vector<std::string> paths_of(const FieldSet& fields);

}  // namespace sluice::codec
