// Operations are described once and then written in the form of either version.
#include <google/protobuf/message.h>

#include <boost/json.hpp>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "api/codec/openapi/custom_internal.h"
#include "api/codec/openapi/paths_internal.h"

namespace sluice::codec {
namespace json = boost::json;

namespace {

constexpr std::string_view kMetaName = "io.k8s.apimachinery.pkg.apis.meta.v1.";

struct Parameter {
    std::string_view name;
    std::string_view type;
    std::string_view description;
};

constexpr Parameter kPretty{"pretty", "string", "\"true\" asks for indented output."};
constexpr Parameter kDryRun{
    "dryRun", "string", "\"All\" runs every stage of the request except that nothing is stored."};
constexpr Parameter kFieldManager{
    "fieldManager", "string",
    "Name under which the changes of this request are recorded, at most 128 printable characters."};
constexpr Parameter kFieldValidation{"fieldValidation", "string",
                                     "What unknown and duplicate fields lead to: Ignore, Warn (the "
                                     "default) or Strict, which refuses them."};

constexpr Parameter kWriteParameters[] = {kDryRun, kFieldManager, kFieldValidation};
constexpr Parameter kDeleteParameters[] = {
    kDryRun,
    {"gracePeriodSeconds", "integer",
     "Seconds that the object is given to end; 0 deletes it at once, absent means the kind's "
     "default."},
    {"orphanDependents", "boolean",
     "Older form of propagationPolicy: true leaves dependents alone."},
    {"propagationPolicy", "string",
     "What happens to dependents: Orphan, Background or Foreground."}};
constexpr Parameter kListParameters[] = {
    {"allowWatchBookmarks", "boolean", "A watch also sends events of the type BOOKMARK."},
    {"continue", "string", "Token of the previous answer, to get the next part of a list."},
    {"fieldSelector", "string", "Only objects whose fields have, or have not, these values."},
    {"labelSelector", "string", "Only objects whose labels satisfy this."},
    {"limit", "integer", "Largest number of objects in one answer."},
    {"resourceVersion", "string", "Version of the data to answer from."},
    {"resourceVersionMatch", "string", "How resourceVersion is meant: Exact, or NotOlderThan."},
    {"sendInitialEvents", "boolean",
     "A watch begins with the objects that are there, then a bookmark that marks their end."},
    {"timeoutSeconds", "integer", "Ends the list or watch after this time."},
    {"watch", "boolean", "Sends changes as they happen instead of a list."}};

constexpr Parameter kCollectionParameters[] = {
    kDeleteParameters[0], kDeleteParameters[1], kDeleteParameters[2], kDeleteParameters[3],
    kListParameters[1],   kListParameters[2],   kListParameters[3],   kListParameters[4],
    kListParameters[5],   kListParameters[6],   kListParameters[8]};

struct PathParameter {
    std::string_view name;
    std::string_view description;
};
constexpr PathParameter kNamespaceParameter{"namespace", "Namespace of the objects."};
constexpr PathParameter kNameParameter{"name", "Name of the object."};

enum class Body : std::uint8_t { kNone, kObject, kPatch, kDeleteOptions };

struct Operation {
    std::string_view method;  // "get"
    std::string_view action;  // x-kubernetes-action
    std::string verb;         // begins the operation's id: "list", "read"
    std::string id_infix;     // between group version and kind: "CollectionNamespaced"
    std::string id_suffix;    // "ForAllNamespaces", "Status"
    std::string description;
    Body body = Body::kNone;
    std::string answer;      // definition name of the answer
    bool created = false;    // 201 is possible
    bool watchable = false;  // may answer with a stream
    std::span<const Parameter> parameters;
};

// "discovery.k8s.io", "v1" to "DiscoveryV1"; the core group is "CoreV1".
std::string camel_group_version(const GroupVersionKind& gvk) {
    std::string group = gvk.group.empty() ? "core" : gvk.group;
    if (group.ends_with(".k8s.io")) group.resize(group.size() - std::string_view(".k8s.io").size());
    std::string out;
    bool upper = true;
    for (const char c : group + "." + gvk.version) {
        if (c == '.' || c == '-') {
            upper = true;
            continue;
        }
        out += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        upper = false;
    }
    return out;
}

std::string tag_of(const GroupVersionKind& gvk) {
    const std::string group = gvk.group.empty() ? "core" : gvk.group.substr(0, gvk.group.find('.'));
    return group + "_" + gvk.version;
}

std::vector<std::string_view> answer_types(bool watchable) {
    std::vector<std::string_view> types{"application/json", "application/vnd.kubernetes.protobuf"};
    if (watchable) {
        types.emplace_back("application/json;stream=watch");
        types.emplace_back("application/vnd.kubernetes.protobuf;stream=watch");
    }
    return types;
}

// kubectl sends a strategic merge to whatever kind names it here, which custom ones refuse.
std::vector<std::string_view> request_types(const KindInfo& kind, Body body) {
    if (body != Body::kPatch) return {"*/*"};
    std::vector<std::string_view> types{"application/json-patch+json",
                                        "application/merge-patch+json"};
    if (!is_custom(kind)) types.emplace_back("application/strategic-merge-patch+json");
    types.emplace_back("application/apply-patch+yaml");
    return types;
}

std::string body_definition(const KindInfo& kind, Body body) {
    if (body == Body::kPatch) return std::string(kMetaName) + "Patch";
    if (body == Body::kDeleteOptions) return std::string(kMetaName) + "DeleteOptions";
    return object_definition(kind);
}

json::object reference(const std::string& definition, OpenApiVersion version) {
    return {{"$ref", definition_reference(definition, version)}};
}

json::object write_parameter(std::string_view in, const Parameter& parameter,
                             OpenApiVersion version) {
    json::object out{{"description", parameter.description}, {"in", in}, {"name", parameter.name}};
    if (in == "path") out["required"] = true;
    if (version == OpenApiVersion::kV2) {
        out["type"] = parameter.type;
        out["uniqueItems"] = true;
    } else {
        out["schema"] = json::object{{"type", parameter.type}, {"uniqueItems", true}};
    }
    return out;
}

json::object write_responses(const Operation& operation, OpenApiVersion version) {
    json::object responses;
    const auto add = [&](std::string_view code, std::string_view description) {
        json::object response{{"description", description}};
        if (version == OpenApiVersion::kV2) {
            response["schema"] = reference(operation.answer, version);
        } else {
            json::object content;
            for (const std::string_view type : answer_types(operation.watchable)) {
                content[type] = json::object{{"schema", reference(operation.answer, version)}};
            }
            response["content"] = std::move(content);
        }
        responses[code] = std::move(response);
    };
    add("200", "OK");
    if (operation.created) add("201", "Created");
    responses["401"] = json::object{{"description", "Unauthorized"}};
    return responses;
}

json::object write_operation(const KindInfo& kind, const Operation& operation,
                             OpenApiVersion version) {
    const bool v2 = version == OpenApiVersion::kV2;
    json::object out{{"description", operation.description},
                     {"operationId", operation.verb + camel_group_version(kind.gvk) +
                                         operation.id_infix + kind.gvk.kind + operation.id_suffix},
                     {"tags", json::array{json::string(tag_of(kind.gvk))}}};
    if (v2) {
        const auto consumes = request_types(kind, operation.body);
        const auto produces = answer_types(operation.watchable);
        out["consumes"] = json::array(consumes.begin(), consumes.end());
        out["produces"] = json::array(produces.begin(), produces.end());
        out["schemes"] = json::array{"https"};
    }
    json::array parameters;
    if (operation.body != Body::kNone) {
        const json::object schema = reference(body_definition(kind, operation.body), version);
        // Options of a deletion may also stand in the query, so that body is not required.
        const bool required = operation.body != Body::kDeleteOptions;
        if (v2) {
            json::object body{{"in", "body"}, {"name", "body"}, {"schema", schema}};
            if (required) body["required"] = true;
            parameters.emplace_back(std::move(body));
        } else {
            json::object content;
            for (const std::string_view type : request_types(kind, operation.body)) {
                content[type] = json::object{{"schema", schema}};
            }
            json::object& request = out["requestBody"].emplace_object();
            request["content"] = std::move(content);
            if (required) request["required"] = true;
        }
    }
    for (const Parameter& parameter : operation.parameters) {
        parameters.emplace_back(write_parameter("query", parameter, version));
    }
    if (!parameters.empty()) out["parameters"] = std::move(parameters);
    out["responses"] = write_responses(operation, version);
    out["x-kubernetes-action"] = operation.action;
    out["x-kubernetes-group-version-kind"] = gvk_object(kind.gvk);
    return out;
}

class PathMaker {
public:
    PathMaker(const KindInfo& kind, OpenApiVersion version)
        : kind_(kind),
          version_(version),
          infix_(kind.namespaced ? "Namespaced" : ""),
          object_(object_definition(kind)),
          list_(list_definition(kind)) {}

