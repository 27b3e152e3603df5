// What is served beside resources: which versions and groups there are, the program's version, and what those need who
// check tokens of service accounts.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "api/codec/openapi/paths_internal.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace json = boost::json;

namespace {

constexpr char kVersionInfo[] = "io.k8s.apimachinery.pkg.version.Info";

struct Read {
    std::string path;  // "/apis/apps/"
    std::string name;  // operationId
    std::string tag;
    std::string answer;  // name of a definition; empty: a text
    std::string description;
};

json::object version_info() {
    json::object properties;
    json::array required;
    for (const char* name : {"major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion",
                             "compiler", "platform"}) {
        properties[name] = json::object{{"type", "string"}, {"default", ""}};
        required.emplace_back(name);
    }
    return {{"description", "Which version of the program answers."},
            {"type", "object"},
            {"required", std::move(required)},
            {"properties", std::move(properties)}};
}

json::object path_of(const Read& read, OpenApiVersion version) {
    const json::object schema = read.answer.empty()
                                    ? json::object{{"type", "string"}}
                                    : json::object{{"$ref", definition_reference(read.answer, version)}};
    json::object ok{{"description", "OK"}};
    json::object get{{"description", read.description}, {"operationId", read.name}, {"tags", json::array{read.tag}}};
    if (version == OpenApiVersion::kV3) {
        json::object content;
        for (const char* type : {"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}) {
            if (read.answer.empty() && !content.empty()) break;
            content[type] = json::object{{"schema", schema}};
        }
        ok["content"] = std::move(content);
    } else {
        ok["schema"] = schema;
        get["schemes"] = json::array{"https"};
        get["produces"] = json::array{"application/json"};
    }
    get["responses"] = json::object{{"200", std::move(ok)}, {"401", json::object{{"description", "Unauthorized"}}}};
    return {{"get", std::move(get)}};
}

std::string camel(const std::string& group) {
    std::string out;
    bool upper = true;
    for (const char c : group.substr(0, group.find(".k8s.io"))) {
        if (c == '.') {
            upper = true;
        } else {
            out += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
            upper = false;
        }
    }
    return out;
}

// By what they are called in the index of documents: "api", "apis/apps", "version".
std::map<std::string, Read> reads(const std::vector<std::string>& groups) {
    const std::string versions = definition_name(*metav1::APIVersions::descriptor());
    const std::string group = definition_name(*metav1::APIGroup::descriptor());
    const std::string group_list = definition_name(*metav1::APIGroupList::descriptor());
    std::map<std::string, Read> out{
        {"api", {"/api/", "getCoreAPIVersions", "core", versions, "get available API versions"}},
        {"apis", {"/apis/", "getAPIVersions", "apis", group_list, "get available API versions"}},
        {"version",
         {"/version/", "getCodeVersion", "version", kVersionInfo, "get the version information for this server"}},
        {".well-known/openid-configuration",
         {"/.well-known/openid-configuration/", "getServiceAccountIssuerOpenIDConfiguration", "WellKnown", "",
          "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'"}},
        {"openid/v1/jwks",
         {"/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset", "openid", "",
          "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)"}}};
    for (const std::string& name : groups) {
        if (name.empty()) continue;
        const std::string word = camel(name);
        std::string tag = word;
        tag[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(tag[0])));
        out["apis/" + name] = {fmt::format("/apis/{}/", name), fmt::format("get{}APIGroup", word), tag, group,
                               "get information of a group"};
    }
    return out;
}

}  // namespace

std::map<std::string, DiscoveryPath> make_discovery_paths(const std::vector<std::string>& groups,
                                                          OpenApiVersion version) {
    const auto discovery =
        make_schemas({metav1::APIVersions::descriptor(), metav1::APIGroupList::descriptor()}, {}, version);
    std::map<std::string, DiscoveryPath> out;
    for (const auto& [name, read] : reads(groups)) {
        DiscoveryPath& made = out[name];
        made.paths[read.path] = path_of(read, version);
        if (read.answer == kVersionInfo) {
            made.definitions[kVersionInfo] = version_info();
        } else if (!read.answer.empty()) {
            for (const auto& [definition, schema] : discovery) made.definitions[definition] = schema;
        }
    }
    return out;
}

}  // namespace sluice::codec
