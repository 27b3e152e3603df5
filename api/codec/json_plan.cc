#include "api/codec/json_plan_internal.h"

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>

#include "api/base/result.h"
#include "api/codec/json_text.h"
#include "api/kubernetes/options.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"

namespace sluice::codec {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using PbQuantity = ::k8s::io::apimachinery::pkg::api::resource::Quantity;

// Upstream numbers its fields densely; the bound keeps the table by number small.
constexpr std::size_t kMaxFieldNumber = 10'000;

// The one field that keeps members nobody has declared.
constexpr std::string_view kRestField = "sluice.api.custom.CustomObject.members";

constexpr std::pair<std::string_view, ValueKind> kSpecialMessages[] = {
    {"k8s.io.apimachinery.pkg.apis.meta.v1.Time", ValueKind::kTime},
    {"k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime", ValueKind::kMicroTime},
    {"k8s.io.apimachinery.pkg.apis.meta.v1.Duration", ValueKind::kDuration},
    {"k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1", ValueKind::kFieldsV1},
    {"k8s.io.apimachinery.pkg.apis.meta.v1.Verbs", ValueKind::kStringList},
    {"k8s.io.api.authentication.v1.ExtraValue", ValueKind::kStringList},
    {"k8s.io.api.authorization.v1.ExtraValue", ValueKind::kStringList},
    {"k8s.io.api.certificates.v1.ExtraValue", ValueKind::kStringList},
    {"k8s.io.apimachinery.pkg.api.resource.Quantity", ValueKind::kQuantity},
    {"k8s.io.apimachinery.pkg.util.intstr.IntOrString", ValueKind::kIntOrString},
    {"k8s.io.apimachinery.pkg.runtime.RawExtension", ValueKind::kRawExtension},
    {"k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON", ValueKind::kJson},
    {"k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
     ValueKind::kSchemaOrBool},
    {"k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
     ValueKind::kSchemaOrArray},
    {"k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
     ValueKind::kSchemaOrStrings},
};

std::string go_type_of(const Descriptor& type) {
    const std::string& package = type.file()->package();
    return package.substr(package.rfind('.') + 1) + "." + type.name();
}

ValueKind value_kind(const FieldDescriptor& field) {
    switch (field.type()) {
        case FieldDescriptor::TYPE_STRING: return ValueKind::kString;
        case FieldDescriptor::TYPE_BYTES: return ValueKind::kBytes;
        case FieldDescriptor::TYPE_BOOL: return ValueKind::kBool;
        case FieldDescriptor::TYPE_INT32: return ValueKind::kInt32;
        case FieldDescriptor::TYPE_INT64: return ValueKind::kInt64;
        case FieldDescriptor::TYPE_UINT32: return ValueKind::kUint32;
        case FieldDescriptor::TYPE_UINT64: return ValueKind::kUint64;
        case FieldDescriptor::TYPE_DOUBLE: return ValueKind::kDouble;
        case FieldDescriptor::TYPE_FLOAT: return ValueKind::kFloat;
        case FieldDescriptor::TYPE_MESSAGE: return message_kind(*field.message_type());
        default: break;
    }
    // Kubernetes uses no enums, groups or fixed-width wire types.
    assertion_failed("a field has a type that Kubernetes does not use", __FILE__, __LINE__);
}

std::string go_value_type(const FieldDescriptor& field) {
    switch (field.type()) {
        case FieldDescriptor::TYPE_BYTES: return "[]uint8";
        case FieldDescriptor::TYPE_DOUBLE: return "float64";
        case FieldDescriptor::TYPE_FLOAT: return "float32";
        case FieldDescriptor::TYPE_MESSAGE: return go_type_of(*field.message_type());
        default: return field.type_name();
    }
}

class Cache {
public:
    const MessagePlan& find(const Descriptor& type) {
        {
            const std::shared_lock lock(mutex_);
            const auto found = plans_.find(&type);
            if (found != plans_.end()) return *found->second;
        }
        const std::unique_lock lock(mutex_);
        return build(type);
    }

private:
    // REQUIRES: mutex_ held exclusively. A plan is entered before it is filled, which ends the
    // recursion of types that hold themselves; no reader sees it before the lock is released.
    const MessagePlan& build(const Descriptor& type) {
        auto& slot = plans_[&type];
        if (slot) return *slot;
        slot = std::make_unique<MessagePlan>();
        MessagePlan& plan = *slot;  // slot itself may move when the map grows
        const auto* prototype =
            google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type);
        SLUICE_ASSERT(prototype != nullptr);
        plan.descriptor = &type;
        plan.reflection = prototype->GetReflection();
        plan.go_name = type.name();
        plan.go_type = go_type_of(type);
        plan.instance_bytes = prototype->SpaceUsedLong();
        plan.is_list = type.name().ends_with("List");
        plan.fields.reserve(static_cast<std::size_t>(type.field_count()));
        for (int i = 0; i < type.field_count(); ++i) {
            plan.fields.push_back(field_plan(*type.field(i), plan));
            if (type.field(i)->full_name() == kRestField) plan.rest = type.field(i);
        }
        for (const auto& field : plan.fields) {
            plan.has_inlined = plan.has_inlined || field.inlined;
            const auto number = static_cast<std::size_t>(field.field->number());
            SLUICE_ASSERT(number <= kMaxFieldNumber);
            if (plan.by_number.size() <= number) plan.by_number.resize(number + 1, -1);
            plan.by_number[number] = static_cast<std::int16_t>(&field - plan.fields.data());
            if (field.value_plan == nullptr) continue;
            if (plan.message_fields.size() <= number) plan.message_fields.resize(number + 1);
            plan.message_fields[number] = &field;
        }
        add_members(plan.fields, {}, &plan);
        return plan;
    }

