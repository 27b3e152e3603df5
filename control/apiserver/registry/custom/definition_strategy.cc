// What is particular to CustomResourceDefinitions.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cctype>

#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/definition_private.h"
#include "control/apiserver/registry/custom/definition_strategy.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

constexpr Column kColumns[] = {
    {"Name", "string", "name",
     "Name must be unique within a namespace. Is required when creating resources, although some "
     "resources may allow a client to request the generation of an appropriate name automatically. "
     "Name is primarily intended for creation idempotence and configuration definition. Cannot be "
     "updated. More info: "
     "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"},
    {"Created At", "date", "",
     "CreationTimestamp is a timestamp representing the server time when this object was created. "
     "It is not guaranteed to be set in happens-before order across separate operations. Clients "
     "may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the "
     "system. Read-only. Null for lists. More info: "
     "https://git.k8s.io/community/contributors/devel/sig-architecture/"
     "api-conventions.md#metadata"},
};

// The storage version joins the versions that objects may be stored in.
void note_storage_version(Definition* definition) {
    for (const DefinitionVersion& version : definition->spec().versions()) {
        if (!version.storage()) continue;
        auto* stored = definition->mutable_status()->mutable_storedversions();
        if (std::find(stored->begin(), stored->end(), version.name()) == stored->end()) {
            *stored->Add() = version.name();
        }
        return;
    }
}

class DefinitionStrategy final : public TypedStrategy<Definition> {
public:
    using TypedStrategy::TypedStrategy;

    [[nodiscard]] std::string storage_prefix() const override {
        return "/registry/apiextensions.k8s.io/customresourcedefinitions";
    }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }
    // The first DELETE never removes it: its objects go first.
    [[nodiscard]] DeletionTerms deletion_terms(const Message& object,
                                               std::optional<std::int64_t> grace) const override {
        (void)grace;
        DeletionTerms terms;
        terms.lingers = !codec::object_meta(object).has_deletiontimestamp();
        return terms;
    }
    void mark_deleted(Message* object) const override {
        auto* definition = static_cast<Definition*>(object);
        auto* finalizers = definition->mutable_metadata()->mutable_finalizers();
        if (std::find(finalizers->begin(), finalizers->end(), kCleanupFinalizer) ==
            finalizers->end()) {
            *finalizers->Add() = kCleanupFinalizer;
        }
        set_condition(definition, "Terminating", "True", "InstanceDeletionPending",
                      "CustomResourceDefinition marked for deletion; CustomResource deletion will "
                      "begin soon");
    }
    void prepare_for_status_update(Message* object, const Message& old) const override {
        copy_field(old, object, "spec");
        auto& meta = codec::object_meta(*object);
        const auto& old_meta = codec::object_meta(old);
        // Status updates change the status and, as upstream has it, finalizers of a controller.
        *meta.mutable_labels() = old_meta.labels();
        *meta.mutable_annotations() = old_meta.annotations();
        *meta.mutable_ownerreferences() = old_meta.ownerreferences();
        *meta.mutable_finalizers() = old_meta.finalizers();
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        check_definition_names(static_cast<const Definition&>(object).status().acceptednames(),
                               "status.acceptedNames", errors);
    }
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }

protected:
    void defaults(Definition* definition) const override {
        auto* spec = definition->mutable_spec();
        auto* names = spec->mutable_names();
        if (names->singular().empty() && !names->kind().empty()) {
            std::string singular = names->kind();
            std::ranges::transform(singular, singular.begin(), [](unsigned char c) {
                return static_cast<char>(std::tolower(c));
            });
            names->set_singular(singular);
        }
        if (names->listkind().empty() && !names->kind().empty()) {
            names->set_listkind(names->kind() + "List");
        }
        if (!spec->has_conversion()) spec->mutable_conversion()->set_strategy("None");
        auto* conversion = spec->mutable_conversion();
        if (conversion->has_webhook() && conversion->webhook().clientconfig().has_service() &&
            !conversion->webhook().clientconfig().service().has_port()) {
            constexpr int kHttps = 443;
            conversion->mutable_webhook()->mutable_clientconfig()->mutable_service()->set_port(
                kHttps);
        }
        if (definition->status().storedversions().empty()) note_storage_version(definition);
    }
    void prepare_create(Definition* definition) const override {
        definition->clear_status();
        start_generation(definition);
        note_storage_version(definition);
    }
    void prepare_update(Definition* definition, const Definition& old) const override {
        copy_field(old, definition, "status");
        count_generation(definition, old);
        note_storage_version(definition);
    }
    void check(const Definition& definition, FieldErrors* errors) const override {
        Strategy::validate(definition, errors);
        const std::string wanted =
            definition.spec().names().plural() + "." + definition.spec().group();
        if (definition.metadata().name() != wanted) {
            errors->invalid("metadata.name", definition.metadata().name(),
                            R"(must be spec.names.plural+"."+spec.group)");
        }
        check_definition(definition, errors);
    }
    void check_update(const Definition& definition, const Definition& old,
                      FieldErrors* errors) const override {
        // What is being deleted must be able to go, whatever a newer server thinks of it.
        if (definition.metadata().has_deletiontimestamp()) return;
        check_definition(definition, errors);
        check_definition_update(definition, old, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const Definition& definition) const override {
        return {definition.metadata().name(),
                codec::format_time(definition.metadata().creationtimestamp().seconds())};
    }
};

}  // namespace

bool condition_holds(const Definition& definition, std::string_view type) {
    return std::ranges::any_of(definition.status().conditions(), [type](const auto& condition) {
        return condition.type() == type && condition.status() == "True";
    });
}

bool set_condition(Definition* definition, const char* type, const char* status,
                   const char* reason, const std::string& message) {
    extv1::CustomResourceDefinitionCondition* condition = nullptr;
    for (auto& one : *definition->mutable_status()->mutable_conditions()) {
        if (one.type() == type) condition = &one;
    }
    if (condition != nullptr && condition->status() == status && condition->reason() == reason &&
        condition->message() == message) {
        return false;
    }
    if (condition == nullptr) {
        condition = definition->mutable_status()->add_conditions();
        condition->set_type(type);
    }
    if (condition->status() != status) {
        condition->mutable_lasttransitiontime()->set_seconds(unix_now());
    }
    condition->set_status(status);
    condition->set_reason(reason);
    condition->set_message(message);
    return true;
}

std::unique_ptr<Strategy> make_definition_strategy(const codec::KindInfo& kind) {
    return std::make_unique<DefinitionStrategy>(kind);
}

}  // namespace sluice::registry
