// Service: a stable address for a changing set of endpoints.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/allocator/service_allocator.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/object_meta.h"
#include "control/apiserver/registry/validation/service.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using Spec = corev1::ServiceSpec;

constexpr std::int32_t kDefaultAffinitySeconds = 10'800;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Type", "string", "", "How the Service is reached."},
    {"Cluster-IP", "string", "", "Address inside the cluster."},
    {"External-IP", "string", "", "Addresses outside the cluster."},
    {"Port(s)", "string", "", "Ports, with node ports after a colon."},
    {"Age", "string", "", "Time since the object was created."},
    {"Selector", "string", "", "Labels of the pods behind the Service.", 1},
};
constexpr std::string_view kFields[] = {"spec.clusterIP", "spec.type"};

bool has_cluster_ip(const Spec& spec) { return spec.type() != "ExternalName"; }

bool has_node_ports(const Spec& spec) {
    return spec.type() == "NodePort" || spec.type() == "LoadBalancer";
}

bool has_health_port(const Spec& spec) {
    return spec.type() == "LoadBalancer" && spec.externaltrafficpolicy() == "Local";
}

bool externally_accessible(const Spec& spec) {
    return has_node_ports(spec) || (spec.type() == "ClusterIP" && spec.externalips_size() > 0);
}

