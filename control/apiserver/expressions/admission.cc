#include "control/apiserver/expressions/admission.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "control/cel/authorizer.h"

namespace sluice::expressions {
namespace {

using cel::Type;
using Fields = std::vector<std::pair<std::string, Type>>;

std::vector<cel::Variable> declared_variables(const Declarations& declared,
                                              const std::shared_ptr<const cel::ObjectType>& variables) {
    std::vector<cel::Variable> out = {{kObject, declared.object},
                                      {kOldObject, declared.object},
                                      {kNamespaceObject, namespace_type()},
                                      {kRequest, request_type()}};
    if (declared.params) out.push_back({kParams, declared.params_type});
    if (variables != nullptr) out.push_back({kVariables, Type::object(variables)});
    return out;
}

// Types that only a library knows are checked when they are used.
Type variable_type(const Type& type) {
    switch (type.kind()) {
        case cel::Kind::kList: return Type::list(variable_type(type.element()));
        case cel::Kind::kMap: return Type::map(variable_type(type.key()), variable_type(type.value()));
        case cel::Kind::kOpaque:
        case cel::Kind::kObject:
        case cel::Kind::kType:
        case cel::Kind::kParam:
        case cel::Kind::kError: return Type::dyn();
        default: return type;
    }
}

}  // namespace

const Type& request_type() {
    static const Type type = [] {
        const Type text = Type::string();
        const Type kind = cel::make_object_type("kubernetes.GroupVersionKind",
                                                Fields{{"group", text}, {"version", text}, {"kind", text}});
        const Type resource = cel::make_object_type(
            "kubernetes.GroupVersionResource", Fields{{"group", text}, {"version", text}, {"resource", text}});
        const Type user = cel::make_object_type("kubernetes.UserInfo",
                                                Fields{{"username", text},
                                                       {"uid", text},
                                                       {"groups", Type::list(text)},
                                                       {"extra", Type::map(text, Type::list(text))}});
        return cel::make_object_type("kubernetes.AdmissionRequest", Fields{{"kind", kind},
                                                                           {"resource", resource},
                                                                           {"subResource", text},
                                                                           {"requestKind", kind},
                                                                           {"requestResource", resource},
                                                                           {"requestSubResource", text},
                                                                           {"name", text},
                                                                           {"namespace", text},
                                                                           {"operation", text},
                                                                           {"userInfo", user},
                                                                           {"dryRun", Type::boolean()},
                                                                           {"options", Type::dyn()}});
    }();
    return type;
}

const Type& namespace_type() {
    static const Type type = [] {
        const Type text = Type::string();
        const Type texts = Type::list(text);
        const Type labels = Type::map(text, text);
        const Type time = Type::timestamp();
        const Type condition = cel::make_object_type("kubernetes.NamespaceCondition",
                                                     Fields{{"status", text},
                                                            {"type", text},
                                                            {"lastTransitionTime", time},
                                                            {"message", text},
                                                            {"reason", text}});
        const Type metadata = cel::make_object_type("kubernetes.NamespaceMetadata",
                                                    Fields{{"name", text},
                                                           {"generateName", text},
                                                           {"namespace", text},
                                                           {"labels", labels},
                                                           {"annotations", labels},
                                                           {"UID", text},
                                                           {"creationTimestamp", time},
                                                           {"deletionGracePeriodSeconds", Type::integer()},
                                                           {"deletionTimestamp", time},
                                                           {"generation", Type::integer()},
                                                           {"resourceVersion", text},
                                                           {"finalizers", texts}});
        const Type spec = cel::make_object_type("kubernetes.NamespaceSpec", Fields{{"finalizers", texts}});
        const Type status = cel::make_object_type(
            "kubernetes.NamespaceStatus", Fields{{"conditions", Type::list(condition)}, {"phase", text}});
        return cel::make_object_type("kubernetes.Namespace",
                                     Fields{{"metadata", metadata}, {"spec", spec}, {"status", status}});
    }();
    return type;
}

// Grows while a policy is compiled, by the one thread that compiles it.
class Compiler::VariablesType final : public cel::ObjectType {
public:
    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::optional<Type> field(std::string_view json_name) const override {
        const auto found = types_.find(json_name);
        return found == types_.end() ? std::nullopt : std::optional<Type>(found->second);
    }
    void add(const std::string& variable, Type type) { types_.emplace(variable, std::move(type)); }

private:
    const std::string name_ = "kubernetes.variables";
    std::map<std::string, Type, std::less<>> types_;
};

Compiler::Compiler(const Declarations& declared)
    : variables_(declared.variables ? std::make_shared<VariablesType>() : nullptr),
      base_(declared_variables(declared, variables_)),
      full_(base_.extended(
          {{kAuthorizer, cel::authorizer_type()}, {kRequestResource, cel::resource_check_type()}})) {}

Result<cel::Program> Compiler::compile(std::string_view expression, Gives gives) const {
    return compile_in(full_, expression, gives);
}

Result<cel::Program> Compiler::compile_message(std::string_view expression) const {
    return compile_in(base_, expression, Gives::kString);
}

Result<cel::Program> Compiler::add_variable(const std::string& name, std::string_view expression) {
    SLUICE_ASSERT(variables_ != nullptr);
    auto program = compile_in(full_, expression, Gives::kAnything);
    variables_->add(name, program ? variable_type(program->output_type()) : Type::dyn());
    return program;
}

Result<cel::Program> Compiler::compile_in(const cel::Environment& environment, std::string_view expression,
                                          Gives gives) const {
    auto program = environment.compile(expression);
    if (!program) return make_error(program.error().code, "compilation failed: {}", program.error().message);
    const Type& given = program->output_type();
    switch (gives) {
        case Gives::kAnything: return program;
        case Gives::kBool:
            if (given == Type::boolean()) return program;
            break;
        case Gives::kString:
            if (given == Type::string()) return program;
            break;
        case Gives::kStringOrNull:
            if (given == Type::string() || given == Type::null()) return program;
            return make_error(Code::kInvalidArgument, "must evaluate to one of [string null_type] but got {}",
                              given.to_string());
    }
    return make_error(Code::kInvalidArgument, "must evaluate to {} but got {}",
                      gives == Gives::kBool ? "bool" : "string", given.to_string());
}

}  // namespace sluice::expressions
