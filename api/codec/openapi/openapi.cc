// Puts the documents together and keeps them.
#include "api/codec/openapi/openapi.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <xxhash.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <utility>
#include <vector>

#include "api/codec/openapi/gnostic_internal.h"
#include "api/codec/openapi/paths_internal.h"
#include "api/codec/openapi/schemas_internal.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace json = boost::json;
namespace pb = ::google::protobuf;

namespace {

OpenApiDocument finish(std::string body) {
    const XXH128_hash_t hash = XXH3_128bits(body.data(), body.size());
    return {std::move(body), fmt::format("{:016X}{:016X}", hash.high64, hash.low64)};
}

// "api/v1" or "apis/discovery.k8s.io/v1".
std::string group_version_path(const GroupVersionKind& gvk) {
    return gvk.group.empty() ? "api/" + gvk.version : "apis/" + gvk.group + "/" + gvk.version;
}

using KindsByPath = std::map<std::string, std::vector<const KindInfo*>, std::less<>>;

const KindsByPath& kinds_by_path() {
    static const KindsByPath kinds = [] {
        KindsByPath out;
        for (const KindInfo& kind : all_kinds()) out[group_version_path(kind.gvk)].push_back(&kind);
        return out;
    }();
    return kinds;
}

// Every kind under the name of its message. Status belongs to the core group; DeleteOptions
// may be sent in the name of every group version.
KindNames make_kind_names() {
    KindNames names;
    const std::string& options = metav1::DeleteOptions::descriptor()->full_name();
    names[metav1::Status::descriptor()->full_name()].push_back({"", "v1", "Status"});
    for (const auto& [path, kinds] : kinds_by_path()) {
        const GroupVersionKind& first = kinds.front()->gvk;
        names[options].push_back({first.group, first.version, "DeleteOptions"});
        for (const KindInfo* kind : kinds) {
            names[kind->prototype->GetDescriptor()->full_name()].push_back(kind->gvk);
            names[kind->list_prototype->GetDescriptor()->full_name()].push_back(
                {kind->gvk.group, kind->gvk.version, kind->list_kind()});
        }
    }
    return names;
}

const KindNames& kind_names() {
    static const KindNames names = make_kind_names();
    return names;
}

json::object make_definitions(const std::vector<const KindInfo*>& kinds, OpenApiVersion version) {
    std::vector<const pb::Descriptor*> roots{metav1::Status::descriptor(),
                                             metav1::DeleteOptions::descriptor(),
                                             metav1::Patch::descriptor()};
    for (const KindInfo* kind : kinds) {
        roots.push_back(kind->prototype->GetDescriptor());
        roots.push_back(kind->list_prototype->GetDescriptor());
    }
    json::object out;
    for (auto& [name, schema] : make_schemas(roots, kind_names(), version)) {
        out.emplace(name, std::move(schema));
    }
    return out;
}

json::object make_info() {
    return {{"title", "Sluice"}, {"version", "v" SLUICE_VERSION}};
}

const json::object& v2_document() {
    static const json::object document = [] {
        std::vector<const KindInfo*> kinds;
        for (const KindInfo& kind : all_kinds()) kinds.push_back(&kind);
        json::object out;
        out["swagger"] = "2.0";
        out["info"] = make_info();
        out["paths"] = make_paths(kinds, OpenApiVersion::kV2);
        out["definitions"] = make_definitions(kinds, OpenApiVersion::kV2);
        return out;
    }();
    return document;
}

using DocumentsByPath = std::map<std::string, OpenApiDocument, std::less<>>;

const DocumentsByPath& v3_documents() {
    static const DocumentsByPath documents = [] {
        DocumentsByPath out;
        for (const auto& [path, kinds] : kinds_by_path()) {
            json::object document;
            document["openapi"] = "3.0.0";
            document["info"] = make_info();
            document["paths"] = make_paths(kinds, OpenApiVersion::kV3);
            document["components"] =
                json::object{{"schemas", make_definitions(kinds, OpenApiVersion::kV3)}};
            out.emplace(path, finish(json::serialize(document)));
        }
        return out;
    }();
    return documents;
}

}  // namespace

const OpenApiDocument& openapi_v2_json() {
    static const OpenApiDocument document = finish(json::serialize(v2_document()));
    return document;
}

const OpenApiDocument& openapi_v2_protobuf() {
    static const OpenApiDocument document = finish(openapi_v2_to_protobuf(v2_document()));
    return document;
}

const OpenApiDocument& openapi_v3_index() {
    static const OpenApiDocument document = [] {
        json::object paths;
        for (const auto& [path, part] : v3_documents()) {
            paths[path] = json::object{
                {"serverRelativeURL", fmt::format("/openapi/v3/{}?hash={}", path, part.hash)}};
        }
        return finish(json::serialize(json::object{{"paths", std::move(paths)}}));
    }();
    return document;
}

const OpenApiDocument* openapi_v3_json(std::string_view path) {
    const DocumentsByPath& documents = v3_documents();
    const auto found = documents.find(path);
    return found == documents.end() ? nullptr : &found->second;
}

}  // namespace sluice::codec
