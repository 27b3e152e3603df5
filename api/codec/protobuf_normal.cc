// The normal form of messages; see protobuf.h.
#include <google/protobuf/message.h>

#include "api/codec/json.h"
#include "api/codec/json_map.h"
#include "api/codec/json_plan_internal.h"
#include "api/codec/json_text.h"
#include "api/codec/json_tree_internal.h"
#include "api/codec/protobuf.h"
#include "api/codec/quantity.h"
#include "api/codec/time.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/resource/quantity.pb.h"
#include "api/kubernetes/runtime/runtime.pb.h"
#include "api/kubernetes/util/intstr/intstr.pb.h"

namespace sluice::codec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
namespace apiextensionsv1 = ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1;
using PbIntOrString = ::k8s::io::apimachinery::pkg::util::intstr::IntOrString;
using PbQuantity = ::k8s::io::apimachinery::pkg::api::resource::Quantity;
using PbRawExtension = ::k8s::io::apimachinery::pkg::runtime::RawExtension;

constexpr std::int64_t kIntOrStringIsString = 1;
constexpr std::int32_t kNanosPerMicro = 1'000;
class Normaliser {
public:
    // NOLINTNEXTLINE(misc-no-recursion): decoders limit the depth.
    Result<void> message(Message* message, const MessagePlan& plan) {
        const Reflection& reflection = *plan.reflection;
        if (!reflection.GetUnknownFields(*message).empty()) {
            reflection.MutableUnknownFields(message)->Clear();
        }
        // To ask for each field of a type costs far more than to list those that are set.
        std::vector<const FieldDescriptor*> set;
        constexpr std::size_t kUsualFields = 16;
        set.reserve(kUsualFields);
        reflection.ListFields(*message, &set);
        for (const FieldDescriptor* descriptor : set) {
            const int index = plan.by_number[static_cast<std::size_t>(descriptor->number())];
            const FieldPlan& field = plan.fields[static_cast<std::size_t>(index)];
            if (field.value_plan == nullptr) {
                if (field.shape == FieldShape::kSingular) scalar(message, reflection, field);
            } else if (field.shape == FieldShape::kSingular) {
                SLUICE_TRY(singular(message, reflection, field));
            } else {
                SLUICE_TRY(collection(message, reflection, field));
            }
        }
        return {};
    }

    Result<void> value(Message* message_, ValueKind kind, const MessagePlan& plan) {
        if (kind != ValueKind::kMessage &&
            !message_->GetReflection()->GetUnknownFields(*message_).empty()) {
            message_->GetReflection()->MutableUnknownFields(message_)->Clear();
        }
        switch (kind) {
            case ValueKind::kTime: return time(static_cast<metav1::Time*>(message_));
            case ValueKind::kMicroTime: return micro_time(static_cast<metav1::MicroTime*>(message_));
            case ValueKind::kDuration: {
                auto* duration = static_cast<metav1::Duration*>(message_);
                if (duration->duration() == 0) duration->clear_duration();
                return {};
            }
            case ValueKind::kQuantity: return quantity(static_cast<PbQuantity*>(message_));
            case ValueKind::kIntOrString:
                return int_or_string(static_cast<PbIntOrString*>(message_));
            case ValueKind::kRawExtension: {
                auto* extension = static_cast<PbRawExtension*>(message_);
                if (extension->raw().empty()) extension->clear_raw();
                return {};
            }
            case ValueKind::kFieldsV1: return embedded(static_cast<metav1::FieldsV1*>(message_));
            case ValueKind::kJson: return embedded(static_cast<apiextensionsv1::JSON*>(message_));
            case ValueKind::kStringList: return {};
            default: return message(message_, plan);
        }
    }

private:
    [[nodiscard]] Error error(std::string_view problem) const {
        std::string path;
        for (const auto* field : path_) {
            if (!path.empty()) path += '.';
            path += field->name;
        }
        return make_error(Code::kInvalidArgument, "{}: {}", path, problem);
    }

