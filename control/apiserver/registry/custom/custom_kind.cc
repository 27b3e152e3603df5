// One version of a definition: its KindInfo, its strategy, and the form of its objects in the store.
#include "control/apiserver/registry/custom/custom_kind.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <limits>
#include <optional>

#include "api/codec/json.h"
#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/definition_private.h"
#include "control/apiserver/registry/custom/json_path_private.h"
#include "control/apiserver/registry/custom/rules_private.h"
#include "control/apiserver/registry/custom/values_private.h"
#include "control/apiserver/registry/custom/versions/converter.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/object_meta.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

constexpr std::string_view kNameDescription =
    "Name must be unique within a namespace. Is required when creating resources, although some "
    "resources may allow a client to request the generation of an appropriate name automatically. "
    "Name is primarily intended for creation idempotence and configuration definition. Cannot be "
    "updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
constexpr std::string_view kCreatedDescription =
    "CreationTimestamp is a timestamp representing the server time when this object was created. "
    "It is not guaranteed to be set in happens-before order across separate operations. Clients "
    "may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the "
    "system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

struct PrinterColumn {
    std::string name, type, format, description;
    int priority = 0;
    JsonPath path;
};

struct SelectablePath {
    std::string field;  // as selectors name it: "spec.color"
    JsonPath path;
};

struct ScalePaths {
    std::vector<std::string> replicas, status_replicas, selector;
};

std::vector<std::string> names_of(const std::string& path) {
    const auto parsed = JsonPath::parse(path);
    return parsed && parsed->is_simple() ? parsed->names() : std::vector<std::string>();
}

const json::value* member_at(const json::value& root, const std::vector<std::string>& names) {
    const json::value* at = &root;
    for (const std::string& name : names) {
        const auto* object = at->if_object();
        at = object == nullptr ? nullptr : object->if_contains(name);
        if (at == nullptr) return nullptr;
    }
    return names.empty() ? nullptr : at;
}

json::value members_of(const Message& object) {
    auto parsed = codec::parse_json(codec::custom_members(object));
    SLUICE_ASSERT(parsed.has_value());  // the codec wrote it
    return std::move(*parsed);
}

void set_members(Message* object, const json::value& members) {
    codec::set_custom_members(object, codec::write_sorted_json(members));
}

// Everything that a kind needs of its definition.
struct Parts {
    codec::KindInfo info;
    codec::GroupVersionKind stored;
    std::string definition;
    std::string schema_json;
    std::string deprecation;
    bool served = false;
    bool storage = false;
    bool terminating = false;
    std::shared_ptr<const Schema> schema;
    std::shared_ptr<const Converter> converter;
    std::unique_ptr<const RuleNode> rules;  // of the schema; null: it has none
    std::vector<PrinterColumn> columns;
    std::vector<SelectablePath> selectable;
    std::optional<ScalePaths> scale;
};

class CustomStrategy final : public Strategy, public StoredForm {
public:
    explicit CustomStrategy(const Parts& parts) : Strategy(parts.info), parts_(parts) {
        columns_.push_back({"Name", "string", "name", kNameDescription});
        for (const PrinterColumn& column : parts.columns) {
            columns_.push_back({column.name, column.type, column.format, column.description,
                                column.priority});
        }
        for (const SelectablePath& one : parts.selectable) fields_.emplace_back(one.field);
    }

    // StoredForm.
    [[nodiscard]] const Converter* converter() const override { return parts_.converter.get(); }
    [[nodiscard]] const codec::GroupVersionKind& stored_gvk() const override {
        return parts_.stored;
    }
    Result<void> complete(Message* object) const override {
        json::value members = members_of(*object);
        coerce_embedded(&members, *parts_.schema, nullptr);
        prune(&members, *parts_.schema, true, nullptr);
        fill(&members);
        set_members(object, members);
        return {};
    }

