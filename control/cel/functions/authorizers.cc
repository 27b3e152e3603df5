// Kubernetes' libraries "authz" and "authzSelectors".
#include "control/cel/authorizer.h"

#include <algorithm>

#include "control/cel/errors_private.h"
#include "control/cel/functions/format_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

// Steps of a question, by what has been said so far; each has its type.
class Question final : public OpaqueValue {
public:
    Question(Type step, std::shared_ptr<AuthorizerBackend> asked, AuthorizationCheck said)
        : step_(std::move(step)), backend(std::move(asked)), check(std::move(said)) {}
    Type type() const override { return step_; }
    // As in Kubernetes, which compares what identifies the value.
    Result<bool> equals(const OpaqueValue& other) const override { return this == &other; }

private:
    Type step_;

public:
    const std::shared_ptr<AuthorizerBackend> backend;
    const AuthorizationCheck check;
};

class Decision final : public OpaqueValue {
public:
    Decision(Type type, AuthorizationAnswer given) : type_(std::move(type)), answer(std::move(given)) {}
    Type type() const override { return type_; }
    Result<bool> equals(const OpaqueValue& other) const override { return this == &other; }

private:
    Type type_;

public:
    const AuthorizationAnswer answer;
};

Type named(const char* name) { return Type::opaque("kubernetes.authorization." + std::string(name)); }
Type path_check_type() { return named("PathCheck"); }
Type group_check_type() { return named("GroupCheck"); }
Type decision_type() { return named("Decision"); }

std::string text(const Value& value) { return std::string(value.as_string()->view()); }

bool is_blank(std::string_view value) {
    return value.find_first_not_of(" \t\n\v\f\r") == std::string_view::npos;
}

// The question with one thing more.
template <class Change>
Value refined(const Value& question, Type type, Change change) {
    const auto& before = *question.as<Question>();
    AuthorizationCheck check = before.check;
    change(&check);
    return Value::opaque(
        std::make_shared<Question>(std::move(type), before.backend, std::move(check)));
}

Result<Value> path(CallContext&, Args args) {
    if (is_blank(args[1].as_string()->view())) return failed("path must not be empty");
    return refined(args[0], path_check_type(),
                   [&](AuthorizationCheck* check) { check->path = text(args[1]); });
}

Result<Value> group(CallContext&, Args args) {
    return refined(args[0], group_check_type(),
                   [&](AuthorizationCheck* check) { check->group = text(args[1]); });
}

Result<Value> service_account(CallContext&, Args args) {
    if (!is_dns_subdomain(args[2].as_string()->view())) {
        return failed("Invalid service account name");
    }
    if (!is_dns_label(args[1].as_string()->view())) {
        return failed("Invalid service account namespace");
    }
    return refined(args[0], authorizer_type(), [&](AuthorizationCheck* check) {
        check->service_account = AuthorizationCheck::ServiceAccount{text(args[1]), text(args[2])};
    });
}

Result<Value> resource(CallContext&, Args args) {
    if (is_blank(args[1].as_string()->view())) return failed("resource must not be empty");
    return refined(args[0], resource_check_type(),
                   [&](AuthorizationCheck* check) { check->resource = text(args[1]); });
}

template <std::string AuthorizationCheck::*field>
Result<Value> with(CallContext&, Args args) {
    return refined(args[0], resource_check_type(),
                   [&](AuthorizationCheck* check) { check->*field = text(args[1]); });
}

Result<Value> ask(CallContext&, Args args) {
    const auto& question = *args[0].as<Question>();
    AuthorizationCheck check = question.check;
    check.verb = text(args[1]);
    return Value::opaque(
        std::make_shared<Decision>(decision_type(), question.backend->check(check)));
}

Result<Value> allowed(CallContext&, Args args) {
    return Value::boolean(args[0].as<Decision>()->answer.allowed);
}
Result<Value> reason(CallContext&, Args args) {
    return Value::string(args[0].as<Decision>()->answer.reason);
}
Result<Value> errored(CallContext&, Args args) {
    return Value::boolean(!args[0].as<Decision>()->answer.error.empty());
}
Result<Value> error(CallContext&, Args args) {
    return Value::string(args[0].as<Decision>()->answer.error);
}

}  // namespace

Type authorizer_type() { return named("Authorizer"); }
Type resource_check_type() { return named("ResourceCheck"); }

Value authorizer_value(std::shared_ptr<AuthorizerBackend> backend) {
    return Value::opaque(
        std::make_shared<Question>(authorizer_type(), std::move(backend), AuthorizationCheck()));
}

Value resource_check_value(std::shared_ptr<AuthorizerBackend> backend,
                           AuthorizationCheck resource) {
    return Value::opaque(std::make_shared<Question>(resource_check_type(), std::move(backend),
                                                    std::move(resource)));
}

void add_authorizer(FunctionTable* table) {
    const Type s = Type::string();
    const Type boolean = Type::boolean();
    const Type resource_check = resource_check_type();
    const Type decision = decision_type();
    table->member("path", "authorizer_path", {authorizer_type(), s}, path_check_type(), path);
    table->member("group", "authorizer_group", {authorizer_type(), s}, group_check_type(), group);
    table->member("serviceAccount", "authorizer_serviceaccount", {authorizer_type(), s, s},
                  authorizer_type(), service_account);
    table->member("resource", "groupcheck_resource", {group_check_type(), s}, resource_check,
                  resource);
    table->member("subresource", "resourcecheck_subresource", {resource_check, s}, resource_check,
                  with<&AuthorizationCheck::subresource>);
    table->member("namespace", "resourcecheck_namespace", {resource_check, s}, resource_check,
                  with<&AuthorizationCheck::namespace_name>);
    table->member("name", "resourcecheck_name", {resource_check, s}, resource_check,
                  with<&AuthorizationCheck::name>);
    table->member("fieldSelector", "authorizer_fieldselector", {resource_check, s}, resource_check,
                  with<&AuthorizationCheck::field_selector>, CostRule::kSelector);
    table->member("labelSelector", "authorizer_labelselector", {resource_check, s}, resource_check,
                  with<&AuthorizationCheck::label_selector>, CostRule::kSelector);
    table->member("check", "pathcheck_check", {path_check_type(), s}, decision, ask,
                  CostRule::kAuthorize);
    table->member("check", "resourcecheck_check", {resource_check, s}, decision, ask,
                  CostRule::kAuthorize);
    table->member("errored", "decision_errored", {decision}, boolean, errored);
    table->member("error", "decision_error", {decision}, s, error);
    table->member("allowed", "decision_allowed", {decision}, boolean, allowed);
    table->member("reason", "decision_reason", {decision}, s, reason);
}

}  // namespace sluice::cel