    static void scalar(Message* message, const Reflection& reflection, const FieldPlan& field) {
        if (field.pointer) return;
        const FieldDescriptor* descriptor = field.field;
        std::string scratch;
        bool zero = false;
        switch (field.kind) {
            case ValueKind::kString:
            case ValueKind::kBytes:
                zero = reflection.GetStringReference(*message, descriptor, &scratch).empty();
                break;
            case ValueKind::kBool: zero = !reflection.GetBool(*message, descriptor); break;
            case ValueKind::kInt32: zero = reflection.GetInt32(*message, descriptor) == 0; break;
            case ValueKind::kInt64: zero = reflection.GetInt64(*message, descriptor) == 0; break;
            case ValueKind::kUint32: zero = reflection.GetUInt32(*message, descriptor) == 0; break;
            case ValueKind::kUint64: zero = reflection.GetUInt64(*message, descriptor) == 0; break;
            case ValueKind::kDouble: zero = reflection.GetDouble(*message, descriptor) == 0; break;
            case ValueKind::kFloat: zero = reflection.GetFloat(*message, descriptor) == 0; break;
            default: break;
        }
        if (zero) reflection.ClearField(message, descriptor);
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> singular(Message* owner, const Reflection& reflection, const FieldPlan& field) {
        Message* sub = reflection.MutableMessage(owner, field.field);
        path_.push_back(&field);
        SLUICE_TRY(value(sub, field.kind, *field.value_plan));
        path_.pop_back();
        if (absent_when_zero(field) && is_zero(*sub, field.kind, *field.value_plan)) {
            reflection.ClearField(owner, field.field);
        }
        return {};
    }

    // NOLINTNEXTLINE(misc-no-recursion)
    Result<void> collection(Message* owner, const Reflection& reflection, const FieldPlan& field) {
        if (reflection.FieldSize(*owner, field.field) == 0) return {};
        path_.push_back(&field);
        if (field.shape == FieldShape::kMap) {
            Result<void> done;
            write_message_map(owner, field.field, [&](Message* entry) {
                if (done) done = value(entry, field.kind, *field.value_plan);
            });
            SLUICE_TRY(done);
        } else {
            const int size = reflection.FieldSize(*owner, field.field);
            for (int i = 0; i < size; ++i) {
                SLUICE_TRY(value(reflection.MutableRepeatedMessage(owner, field.field, i),
                                 field.kind, *field.value_plan));
            }
        }
        path_.pop_back();
        return {};
    }

    Result<void> time(metav1::Time* time) {
        const std::int64_t seconds = time->seconds();
        if (seconds < kMinTimeSeconds || seconds > kMaxTimeSeconds) {
            return error("the time is not between the years 1 and 9999");
        }
        time->clear_nanos();
        if (seconds == 0 || seconds == kMinTimeSeconds) time->clear_seconds();
        return {};
    }

    Result<void> micro_time(metav1::MicroTime* time) {
        const std::int64_t seconds = time->seconds();
        const std::int32_t nanos = time->nanos();
        if (seconds < kMinTimeSeconds || seconds > kMaxTimeSeconds || nanos < 0 ||
            nanos >= 1'000'000'000) {
            return error("the time is not between the years 1 and 9999");
        }
        time->set_nanos(nanos - nanos % kNanosPerMicro);
        if (time->nanos() == 0) time->clear_nanos();
        const bool go_zero = seconds == kMinTimeSeconds && !time->has_nanos();
        if (seconds == 0 || go_zero) time->clear_seconds();
        return {};
    }

    Result<void> quantity(PbQuantity* quantity) {
        if (quantity->string().empty()) {
            quantity->set_string("0");
            return {};
        }
        const auto parsed = Quantity::parse(quantity->string());
        if (!parsed) return error(parsed.error().message);
        quantity->set_string(parsed->to_string());
        return {};
    }

    Result<void> int_or_string(PbIntOrString* either) {
        if (either->type() == kIntOrStringIsString) {
            either->clear_intval();
            if (either->strval().empty()) either->clear_strval();
            return {};
        }
        if (either->type() != 0) return error("the type of an IntOrString is neither 0 nor 1");
        either->clear_type();
        either->clear_strval();
        if (either->intval() == 0) either->clear_intval();
        return {};
    }

    // A message that is JSON text: metav1.FieldsV1 and apiextensions' JSON.
    template <class Text>
    Result<void> embedded(Text* text) {
        if (text->raw().empty()) {
            text->clear_raw();
            return {};
        }
        if (is_compact_tree(text->raw())) return {};
        auto document = parse_json(text->raw());
        if (!document) return error(document.error().message);
        if (document->is_null()) {
            text->clear_raw();
        } else {
            text->set_raw(write_json(*document));
        }
        return {};
    }

    std::vector<const FieldPlan*> path_;
};

}  // namespace

Result<void> normalise(Message* message) {
    const auto& type = *message->GetDescriptor();
    return Normaliser().value(message, message_kind(type), plan_of(type));
}

}  // namespace sluice::codec