template <class List>
bool same_list(const List& a, const List& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

bool same_node_ports(const Spec& a, const Spec& b) {
    std::vector<std::int32_t> left;
    std::vector<std::int32_t> right;
    for (const auto& port : a.ports()) left.push_back(port.nodeport());
    for (const auto& port : b.ports()) right.push_back(port.nodeport());
    std::sort(left.begin(), left.end());
    std::sort(right.begin(), right.end());
    return left == right;
}

// clusterIP and clusterIPs[0] are one thing under two names; clients may write either.
void normalize_cluster_ips(Spec* spec, const Spec* old) {
    if (old == nullptr) {
        if (!spec->clusterip().empty() && spec->clusterips_size() == 0) {
            spec->add_clusterips(spec->clusterip());
        }
        return;
    }
    if (!same_list(spec->clusterips(), old->clusterips())) return;
    if (!old->clusterip().empty() && spec->clusterip().empty()) {
        spec->clear_clusterips();
    } else if (old->clusterip() != spec->clusterip()) {
        if (spec->clusterips_size() == 0) {
            spec->add_clusterips(spec->clusterip());
        } else {
            spec->set_clusterips(0, spec->clusterip());
        }
    }
}

// What was allocated stays when a client leaves it out of an update.
void keep_allocated(Spec* spec, const Spec& old) {
    if (has_cluster_ip(old) && has_cluster_ip(*spec)) {
        if (spec->clusterip().empty()) spec->set_clusterip(old.clusterip());
        if (spec->clusterips_size() == 0 && spec->clusterip() == old.clusterip()) {
            *spec->mutable_clusterips() = old.clusterips();
        }
    }
    if (has_node_ports(old) && has_node_ports(*spec)) {
        std::map<std::pair<std::string, std::int32_t>, std::int32_t> allocated;
        for (const auto& port : old.ports()) {
            allocated[{port.protocol(), port.port()}] = port.nodeport();
        }
        for (auto& port : *spec->mutable_ports()) {
            if (port.nodeport() != 0) continue;
            const auto found = allocated.find({port.protocol(), port.port()});
            if (found == allocated.end() || found->second == 0) continue;
            const bool asked_for = std::any_of(
                spec->ports().begin(), spec->ports().end(), [&](const corev1::ServicePort& other) {
                    return other.protocol() == port.protocol() &&
                           other.nodeport() == found->second;
                });
            if (!asked_for) port.set_nodeport(found->second);
        }
    }
    if (has_health_port(old) && has_health_port(*spec) && spec->healthchecknodeport() == 0) {
        spec->set_healthchecknodeport(old.healthchecknodeport());
    }
}

// A change of type gives up what the new type cannot have, unless the client changed that field too (then it is
// told that the field does not fit).
void drop_unfitting(Spec* spec, const Spec& old) {
    if (has_cluster_ip(old) && !has_cluster_ip(*spec)) {
        if (same_list(spec->clusterips(), old.clusterips())) {
            spec->clear_clusterip();
            spec->clear_clusterips();
        }
        if (same_list(spec->ipfamilies(), old.ipfamilies())) spec->clear_ipfamilies();
        if (spec->ipfamilypolicy() == old.ipfamilypolicy()) spec->clear_ipfamilypolicy();
    }
    if (has_node_ports(old) && !has_node_ports(*spec) && same_node_ports(*spec, old)) {
        for (auto& port : *spec->mutable_ports()) port.clear_nodeport();
    }
    if (has_health_port(old) && !has_health_port(*spec) &&
        spec->healthchecknodeport() == old.healthchecknodeport()) {
        spec->clear_healthchecknodeport();
    }
    const bool balancer_gone = old.type() == "LoadBalancer" && spec->type() != "LoadBalancer";
    if (balancer_gone && spec->allocateloadbalancernodeports() ==
                             old.allocateloadbalancernodeports()) {
        spec->clear_allocateloadbalancernodeports();
    }
    if (balancer_gone && spec->loadbalancerclass() == old.loadbalancerclass()) {
        spec->clear_loadbalancerclass();
    }
    if (externally_accessible(old) && !externally_accessible(*spec) &&
        spec->externaltrafficpolicy() == old.externaltrafficpolicy()) {
        spec->clear_externaltrafficpolicy();
    }
    if (has_cluster_ip(old) && !has_cluster_ip(*spec) &&
        spec->internaltrafficpolicy() == old.internaltrafficpolicy()) {
        spec->clear_internaltrafficpolicy();
    }
}

std::string balancer_addresses(const corev1::Service& service) {
    std::vector<std::string> out;
    for (const auto& ingress : service.status().loadbalancer().ingress()) {
        out.push_back(ingress.ip().empty() ? ingress.hostname() : ingress.ip());
    }
    return fmt::format("{}", fmt::join(out, ","));
}

std::string external_ip_cell(const corev1::Service& service) {
    const Spec& spec = service.spec();
    const std::string external = fmt::format("{}", fmt::join(spec.externalips(), ","));
    if (spec.type() == "ExternalName") return spec.externalname();
    if (spec.type() == "LoadBalancer") {
        const std::string balancer = balancer_addresses(service);
        if (!external.empty()) return balancer.empty() ? external : balancer + "," + external;
        return balancer.empty() ? "<pending>" : balancer;
    }
    return external.empty() ? "<none>" : external;
}

std::string ports_cell(const Spec& spec) {
    if (spec.ports_size() == 0) return "<none>";
    std::vector<std::string> out;
    for (const auto& port : spec.ports()) {
        out.push_back(port.nodeport() == 0
                          ? fmt::format("{}/{}", port.port(), port.protocol())
                          : fmt::format("{}:{}/{}", port.port(), port.nodeport(), port.protocol()));
    }
    return fmt::format("{}", fmt::join(out, ","));
}

class ServiceStrategy final : public TypedStrategy<corev1::Service> {
public:
    ServiceStrategy(const codec::KindInfo& kind, ServiceAllocator& allocator)
        : TypedStrategy(kind), allocator_(allocator) {}

    [[nodiscard]] std::string storage_prefix() const override {
        return "/registry/services/specs";
    }
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }
    [[nodiscard]] NameCheck name_check() const override { return check_dns1035_label; }
    [[nodiscard]] bool allow_create_on_update() const override { return true; }
    [[nodiscard]] bool returns_deleted_object() const override { return true; }

    Answer<std::shared_ptr<Reservation>> reserve(Message* object,
                                                 const Message* old) const override {
        return allocator_.reserve(kind(), static_cast<corev1::Service*>(object),
                                  static_cast<const corev1::Service*>(old));
    }
    [[nodiscard]] std::shared_ptr<Reservation> release(const Message& old) const override {
        return allocator_.release(static_cast<const corev1::Service&>(old));
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        validate_load_balancer_status(static_cast<const corev1::Service&>(object), errors);
    }

protected:
    void defaults(corev1::Service* object) const override {
        Spec* spec = object->mutable_spec();
        if (spec->sessionaffinity().empty()) spec->set_sessionaffinity("None");
        if (spec->sessionaffinity() == "None") {
            spec->clear_sessionaffinityconfig();
        } else if (spec->sessionaffinity() == "ClientIP") {
            auto* config = spec->mutable_sessionaffinityconfig()->mutable_clientip();
            if (!config->has_timeoutseconds()) config->set_timeoutseconds(kDefaultAffinitySeconds);
        }
        if (spec->type().empty()) spec->set_type("ClusterIP");
        for (auto& port : *spec->mutable_ports()) default_port(&port);
        if (externally_accessible(*spec) && spec->externaltrafficpolicy().empty()) {
            spec->set_externaltrafficpolicy("Cluster");
        }
        if (spec->type() != "ExternalName" && !spec->has_internaltrafficpolicy()) {
            spec->set_internaltrafficpolicy("Cluster");
        }
        if (spec->type() == "LoadBalancer") {
            if (!spec->has_allocateloadbalancernodeports()) {
                spec->set_allocateloadbalancernodeports(true);
            }
            auto* ingress = object->mutable_status()->mutable_loadbalancer()->mutable_ingress();
            for (auto& entry : *ingress) {
                if (!entry.ip().empty() && !entry.has_ipmode()) entry.set_ipmode("VIP");
            }
        }
    }
    void prepare_create(corev1::Service* object) const override {
        object->mutable_status()->Clear();
        object->mutable_status()->mutable_loadbalancer();
        normalize_cluster_ips(object->mutable_spec(), nullptr);
    }
    void prepare_update(corev1::Service* object, const corev1::Service& old) const override {
        copy_field(old, object, "status");
        normalize_cluster_ips(object->mutable_spec(), &old.spec());
        keep_allocated(object->mutable_spec(), old.spec());
        drop_unfitting(object->mutable_spec(), old.spec());
        // A Service that is no longer a load balancer has no load balancer's addresses.
        if (object->spec().type() != "LoadBalancer") {
            object->mutable_status()->mutable_loadbalancer()->Clear();
        }
    }
    void check(const corev1::Service& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_service(object, errors);
    }
    void check_update(const corev1::Service& object, const corev1::Service& old,
                      FieldErrors* errors) const override {
        validate_service_update(object, old, errors);
        check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::Service& object) const override {
        const Spec& spec = object.spec();
        return {object.metadata().name(),
                spec.type(),
                spec.clusterip().empty() ? "<none>" : spec.clusterip(),
                external_ip_cell(object),
                ports_cell(spec),
                age_cell(object.metadata()),
                format_labels({spec.selector().begin(), spec.selector().end()})};
    }
    [[nodiscard]] std::string field_of(const corev1::Service& object,
                                       std::string_view field) const override {
        if (field == "spec.clusterIP") return object.spec().clusterip();
        if (field == "spec.type") return object.spec().type();
        return {};
    }

private:
    static void default_port(corev1::ServicePort* port) {
        constexpr std::int64_t kStringType = 1;
        if (port->protocol().empty()) port->set_protocol("TCP");
        auto* target = port->mutable_targetport();
        const bool unset = target->type() == kStringType ? target->strval().empty()
                                                         : target->intval() == 0;
        if (unset) {
            target->Clear();
            target->set_type(0);
            target->set_intval(port->port());
            target->set_strval("");
        }
    }

    ServiceAllocator& allocator_;
};

}  // namespace

std::unique_ptr<Strategy> make_service_strategy(const codec::KindInfo& kind,
                                                ServiceAllocator& allocator) {
    return std::make_unique<ServiceStrategy>(kind, allocator);
}

}  // namespace sluice::registry
