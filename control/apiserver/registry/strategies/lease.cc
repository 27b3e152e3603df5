// Lease: who holds a lock, and until when.
#include "api/kubernetes/coordination/v1/lease.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace coordinationv1 = ::k8s::io::api::coordination::v1;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Holder", "string", "", "Who holds the lease."},
    {"Age", "string", "", "Time since the object was created."},
};

class LeaseStrategy final : public TypedStrategy<coordinationv1::Lease> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] bool allow_create_on_update() const override { return true; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }

protected:
    void check(const coordinationv1::Lease& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        if (spec.has_leasedurationseconds() && spec.leasedurationseconds() <= 0) {
            errors->invalid("spec.leaseDurationSeconds", spec.leasedurationseconds(),
                            "must be greater than 0");
        }
        if (spec.has_leasetransitions() && spec.leasetransitions() < 0) {
            errors->invalid("spec.leaseTransitions", spec.leasetransitions(),
                            "must be greater than or equal to 0");
        }
        if (spec.has_preferredholder() && !spec.preferredholder().empty() &&
            spec.strategy().empty()) {
            errors->forbidden("spec.preferredHolder",
                              "may only be specified if `strategy` is defined");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(const coordinationv1::Lease& object) const override {
        return {object.metadata().name(), object.spec().holderidentity(),
                age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_lease_strategy(const codec::KindInfo& kind) {
    return std::make_unique<LeaseStrategy>(kind);
}

}  // namespace sluice::registry
