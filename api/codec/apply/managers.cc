#include "api/codec/apply/managers.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "api/codec/apply/schema.h"
#include "api/codec/apply/typed.h"
#include "api/codec/patch_values_internal.h"

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

bool is_empty(const Comparison& change) {
    return change.added.empty() && change.modified.empty() && change.removed.empty();
}

// What others have of a change: which of their fields it touches.
std::vector<Conflict> conflicts_of(const Managers& managers, const Manager& writer, const Comparison& change) {
    std::vector<Conflict> out;
    const FieldSet touched = change.modified.united(change.added);
    for (const auto& [manager, owned] : managers) {
        if (manager == writer) continue;
        FieldSet theirs = owned.fields.intersected(touched);
        if (theirs.empty()) continue;
        auto paths = paths_of(theirs);
        out.push_back({manager, owned.api_version, std::move(theirs), std::move(paths)});
    }
    return out;
}

// All but `writer` lose what was changed or removed; null: all.
void take_from_others(const Manager* writer, const Comparison& change, Managers* managers) {
    if (!is_empty(change)) {
        const FieldSet gone = change.modified.united(change.added).united(change.removed);
        for (auto& [manager, owned] : *managers) {
            if (writer == nullptr || manager != *writer) owned.fields = owned.fields.minus(gone);
        }
    }
    std::erase_if(*managers, [](const auto& entry) { return entry.second.fields.empty(); });
}

// Merges the oldest entries of updates, each version by itself, until no more than kMaxUpdateManagers are left.
void cap_updates(Managers* managers) {
    std::vector<Manager> updaters;
    for (const auto& [manager, owned] : *managers) {
        if (manager.operation == ManagerOperation::kUpdate) updaters.push_back(manager);
    }
    std::size_t left = updaters.size();
    if (left <= kMaxUpdateManagers) return;
    std::stable_sort(updaters.begin(), updaters.end(), [&](const Manager& a, const Manager& b) {
        return managers->at(a).time < managers->at(b).time;
    });
    std::map<std::string, Manager> first_of_version;
    for (const Manager& manager : updaters) {
        if (left <= kMaxUpdateManagers) return;
        const Manager bucket{kOldUpdatesManager, ManagerOperation::kUpdate, manager.api_version, ""};
        const auto [first, is_first] = first_of_version.try_emplace(manager.api_version, manager);
        if (is_first || manager == bucket) continue;
        if (!managers->contains(bucket)) {
            Owned moved = std::move(managers->at(first->second));
            managers->erase(first->second);
            managers->insert_or_assign(bucket, std::move(moved));
        }
        Owned merged = std::move(managers->at(manager));
        managers->erase(manager);
        Owned& into = (*managers)[bucket];
        into.fields = into.fields.united(merged.fields);
        into.api_version = manager.api_version;
        // The later of the two.
        into.time = merged.time;
        --left;
    }
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

Comparison owned_change(Comparison change, const FieldSet& ignored) {
    for (FieldSet* set : {&change.added, &change.modified, &change.removed}) {
        if (!set->empty()) *set = set->minus(unowned_fields()).without_subtrees(ignored);
    }
    return change;
}

void record_update(const Comparison& change, const Manager& manager, const std::string& now, Managers* managers) {
    take_from_others(nullptr, change, managers);
    FieldSet taken = change.modified.united(change.added);
    if (!taken.empty()) {
        Owned& mine = (*managers)[manager];
        mine.fields = mine.fields.united(taken);
        mine.time = now;
        mine.api_version = manager.api_version;
    }
    cap_updates(managers);
}

Result<std::vector<Conflict>> apply_config(json::value* object, const json::value& config,
                                           const google::protobuf::Descriptor& type, const ApplyOptions& options,
                                           Managers* managers) {
    ApplySchema schema;
    static const FieldSet kNone;
    const FieldSet& ignored = options.ignored == nullptr ? kNone : *options.ignored;
    Manager manager = options.manager;
    manager.api_version.clear();
    SLUICE_TRY_ASSIGN(json::value next, merged(*object, config, type, schema));
    SLUICE_TRY_ASSIGN(FieldSet fields, fields_of(config, type, schema));
    Managers after = *managers;
    Owned& mine = after[manager];
    const FieldSet before = mine.fields;
    mine.fields = fields.minus(unowned_fields()).without_subtrees(ignored);
    mine.api_version = options.manager.api_version;
    // Nothing to take away, if it lets nothing go.
    if (!before.minus(mine.fields).empty()) {
        SLUICE_TRY_ASSIGN(next, pruned(next, before, after, type, schema));
    }
    SLUICE_TRY_ASSIGN(Comparison change, compared(*object, next, type, schema));
    change = owned_change(std::move(change), ignored);
    if (!options.force) {
        auto conflicts = conflicts_of(after, manager, change);
        if (!conflicts.empty()) return conflicts;
    }
    take_from_others(&manager, change, &after);
    const auto written = after.find(manager);
    if (written != after.end() && !json_equal(*object, next)) written->second.time = options.now;
    *object = std::move(next);
    *managers = std::move(after);
    return std::vector<Conflict>{};
}

Result<FieldSet> fields_still_applied(const json::value& last_applied, const json::value& live,
                                      const google::protobuf::Descriptor& type) {
    ApplySchema schema;
    SLUICE_TRY_ASSIGN(const FieldSet fields, fields_of(last_applied, type, schema));
    SLUICE_TRY_ASSIGN(const Comparison change, compared(last_applied, live, type, schema));
    return fields.minus(change.modified).minus(change.added).minus(change.removed);
}

}  // namespace sluice::codec
