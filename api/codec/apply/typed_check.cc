// Whether a configuration fits its type, with Kubernetes' words for what does not.
#include <boost/json/serialize.hpp>
#include <set>
#include <vector>

#include "api/codec/apply/managers.h"
#include "api/codec/apply/typed_internal.h"
#include "api/codec/json_plan_internal.h"
#include "api/codec/json_text.h"
#include "api/codec/patch_values_internal.h"

namespace sluice::codec {
namespace {

namespace json = boost::json;

// More are not listed: a document may be wrong in each of its lines.
constexpr std::size_t kMaxErrors = 100;

std::string path_text(const PathElement& element) {
    FieldSet one;
    one.insert(element);
    return paths_of(one).front();
}

// As Go prints a pointer to the decoded value.
std::string go_pointer(const json::value& value) { return "&{" + go_format(value) + "}"; }

std::string go_syntax(const json::value& value) {
    if (value.is_string()) return quoted(value.get_string());
    if (value.is_array()) return "[]interface {}" + go_format(value);
    if (value.is_object()) return "map[string]interface {}" + go_format(value);
    return go_format(value);
}

std::string not_a_string(const json::value& value) {
    return "expected string, got &value.valueUnstructured{Value:" + go_syntax(value) + "}";
}

std::string go_type_of_value(const json::value& value) {
    if (value.is_string()) return "string";
    if (value.is_bool()) return "bool";
    if (value.is_array()) return "[]interface {}";
    if (value.is_object()) return "map[string]interface {}";
    return "int64";
}

class Check {
public:
    std::vector<std::string> errors;

    void object(const json::value& value, const MessagePlan& plan, const std::string& path, bool root) {
        if (value.is_null()) return;
        if (!value.is_object()) return add(path, "expected map, got " + go_pointer(value));
        ApplySchema schema;
        for (const auto& [name, item] : value.as_object()) {
            const std::string at = path + "." + std::string(name);
            const auto found = plan.members.find(std::string_view(name.data(), name.size()));
            if (found == plan.members.end()) {
                if (root && (name == "kind" || name == "apiVersion")) {
                    if (!item.is_string()) add(at, not_a_string(item));
                } else if (!(root && plan.descriptor->full_name() == "sluice.api.custom.CustomObject")) {
                    // Kubernetes stops at the first of an object.
                    add(at, "field not declared in schema");
                    return;
                }
                continue;
            }
            bool known = false;
            const ApplyType type = schema.member(ApplySchema::root(*plan.descriptor), name, &known);
            member(item, *found->second.field, type, at);
        }
    }

private:
    void add(const std::string& path, const std::string& what) {
        if (errors.size() < kMaxErrors) errors.push_back(path.empty() ? what : path + ": " + what);
    }

    void member(const json::value& value, const FieldPlan& field, const ApplyType& type, const std::string& path) {
        if (value.is_null()) return;
        switch (field.shape) {
            case FieldShape::kSingular: return one(value, field, path);
            case FieldShape::kMap:
                if (!value.is_object()) return add(path, "expected map, got " + go_pointer(value));
                for (const auto& [name, item] : value.as_object()) one(item, field, path + "." + std::string(name));
                return;
            case FieldShape::kList: break;
        }
        if (!value.is_array()) return add(path, "expected list, got " + go_pointer(value));
        const bool associative = type.shape == ApplyType::Shape::kKeyed || type.shape == ApplyType::Shape::kSet;
        std::set<PathElement> seen;
        std::size_t index = 0;
        for (const json::value& item : value.as_array()) {
            std::string at = path + "[" + std::to_string(index) + "]";
            if (associative) {
                const auto element = element_of(type, item);
                if (!element) {
                    return add(path, "element " + std::to_string(index) + ": " + element.error().message);
                }
                at = path + path_text(*element);
                if (!seen.insert(*element).second) add(path, "duplicate entries for key " + path_text(*element));
            }
            one(item, field, at);
            ++index;
        }
    }

    void one(const json::value& value, const FieldPlan& field, const std::string& path) {
        if (value.is_null()) return;
        const bool compound = value.is_object() || value.is_array();
        switch (field.kind) {
            case ValueKind::kString:
            case ValueKind::kBytes:
            case ValueKind::kTime:
            case ValueKind::kMicroTime:
            case ValueKind::kDuration:
                if (value.is_string()) return;
                return add(path, not_a_string(value));
            case ValueKind::kBool:
                if (value.is_bool()) return;
                return add(path, "expected boolean, got " + go_pointer(value));
            case ValueKind::kMessage: return object(value, *field.value_plan, path, false);
            case ValueKind::kQuantity:
            case ValueKind::kIntOrString:
                if (compound) add(path, "expected any scalar, got " + go_pointer(value));
                return;
            case ValueKind::kRawExtension:
            case ValueKind::kFieldsV1: return;
            case ValueKind::kStringList:
                if (!value.is_array()) add(path, "expected list, got " + go_pointer(value));
                return;
            default:
                if (value.is_number()) return;
                return add(path, "expected numeric (int or float), got " + go_type_of_value(value));
        }
    }
};

}  // namespace

Result<void> check_typed(const json::value& config, const google::protobuf::Descriptor& type) {
    Check check;
    check.object(config, plan_of(type), "", true);
    if (check.errors.empty()) return {};
    if (check.errors.size() == 1) return make_error(Code::kInvalidArgument, "{}", check.errors.front());
    std::string text = "errors:";
    for (const std::string& error : check.errors) text += "\n  " + error;
    return make_error(Code::kInvalidArgument, "{}", text);
}

}  // namespace sluice::codec