    // Strategy.
    [[nodiscard]] std::string storage_prefix() const override {
        return "/registry/" + kind().gvk.group + "/" + kind().resource;
    }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }
    void set_defaults(Message* object) const override {
        json::value members = members_of(*object);
        fill(&members);
        set_members(object, members);
    }
    void settle_body(Message* object, std::vector<std::string>* warnings) const override {
        json::value members = members_of(*object);
        std::vector<std::string> unknown;
        coerce_embedded(&members, *parts_.schema, &unknown);
        prune(&members, *parts_.schema, true, &unknown);
        set_members(object, members);
        std::ranges::sort(unknown);
        for (const std::string& path : unknown) {
            if (warnings->size() >= codec::kMaxFieldWarnings) return;
            warnings->push_back(fmt::format("unknown field {}", go_quote(path)));
        }
    }
    Answer<void> admit(Message* object, const Message* old) const override {
        if (old != nullptr || !parts_.terminating) return {};
        (void)object;
        StatusError error = method_not_allowed();
        error.message = "create not allowed while custom resource definition is terminating";
        return refuse(std::move(error));
    }
    void prepare_for_create(Message* object) const override {
        if (kind().has_status) {
            json::value members = members_of(*object);
            members.get_object().erase("status");
            set_members(object, members);
        }
        start_generation(object);
    }
    void prepare_for_update(Message* object, const Message& old) const override {
        json::value members = members_of(*object);
        json::value before = members_of(old);
        if (kind().has_status) {
            copy_status(before, &members);
            set_members(object, members);
            members.get_object().erase("status");
            before.get_object().erase("status");
        }
        if (equal_values(members, before)) return;
        codec::object_meta(*object).set_generation(codec::object_meta(old).generation() + 1);
    }
    void prepare_for_status_update(Message* object, const Message& old) const override {
        json::value members = members_of(old);
        copy_status(members_of(*object), &members);
        set_members(object, members);
        auto& meta = codec::object_meta(*object);
        const auto managed = meta.managedfields();
        const std::string version = meta.resourceversion();
        meta = codec::object_meta(old);
        *meta.mutable_managedfields() = managed;
        meta.set_resourceversion(version);
    }
    void validate(const Message& object, FieldErrors* errors) const override {
        Strategy::validate(object, errors);
        check(object, nullptr, errors);
    }
    void validate_update(const Message& object, const Message& old,
                         FieldErrors* errors) const override {
        Strategy::validate_update(object, old, errors);
        check(object, &old, errors);
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        check(object, &old, errors);
    }
    [[nodiscard]] std::optional<ScaleView> scale_of(const Message& object) const override;
    void set_replicas(Message* object, std::int32_t replicas) const override;
    [[nodiscard]] std::span<const Column> columns() const override { return columns_; }
    [[nodiscard]] std::vector<Cell> row(const Message& object) const override;
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return fields_;
    }
    [[nodiscard]] std::string field_value(const Message& object,
                                          std::string_view field) const override;

private:
    static void copy_status(const json::value& from, json::value* to) {
        const json::value* status = from.get_object().if_contains("status");
        if (status != nullptr) {
            to->get_object()["status"] = *status;
        } else {
            to->get_object().erase("status");
        }
    }
    void fill(json::value* members) const {
        sluice::registry::set_defaults(members, *parts_.schema);
    }
    void check(const Message& object, const Message* old, FieldErrors* errors) const;
    void check_scale(const json::value& whole, FieldErrors* errors) const;

    const Parts& parts_;
    std::vector<Column> columns_;
    std::vector<std::string_view> fields_;
};

void CustomStrategy::check(const Message& object, const Message* old, FieldErrors* errors) const {
    const json::value whole = codec::to_json_value(object, &kind().gvk);
    std::optional<json::value> before;
    if (old != nullptr) before = codec::to_json_value(*old, &kind().gvk);
    check_embedded(whole, *parts_.schema, true, "", errors);
    check_value(whole, before ? &*before : nullptr, *parts_.schema, "", errors);
    check_lists(whole, *parts_.schema, "", errors);
    if (parts_.scale) check_scale(whole, errors);
    if (parts_.rules != nullptr) evaluate_rules(whole, before ? &*before : nullptr, *parts_.rules, errors);
}