    FieldPlan field_plan(const FieldDescriptor& field, const MessagePlan& owner) {
        const auto& options = field.options();
        FieldPlan plan;
        plan.field = &field;
        plan.name = options.HasExtension(k8s::json_name) ? options.GetExtension(k8s::json_name)
                                                         : field.name();
        append_json_string(plan.name, &plan.key_text);
        plan.key_text.push_back(':');
        plan.hidden = plan.name == "-";
        plan.pointer = options.GetExtension(k8s::pointer);
        plan.always = options.GetExtension(k8s::always);
        plan.inlined = options.GetExtension(k8s::inlined);
        plan.empty_list = owner.is_list;
        const FieldDescriptor* value = &field;
        if (field.is_map()) {
            SLUICE_ASSERT(field.message_type()->map_key()->type() == FieldDescriptor::TYPE_STRING);
            value = field.message_type()->map_value();
            plan.shape = FieldShape::kMap;
            const ValueKind kind = value_kind(*value);
            // Kubernetes has no map of numbers.
            SLUICE_ASSERT(kind == ValueKind::kString || kind == ValueKind::kBytes ||
                          kind >= ValueKind::kMessage);
        } else if (field.is_repeated()) {
            plan.shape = FieldShape::kList;
        }
        plan.kind = value_kind(*value);
        plan.go_element_type = go_value_type(*value);
        plan.go_type = plan.shape == FieldShape::kMap    ? "map[string]" + plan.go_element_type
                       : plan.shape == FieldShape::kList ? "[]" + plan.go_element_type
                                                         : plan.go_element_type;
        if (value->type() == FieldDescriptor::TYPE_MESSAGE) {
            plan.value_plan = &build(*value->message_type());
        }
        SLUICE_ASSERT(!plan.inlined || (plan.kind == ValueKind::kMessage &&
                                        plan.shape == FieldShape::kSingular));
        return plan;
    }

    // A member of the message itself hides one of the same name in an inlined message.
    static void add_members(const std::vector<FieldPlan>& fields,
                            const std::vector<const FieldPlan*>& inlined, MessagePlan* plan) {
        for (const auto& field : fields) {
            if (!field.hidden && !field.inlined) {
                plan->members.try_emplace(field.name, MemberPlan{inlined, &field});
            }
        }
        for (const auto& field : fields) {
            if (!field.inlined) continue;
            auto path = inlined;
            path.push_back(&field);
            add_members(field.value_plan->fields, path, plan);
        }
    }

    std::shared_mutex mutex_;
    boost::unordered_flat_map<const Descriptor*, std::unique_ptr<MessagePlan>> plans_;
};

}  // namespace

ValueKind message_kind(const Descriptor& type) {
    for (const auto& [name, kind] : kSpecialMessages) {
        if (type.full_name() == name) return kind;
    }
    return ValueKind::kMessage;
}

const FieldDescriptor* items_of(const google::protobuf::Message& list) {
    const FieldDescriptor* items = list.GetDescriptor()->FindFieldByNumber(1);
    SLUICE_ASSERT(items != nullptr && items->is_repeated() &&
                  items->type() == FieldDescriptor::TYPE_STRING);
    return items;
}

bool is_zero(const google::protobuf::Message& message, ValueKind kind, const MessagePlan& plan) {
    if (kind == ValueKind::kQuantity) {
        const auto& text = static_cast<const PbQuantity&>(message).string();
        return text.empty() || text == "0";
    }
    std::vector<const FieldDescriptor*> set;
    plan.reflection->ListFields(message, &set);
    return set.empty();
}

bool absent_when_zero(const FieldPlan& field) {
    switch (field.kind) {
        case ValueKind::kTime:
        case ValueKind::kMicroTime:
        case ValueKind::kRawExtension:
        case ValueKind::kFieldsV1:
        case ValueKind::kStringList: return true;
        default: return field.inlined || (field.always && !field.pointer);
    }
}

const MessagePlan& plan_of(const Descriptor& type) {
    static Cache cache;
    return cache.find(type);
}

}  // namespace sluice::codec
