// Node: a machine that runs pods.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/base/ip_address.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Status", "string", "", "Whether the node is ready and takes pods."},
    {"Roles", "string", "", "The roles named by the node's labels."},
    {"Age", "string", "", "Time since the object was created."},
    {"Version", "string", "", "The kubelet's version."},
    {"Internal-IP", "string", "", "Address inside the cluster.", 1},
    {"External-IP", "string", "", "Address outside the cluster.", 1},
    {"OS-Image", "string", "", "The operating system.", 1},
    {"Kernel-Version", "string", "", "The kernel's version.", 1},
    {"Container-Runtime", "string", "", "The container runtime and its version.", 1},
};
constexpr std::string_view kFields[] = {"spec.unschedulable"};
constexpr std::string_view kRolePrefix = "node-role.kubernetes.io/";

std::string or_unknown(const std::string& text) { return text.empty() ? "<unknown>" : text; }

std::string address_of(const corev1::Node& node, std::string_view type) {
    for (const auto& address : node.status().addresses()) {
        if (address.type() == type) return address.address();
    }
    return "<none>";
}

std::string status_of(const corev1::Node& node) {
    std::string out;
    for (const auto& condition : node.status().conditions()) {
        if (condition.type() == "Ready") out = condition.status() == "True" ? "Ready" : "NotReady";
    }
    if (out.empty()) out = "Unknown";
    if (node.spec().unschedulable()) out += ",SchedulingDisabled";
    return out;
}

std::string roles_of(const corev1::Node& node) {
    std::set<std::string> roles;
    for (const auto& [key, value] : node.metadata().labels()) {
        if (key.starts_with(kRolePrefix) && key.size() > kRolePrefix.size()) {
            roles.insert(key.substr(kRolePrefix.size()));
        } else if (key == "kubernetes.io/role" && !value.empty()) {
            roles.insert(value);
        }
    }
    if (roles.empty()) return "<none>";
    return fmt::format("{}", fmt::join(roles, ","));
}

void check_taints(const corev1::Node& node, FieldErrors* errors) {
    std::set<std::pair<std::string, std::string>> seen;
    for (int i = 0; i < node.spec().taints_size(); ++i) {
        const auto& taint = node.spec().taints(i);
        const std::string field = field_index("spec.taints", i);
        errors->invalid_all(field + ".key", taint.key(), check_qualified_name(taint.key()));
        errors->invalid_all(field + ".value", taint.value(), check_label_value(taint.value()));
        if (taint.effect() != "NoSchedule" && taint.effect() != "PreferNoSchedule" &&
            taint.effect() != "NoExecute") {
            errors->not_supported(field + ".effect", taint.effect(),
                                  {"NoSchedule", "PreferNoSchedule", "NoExecute"});
        }
        if (!seen.emplace(taint.key(), taint.effect()).second) {
            errors->duplicate(field, taint.key() + ":" + taint.effect());
        }
    }
}

class NodeStrategy final : public TypedStrategy<corev1::Node> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::string storage_prefix() const override { return "/registry/minions"; }
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }

protected:
    void defaults(corev1::Node* object) const override {
        // podCIDR and podCIDRs say the same; either may be given.
        auto* spec = object->mutable_spec();
        if (spec->podcidr().empty() && spec->podcidrs_size() > 0) {
            spec->set_podcidr(spec->podcidrs(0));
        } else if (!spec->podcidr().empty() && spec->podcidrs_size() == 0) {
            spec->add_podcidrs(spec->podcidr());
        }
        auto* status = object->mutable_status();
        if (status->allocatable().empty()) *status->mutable_allocatable() = status->capacity();
    }
    // A kubelet registers its node with its status, which is kept.
    void prepare_create(corev1::Node* object) const override { (void)object; }
    void check(const corev1::Node& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        check_taints(object, errors);
        const auto& cidrs = object.spec().podcidrs();
        for (int i = 0; i < cidrs.size(); ++i) {
            if (!IpPrefix::parse(cidrs[i], true)) {
                errors->invalid(field_index("spec.podCIDRs", i), cidrs[i],
                                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
            }
        }
        constexpr int kMaxPodCidrs = 2;
        if (cidrs.size() > kMaxPodCidrs) {
            errors->invalid("spec.podCIDRs",
                            BadValue::verbatim(go_string_list(
                                std::vector<std::string>(cidrs.begin(), cidrs.end()))),
                            "may specify no more than one CIDR for each IP family");
        }
    }
    void check_update(const corev1::Node& object, const corev1::Node& old,
                      FieldErrors* errors) const override {
        if (old.spec().podcidrs_size() > 0 && !same_cidrs(object, old)) {
            errors->forbidden("spec.podCIDRs",
                              "node updates may not change podCIDR except from \"\" to valid");
        }
        if (!old.spec().providerid().empty() &&
            object.spec().providerid() != old.spec().providerid()) {
            errors->forbidden("spec.providerID",
                              "node updates may not change providerID except from \"\" to valid");
        }
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::Node& object) const override {
        const auto& info = object.status().nodeinfo();
        return {object.metadata().name(),
                status_of(object),
                roles_of(object),
                age_cell(object.metadata()),
                info.kubeletversion(),
                address_of(object, "InternalIP"),
                address_of(object, "ExternalIP"),
                or_unknown(info.osimage()),
                or_unknown(info.kernelversion()),
                or_unknown(info.containerruntimeversion())};
    }
    [[nodiscard]] std::string field_of(const corev1::Node& object,
                                       std::string_view field) const override {
        if (field == "spec.unschedulable") return object.spec().unschedulable() ? "true" : "false";
        return {};
    }

private:
    static bool same_cidrs(const corev1::Node& a, const corev1::Node& b) {
        return std::equal(a.spec().podcidrs().begin(), a.spec().podcidrs().end(),
                          b.spec().podcidrs().begin(), b.spec().podcidrs().end());
    }
};

}  // namespace

std::unique_ptr<Strategy> make_node_strategy(const codec::KindInfo& kind) {
    return std::make_unique<NodeStrategy>(kind);
}

}  // namespace sluice::registry
