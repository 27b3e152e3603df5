#include "api/codec/apply/managers.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/codec/apply/schema.h"
#include "api/codec/apply/typed.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;

void append_element(const PathElement& element, std::string* path) {
    switch (element.kind) {
        case PathElement::Kind::kField: *path += "." + element.text; return;
        case PathElement::Kind::kIndex: *path += "[" + element.text + "]"; return;
        case PathElement::Kind::kValue: *path += "[=" + element.text + "]"; return;
        case PathElement::Kind::kKey: break;
    }
    boost::system::error_code error;
    const json::value keys = json::parse(element.text, error);
    *path += '[';
    bool first = true;
    if (!error && keys.is_object()) {
        for (const auto& [name, value] : keys.as_object()) {
            *path += first ? "" : ",";
            first = false;
            *path += std::string(name) + "=" + json::serialize(value);
        }
    }
    *path += ']';
}

void list_paths(const FieldSet& fields, const std::string& prefix, std::vector<std::string>* out) {
    for (const PathElement& member : fields.members()) {
        std::string path = prefix;
        append_element(member, &path);
        out->push_back(std::move(path));
    }
    for (const auto& [element, below] : fields.children()) {
        std::string path = prefix;
        append_element(element, &path);
        list_paths(below, path, out);
    }
}

// What others have of a change: which of their fields it touches.
std::vector<Conflict> conflicts_of(const Managers& managers, const Manager& writer, const Comparison& change) {
    std::vector<Conflict> out;
    const FieldSet touched = change.modified.united(change.added);
    for (const auto& [manager, owned] : managers) {
        if (manager == writer) continue;
        const FieldSet theirs = owned.fields.intersected(touched);
        if (!theirs.empty()) out.push_back({manager, paths_of(theirs)});
    }
    return out;
}

// Others lose what was changed or removed.
void take_from_others(const Manager& writer, const Comparison& change, Managers* managers) {
    const FieldSet touched = change.modified.united(change.added);
    for (auto& [manager, owned] : *managers) {
        if (manager == writer) continue;
        owned.fields = owned.fields.minus(owned.fields.intersected(touched)).minus(change.removed);
    }
    std::erase_if(*managers, [](const auto& entry) { return entry.second.fields.empty(); });
}

Result<Comparison> owned_change(const json::value& from, const json::value& to,
                                const google::protobuf::Descriptor& type, ApplySchema& schema) {
    SLUICE_TRY_ASSIGN(Comparison out, compared(from, to, type, schema));
    const FieldSet& unowned = unowned_fields();
    out.added = out.added.minus(unowned);
    out.modified = out.modified.minus(unowned);
    out.removed = out.removed.minus(unowned);
    return out;
}

// The merged object without what this manager had applied before and has let go. What others own, and what holds it,
// comes back; what nobody had ever applied was not taken away to begin with.
Result<json::value> pruned(const json::value& merged, const FieldSet& before, const Managers& managers,
                           const google::protobuf::Descriptor& type, ApplySchema& schema) {
    const auto named = [&](const FieldSet& fields) { return with_named_parents(fields, type, schema); };
    const json::value bare = without(merged, named(before), type, schema);
    FieldSet owned;
    for (const auto& [manager, entry] : managers) owned = owned.united(entry.fields);
    SLUICE_TRY_ASSIGN(const FieldSet all, fields_of(merged, type, schema));
    SLUICE_TRY_ASSIGN(const FieldSet left, fields_of(bare, type, schema));
    const json::value with_owned =
        without(merged, named(all).minus(named(left).united(named(owned))), type, schema);
    SLUICE_TRY_ASSIGN(const FieldSet kept, fields_of(with_owned, type, schema));
    return without(merged, named(all).minus(named(kept)).intersected(named(before)), type, schema);
}

}  // namespace

const FieldSet& unowned_fields() {
    static const FieldSet fields = [] {
        FieldSet out;
        out.insert_path({"apiVersion"});
        out.insert_path({"kind"});
        // That there is metadata is nobody's doing.
        out.insert_path({"metadata"});
        for (const char* name :
             {"clusterName", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation",
              "managedFields", "name", "namespace", "resourceVersion", "selfLink", "uid"}) {
            out.insert_path({"metadata", name});
        }
        return out;
    }();
    return fields;
}

std::vector<std::string> paths_of(const FieldSet& fields) {
    std::vector<std::string> out;
    list_paths(fields, "", &out);
    return out;
}

Result<void> record_update(const json::value& live, const json::value& written,
                           const google::protobuf::Descriptor& type, const Manager& manager,
                           const std::string& now, Managers* managers) {
    ApplySchema schema;
    SLUICE_TRY_ASSIGN(const Comparison change, owned_change(live, written, type, schema));
    take_from_others(manager, change, managers);
    const auto found = managers->find(manager);
    const FieldSet before = found == managers->end() ? FieldSet{} : found->second.fields;
    FieldSet after = before.minus(change.removed).united(change.modified).united(change.added);
    if (after.empty()) {
        managers->erase(manager);
    } else if (after != before) {
        (*managers)[manager] = {std::move(after), now};
    }
    return {};
}

Result<std::vector<Conflict>> apply_config(json::value* object, const json::value& config,
                                           const google::protobuf::Descriptor& type, const Manager& manager,
                                           bool force, const std::string& now, Managers* managers) {
    ApplySchema schema;
    SLUICE_TRY_ASSIGN(json::value next, merged(*object, config, type, schema));
    SLUICE_TRY_ASSIGN(FieldSet fields, fields_of(config, type, schema));
    fields = fields.minus(unowned_fields());
    Managers after = *managers;
    const FieldSet before = after[manager].fields;
    after[manager].fields = fields;
    if (!before.empty()) {
        SLUICE_TRY_ASSIGN(next, pruned(next, before, after, type, schema));
    }
    SLUICE_TRY_ASSIGN(const Comparison change, owned_change(*object, next, type, schema));
    if (auto conflicts = conflicts_of(after, manager, change); !force && !conflicts.empty()) return conflicts;
    take_from_others(manager, change, &after);
    if (const auto mine = after.find(manager); mine != after.end() && fields != before) mine->second.time = now;
    *object = std::move(next);
    *managers = std::move(after);
    return std::vector<Conflict>{};
}

}  // namespace sluice::codec
