// What a CustomResourceDefinition must be, in Kubernetes' words.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <cctype>
#include <set>

#include "api/codec/json.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/definition_private.h"
#include "control/apiserver/registry/custom/json_path_private.h"
#include "control/apiserver/registry/custom/structural_private.h"
#include "control/apiserver/registry/validation/admission_rules.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/pki/certificate.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

constexpr char kApproved[] = "api-approved.kubernetes.io";
constexpr std::size_t kMaxDeprecationWarning = 256;

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) {
        return static_cast<char>(std::tolower(c));
    });
    return text;
}

// All complaints about one name, as one error.
void check_label(const std::string& field, const std::string& shown, const std::string& checked,
                 std::string_view before, FieldErrors* errors) {
    const auto wrong = check_dns1035_label(checked);
    if (wrong.empty()) return;
    errors->invalid(field, shown, std::string(before) + fmt::format("{}", fmt::join(wrong, ",")));
}

void check_group(const std::string& group, FieldErrors* errors) {
    if (group.empty()) return errors->required("spec.group");
    const auto wrong = check_dns1123_subdomain(group);
    if (!wrong.empty()) {
        errors->invalid("spec.group", group, fmt::format("{}", fmt::join(wrong, ",")));
    } else if (group.find('.') == std::string::npos) {
        errors->invalid("spec.group", group, "should be a domain with at least one dot");
    }
}

void check_simple_path(const std::string& path, const std::string& field, FieldErrors* errors) {
    if (path.empty()) return errors->invalid(field, path, "must not be empty");
    if (path.front() != '.') {
        return errors->invalid(field, path, "must be a simple json path starting with .");
    }
    if (const auto parsed = JsonPath::parse(path); !parsed) {
        errors->invalid(field, path, parsed.error().message);
    }
}

void check_scale_path(const std::string& path, std::string_view below, const std::string& field,
                      FieldErrors* errors) {
    if (path.empty()) return errors->required(field);
    FieldErrors found;
    check_simple_path(path, field, &found);
    if (found.empty() && !path.starts_with(below)) {
        found.invalid(field, path,
                      fmt::format("should be a json path under {}", below.substr(0, below.size() - 1)));
    }
    errors->append(found);
}

void check_subresources(const DefinitionVersion& version, const std::string& path,
                        FieldErrors* errors) {
    if (!version.subresources().has_scale()) return;
    const auto& scale = version.subresources().scale();
    const std::string at = path + ".subresources.scale";
    check_scale_path(scale.specreplicaspath(), ".spec.", at + ".specReplicasPath", errors);
    check_scale_path(scale.statusreplicaspath(), ".status.", at + ".statusReplicasPath", errors);
    const std::string& selector = scale.labelselectorpath();
    if (selector.empty()) return;
    FieldErrors found;
    check_simple_path(selector, at + ".labelSelectorPath", &found);
    if (found.empty() && !selector.starts_with(".spec.") && !selector.starts_with(".status.")) {
        found.invalid(at + ".labelSelectorPath", selector,
                      "should be a json path under either .spec or .status");
    }
    errors->append(found);
}

void check_columns(const DefinitionVersion& version, const std::string& path,
                   FieldErrors* errors) {
    constexpr std::string_view kTypes[] = {"boolean", "date", "integer", "number", "string"};
    constexpr std::string_view kFormats[] = {"byte",  "date",  "date-time", "double", "float",
                                             "int32", "int64", "password"};
    const std::string list = field_child(path, "additionalPrinterColumns");
    if (version.additionalprintercolumns_size() > kMaxPrinterColumns) {
        return errors->too_many(
            list, static_cast<std::uint64_t>(version.additionalprintercolumns_size()),
            kMaxPrinterColumns);
    }
    for (int i = 0; i < version.additionalprintercolumns_size(); ++i) {
        const auto& column = version.additionalprintercolumns(i);
        const std::string at = field_index(list, i);
        if (column.name().empty()) errors->required(field_child(at, "name"));
        constexpr std::string_view kWhy = "must be one of boolean,date,integer,number,string";
        if (column.type().empty()) {
            errors->required(field_child(at, "type"), kWhy);
        } else if (std::ranges::find(kTypes, column.type()) == std::end(kTypes)) {
            errors->invalid(field_child(at, "type"), column.type(), kWhy);
        }
        if (!column.format().empty() &&
            std::ranges::find(kFormats, column.format()) == std::end(kFormats)) {
            errors->invalid(field_child(at, "format"), column.format(),
                            "must be one of byte,date,date-time,double,float,int32,int64,password");
        }
        if (column.jsonpath().empty()) {
            errors->required(field_child(at, "JSONPath"));
        } else {
            check_simple_path(column.jsonpath(), field_child(at, "JSONPath"), errors);
        }
    }
}