void CustomStrategy::check_scale(const json::value& whole, FieldErrors* errors) const {
    for (const auto* names : {&parts_.scale->replicas, &parts_.scale->status_replicas}) {
        const json::value* value = member_at(whole, *names);
        if (value == nullptr || !value->is_int64()) continue;
        const std::int64_t replicas = value->get_int64();
        const std::string field = fmt::format(".{}", fmt::join(*names, "."));
        if (replicas < 0) {
            errors->invalid(field, replicas, "should be a non-negative integer");
        } else if (replicas > std::numeric_limits<std::int32_t>::max()) {
            errors->invalid(field, replicas,
                            fmt::format("should be less than or equal to {}",
                                        std::numeric_limits<std::int32_t>::max()));
        }
    }
}

std::optional<ScaleView> CustomStrategy::scale_of(const Message& object) const {
    if (!parts_.scale) return std::nullopt;
    const json::value members = members_of(object);
    const auto number = [&members](const std::vector<std::string>& names) {
        const json::value* value = member_at(members, names);
        return value != nullptr && value->is_int64() && std::in_range<std::int32_t>(value->get_int64())
                   ? static_cast<std::int32_t>(value->get_int64())
                   : 0;
    };
    ScaleView view;
    view.replicas = number(parts_.scale->replicas);
    view.status_replicas = number(parts_.scale->status_replicas);
    const json::value* selector = member_at(members, parts_.scale->selector);
    if (selector != nullptr && selector->is_string()) view.selector = path_text(*selector);
    return view;
}

void CustomStrategy::set_replicas(Message* object, std::int32_t replicas) const {
    if (!parts_.scale || parts_.scale->replicas.empty()) return;
    json::value members = members_of(*object);
    json::value* at = &members;
    for (const std::string& name : parts_.scale->replicas) {
        if (!at->is_object()) at->emplace_object();
        at = &at->get_object()[name];
    }
    *at = replicas;
    set_members(object, members);
}

Cell cell_of(const std::string& type, const json::value& value) {
    if (value.is_null()) return nullptr;
    if (type == "string") return path_text(value);
    if (type == "integer") {
        if (value.is_int64()) return value.get_int64();
        if (value.is_double()) return static_cast<std::int64_t>(value.get_double());
        return nullptr;
    }
    if (type == "number") {
        if (!value.is_number()) return nullptr;
        return value.to_number<double>();
    }
    if (type == "boolean") {
        if (!value.is_bool()) return nullptr;
        return value.get_bool();
    }
    const auto* text = value.if_string();
    if (text == nullptr) return nullptr;
    const auto time = codec::parse_time({text->data(), text->size()});
    if (!time) return std::string("<invalid>");
    return age_since(time->seconds);
}

std::vector<Cell> CustomStrategy::row(const Message& object) const {
    std::vector<Cell> cells{codec::object_meta(object).name()};
    const json::value whole = codec::to_json_value(object, &kind().gvk);
    for (const PrinterColumn& column : parts_.columns) {
        const auto found = column.path.find(whole);
        cells.push_back(found.empty() ? Cell(nullptr) : cell_of(column.type, *found.front()));
    }
    return cells;
}

std::string CustomStrategy::field_value(const Message& object, std::string_view field) const {
    const std::string common = Strategy::field_value(object, field);
    if (!common.empty()) return common;
    for (const SelectablePath& one : parts_.selectable) {
        if (one.field != field) continue;
        const json::value members = members_of(object);
        const auto found = one.path.find(members);
        return found.empty() || found.front()->is_null() ? std::string()
                                                         : path_text(*found.front());
    }
    return {};
}

// The strategy points into the parts, which stand before it and never move.
class CustomKindImpl final : public CustomKind {
public:
    explicit CustomKindImpl(Parts parts) : parts_(std::move(parts)), strategy_(parts_) {
        parts_.info.custom = &strategy_;
    }
    [[nodiscard]] const codec::KindInfo& kind() const override { return parts_.info; }
    [[nodiscard]] const Strategy& strategy() const override { return strategy_; }
    [[nodiscard]] bool served() const override { return parts_.served; }
    [[nodiscard]] bool storage() const override { return parts_.storage; }
    [[nodiscard]] const std::string& definition() const override { return parts_.definition; }
    [[nodiscard]] const std::string& schema_json() const override { return parts_.schema_json; }
    [[nodiscard]] const std::string& deprecation() const override { return parts_.deprecation; }

private:
    Parts parts_;
    CustomStrategy strategy_;
};

