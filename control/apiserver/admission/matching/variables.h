// What expressions of admission see of one request: its objects in one version, who asks, what he may do.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/cel/authorizer.h"
#include "control/cel/program.h"

namespace sluice::admission {

// The same values are seen by everything that is asked about the request; each is made when an expression first
// mentions it. Not thread-safe. Request, authorizer and the seen kind outlive it and every value of it.
class RequestVariables {
public:
    RequestVariables(const registry::AdmissionRequest& request, const authorization::Authorizer& authorizer)
        : request_(request), authorizer_(authorizer) {}

    // object, oldObject and request as they are in the version.
    [[nodiscard]] Result<cel::Value> object(const codec::KindInfo& seen);
    [[nodiscard]] Result<cel::Value> old_object(const codec::KindInfo& seen);
    [[nodiscard]] Result<cel::Value> request(const codec::KindInfo& seen);
    // Null where the object is in none, or is one itself.
    [[nodiscard]] Result<cel::Value> namespace_object();
    // authorizer, and authorizer.requestResource.
    [[nodiscard]] cel::Value authorizer();
    [[nodiscard]] cel::Value request_resource();

private:
    struct Seen {
        std::optional<Result<cel::Value>> object, old_object, request;
    };
    [[nodiscard]] std::shared_ptr<cel::AuthorizerBackend> backend();

    const registry::AdmissionRequest& request_;
    const authorization::Authorizer& authorizer_;
    std::map<const codec::KindInfo*, Seen> seen_;
    std::optional<Result<cel::Value>> namespace_;
    std::shared_ptr<cel::AuthorizerBackend> backend_;
};

// The variables of expressions in one version. It is looked into by what evaluates, and outlived by what it refers to.
class SeenRequest final : public cel::Activation {
public:
    SeenRequest(RequestVariables& variables, const codec::KindInfo& seen) : variables_(variables), seen_(seen) {}

    // Nullopt: there is no such variable.
    void set_params(cel::Value params) { params_ = std::move(params); }
    void set_variables(cel::Value variables) { own_ = std::move(variables); }
    // Match conditions know no namespaceObject: it is null.
    void hide_namespace() { hide_namespace_ = true; }
    [[nodiscard]] Result<std::optional<cel::Value>> find(std::string_view variable) const override;

private:
    RequestVariables& variables_;
    const codec::KindInfo& seen_;
    std::optional<cel::Value> params_, own_;
    bool hide_namespace_ = false;
};

}  // namespace sluice::admission
