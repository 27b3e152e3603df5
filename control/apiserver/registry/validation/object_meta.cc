#include "control/apiserver/registry/validation/object_meta.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::registry {

namespace {

constexpr std::size_t kMaxAnnotationBytes = 256U << 10U;
constexpr int kMaxShownOwners = 8;

std::string to_lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

void validate_finalizer_names(const metav1::ObjectMeta& meta, FieldErrors* errors) {
    for (int i = 0; i < meta.finalizers_size(); ++i) {
        const std::string& name = meta.finalizers(i);
        const auto problems = check_qualified_name(name);
        errors->invalid_all("metadata.finalizers", name, problems);
        const bool standard =
            name == "kubernetes" || name == "orphan" || name == "foregroundDeletion";
        if (problems.empty() && name.find('/') == std::string::npos && !standard) {
            errors->invalid(
                field_index("metadata.finalizers", i), name,
                "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

// As Go writes a pointer to a bool: its address says nothing, so that all have the same.
std::string in_go(bool present) { return present ? "(*bool)(0xc000000000)" : "(*bool)(nil)"; }

// As kube-apiserver shows them, when they are few: each of them may be wrong, and is shown with all the others.
std::string in_go(const google::protobuf::RepeatedPtrField<metav1::OwnerReference>& owners) {
    if (owners.size() > kMaxShownOwners) return fmt::format("[{} references]", owners.size());
    std::string out;
    for (const auto& owner : owners) {
        out += fmt::format(
            "{}v1.OwnerReference{{APIVersion:{}, Kind:{}, Name:{}, UID:{}, Controller:{}, "
            "BlockOwnerDeletion:{}}}",
            out.empty() ? "" : ", ", go_quote(owner.apiversion()), go_quote(owner.kind()),
            go_quote(owner.name()), go_quote(owner.uid()), in_go(owner.has_controller()),
            in_go(owner.has_blockownerdeletion()));
    }
    return "[]v1.OwnerReference{" + out + "}";
}

void validate_owner_references(const metav1::ObjectMeta& meta, FieldErrors* errors) {
    const std::string field = "metadata.ownerReferences";
    const metav1::OwnerReference* controller = nullptr;
    for (int i = 0; i < meta.ownerreferences_size(); ++i) {
        const auto& owner = meta.ownerreferences(i);
        const std::string at = field_index(field, i);
        auto gvk = codec::GroupVersionKind::parse(owner.apiversion(), owner.kind());
        if (!gvk || gvk->version.empty()) {
            errors->invalid(at + ".apiVersion", owner.apiversion(), "version must not be empty");
        }
        if (owner.kind().empty()) errors->invalid(at + ".kind", owner.kind(), "must not be empty");
        if (owner.name().empty()) errors->invalid(at + ".name", owner.name(), "must not be empty");
        if (owner.uid().empty()) errors->invalid(at + ".uid", owner.uid(), "must not be empty");
        if (owner.controller()) {
            if (controller != nullptr) {
                errors->invalid(
                    field, BadValue::verbatim(in_go(meta.ownerreferences())),
                    fmt::format("Only one reference can have Controller set to true. Found "
                                "\"true\" in references for {}/{} and {}/{}",
                                controller->kind(), controller->name(), owner.kind(),
                                owner.name()));
            } else {
                controller = &owner;
            }
        }
    }
}

void immutable(std::string_view name, const std::string& value, const std::string& old,
               FieldErrors* errors) {
    if (value != old) {
        errors->invalid(fmt::format("metadata.{}", name), value, "field is immutable");
    }
}

}  // namespace

void validate_annotations(const metav1::ObjectMeta& meta, const std::string& field,
                          FieldErrors* errors) {
    std::size_t total = 0;
    const std::map<std::string, std::string> sorted(meta.annotations().begin(),
                                                    meta.annotations().end());
    for (const auto& [key, value] : sorted) {
        errors->invalid_all(field, key, check_qualified_name(to_lower(key)));
        total += key.size() + value.size();
    }
    if (total > kMaxAnnotationBytes) errors->too_long(field, kMaxAnnotationBytes);
}

void validate_labels(const google::protobuf::Map<std::string, std::string>& labels,
                     const std::string& field, FieldErrors* errors) {
    const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
    for (const auto& [key, value] : sorted) {
        errors->invalid_all(field, key, check_qualified_name(key));
        errors->invalid_all(field, value, check_label_value(value));
    }
}

void validate_object_meta(const metav1::ObjectMeta& meta, bool namespaced, NameCheck name_check,
                          FieldErrors* errors) {
    if (!meta.generatename().empty()) {
        errors->invalid_all("metadata.generateName", meta.generatename(),
                            name_check(masked_generate_name(meta.generatename())));
    }
    if (meta.name().empty()) {
        errors->required("metadata.name", "name or generateName is required");
    } else {
        errors->invalid_all("metadata.name", meta.name(), name_check(meta.name()));
    }
    if (namespaced) {
        if (meta.namespace_().empty()) {
            errors->required("metadata.namespace");
        } else {
            errors->invalid_all("metadata.namespace", meta.namespace_(),
                                check_dns1123_label(meta.namespace_()));
        }
    } else if (!meta.namespace_().empty()) {
        errors->forbidden("metadata.namespace", "not allowed on this type");
    }
    if (meta.generation() < 0) {
        errors->invalid("metadata.generation", std::int64_t{meta.generation()},
                        "must be greater than or equal to 0");
    }
    validate_labels(meta.labels(), "metadata.labels", errors);
    validate_annotations(meta, "metadata.annotations", errors);
    validate_owner_references(meta, errors);
    validate_finalizer_names(meta, errors);
}

void validate_object_meta_update(const metav1::ObjectMeta& meta, const metav1::ObjectMeta& old,
                                 FieldErrors* errors) {
    if (old.has_deletiontimestamp()) {
        std::vector<std::string> added;
        for (const std::string& name : meta.finalizers()) {
            if (std::find(old.finalizers().begin(), old.finalizers().end(), name) ==
                old.finalizers().end()) {
                added.push_back(name);
            }
        }
        if (!added.empty()) {
            errors->forbidden("metadata.finalizers",
                              fmt::format("no new finalizers can be added if the object is being "
                                          "deleted, found new finalizers {}",
                                          go_string_list(added)));
        }
    }
    if (meta.resourceversion().empty()) {
        errors->invalid("metadata.resourceVersion", meta.resourceversion(),
                        "must be specified for an update");
    }
    if (meta.generation() < old.generation()) {
        errors->invalid("metadata.generation", std::int64_t{meta.generation()},
                        "must not be decremented");
    }
    immutable("name", meta.name(), old.name(), errors);
    immutable("namespace", meta.namespace_(), old.namespace_(), errors);
    immutable("uid", meta.uid(), old.uid(), errors);
    if (meta.creationtimestamp().seconds() != old.creationtimestamp().seconds()) {
        errors->invalid("metadata.creationTimestamp",
                        BadValue(std::int64_t{meta.creationtimestamp().seconds()}),
                        "field is immutable");
    }
    if (meta.has_deletiontimestamp() != old.has_deletiontimestamp() ||
        meta.deletiontimestamp().seconds() != old.deletiontimestamp().seconds()) {
        errors->invalid("metadata.deletionTimestamp",
                        BadValue(std::int64_t{meta.deletiontimestamp().seconds()}),
                        "field is immutable");
    }
    if (meta.deletiongraceperiodseconds() != old.deletiongraceperiodseconds()) {
        errors->invalid("metadata.deletionGracePeriodSeconds",
                        std::int64_t{meta.deletiongraceperiodseconds()}, "field is immutable");
    }
}

}  // namespace sluice::registry
