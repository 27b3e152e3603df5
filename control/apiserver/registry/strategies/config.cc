// ConfigMap, Secret and ServiceAccount: named data, and who may use it.
#include <fmt/format.h>

#include <map>

#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/serviceaccount.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::size_t kMaxDataBytes = 1U << 20U;
constexpr std::string_view kImmutable = "field is immutable when `immutable` is set";

template <class Map>
std::size_t check_data(const Map& data, const std::string& field, FieldErrors* errors) {
    std::size_t total = 0;
    std::map<std::string, std::size_t> sorted;
    for (const auto& [key, value] : data) sorted[key] = value.size();
    for (const auto& [key, size] : sorted) {
        errors->invalid_all(field_key(field, key), key, check_config_key(key));
        total += size;
    }
    return total;
}

template <class Map>
bool same_map(const Map& a, const Map& b) {
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a) {
        const auto found = b.find(key);
        if (found == b.end() || found->second != value) return false;
    }
    return true;
}

constexpr Column kConfigMapColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Data", "string", "", "Number of entries, binary ones included."},
    {"Age", "string", "", "Time since the object was created."},
};

class ConfigMapStrategy final : public TypedStrategy<corev1::ConfigMap> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kConfigMapColumns; }

protected:
    void check(const corev1::ConfigMap& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        std::size_t total = 0;
        for (const auto& [key, value] : object.data()) {
            if (object.binarydata().contains(key)) {
                errors->invalid(field_key("data", key), key,
                                "duplicate of key present in binaryData");
            }
        }
        total += check_data(object.data(), "data", errors);
        total += check_data(object.binarydata(), "binaryData", errors);
        if (total > kMaxDataBytes) errors->too_long("[]", kMaxDataBytes);
    }
    void check_update(const corev1::ConfigMap& object, const corev1::ConfigMap& old,
                      FieldErrors* errors) const override {
        if (old.immutable()) {
            if (!object.immutable()) errors->forbidden("immutable", kImmutable);
            if (!same_map(object.data(), old.data())) errors->forbidden("data", kImmutable);
            if (!same_map(object.binarydata(), old.binarydata())) {
                errors->forbidden("binaryData", kImmutable);
            }
        }
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::ConfigMap& object) const override {
        return {object.metadata().name(),
                static_cast<std::int64_t>(object.data().size() + object.binarydata().size()),
                age_cell(object.metadata())};
    }
};

constexpr Column kSecretColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Type", "string", "", "What the data is for."},
    {"Data", "string", "", "Number of entries."},
    {"Age", "string", "", "Time since the object was created."},
};

constexpr std::string_view kSecretFields[] = {"type"};

class SecretStrategy final : public TypedStrategy<corev1::Secret> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kSecretColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kSecretFields;
    }

protected:
    void defaults(corev1::Secret* object) const override {
        if (object->type().empty()) object->set_type("Opaque");
        // stringData is a way to write data; it is never kept.
        for (const auto& [key, value] : object->stringdata()) {
            (*object->mutable_data())[key] = value;
        }
        object->clear_stringdata();
    }
    void prepare_update(corev1::Secret* object, const corev1::Secret& old) const override {
        (void)old;
        (void)object;
    }
    void check(const corev1::Secret& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        if (check_data(object.data(), "data", errors) > kMaxDataBytes) {
            errors->too_long("data", kMaxDataBytes);
        }
        check_type(object, errors);
    }
    void check_update(const corev1::Secret& object, const corev1::Secret& old,
                      FieldErrors* errors) const override {
        if (object.type() != old.type()) {
            errors->invalid("type", object.type(), "field is immutable");
        }
        if (old.immutable()) {
            if (!object.immutable()) errors->forbidden("immutable", kImmutable);
            if (!same_map(object.data(), old.data())) errors->forbidden("data", kImmutable);
        }
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::Secret& object) const override {
        return {object.metadata().name(), object.type(),
                static_cast<std::int64_t>(object.data().size()), age_cell(object.metadata())};
    }
    [[nodiscard]] std::string field_of(const corev1::Secret& object,
                                       std::string_view field) const override {
        return field == "type" ? object.type() : std::string();
    }

private:
    static void require(const corev1::Secret& object, const char* key, FieldErrors* errors) {
        if (!object.data().contains(key)) errors->required(field_key("data", key));
    }
    static void check_type(const corev1::Secret& object, FieldErrors* errors) {
        const std::string& type = object.type();
        if (type == "kubernetes.io/service-account-token") {
            const auto& annotations = object.metadata().annotations();
            const auto found = annotations.find("kubernetes.io/service-account.name");
            if (found == annotations.end() || found->second.empty()) {
                errors->required(
                    field_key("metadata.annotations", "kubernetes.io/service-account.name"));
            }
        } else if (type == "kubernetes.io/dockercfg") {
            require(object, ".dockercfg", errors);
        } else if (type == "kubernetes.io/dockerconfigjson") {
            require(object, ".dockerconfigjson", errors);
        } else if (type == "kubernetes.io/basic-auth") {
            if (!object.data().contains("username") && !object.data().contains("password")) {
                require(object, "username", errors);
                require(object, "password", errors);
            }
        } else if (type == "kubernetes.io/ssh-auth") {
            require(object, "ssh-privatekey", errors);
        } else if (type == "kubernetes.io/tls") {
            require(object, "tls.crt", errors);
            require(object, "tls.key", errors);
        }
    }
};

constexpr Column kServiceAccountColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Secrets", "string", "", "Number of secrets that pods of this account may use."},
    {"Age", "string", "", "Time since the object was created."},
};

class ServiceAccountStrategy final : public TypedStrategy<corev1::ServiceAccount> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override {
        return kServiceAccountColumns;
    }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }

protected:
    [[nodiscard]] std::vector<Cell> cells(const corev1::ServiceAccount& object) const override {
        return {object.metadata().name(), std::int64_t{object.secrets_size()},
                age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_configmap_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ConfigMapStrategy>(kind);
}

std::unique_ptr<Strategy> make_secret_strategy(const codec::KindInfo& kind) {
    return std::make_unique<SecretStrategy>(kind);
}

std::unique_ptr<Strategy> make_serviceaccount_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ServiceAccountStrategy>(kind);
}

}  // namespace sluice::registry