    void run(std::map<std::string, json::object>* paths) {
        const std::string& group = kind_.gvk.group;
        const std::string root =
            (group.empty() ? "/api/" : "/apis/" + group + "/") + kind_.gvk.version;
        std::string collection = root + "/" + kind_.resource;
        std::vector<PathParameter> parameters;
        if (kind_.namespaced) {
            add(paths, collection, {}, {list("ForAllNamespaces", "")});
            collection = root + "/namespaces/{namespace}/" + kind_.resource;
            parameters.push_back(kNamespaceParameter);
        }
        add(paths, collection, parameters, {list("", infix_), create(), delete_collection()});
        parameters.insert(parameters.begin(), kNameParameter);
        add(paths, collection + "/{name}", parameters,
            {read(""), replace(""), patch(""), remove()});
        if (kind_.has_status) {
            add(paths, collection + "/{name}/status", parameters,
                {read("Status"), replace("Status"), patch("Status")});
        }
    }

private:
    void add(std::map<std::string, json::object>* paths, const std::string& path,
             const std::vector<PathParameter>& parameters,
             const std::vector<Operation>& operations) {
        json::object item;
        for (const Operation& operation : operations) {
            item[operation.method] = write_operation(kind_, operation, version_);
        }
        json::array& list = item["parameters"].emplace_array();
        for (const PathParameter& parameter : parameters) {
            list.emplace_back(write_parameter(
                "path", {parameter.name, "string", parameter.description}, version_));
        }
        list.emplace_back(write_parameter("query", kPretty, version_));
        paths->emplace(path, std::move(item));
    }

