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

#include "api/codec/openapi/custom_internal.h"
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
    std::vector<const pb::Descriptor*> roots{
        metav1::Status::descriptor(), metav1::DeleteOptions::descriptor(),
        metav1::Patch::descriptor(), metav1::ObjectMeta::descriptor(),
        metav1::ListMeta::descriptor()};
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

std::map<std::string, DiscoveryPath> discovery(OpenApiVersion version) {
    std::vector<std::string> groups;
    for (const auto& [path, kinds] : kinds_by_path()) groups.push_back(kinds.front()->gvk.group);
    return make_discovery_paths(groups, version);
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
        for (auto& [name, part] : discovery(OpenApiVersion::kV2)) {
            for (auto& path : part.paths) out["paths"].get_object()[path.key()] = path.value();
            for (auto& one : part.definitions) out["definitions"].get_object()[one.key()] = one.value();
        }
        return out;
    }();
    return document;
}

// One version's document, with custom kinds among those of the scheme.
json::object make_v3(std::vector<const KindInfo*> kinds,
                     const std::vector<const PublishedKind*>& custom) {
    json::object definitions = make_definitions(kinds, OpenApiVersion::kV3);
    for (const PublishedKind* kind : custom) {
        add_custom_schemas(*kind, OpenApiVersion::kV3, &definitions);
        kinds.push_back(&kind->info);
    }
    json::object document;
    document["openapi"] = "3.0.0";
    document["info"] = make_info();
    document["paths"] = make_paths(kinds, OpenApiVersion::kV3);
    document["components"] = json::object{{"schemas", std::move(definitions)}};
    return document;
}

using DocumentsByPath = std::map<std::string, OpenApiDocument, std::less<>>;

const DocumentsByPath& v3_documents() {
    static const DocumentsByPath documents = [] {
        DocumentsByPath out;
        for (const auto& [path, kinds] : kinds_by_path()) {
            out.emplace(path, finish(json::serialize(make_v3(kinds, {}))));
        }
        for (auto& [name, part] : discovery(OpenApiVersion::kV3)) {
            json::object document{{"openapi", "3.0.0"}, {"info", make_info()}, {"paths", std::move(part.paths)}};
            if (!part.definitions.empty()) {
                document["components"] = json::object{{"schemas", std::move(part.definitions)}};
            }
            out.emplace(name, finish(json::serialize(document)));
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

// What was made since the last change; empty pointers are made when they are asked for.
struct OpenApiCatalog::Documents {
    using V3 = std::map<std::string, DocumentPtr, std::less<>>;

    std::vector<PublishedKind> custom;
    DocumentPtr v2_json;
    DocumentPtr v2_protobuf;
    DocumentPtr v3_index;
    bool v3_made = false;
    V3 v3;  // of group versions that have custom kinds

    void reset() {
        v2_json.reset();
        v2_protobuf.reset();
        v3_index.reset();
        v3_made = false;
        v3.clear();
    }
    [[nodiscard]] json::object v2() const {
        json::object out = v2_document();
        std::vector<const KindInfo*> kinds;
        json::object& definitions = out["definitions"].get_object();
        for (const PublishedKind& kind : custom) {
            add_custom_schemas(kind, OpenApiVersion::kV2, &definitions);
            kinds.push_back(&kind.info);
        }
        json::object& paths = out["paths"].get_object();
        for (auto& path : make_paths(kinds, OpenApiVersion::kV2)) {
            paths[path.key()] = std::move(path.value());
        }
        return out;
    }
    void make_v3_documents() {
        if (std::exchange(v3_made, true)) return;
        std::map<std::string, std::vector<const PublishedKind*>> by_path;
        for (const PublishedKind& kind : custom) {
            by_path[group_version_path(kind.info.gvk)].push_back(&kind);
        }
        for (const auto& [path, kinds] : by_path) {
            const auto fixed = kinds_by_path().find(path);
            v3[path] = std::make_shared<const OpenApiDocument>(finish(json::serialize(
                make_v3(fixed == kinds_by_path().end() ? std::vector<const KindInfo*>()
                                                       : fixed->second,
                        kinds))));
        }
    }
};

namespace {

// A document that lives as long as the program.
OpenApiCatalog::DocumentPtr kept(const OpenApiDocument& document) {
    return {std::shared_ptr<const void>(), &document};
}

}  // namespace

OpenApiCatalog::OpenApiCatalog() : documents_(std::make_unique<Documents>()) {}
OpenApiCatalog::~OpenApiCatalog() = default;

void OpenApiCatalog::set_custom(std::vector<PublishedKind> kinds) {
    const std::lock_guard lock(mutex_);
    documents_->custom = std::move(kinds);
    documents_->reset();
}

OpenApiCatalog::DocumentPtr OpenApiCatalog::v2_json() const {
    const std::lock_guard lock(mutex_);
    if (documents_->custom.empty()) return kept(openapi_v2_json());
    if (documents_->v2_json == nullptr) {
        documents_->v2_json =
            std::make_shared<const OpenApiDocument>(finish(json::serialize(documents_->v2())));
    }
    return documents_->v2_json;
}

OpenApiCatalog::DocumentPtr OpenApiCatalog::v2_protobuf() const {
    const std::lock_guard lock(mutex_);
    if (documents_->custom.empty()) return kept(openapi_v2_protobuf());
    if (documents_->v2_protobuf == nullptr) {
        documents_->v2_protobuf = std::make_shared<const OpenApiDocument>(
            finish(openapi_v2_to_protobuf(documents_->v2())));
    }
    return documents_->v2_protobuf;
}

OpenApiCatalog::DocumentPtr OpenApiCatalog::v3_index() const {
    const std::lock_guard lock(mutex_);
    if (documents_->custom.empty()) return kept(openapi_v3_index());
    if (documents_->v3_index == nullptr) {
        documents_->make_v3_documents();
        std::map<std::string, std::string> hashes;
        for (const auto& [path, part] : v3_documents()) hashes[path] = part.hash;
        for (const auto& [path, part] : documents_->v3) hashes[path] = part->hash;
        json::object paths;
        for (const auto& [path, hash] : hashes) {
            paths[path] = json::object{
                {"serverRelativeURL", fmt::format("/openapi/v3/{}?hash={}", path, hash)}};
        }
        documents_->v3_index = std::make_shared<const OpenApiDocument>(
            finish(json::serialize(json::object{{"paths", std::move(paths)}})));
    }
    return documents_->v3_index;
}

OpenApiCatalog::DocumentPtr OpenApiCatalog::v3_json(std::string_view path) const {
    const std::lock_guard lock(mutex_);
    documents_->make_v3_documents();
    const auto found = documents_->v3.find(path);
    if (found != documents_->v3.end()) return found->second;
    const OpenApiDocument* fixed = openapi_v3_json(path);
    return fixed == nullptr ? nullptr : kept(*fixed);
}

}  // namespace sluice::codec
