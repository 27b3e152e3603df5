#include "control/apiserver/aggregator/published.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <map>

#include "api/codec/json.h"

namespace sluice::aggregator {
namespace {

namespace json = boost::json;

const json::value* member(const json::object& object, std::string_view name, json::kind kind) {
    const auto* found = object.if_contains(name);
    return found != nullptr && found->kind() == kind ? found : nullptr;
}

std::string text(const json::object& object, std::string_view name) {
    const auto* found = member(object, name, json::kind::string);
    return found == nullptr ? std::string() : std::string(found->get_string());
}

const json::array& list(const json::object& object, std::string_view name) {
    static const json::array kNone;
    const auto* found = member(object, name, json::kind::array);
    return found == nullptr ? kNone : found->get_array();
}

Result<json::object> parse(std::string_view document) {
    SLUICE_TRY_ASSIGN(auto value, codec::parse_json(document));
    if (!value.is_object()) return make_error(Code::kInvalidArgument, "the document is no object");
    return std::move(value.get_object());
}

// Old clients trip over resources without one.
void complete(json::object* resource, std::string_view group, std::string_view version) {
    auto& kind = (*resource)["responseKind"];
    if (!kind.is_object()) kind = {{"group", group}, {"version", version}, {"kind", ""}};
    auto* parts = resource->if_contains("subresources");
    if (parts == nullptr || !parts->is_array()) return;
    for (auto& part : parts->get_array()) {
        if (part.is_object()) complete(&part.get_object(), group, version);
    }
}

json::object response_kind(const json::object& resource, std::string_view group, std::string_view version) {
    const std::string own_group = text(resource, "group");
    const std::string own_version = text(resource, "version");
    // What names neither is of the list's own version.
    const bool own = !own_version.empty();
    return {{"group", own ? std::string_view(own_group) : group},
            {"version", own ? std::string_view(own_version) : version},
            {"kind", text(resource, "kind")}};
}

}  // namespace

Result<std::string> resources_of_aggregated(std::string_view document, std::string_view group,
                                            std::string_view version) {
    SLUICE_TRY_ASSIGN(const auto root, parse(document));
    for (const auto& item : list(root, "items")) {
        if (!item.is_object()) continue;
        const auto* meta = member(item.get_object(), "metadata", json::kind::object);
        if (meta == nullptr || text(meta->get_object(), "name") != group) continue;
        for (const auto& one : list(item.get_object(), "versions")) {
            if (!one.is_object() || text(one.get_object(), "version") != version) continue;
            json::array resources;
            for (const auto& resource : list(one.get_object(), "resources")) {
                if (!resource.is_object()) continue;
                json::object copy = resource.get_object();
                complete(&copy, group, version);
                resources.push_back(std::move(copy));
            }
            return codec::write_json(resources);
        }
    }
    return "[]";
}

Result<std::string> resources_of_legacy(std::string_view document, std::string_view group,
                                        std::string_view version) {
    SLUICE_TRY_ASSIGN(const auto root, parse(document));
    json::array resources;
    std::map<std::string, std::size_t> known;
    std::vector<const json::object*> parts;
    for (const auto& value : list(root, "resources")) {
        const auto* resource = value.if_object();
        if (resource == nullptr) continue;
        const std::string name = text(*resource, "name");
        if (name.find('/') != std::string::npos) {
            parts.push_back(resource);
            continue;
        }
        const auto* namespaced = member(*resource, "namespaced", json::kind::bool_);
        json::object out{{"resource", name},
                         {"responseKind", response_kind(*resource, group, version)},
                         {"scope", namespaced != nullptr && namespaced->get_bool() ? "Namespaced" : "Cluster"},
                         {"singularResource", text(*resource, "singularName")},
                         {"verbs", list(*resource, "verbs")}};
        for (const char* more : {"shortNames", "categories"}) {
            if (!list(*resource, more).empty()) out[more] = list(*resource, more);
        }
        known.emplace(name, resources.size());
        resources.push_back(std::move(out));
    }
    for (const json::object* part : parts) {
        const std::string name = text(*part, "name");
        const std::size_t slash = name.find('/');
        const auto owner = known.find(name.substr(0, slash));
        if (owner == known.end()) continue;
        auto& all = resources[owner->second].get_object()["subresources"];
        if (!all.is_array()) all.emplace_array();
        all.get_array().push_back(json::object{{"subresource", name.substr(slash + 1)},
                                               {"responseKind", response_kind(*part, group, version)},
                                               {"verbs", list(*part, "verbs")}});
    }
    return codec::write_json(resources);
}

Result<std::string> openapi_hash_of(std::string_view document, std::string_view group, std::string_view version) {
    SLUICE_TRY_ASSIGN(const auto root, parse(document));
    const auto* paths = member(root, "paths", json::kind::object);
    if (paths == nullptr) return std::string();
    const auto* entry = member(paths->get_object(), fmt::format("apis/{}/{}", group, version), json::kind::object);
    if (entry == nullptr) return std::string();
    const std::string url = text(entry->get_object(), "serverRelativeURL");
    constexpr std::string_view kHash = "?hash=";
    const std::size_t at = url.find(kHash);
    return at == std::string::npos ? std::string() : url.substr(at + kHash.size());
}

}  // namespace sluice::aggregator