void check_selectable(const DefinitionVersion& version, const Schema& schema,
                      const std::string& path, FieldErrors* errors) {
    const std::string list = field_child(path, "selectableFields");
    std::set<std::string> seen;
    for (int i = 0; i < version.selectablefields_size(); ++i) {
        const std::string& text = version.selectablefields(i).jsonpath();
        const std::string at = field_child(field_index(list, i), "jsonPath");
        if (text.empty()) {
            errors->required(at);
            continue;
        }
        const auto parsed = JsonPath::parse(text);
        if (!parsed || !parsed->is_simple() || text.front() != '.') {
            errors->invalid(at, text,
                            fmt::format("is an invalid path: {}",
                                        parsed ? "expected a field path of members"
                                               : parsed.error().message));
            continue;
        }
        const auto names = parsed->names();
        const Schema* found = &schema;
        for (const std::string& name : names) {
            if (found != nullptr) found = found->property(name);
        }
        if (found == nullptr) {
            errors->invalid(at, text, "is an invalid path: does not refer to a valid field");
            continue;
        }
        if (!names.empty() && names.front() == "metadata") {
            errors->invalid(at, text, "must not point to fields in metadata");
        }
        if (found->type != "string" && found->type != "boolean" && found->type != "integer") {
            errors->invalid(at, text,
                            "must point to a field of type string, boolean or integer. Enum string "
                            "fields and strings with formats are allowed.");
        }
        if (!seen.insert(text).second) errors->duplicate(at, text);
    }
    if (seen.size() > kMaxSelectableFields) {
        errors->too_many(list, seen.size(), kMaxSelectableFields);
    }
}

void check_deprecation(const DefinitionVersion& version, const std::string& path,
                       FieldErrors* errors) {
    if (!version.has_deprecationwarning()) return;
    const std::string at = field_child(path, "deprecationWarning");
    const std::string& text = version.deprecationwarning();
    if (!version.deprecated()) {
        return errors->invalid(at, text, "can only be set for deprecated versions");
    }
    if (text.size() > kMaxDeprecationWarning) {
        errors->invalid(at, text, "must be <= 256 characters long");
    }
    if (text.empty()) errors->invalid(at, text, "must not be an empty string");
    for (std::size_t i = 0; i < text.size(); ++i) {
        constexpr unsigned char kDelete = 0x7f;
        const auto c = static_cast<unsigned char>(text[i]);
        if (c >= ' ' && c != kDelete) continue;
        errors->invalid(at, text,
                        fmt::format("must only contain printable UTF-8 characters; non-printable "
                                    "character found at index {}",
                                    i));
        break;
    }
}

void check_version(const DefinitionVersion& version, const std::string& path,
                   FieldErrors* errors) {
    check_label(field_child(path, "name"), version.name(), version.name(), "", errors);
    check_deprecation(version, path, errors);
    const std::string at = field_child(field_child(path, "schema"), "openAPIV3Schema");
    if (!version.schema().has_openapiv3schema()) {
        errors->required(at);
    } else {
        const json::value document = codec::to_json_value(version.schema().openapiv3schema());
        const auto schema = compile_schema(document, at);
        if (!schema) {
            // The message begins with the place inside the schema.
            const std::string& message = schema.error().message;
            const std::size_t colon = message.find(": ");
            errors->invalid(message.substr(0, colon), "", message.substr(colon + 2));
        } else {
            check_structural(document, **schema, at, version.subresources().has_status(), errors);
            check_selectable(version, **schema, path, errors);
        }
    }
    check_subresources(version, path, errors);
    check_columns(version, path, errors);
}

void check_versions(const extv1::CustomResourceDefinitionSpec& spec, FieldErrors* errors) {
    if (spec.versions_size() > kMaxDefinitionVersions) {
        return errors->too_many("spec.versions", static_cast<std::uint64_t>(spec.versions_size()),
                                kMaxDefinitionVersions);
    }
    std::set<std::string> names;
    std::vector<std::string> shown;
    int storage = 0;
    for (int i = 0; i < spec.versions_size(); ++i) {
        const DefinitionVersion& version = spec.versions(i);
        names.insert(version.name());
        shown.push_back(version.name());
        if (version.storage()) ++storage;
        check_version(version, field_index("spec.versions", i), errors);
    }
    const auto all = BadValue::verbatim(go_string_list(shown));
    if (names.size() != shown.size()) {
        errors->invalid("spec.versions", all, "must contain unique version names");
    }
    if (storage != 1) {
        errors->invalid("spec.versions", all,
                        "must have exactly one version marked as storage version");
    }
}

