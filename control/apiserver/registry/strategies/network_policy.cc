// NetworkPolicy: which traffic pods accept and send.
#include <fmt/format.h>

#include "api/codec/selector.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/networkpolicy.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/strategies/workload.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/network_policy.h"

namespace sluice::registry {

namespace {

namespace networkingv1 = ::k8s::io::api::networking::v1;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Pod-Selector", "string", "", "Pods that the policy is about."},
    {"Age", "string", "", "Time since the object was created."},
};

class NetworkPolicyStrategy final : public TypedStrategy<networkingv1::NetworkPolicy> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }

protected:
    void defaults(networkingv1::NetworkPolicy* object) const override {
        auto* spec = object->mutable_spec();
        for (auto& rule : *spec->mutable_ingress()) default_ports(rule.mutable_ports());
        for (auto& rule : *spec->mutable_egress()) default_ports(rule.mutable_ports());
        if (spec->policytypes_size() > 0) return;
        spec->add_policytypes("Ingress");
        if (spec->egress_size() > 0) spec->add_policytypes("Egress");
    }
    void prepare_create(networkingv1::NetworkPolicy* object) const override {
        start_generation(object);
    }
    void prepare_update(networkingv1::NetworkPolicy* object,
                        const networkingv1::NetworkPolicy& old) const override {
        count_generation(object, old);
    }
    void check(const networkingv1::NetworkPolicy& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_network_policy(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(
        const networkingv1::NetworkPolicy& object) const override {
        return {object.metadata().name(), selector_cell(object.spec().podselector()),
                age_cell(object.metadata())};
    }

private:
    template <class Ports>
    static void default_ports(Ports* ports) {
        for (auto& port : *ports) {
            if (!port.has_protocol()) port.set_protocol("TCP");
        }
    }
};

}  // namespace

std::unique_ptr<Strategy> make_networkpolicy_strategy(const codec::KindInfo& kind) {
    return std::make_unique<NetworkPolicyStrategy>(kind);
}

}  // namespace sluice::registry
