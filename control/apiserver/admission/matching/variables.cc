#include "control/apiserver/admission/matching/variables.h"

#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "control/apiserver/admission/matching/seen.h"
#include "control/apiserver/expressions/admission.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/cel/json.h"

namespace sluice::admission {
namespace {

using registry::AdmissionRequest;

// Asks the server's own authorizers for the request's user, or for a service account.
class Backend final : public cel::AuthorizerBackend {
public:
    Backend(const authorization::Authorizer& authorizer, const http::Identity& user)
        : authorizer_(authorizer), user_(user) {}

    cel::AuthorizationAnswer check(const cel::AuthorizationCheck& what) override {
        authorization::Attributes asked;
        asked.user = user_;
        if (what.service_account) {
            const auto& [name_space, name] = *what.service_account;
            asked.user = {};
            asked.user.user = "system:serviceaccount:" + name_space + ":" + name;
            asked.user.groups = {"system:serviceaccounts", "system:serviceaccounts:" + name_space};
        }
        asked.verb = what.verb;
        if (!what.path.empty()) {
            asked.path = what.path;
        } else {
            asked.is_resource = true;
            asked.group = what.group;
            asked.version = what.version;
            asked.resource = what.resource;
            asked.subresource = what.subresource;
            asked.namespace_name = what.namespace_name;
            asked.name = what.name;
            asked.field_selector = what.field_selector;
        }
        const auto decision = authorizer_.authorize(asked);
        return {decision.allowed, decision.reason, {}};
    }

private:
    const authorization::Authorizer& authorizer_;
    const http::Identity& user_;
};

Result<cel::Value> view_of(std::string_view text, const cel::Type& type = cel::Type::dyn());

Result<cel::Value> view_of(const registry::Answer<std::string>& text) {
    if (!text) return make_error(Code::kInternal, "{}", text.error().message);
    return view_of(std::string_view(*text));
}

Result<cel::Value> view_of(std::string_view text, const cel::Type& type) {
    SLUICE_TRY_ASSIGN(auto parsed, codec::parse_json(text));
    return cel::json_view(std::make_shared<const boost::json::value>(std::move(parsed)), type);
}

}  // namespace

Result<cel::Value> RequestVariables::object(const codec::KindInfo& seen) {
    auto& made = seen_[&seen].object;
    if (!made) made = view_of(seen_object(request_, seen));
    return *made;
}

Result<cel::Value> RequestVariables::old_object(const codec::KindInfo& seen) {
    auto& made = seen_[&seen].old_object;
    if (!made) made = view_of(seen_json(request_, seen, request_.old));
    return *made;
}

Result<cel::Value> RequestVariables::request(const codec::KindInfo& seen) {
    auto& made = seen_[&seen].request;
    if (!made) made = view_of("{" + request_members(request_, seen) + "}", expressions::request_type());
    return *made;
}

Result<cel::Value> RequestVariables::namespace_object() {
    if (namespace_) return *namespace_;
    const auto& kind = registry::kind_named("", "v1", "namespaces");
    if (!request_.kind.namespaced) {
        namespace_ = cel::Value::null();
    } else if (const auto found = registry::read_stored(*request_.call.core, kind, "", request_.name_space)) {
        namespace_ = view_of(found->json(), expressions::namespace_type());
    } else {
        namespace_ = make_error(Code::kNotFound, "namespaces \"{}\" not found", request_.name_space);
    }
    return *namespace_;
}

std::shared_ptr<cel::AuthorizerBackend> RequestVariables::backend() {
    if (backend_ == nullptr) backend_ = std::make_shared<Backend>(authorizer_, request_.user);
    return backend_;
}

cel::Value RequestVariables::authorizer() { return cel::authorizer_value(backend()); }

cel::Value RequestVariables::request_resource() {
    const codec::KindInfo& asked = *request_.call.info.kind;
    cel::AuthorizationCheck resource;
    resource.group = asked.gvk.group;
    resource.version = asked.gvk.version;
    resource.resource = asked.resource;
    resource.subresource = request_.subresource;
    resource.namespace_name = seen_namespace(request_);
    resource.name = request_.name;
    return cel::resource_check_value(backend(), std::move(resource));
}

Result<std::optional<cel::Value>> SeenRequest::find(std::string_view variable) const {
    const auto some = [](Result<cel::Value> value) -> Result<std::optional<cel::Value>> {
        if (!value) return std::move(value).error();
        return std::optional<cel::Value>(std::move(*value));
    };
    if (variable == expressions::kObject) return some(variables_.object(seen_));
    if (variable == expressions::kOldObject) return some(variables_.old_object(seen_));
    if (variable == expressions::kRequest) return some(variables_.request(seen_));
    if (variable == expressions::kNamespaceObject) {
        return hide_namespace_ ? some(cel::Value::null()) : some(variables_.namespace_object());
    }
    if (variable == expressions::kAuthorizer) return some(variables_.authorizer());
    if (variable == expressions::kRequestResource) return some(variables_.request_resource());
    if (variable == expressions::kParams) return params_;
    if (variable == expressions::kVariables) return own_;
    return std::optional<cel::Value>();
}

}  // namespace sluice::admission