// The fields have the names of the unversioned type here, as in kube-apiserver.
void check_conversion_webhook(const extv1::CustomResourceConversion& conversion,
                              FieldErrors* errors) {
    const std::string field = "spec.conversion.webhookClientConfig";
    const auto& webhook = conversion.webhook();
    if (!webhook.has_clientconfig()) {
        errors->required(field, "required when strategy is set to Webhook");
    } else {
        const auto& config = webhook.clientconfig();
        admissionv1::WebhookClientConfig client;
        if (config.has_url()) client.set_url(config.url());
        if (config.has_service()) {
            auto* service = client.mutable_service();
            service->set_namespace_(config.service().namespace_());
            service->set_name(config.service().name());
            service->set_port(config.service().port());
            if (config.service().has_path()) service->set_path(config.service().path());
        }
        check_webhook_client(client, field, errors);
    }
    const std::string versions = "spec.conversion.conversionReviewVersions";
    if (webhook.conversionreviewversions().empty()) return errors->required(versions);
    check_review_versions(webhook.conversionreviewversions(), true, versions, errors);
}

void check_conversion(const extv1::CustomResourceConversion& conversion, FieldErrors* errors) {
    const std::string& strategy = conversion.strategy();
    if (strategy.empty()) return errors->required("spec.conversion.strategy");
    if (strategy == "Webhook") return check_conversion_webhook(conversion, errors);
    if (strategy != "None") {
        return errors->not_supported("spec.conversion.strategy", strategy, {"None", "Webhook"});
    }
    constexpr std::string_view kNoWebhook = "should not be set when strategy is not set to Webhook";
    if (conversion.webhook().has_clientconfig()) {
        errors->forbidden("spec.conversion.webhookClientConfig", kNoWebhook);
    }
    if (conversion.webhook().conversionreviewversions_size() > 0) {
        errors->forbidden("spec.conversion.conversionReviewVersions", kNoWebhook);
    }
}

// As Go writes bytes.
std::string go_bytes(std::string_view bytes) {
    std::string out = "[]byte{";
    for (const char c : bytes) {
        if (out.back() != '{') out += ", ";
        out += fmt::format("{:#x}", static_cast<unsigned char>(c));
    }
    return out + "}";
}

// Of a kind that is served and can be converted, nobody may take that away; before, it is only not established.
void check_authority_update(const Definition& definition, const Definition& old, FieldErrors* errors) {
    const auto valid = check_conversion_authority(definition);
    if (valid || !condition_holds(old, "Established") || !check_conversion_authority(old)) return;
    errors->invalid("spec.conversion.webhookClientConfig.caBundle",
                    BadValue::verbatim(go_bytes(definition.spec().conversion().webhook().clientconfig().cabundle())),
                    valid.error().message);
}

void check_stored_versions(const Definition& definition, FieldErrors* errors) {
    const auto& stored = definition.status().storedversions();
    const std::vector<std::string> names(stored.begin(), stored.end());
    const auto shown = BadValue::verbatim(go_string_list(names));
    if (names.empty()) {
        return errors->invalid("status.storedVersions", shown,
                               "must have at least one stored version");
    }
    std::set<std::string> known;
    for (const DefinitionVersion& version : definition.spec().versions()) {
        known.insert(version.name());
        if (version.storage() && std::ranges::find(names, version.name()) == names.end()) {
            errors->invalid("status.storedVersions", shown,
                            "must have the storage version " + version.name());
        }
    }
    int index = 0;
    for (const std::string& name : names) {
        const int at = index++;
        if (known.contains(name)) continue;
        errors->invalid(
            field_index("status.storedVersions", at), name,
            fmt::format("missing from spec.versions; {0} was previously a storage version, and "
                        "must remain in spec.versions until a storage migration ensures no data "
                        "remains persisted in {0} and removes {0} from status.storedVersions",
                        name));
    }
}

bool is_community_group(std::string_view group) {
    return group == "k8s.io" || group.ends_with(".k8s.io") || group == "kubernetes.io" ||
           group.ends_with(".kubernetes.io");
}

// 0: approved or explicitly not; 1: not said; 2: said in a way that nobody understands.
int approval_state(const Definition& definition) {
    const auto& annotations = definition.metadata().annotations();
    const auto found = annotations.find(kApproved);
    if (found == annotations.end() || found->second.empty()) return 1;
    if (found->second.starts_with("unapproved")) return 0;
    const std::size_t scheme = found->second.find("://");
    return scheme != std::string::npos && scheme != 0 && scheme + 3 < found->second.size() ? 0 : 2;
}

