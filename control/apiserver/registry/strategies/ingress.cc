// Ingress and IngressClass: HTTP routes into the cluster, and who serves them.
#include <fmt/format.h>

#include <vector>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/ingress.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/ingress.h"

namespace sluice::registry {

namespace {

namespace networkingv1 = ::k8s::io::api::networking::v1;

// Hosts that a table cell names before it only counts them.
constexpr std::size_t kMaxShownHosts = 3;

constexpr Column kIngressColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Class", "string", "", "Which class of controllers serves it."},
    {"Hosts", "string", "", "Hosts of the requests that it routes."},
    {"Address", "string", "", "Where it is reached."},
    {"Ports", "string", "", "Ports on which it listens."},
    {"Age", "string", "", "Time since the object was created."},
};

std::string hosts_cell(const networkingv1::IngressSpec& spec) {
    std::vector<std::string> hosts;
    bool more = false;
    for (const auto& rule : spec.rules()) {
        if (hosts.size() == kMaxShownHosts) more = true;
        if (!more && !rule.host().empty()) hosts.push_back(rule.host());
    }
    std::string cell = joined_cell(hosts, "*");
    if (more) {
        cell += fmt::format(" + {} more...",
                            spec.rules_size() - static_cast<int>(kMaxShownHosts));
    }
    return cell;
}

std::string address_cell(const networkingv1::IngressStatus& status) {
    std::vector<std::string> addresses;
    for (const auto& point : status.loadbalancer().ingress()) {
        if (!point.ip().empty()) {
            addresses.push_back(point.ip());
        } else if (!point.hostname().empty()) {
            addresses.push_back(point.hostname());
        }
    }
    return joined_cell(addresses, "");
}

class IngressStrategy final : public TypedStrategy<networkingv1::Ingress> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::string storage_prefix() const override { return "/registry/ingress"; }
    [[nodiscard]] std::span<const Column> columns() const override { return kIngressColumns; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        validate_ingress_status(static_cast<const networkingv1::Ingress&>(object), errors);
    }

protected:
    void prepare_create(networkingv1::Ingress* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(networkingv1::Ingress* object,
                        const networkingv1::Ingress& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const networkingv1::Ingress& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_ingress(object, nullptr, errors);
    }
    void check_update(const networkingv1::Ingress& object, const networkingv1::Ingress& old,
                      FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_ingress(object, &old, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const networkingv1::Ingress& object) const override {
        const auto& spec = object.spec();
        return {object.metadata().name(),
                spec.has_ingressclassname() ? spec.ingressclassname() : std::string("<none>"),
                hosts_cell(spec),
                address_cell(object.status()),
                std::string(spec.tls_size() > 0 ? "80, 443" : "80"),
                age_cell(object.metadata())};
    }
};

constexpr Column kClassColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Controller", "string", "", "Which controller serves the class."},
    {"Parameters", "string", "", "What else the controller needs."},
    {"Age", "string", "", "Time since the object was created."},
};

class IngressClassStrategy final : public TypedStrategy<networkingv1::IngressClass> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kClassColumns; }

protected:
    void defaults(networkingv1::IngressClass* object) const override {
        if (!object->spec().has_parameters()) return;
        auto* parameters = object->mutable_spec()->mutable_parameters();
        if (!parameters->has_scope()) parameters->set_scope("Cluster");
    }
    void prepare_create(networkingv1::IngressClass* object) const override {
        start_generation(object);
    }
    void prepare_update(networkingv1::IngressClass* object,
                        const networkingv1::IngressClass& old) const override {
        count_generation(object, old);
    }
    void check(const networkingv1::IngressClass& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_ingress_class(object, errors);
    }
    void check_update(const networkingv1::IngressClass& object,
                      const networkingv1::IngressClass& old,
                      FieldErrors* errors) const override {
        if (object.spec().controller() != old.spec().controller()) {
            errors->invalid("spec.controller", object.spec().controller(), "field is immutable");
        }
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const networkingv1::IngressClass& object) const override {
        std::string parameters = "<none>";
        if (object.spec().has_parameters()) {
            const auto& reference = object.spec().parameters();
            parameters = reference.kind();
            if (reference.has_apigroup()) parameters += "." + reference.apigroup();
            parameters += "/" + reference.name();
        }
        return {object.metadata().name(), object.spec().controller(), parameters,
                age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_ingress_strategy(const codec::KindInfo& kind) {
    return std::make_unique<IngressStrategy>(kind);
}

std::unique_ptr<Strategy> make_ingressclass_strategy(const codec::KindInfo& kind) {
    return std::make_unique<IngressClassStrategy>(kind);
}

}  // namespace sluice::registry
