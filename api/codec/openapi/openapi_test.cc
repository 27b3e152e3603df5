// Chosen parts of the documents, against what Kubernetes publishes for the same types.
#include "api/codec/openapi/openapi.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <map>
#include <set>
#include <string>

#include "api/codec/scheme.h"
#include "api/external/openapiv2.pb.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;

const json::object& v2() {
    static const json::value document = json::parse(openapi_v2_json().body);
    return document.get_object();
}

const json::object& v3(std::string_view path) {
    static std::map<std::string, json::value, std::less<>> documents;
    const auto found = documents.find(path);
    if (found != documents.end()) return found->second.get_object();
    const OpenApiDocument* document = openapi_v3_json(path);
    EXPECT_NE(document, nullptr) << path;
    return documents.emplace(path, json::parse(document->body)).first->second.get_object();
}

json::value at(const json::object& document, std::string_view pointer) {
    boost::system::error_code error;
    const json::value root(document);
    const json::value* found = root.find_pointer(pointer, error);
    EXPECT_NE(found, nullptr) << pointer;
    return found == nullptr ? json::value() : *found;
}

json::value without_description(json::value value) {
    value.get_object().erase("description");
    return value;
}

TEST(OpenApiV2, DescribesAKind) {
    const json::value service = at(v2(), "/definitions/io.k8s.api.core.v1.Service");
    EXPECT_EQ(service.at("type"), "object");
    EXPECT_EQ(service.at("x-kubernetes-group-version-kind"),
              json::parse(R"([{"group":"","kind":"Service","version":"v1"}])"));
    std::set<std::string> names;
    for (const auto& member : service.at("properties").get_object()) names.emplace(member.key());
    EXPECT_EQ(names, (std::set<std::string>{"apiVersion", "kind", "metadata", "spec", "status"}));
    EXPECT_EQ(service.at("properties").at("metadata").at("$ref"),
              "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    EXPECT_EQ(service.at("properties").at("kind").at("type"), "string");
}

TEST(OpenApiV2, DescribesListsAndTheirPatches) {
    EXPECT_EQ(
        without_description(
            at(v2(), "/definitions/io.k8s.api.core.v1.ServiceSpec/properties/ports")),
        json::parse(
            R"({"type":"array","items":{"$ref":"#/definitions/io.k8s.api.core.v1.ServicePort"},
                  "x-kubernetes-list-map-keys":["port","protocol"],"x-kubernetes-list-type":"map",
                  "x-kubernetes-patch-merge-key":"port","x-kubernetes-patch-strategy":"merge"})"));
    EXPECT_EQ(at(v2(),
                 "/definitions/io.k8s.api.core.v1.PodSpec/properties/volumes/"
                 "x-kubernetes-patch-strategy"),
              "merge,retainKeys");
    EXPECT_EQ(at(v2(), "/definitions/io.k8s.api.core.v1.ServiceList/required"),
              json::parse(R"(["items"])"));
    EXPECT_EQ(at(v2(), "/definitions/io.k8s.api.discovery.v1.EndpointSlice/required"),
              json::parse(R"(["addressType"])"));
}

TEST(OpenApiV2, GivesTypesAndFormats) {
    const auto member = [](std::string_view path) {
        return without_description(at(v2(), "/definitions/" + std::string(path)));
    };
    EXPECT_EQ(member("io.k8s.api.core.v1.ServicePort/properties/port"),
              json::parse(R"({"type":"integer","format":"int32"})"));
    EXPECT_EQ(member("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta/properties/generation"),
              json::parse(R"({"type":"integer","format":"int64"})"));
    EXPECT_EQ(member("io.k8s.api.core.v1.Secret/properties/data"),
              json::parse(
                  R"({"type":"object","additionalProperties":{"type":"string","format":"byte"}})"));
    EXPECT_EQ(member("io.k8s.api.core.v1.ServiceSpec/properties/selector"),
              json::parse(R"({"type":"object","additionalProperties":{"type":"string"},
                              "x-kubernetes-map-type":"atomic"})"));
    EXPECT_EQ(member("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
              json::parse(R"({"type":"string","format":"int-or-string"})"));
    EXPECT_EQ(member("io.k8s.apimachinery.pkg.api.resource.Quantity"),
              json::parse(R"({"type":"string"})"));
    EXPECT_EQ(member("io.k8s.apimachinery.pkg.apis.meta.v1.Time"),
              json::parse(R"({"type":"string","format":"date-time"})"));
    EXPECT_EQ(member("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1"),
              json::parse(R"({"type":"object"})"));
}

TEST(OpenApiV2, InlinesWhatJsonInlines) {
    const json::value volume = at(v2(), "/definitions/io.k8s.api.core.v1.Volume/properties");
    EXPECT_TRUE(volume.get_object().contains("emptyDir"));
    EXPECT_TRUE(volume.get_object().contains("name"));
    EXPECT_FALSE(volume.get_object().contains("volumeSource"));
    EXPECT_FALSE(at(v2(), "/definitions").get_object().contains("io.k8s.api.core.v1.VolumeSource"));
    EXPECT_TRUE(
        at(v2(), "/definitions/io.k8s.api.core.v1.Probe/properties").get_object().contains("exec"));
}

TEST(OpenApiV2, CarriesTheCommentsOfTheTypes) {
    EXPECT_FALSE(
        at(v2(), "/definitions/io.k8s.api.core.v1.Service/description").get_string().empty());
    EXPECT_FALSE(
        at(v2(), "/definitions/io.k8s.api.core.v1.ServiceSpec/properties/ports/description")
            .get_string()
            .empty());
}

// Every kind of the scheme and every field of these kinds tells a reader what it is.
TEST(OpenApiV2, EveryKindIsDescribed) {
    const json::value definitions = at(v2(), "/definitions");
    for (const KindInfo& kind : all_kinds()) {
        bool found = false;
        for (const auto& definition : definitions.get_object()) {
            const json::value* gvks =
                definition.value().get_object().if_contains("x-kubernetes-group-version-kind");
            if (gvks == nullptr) continue;
            const json::object want{
                {"group", kind.gvk.group}, {"kind", kind.gvk.kind}, {"version", kind.gvk.version}};
            for (const json::value& gvk : gvks->get_array()) {
                if (gvk != json::value(want)) continue;
                found = true;
                EXPECT_TRUE(definition.value().get_object().contains("description"))
                    << kind.gvk.kind;
            }
        }
        EXPECT_TRUE(found) << kind.gvk.kind;
    }
    for (const std::string_view name :
         {"Service", "ServiceSpec", "ServicePort", "Endpoints", "EndpointSubset", "Namespace",
          "ConfigMap", "Secret", "ServiceAccount", "Event", "Node", "NodeSpec", "NodeStatus", "Pod",
          "PodSpec", "Container", "PodStatus"}) {
        const json::value type = definitions.at("io.k8s.api.core.v1." + std::string(name));
        for (const auto& property : type.at("properties").get_object()) {
            EXPECT_TRUE(property.value().get_object().contains("description"))
                << name << "." << std::string_view(property.key());
        }
    }
}

// A reference that leads nowhere makes clients fail in places far from here.
void check_references(const json::value& value, const json::object& definitions,
                      std::string_view prefix) {
    if (const auto* object = value.if_object()) {
        for (const auto& member : *object) {
            if (member.key() == "$ref" && member.value().is_string()) {
                const std::string_view target = member.value().get_string();
                ASSERT_TRUE(target.starts_with(prefix)) << target;
                EXPECT_TRUE(definitions.contains(target.substr(prefix.size()))) << target;
            }
            check_references(member.value(), definitions, prefix);
        }
    } else if (const auto* array = value.if_array()) {
        for (const json::value& element : *array) check_references(element, definitions, prefix);
    }
}

TEST(OpenApi, ReferencesLeadSomewhere) {
    check_references(v2(), at(v2(), "/definitions").get_object(), "#/definitions/");
    for (const std::string_view path :
         {"api/v1", "apis/discovery.k8s.io/v1", "apis/coordination.k8s.io/v1"}) {
        check_references(v3(path), at(v3(path), "/components/schemas").get_object(),
                         "#/components/schemas/");
    }
}

TEST(OpenApiV2, HasThePathsOfEveryResource) {
    const json::object paths = at(v2(), "/paths").get_object();
    const auto methods = [&](std::string_view path) {
        std::set<std::string> out;
        EXPECT_TRUE(paths.contains(path)) << path;
        if (!paths.contains(path)) return out;
        for (const auto& member : paths.at(path).get_object()) {
            if (member.key() != "parameters") out.emplace(member.key());
        }
        return out;
    };
    using Set = std::set<std::string>;
    EXPECT_EQ(methods("/api/v1/services"), (Set{"get"}));
    EXPECT_EQ(methods("/api/v1/namespaces/{namespace}/services"), (Set{"get", "post", "delete"}));
    EXPECT_EQ(methods("/api/v1/namespaces/{namespace}/services/{name}"),
              (Set{"get", "put", "patch", "delete"}));
    EXPECT_EQ(methods("/api/v1/namespaces/{namespace}/services/{name}/status"),
              (Set{"get", "put", "patch"}));
    EXPECT_EQ(methods("/api/v1/nodes"), (Set{"get", "post", "delete"}));
    EXPECT_EQ(methods("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/{name}"),
              (Set{"get", "put", "patch", "delete"}));
    EXPECT_FALSE(paths.contains("/api/v1/namespaces/{namespace}/configmaps/{name}/status"));
}

TEST(OpenApiV2, DescribesOperations) {
    const json::value patch =
        at(v2(), "/paths/~1api~1v1~1namespaces~1{namespace}~1services~1{name}/patch");
    EXPECT_EQ(patch.at("operationId"), "patchCoreV1NamespacedService");
    EXPECT_EQ(patch.at("x-kubernetes-action"), "patch");
    EXPECT_EQ(patch.at("x-kubernetes-group-version-kind"),
              json::parse(R"({"group":"","kind":"Service","version":"v1"})"));
    std::set<std::string> names;
    for (const json::value& parameter : patch.at("parameters").get_array()) {
        names.emplace(parameter.at("name").get_string());
    }
    EXPECT_EQ(names, (std::set<std::string>{"body", "dryRun", "fieldManager", "fieldValidation"}));
    const json::object paths = at(v2(), "/paths").get_object();
    const auto id = [&](std::string_view path, std::string_view method) {
        return paths.at(path).at(method).at("operationId");
    };
    EXPECT_EQ(id("/api/v1/services", "get"), "listCoreV1ServiceForAllNamespaces");
    EXPECT_EQ(id("/api/v1/namespaces/{namespace}/services", "delete"),
              "deleteCoreV1CollectionNamespacedService");
    EXPECT_EQ(id("/api/v1/nodes/{name}/status", "put"), "replaceCoreV1NodeStatus");
    EXPECT_EQ(id("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", "post"),
              "createDiscoveryV1NamespacedEndpointSlice");
}

TEST(OpenApiV2, TheProtobufFormSaysTheSame) {
    ::openapi::v2::Document document;
    ASSERT_TRUE(document.ParseFromString(openapi_v2_protobuf().body));
    EXPECT_EQ(document.swagger(), "2.0");
    EXPECT_EQ(document.definitions().additional_properties_size(),
              static_cast<int>(at(v2(), "/definitions").get_object().size()));
    EXPECT_EQ(document.paths().path_size(),
              static_cast<int>(at(v2(), "/paths").get_object().size()));
    const ::openapi::v2::Schema* ports = nullptr;
    for (const auto& definition : document.definitions().additional_properties()) {
        if (definition.name() != "io.k8s.api.core.v1.ServiceSpec") continue;
        for (const auto& property : definition.value().properties().additional_properties()) {
            if (property.name() == "ports") ports = &property.value();
        }
    }
    ASSERT_NE(ports, nullptr);
    EXPECT_EQ(ports->type().value(0), "array");
    EXPECT_EQ(ports->items().schema(0)._ref(), "#/definitions/io.k8s.api.core.v1.ServicePort");
    std::map<std::string, std::string> extensions;
    for (const auto& extension : ports->vendor_extension()) {
        extensions[extension.name()] = extension.value().yaml();
    }
    EXPECT_EQ(extensions["x-kubernetes-patch-merge-key"], "\"port\"\n");
}

TEST(OpenApi, CustomKindsTakeNoStrategicMerge) {
    KindInfo kind{.gvk = {"example.com", "v1", "Widget"},
                  .resource = "widgets",
                  .singular = "widget",
                  .short_names = {},
                  .categories = {},
                  .prototype = &custom_object_prototype(),
                  .list_prototype = &custom_list_prototype()};
    OpenApiCatalog catalog;
    catalog.set_custom({PublishedKind(kind, R"({"type":"object"})")});
    const json::value document = json::parse(catalog.v2_json()->body);
    const auto consumed = [&](std::string_view path) {
        return at(document.get_object(), path).at("patch").at("consumes");
    };
    EXPECT_EQ(
        consumed("/paths/~1apis~1example.com~1v1~1namespaces~1{namespace}~1widgets~1{name}"),
        json::parse(R"(["application/json-patch+json","application/merge-patch+json",)"
                    R"("application/apply-patch+yaml"])"));
    EXPECT_EQ(consumed("/paths/~1api~1v1~1namespaces~1{namespace}~1services~1{name}"),
              json::parse(R"(["application/json-patch+json","application/merge-patch+json",)"
                          R"("application/strategic-merge-patch+json",)"
                          R"("application/apply-patch+yaml"])"));
}

TEST(OpenApiV3, IndexNamesEachGroupVersionByItsHash) {
    const json::value index = json::parse(openapi_v3_index().body);
    const json::object& paths = index.at("paths").get_object();
    ASSERT_TRUE(paths.contains("api/v1"));
    ASSERT_TRUE(paths.contains("apis/discovery.k8s.io/v1"));
    for (const auto& member : paths) {
        const OpenApiDocument* document = openapi_v3_json(member.key());
        ASSERT_NE(document, nullptr);
        EXPECT_EQ(document->hash.size(), 32U);
        EXPECT_EQ(
            member.value().at("serverRelativeURL"),
            json::value("/openapi/v3/" + std::string(member.key()) + "?hash=" + document->hash));
        EXPECT_EQ(document->etag(), "\"" + document->hash + "\"");
    }
    EXPECT_EQ(openapi_v3_json("apis/example.com/v1"), nullptr);
    EXPECT_NE(openapi_v2_json().hash, openapi_v2_protobuf().hash);
}

TEST(OpenApiV3, DiffersFromV2WhereItMust) {
    const json::object& document = v3("api/v1");
    EXPECT_EQ(document.at("openapi"), "3.0.0");
    EXPECT_EQ(
        without_description(at(document,
                               "/components/schemas/io.k8s.api.core.v1.Service/"
                               "properties/spec")),
        json::parse(R"({"allOf":[{"$ref":"#/components/schemas/io.k8s.api.core.v1.ServiceSpec"}],
                              "default":{}})"));
    EXPECT_EQ(without_description(at(document,
                                     "/components/schemas/io.k8s.api.core.v1.ServicePort/"
                                     "properties/protocol")),
              json::parse(R"({"type":"string","default":"TCP"})"));
    EXPECT_EQ(without_description(at(document,
                                     "/components/schemas/io.k8s.api.core.v1.ServicePort/"
                                     "properties/port")),
              json::parse(R"({"type":"integer","format":"int32","default":0})"));
    EXPECT_EQ(without_description(at(document,
                                     "/components/schemas/"
                                     "io.k8s.apimachinery.pkg.util.intstr.IntOrString")),
              json::parse(
                  R"({"format":"int-or-string","oneOf":[{"type":"integer"},{"type":"string"}]})"));
    const json::value patch =
        at(document, "/paths/~1api~1v1~1namespaces~1{namespace}~1services~1{name}/patch");
    EXPECT_TRUE(patch.at("requestBody")
                    .at("content")
                    .get_object()
                    .contains("application/strategic-merge-patch+json"));
    EXPECT_FALSE(
        at(document, "/paths").get_object().contains("/apis/discovery.k8s.io/v1/endpointslices"));
}

}  // namespace
}  // namespace sluice::codec