void check_approval(const Definition& definition, const Definition* old, FieldErrors* errors) {
    if (!is_community_group(definition.spec().group())) return;
    const int state = approval_state(definition);
    if (state == 0 || (old != nullptr && approval_state(*old) == state)) return;
    const std::string field = field_key("metadata.annotations", kApproved);
    if (state == 1) {
        return errors->required(
            field,
            R"(protected groups must have approval annotation "api-approved.kubernetes.io", see )"
            "https://github.com/kubernetes/enhancements/pull/1111");
    }
    errors->invalid(
        field, definition.metadata().annotations().at(kApproved),
        R"(protected groups must have approval annotation "api-approved.kubernetes.io" with )"
        R"(either a URL or a reason starting with "unapproved", see )"
        "https://github.com/kubernetes/enhancements/pull/1111");
}

void immutable(const std::string& value, const std::string& old, const char* field,
               FieldErrors* errors) {
    if (value != old) errors->invalid(field, value, "field is immutable");
}

}  // namespace

void check_definition_names(const extv1::CustomResourceDefinitionNames& names,
                            const std::string& path, FieldErrors* errors) {
    constexpr std::string_view kMixed = "may have mixed case, but should otherwise match: ";
    const auto check = [&](const char* name, const std::string& value, std::string_view before) {
        if (value.empty()) return;
        check_label(field_child(path, name), value, before.empty() ? value : lower(value), before,
                    errors);
    };
    check("plural", names.plural(), "");
    check("singular", names.singular(), "");
    check("kind", names.kind(), kMixed);
    check("listKind", names.listkind(), kMixed);
    for (int i = 0; i < names.shortnames_size(); ++i) {
        check_label(field_index(field_child(path, "shortNames"), i), names.shortnames(i),
                    names.shortnames(i), "", errors);
    }
    if (!names.kind().empty() && names.kind() == names.listkind()) {
        errors->invalid(field_child(path, "listKind"), names.listkind(),
                        "kind and listKind may not be the same");
    }
    for (int i = 0; i < names.categories_size(); ++i) {
        check_label(field_index(field_child(path, "categories"), i), names.categories(i),
                    names.categories(i), "", errors);
    }
}

void check_definition(const Definition& definition, FieldErrors* errors) {
    const auto& spec = definition.spec();
    // Protobuf can carry documents inside documents that are too deep for JSON, which everything below works on.
    if (const auto document = codec::parse_json(codec::encode_json(definition)); !document) {
        return errors->invalid("spec.versions", "", document.error().message);
    }
    check_group(spec.group(), errors);
    if (spec.scope().empty()) {
        errors->required("spec.scope");
    } else if (spec.scope() != "Cluster" && spec.scope() != "Namespaced") {
        errors->not_supported("spec.scope", spec.scope(), {"Cluster", "Namespaced"});
    }
    check_versions(spec, errors);
    const auto& names = spec.names();
    if (names.plural().empty()) errors->required("spec.names.plural");
    if (names.singular().empty()) errors->required("spec.names.singular");
    if (names.kind().empty()) errors->required("spec.names.kind");
    if (names.listkind().empty()) errors->required("spec.names.listKind");
    check_definition_names(names, "spec.names", errors);
    check_conversion(spec.conversion(), errors);
    check_definition_names(definition.status().acceptednames(), "status.acceptedNames", errors);
    check_stored_versions(definition, errors);
    if (spec.preserveunknownfields()) {
        errors->invalid("spec.preserveUnknownFields", BadValue::verbatim("true"),
                        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in "
                        "spec.versions[*].schema instead");
    }
    if (definition.metadata().resourceversion().empty()) check_approval(definition, nullptr, errors);
}

Result<void> check_conversion_authority(const Definition& definition) {
    const std::string& authority = definition.spec().conversion().webhook().clientconfig().cabundle();
    if (authority.empty()) return {};
    const auto ok = pki::check_authorities(authority);
    if (ok) return {};
    return make_error(Code::kInvalidArgument, "unable to load root certificates: {}", ok.error().message);
}

void check_definition_update(const Definition& definition, const Definition& old,
                             FieldErrors* errors) {
    const auto& spec = definition.spec();
    if (condition_holds(old, "Established")) {
        immutable(spec.scope(), old.spec().scope(), "spec.scope", errors);
        immutable(spec.names().kind(), old.spec().names().kind(), "spec.names.kind", errors);
    }
    immutable(spec.group(), old.spec().group(), "spec.group", errors);
    immutable(spec.names().plural(), old.spec().names().plural(), "spec.names.plural", errors);
    check_authority_update(definition, old, errors);
    check_approval(definition, &old, errors);
}

}  // namespace sluice::registry
