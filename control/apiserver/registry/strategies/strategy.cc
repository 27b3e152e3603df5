#include "control/apiserver/registry/strategies/strategy.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/message_differencer.h>

#include "api/codec/protobuf.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/object_meta.h"

namespace sluice::registry {

namespace {

constexpr Column kDefaultColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Age", "string", "", "Time since the object was created."},
};

const google::protobuf::FieldDescriptor* find_field(const Message& object, const char* name) {
    return object.GetDescriptor()->FindFieldByName(name);
}

}  // namespace

std::string Strategy::storage_prefix() const { return "/registry/" + kind_.resource; }

std::string_view Strategy::go_package() const {
    const std::string_view group = kind_.gvk.group;
    return group.empty() ? "core" : group.substr(0, group.find('.'));
}

void Strategy::settle_body(Message* object, std::vector<std::string>* unknown) const {
    (void)object;
    (void)unknown;
}

void Strategy::set_defaults(Message* object) const { (void)object; }

void Strategy::set_requester(Message* object, const http::Identity& identity) const {
    (void)object;
    (void)identity;  // most kinds do not record who made them
}

Answer<void> Strategy::admit(Message* object, const Message* old) const {
    (void)object;
    (void)old;
    return {};
}

void Strategy::prepare_for_create(Message* object) const {
    if (kind_.has_status) clear_field(object, "status");
}

void Strategy::prepare_for_update(Message* object, const Message& old) const {
    if (kind_.has_status) copy_field(old, object, "status");
}

void Strategy::prepare_for_status_update(Message* object, const Message& old) const {
    copy_field(old, object, "spec");
    // Metadata other than managedFields and the versions belongs to the main resource; labels and annotations may be
    // changed through status, as in Kubernetes, finalizers and owners may not.
    auto& meta = codec::object_meta(*object);
    const auto& old_meta = codec::object_meta(old);
    *meta.mutable_finalizers() = old_meta.finalizers();
    *meta.mutable_ownerreferences() = old_meta.ownerreferences();
}

void Strategy::prepare_for_approval(Message* object, const Message& old) const {
    prepare_for_status_update(object, old);
}

void Strategy::validate(const Message& object, FieldErrors* errors) const {
    validate_object_meta(codec::object_meta(object), kind_.namespaced, name_check(), errors);
}

void Strategy::validate_update(const Message& object, const Message& old,
                               FieldErrors* errors) const {
    validate_object_meta_update(codec::object_meta(object), codec::object_meta(old), errors);
}

void Strategy::validate_status_update(const Message& object, const Message& old,
                                      FieldErrors* errors) const {
    validate_object_meta_update(codec::object_meta(object), codec::object_meta(old), errors);
}

void Strategy::validate_approval(const Message& object, const Message& old,
                                 FieldErrors* errors) const {
    validate_status_update(object, old, errors);
}

std::optional<ScaleView> Strategy::scale_of(const Message& object) const {
    (void)object;
    return std::nullopt;
}

void Strategy::set_replicas(Message* object, std::int32_t replicas) const {
    (void)object;
    (void)replicas;  // reached only for kinds whose scale_of answers
}

Answer<std::shared_ptr<Reservation>> Strategy::reserve(Message* object, const Message* old) const {
    (void)object;
    (void)old;
    return std::shared_ptr<Reservation>();
}

std::shared_ptr<Reservation> Strategy::release(const Message& old) const {
    (void)old;
    return nullptr;
}

Answer<void> Strategy::check_deletion(const Message& object) const {
    (void)object;
    return {};
}

DeletionTerms Strategy::deletion_terms(const Message& object,
                                       std::optional<std::int64_t> grace) const {
    (void)object;
    (void)grace;  // only Pods die gracefully
    return {};
}

void Strategy::mark_deleted(Message* object) const { (void)object; }

std::span<const Column> Strategy::columns() const { return kDefaultColumns; }

std::vector<Cell> Strategy::row(const Message& object) const {
    const auto& meta = codec::object_meta(object);
    return {meta.name(), age_cell(meta)};
}

std::string Strategy::field_value(const Message& object, std::string_view field) const {
    const auto& meta = codec::object_meta(object);
    if (field == "metadata.name") return meta.name();
    if (field == "metadata.namespace") return meta.namespace_();
    return {};
}

std::string Strategy::unknown_field_message(std::string_view field) const {
    if (!selectable_fields().empty()) return fmt::format("field label not supported: {}", field);
    return fmt::format(
        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        go_quote(field));
}

void Strategy::copy_field(const Message& from, Message* to, const char* field) {
    clear_field(to, field);
    const auto* descriptor = find_field(from, field);
    if (descriptor == nullptr || !from.GetReflection()->HasField(from, descriptor)) return;
    to->GetReflection()
        ->MutableMessage(to, descriptor)
        ->CopyFrom(from.GetReflection()->GetMessage(from, descriptor));
}

void Strategy::clear_field(Message* object, const char* field) {
    const auto* descriptor = find_field(*object, field);
    if (descriptor != nullptr) object->GetReflection()->ClearField(object, descriptor);
}

bool Strategy::equal(const Message& a, const Message& b) {
    return google::protobuf::util::MessageDifferencer::Equivalent(a, b);
}

bool Strategy::same_stored_field(const Message& a, const Message& b, const char* field) {
    const auto* descriptor = find_field(a, field);
    if (descriptor == nullptr) return true;
    return codec::encode_protobuf_raw(a.GetReflection()->GetMessage(a, descriptor)) ==
           codec::encode_protobuf_raw(b.GetReflection()->GetMessage(b, descriptor));
}

void Strategy::start_generation(Message* object) { codec::object_meta(*object).set_generation(1); }

void Strategy::count_generation(Message* object, const Message& old) {
    if (same_stored_field(*object, old, "spec")) return;
    auto& meta = codec::object_meta(*object);
    meta.set_generation(codec::object_meta(old).generation() + 1);
}

bool Strategy::same_field(const Message& a, const Message& b, const char* field) {
    const auto* descriptor = find_field(a, field);
    if (descriptor == nullptr) return true;
    return equal(a.GetReflection()->GetMessage(a, descriptor),
                 b.GetReflection()->GetMessage(b, descriptor));
}

}  // namespace sluice::registry