    [[nodiscard]] std::string what(std::string_view suffix) const {
        return suffix.empty() ? "one " + kind_.gvk.kind : "the status of one " + kind_.gvk.kind;
    }

    Operation list(std::string suffix, std::string infix) {
        return {"get",
                "list",
                "list",
                std::move(infix),
                std::move(suffix),
                "Lists or watches objects of the kind " + kind_.gvk.kind + ".",
                Body::kNone,
                list_,
                false,
                true,
                kListParameters};
    }
    Operation create() {
        return {"post",
                "post",
                "create",
                infix_,
                "",
                "Creates one " + kind_.gvk.kind + ".",
                Body::kObject,
                object_,
                true,
                false,
                kWriteParameters};
    }
    Operation delete_collection() {
        return {"delete",
                "deletecollection",
                "delete",
                "Collection" + infix_,
                "",
                "Deletes the objects of the kind " + kind_.gvk.kind + " that the selectors choose.",
                Body::kDeleteOptions,
                std::string(kMetaName) + "Status",
                false,
                false,
                kCollectionParameters};
    }
    Operation read(std::string suffix) {
        std::string text = "Reads " + what(suffix) + ".";
        return {"get",   "get", "read", infix_, std::move(suffix), std::move(text), Body::kNone,
                object_, false, false,  {}};
    }
    Operation replace(std::string suffix) {
        std::string text = "Replaces " + what(suffix) + ".";
        return {"put",         "put",   "replace", infix_, std::move(suffix), std::move(text),
                Body::kObject, object_, true,      false,  kWriteParameters};
    }
    Operation patch(std::string suffix) {
        std::string text = "Changes parts of " + what(suffix) + ".";
        return {"patch",      "patch", "patch", infix_, std::move(suffix), std::move(text),
                Body::kPatch, object_, false,   false,  kWriteParameters};
    }
    Operation remove() {
        return {"delete",
                "delete",
                "delete",
                infix_,
                "",
                "Deletes " + what("") + ".",
                Body::kDeleteOptions,
                std::string(kMetaName) + "Status",
                false,
                false,
                kDeleteParameters};
    }

    const KindInfo& kind_;
    OpenApiVersion version_;
    std::string infix_;
    std::string object_;
    std::string list_;
};

}  // namespace

json::object make_paths(const std::vector<const KindInfo*>& kinds, OpenApiVersion version) {
    std::map<std::string, json::object> paths;
    for (const KindInfo* kind : kinds) PathMaker(*kind, version).run(&paths);
    json::object out;
    for (auto& [path, item] : paths) out.emplace(path, std::move(item));
    return out;
}

}  // namespace sluice::codec
