#include <algorithm>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "api/codec/apply/message_plan_internal.h"
#include "api/codec/json_text.h"

namespace sluice::codec {
namespace {

namespace pb = ::google::protobuf;

using Shape = ApplyType::Shape;

class Cache {
public:
    const ApplyPlan& find(const pb::Descriptor& type) {
        {
            const std::shared_lock lock(mutex_);
            const auto found = plans_.find(&type);
            if (found != plans_.end()) return *found->second;
        }
        const std::unique_lock lock(mutex_);
        return build(type);
    }

private:
    // REQUIRES: mutex_ held exclusively. Entered before it is filled, which ends the recursion of types that hold
    // themselves; no reader sees it before the lock is released.
    const ApplyPlan& build(const pb::Descriptor& type) {
        auto& slot = plans_[&type];
        if (slot) return *slot;
        slot = std::make_unique<ApplyPlan>();
        ApplyPlan& plan = *slot;
        plan.message = &plan_of(type);
        for (const auto& [name, member] : plan.message->members) {
            plan.members.push_back(member_plan(type, name, member));
        }
        std::sort(plan.members.begin(), plan.members.end(),
                  [](const ApplyMember& a, const ApplyMember& b) { return a.element.text < b.element.text; });
        return plan;
    }

    ApplyMember member_plan(const pb::Descriptor& type, std::string_view name, const MemberPlan& member) {
        bool known = false;
        const ApplyType apply = schema_.member(ApplySchema::root(type), name, &known);
        ApplyMember out;
        out.element = PathElement::field(std::string(name));
        append_json_string("f:" + out.element.text, &out.key_text);
        out.key_text += ':';
        out.path = path_to(plan_of(type), member);
        out.shape = apply.shape == Shape::kFreeForm ? Shape::kAtomic : apply.shape;
        const FieldPlan& field = *member.field;
        out.always = field.always;
        if (out.shape == Shape::kObject) {
            const ApplyType inner = field.shape == FieldShape::kMap ? schema_.member(apply, "", &known) : apply;
            if (inner.shape == Shape::kObject && inner.message != nullptr) out.below = &build(*inner.message);
        } else if (out.shape == Shape::kKeyed || out.shape == Shape::kSet) {
            const ApplyType inner = ApplySchema::element(apply);
            if (inner.shape == Shape::kObject) out.below = &build(*inner.message);
            for (const std::string& key : apply.keys) out.keys.push_back(key_plan(*apply.message, key));
        }
        return out;
    }

    static ApplyMember::Key key_plan(const pb::Descriptor& type, const std::string& name) {
        ApplyMember::Key out;
        append_json_string(name, &out.name_text);
        out.name_text += ':';
        const auto& members = plan_of(type).members;
        const auto found = members.find(name);
        SLUICE_ASSERT(found != members.end());  // the options of the API's own types name members that exist
        out.path = path_to(plan_of(type), found->second);
        out.fallback = ApplySchema::default_of_key(name);
        return out;
    }

    std::shared_mutex mutex_;
    ApplySchema schema_;
    std::unordered_map<const pb::Descriptor*, std::unique_ptr<ApplyPlan>> plans_;
};

}  // namespace

const ApplyPlan& apply_plan_of(const pb::Descriptor& type) {
    static auto& cache = *new Cache;
    return cache.find(type);
}

MemberPath path_to(const MessagePlan& owner, const MemberPlan& member) {
    const MessagePlan& holder = member.inlined.empty() ? owner : *member.inlined.back()->value_plan;
    return {member.inlined, member.field, holder.reflection};
}

const pb::Message& holder_of(const pb::Message& message, const MemberPath& path) {
    const pb::Message* at = &message;
    for (const FieldPlan* field : path.inlined) at = &at->GetReflection()->GetMessage(*at, field->field);
    return *at;
}

}  // namespace sluice::codec