codec::KindInfo info_of(const Definition& definition, const DefinitionVersion& version) {
    const auto& names = definition.status().acceptednames();
    codec::KindInfo info{
        .gvk = {definition.spec().group(), version.name(), names.kind()},
        .resource = names.plural(),
        .singular = names.singular(),
        .short_names = {names.shortnames().begin(), names.shortnames().end()},
        .categories = {names.categories().begin(), names.categories().end()},
        .namespaced = definition.spec().scope() == "Namespaced",
        .has_status = version.subresources().has_status(),
        .subresources = {},
        .prototype = &codec::custom_object_prototype(),
        .list_prototype = &codec::custom_list_prototype(),
        .list_name = names.listkind(),
    };
    const std::vector<std::string> verbs{"get", "patch", "update"};
    if (version.subresources().has_scale()) {
        info.subresources.push_back({"scale", {"autoscaling", "v1", "Scale"}, verbs});
    }
    if (info.has_status) info.subresources.push_back({"status", info.gvk, verbs});
    return info;
}

Result<void> add_columns(const DefinitionVersion& version, Parts* parts) {
    for (const auto& column : version.additionalprintercolumns()) {
        PrinterColumn out;
        out.name = column.name();
        out.type = column.type();
        out.format = column.format();
        out.description =
            column.description().empty()
                ? "Custom resource definition column (in JSONPath format): " + column.jsonpath()
                : column.description();
        out.priority = column.priority();
        SLUICE_TRY_ASSIGN(out.path, JsonPath::parse(column.jsonpath()));
        parts->columns.push_back(std::move(out));
    }
    if (!parts->columns.empty()) return {};
    PrinterColumn age;
    age.name = "Age";
    age.type = "date";
    age.description = kCreatedDescription;
    SLUICE_TRY_ASSIGN(age.path, JsonPath::parse(".metadata.creationTimestamp"));
    parts->columns.push_back(std::move(age));
    return {};
}

}  // namespace

Result<std::shared_ptr<const CustomKind>> CustomKind::make(const Definition& definition,
                                                           int version,
                                                           const std::shared_ptr<Converter>& converter) {
    const DefinitionVersion& one = definition.spec().versions(version);
    Parts parts;
    parts.info = info_of(definition, one);
    parts.definition = definition.metadata().name();
    parts.stored = parts.info.gvk;
    for (const DefinitionVersion& other : definition.spec().versions()) {
        if (other.storage()) parts.stored.version = other.name();
    }
    parts.served = one.served();
    parts.storage = one.storage();
    parts.terminating = definition.metadata().has_deletiontimestamp();
    if (one.deprecated()) {
        parts.deprecation = one.has_deprecationwarning()
                                ? one.deprecationwarning()
                                : fmt::format("{} {} is deprecated", parts.info.gvk.api_version(),
                                              parts.info.gvk.kind);
    }
    const json::value document = codec::to_json_value(one.schema().openapiv3schema());
    parts.schema_json = codec::write_json(document);
    SLUICE_TRY_ASSIGN(parts.schema, compile_schema(document, "openAPIV3Schema"));
    parts.rules = compile_rules(*parts.schema, "openAPIV3Schema");
    if (converter != nullptr) converter->add_version(one.name(), parts.schema);
    parts.converter = converter;
    SLUICE_TRY(add_columns(one, &parts));
    for (const auto& field : one.selectablefields()) {
        SelectablePath out;
        out.field = field.jsonpath().substr(std::min<std::size_t>(1, field.jsonpath().size()));
        SLUICE_TRY_ASSIGN(out.path, JsonPath::parse(field.jsonpath()));
        parts.selectable.push_back(std::move(out));
    }
    if (one.subresources().has_scale()) {
        const auto& scale = one.subresources().scale();
        parts.scale = ScalePaths{names_of(scale.specreplicaspath()),
                                 names_of(scale.statusreplicaspath()),
                                 names_of(scale.labelselectorpath())};
    }
    return std::make_shared<const CustomKindImpl>(std::move(parts));
}

}  // namespace sluice::registry
