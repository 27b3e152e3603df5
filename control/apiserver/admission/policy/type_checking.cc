#include "control/apiserver/admission/policy/type_checking.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <set>

#include "api/codec/json_plan_internal.h"
#include "control/apiserver/expressions/admission.h"

namespace sluice::admission {
namespace {

namespace admissionv1 = ::k8s::io::api::admissionregistration::v1;

using cel::Type;
using codec::FieldShape;
using codec::ValueKind;

// A message as the JSON codec writes it. Recursive messages have recursive types, as nothing is made beforehand.
class MessageType final : public cel::ObjectType {
public:
    // gvk: of a whole object, which has a kind and an apiVersion.
    MessageType(const google::protobuf::Descriptor& descriptor, bool whole)
        : plan_(codec::plan_of(descriptor)), name_(descriptor.full_name()), whole_(whole) {}
    [[nodiscard]] const std::string& name() const override { return name_; }
    [[nodiscard]] std::optional<Type> field(std::string_view json_name) const override {
        if (whole_ && (json_name == "kind" || json_name == "apiVersion")) return Type::string();
        const auto found = plan_.members.find(json_name);
        if (found == plan_.members.end()) return std::nullopt;
        const codec::FieldPlan& field = *found->second.field;
        if (field.shape == FieldShape::kList) return Type::list(type_of_value(field));
        if (field.shape == FieldShape::kMap) return Type::map(Type::string(), type_of_value(field));
        return type_of_value(field);
    }

private:
    static Type type_of_value(const codec::FieldPlan& field) {
        switch (field.kind) {
            case ValueKind::kString:
            case ValueKind::kDuration: return Type::string();
            case ValueKind::kBytes: return Type::bytes();
            case ValueKind::kBool: return Type::boolean();
            case ValueKind::kInt32:
            case ValueKind::kInt64:
            case ValueKind::kUint32:
            case ValueKind::kUint64: return Type::integer();
            case ValueKind::kDouble:
            case ValueKind::kFloat: return Type::number();
            case ValueKind::kTime:
            case ValueKind::kMicroTime: return Type::timestamp();
            case ValueKind::kStringList: return Type::list(Type::string());
            case ValueKind::kMessage:
                return Type::object(std::make_shared<const MessageType>(*field.value_plan->descriptor, false));
            // Of more than one type, or of none that is known.
            default: return Type::dyn();
        }
    }

    const codec::MessagePlan& plan_;
    const std::string name_;
    const bool whole_;
};

std::vector<const codec::KindInfo*> kinds_of(const admissionv1::ValidatingAdmissionPolicy& policy) {
    std::vector<const codec::KindInfo*> out;
    const auto any = [](const auto& names) {
        return std::any_of(names.begin(), names.end(),
                           [](const std::string& name) { return name.find('*') != std::string::npos; });
    };
    for (const auto& named : policy.spec().matchconstraints().resourcerules()) {
        const auto& rule = named.rulewithoperations().rule();
        if (any(rule.apigroups()) || any(rule.apiversions())) continue;
        std::size_t found = 0;
        for (const std::string& group : rule.apigroups()) {
            for (const std::string& version : rule.apiversions()) {
                for (const std::string& resource : rule.resources()) {
                    const auto* kind = codec::find_resource(group, version, resource);
                    if (kind == nullptr || found >= kMaxCheckedKinds) continue;
                    ++found;
                    if (std::find(out.begin(), out.end(), kind) == out.end()) out.push_back(kind);
                }
            }
        }
        if (out.size() >= kMaxCheckedKinds) break;
    }
    std::sort(out.begin(), out.end(), [](const auto* a, const auto* b) { return a->gvk < b->gvk; });
    return out;
}

std::string shown(const codec::GroupVersionKind& gvk) {
    return fmt::format("{}, Kind={}", gvk.group.empty() ? "/" + gvk.version : gvk.api_version(), gvk.kind);
}

}  // namespace

Type type_of(const codec::KindInfo& kind) {
    return Type::object(std::make_shared<const MessageType>(*kind.prototype->GetDescriptor(), true));
}

std::vector<TypeWarning> check_types(const admissionv1::ValidatingAdmissionPolicy& policy) {
    std::vector<TypeWarning> out;
    const auto& spec = policy.spec();
    expressions::Declarations declared;
    declared.variables = true;
    if (spec.has_paramkind()) {
        declared.params = true;
        const auto gvk = codec::GroupVersionKind::parse(spec.paramkind().apiversion(), spec.paramkind().kind());
        const codec::KindInfo* params = gvk ? codec::find_kind(*gvk) : nullptr;
        if (params != nullptr) declared.params_type = type_of(*params);
    }
    struct Checked {
        const codec::KindInfo* kind;
        expressions::Compiler compiler;
    };
    std::vector<Checked> checked;
    for (const codec::KindInfo* kind : kinds_of(policy)) {
        declared.object = type_of(*kind);
        Checked& one = checked.emplace_back(Checked{kind, expressions::Compiler(declared)});
        for (const auto& variable : spec.variables()) {
            (void)one.compiler.add_variable(variable.name(), variable.expression());
        }
    }
    const auto check = [&](const std::string& expression, std::string field) {
        std::string text;
        for (const Checked& one : checked) {
            const auto program = one.compiler.compile(expression, expressions::Gives::kAnything);
            if (program) continue;
            std::string_view why = program.error().message;
            constexpr std::string_view kPrefix = "compilation failed: ";
            if (why.starts_with(kPrefix)) why.remove_prefix(kPrefix.size());
            text += fmt::format("{}{}: {}\n", text.empty() ? "" : "\n", shown(one.kind->gvk), why);
        }
        if (!text.empty()) out.push_back({std::move(field), std::move(text)});
    };
    for (int i = 0; i < spec.validations_size(); ++i) {
        const std::string field = fmt::format("spec.validations[{}]", i);
        check(spec.validations(i).expression(), field + ".expression");
        const std::string& message = spec.validations(i).messageexpression();
        if (!message.empty()) check(message, field + ".messageExpression");
    }
    return out;
}

}  // namespace sluice::admission
