#include "control/apiserver/request_info.h"

#include <array>

namespace sluice::apiserver {
namespace {

constexpr std::array<std::string_view, kVerbs> kVerbNames = {
    "GET", "LIST", "WATCH", "CREATE", "UPDATE", "PATCH", "DELETE", "DELETECOLLECTION", "OTHER"};

// The part before the next slash; text keeps what follows it.
std::string_view next_segment(std::string_view* text) {
    const std::size_t slash = text->find('/');
    const std::string_view segment = text->substr(0, slash);
    *text = slash == std::string_view::npos ? std::string_view{} : text->substr(slash + 1);
    return segment;
}

Verb verb_of(const http::Request& request, bool has_name) {
    const std::string_view method = request.method;
    if (method == "GET" || method == "HEAD") {
        const auto watch = request.parameter("watch");
        if (watch && *watch != "false" && *watch != "0") return Verb::kWatch;
        return has_name ? Verb::kGet : Verb::kList;
    }
    if (method == "POST") return Verb::kCreate;
    if (method == "PUT") return Verb::kUpdate;
    if (method == "PATCH") return Verb::kPatch;
    if (method == "DELETE") return has_name ? Verb::kDelete : Verb::kDeleteCollection;
    return Verb::kOther;
}

}  // namespace

std::string_view verb_name(Verb verb) { return kVerbNames.at(static_cast<std::size_t>(verb)); }

std::string_view scope_name(Scope scope) {
    static constexpr std::array<std::string_view, kScopes> kNames = {"", "resource", "namespace",
                                                                     "cluster"};
    return kNames.at(static_cast<std::size_t>(scope));
}

bool is_mutating(Verb verb) {
    return verb != Verb::kGet && verb != Verb::kList && verb != Verb::kWatch;
}

RequestInfo request_info(const http::Request& request) {
    RequestInfo info;
    std::string_view rest = request.path;
    std::string_view group;
    if (rest.starts_with("/api/")) {
        rest.remove_prefix(5);
    } else if (rest.starts_with("/apis/")) {
        rest.remove_prefix(6);
        group = next_segment(&rest);
    } else {
        info.verb = verb_of(request, true);
        return info;
    }
    const std::string_view version = next_segment(&rest);
    std::string_view resource = next_segment(&rest);
    std::string_view name = next_segment(&rest);
    std::string_view subresource = next_segment(&rest);
    bool namespaced = false;
    // Below namespaces/NS/ follow the namespace's own subresources or the resources in it.
    if (resource == "namespaces" && !subresource.empty() && subresource != "status" &&
        subresource != "finalize") {
        resource = subresource;
        namespaced = true;
        name = next_segment(&rest);
        subresource = next_segment(&rest);
    }
    info.kind = codec::find_resource(group, version, resource);
    info.is_status = subresource == "status";
    info.verb = verb_of(request, !name.empty() || resource.empty());
    if (info.kind == nullptr) return info;
    if (!name.empty() || info.verb == Verb::kCreate) {
        info.scope = Scope::kResource;
    } else {
        info.scope = namespaced ? Scope::kNamespace : Scope::kCluster;
    }
    return info;
}

}  // namespace sluice::apiserver
