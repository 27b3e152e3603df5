#include "control/apiserver/registry/allocator/ip_families.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/kubernetes/core/v1/service.pb.h"

namespace sluice::registry {

namespace {

constexpr const char* kSingle = "SingleStack";
constexpr const char* kRequire = "RequireDualStack";

std::string_view other_family(std::string_view family) {
    return family == "IPv4" ? "IPv6" : "IPv4";
}

template <class A, class B>
bool same_list(const A& a, const B& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

template <class List>
bool reduced(const List& now, const List& before) {
    return now.size() > 0 && before.size() == 2 && now.size() == 1 && now.Get(0) == before.Get(0);
}

// PreferDualStack Services do not gain or lose an address merely because the cluster changed.
bool keeps_preference(const ServiceMessage& service, const ServiceMessage* old) {
    if (old == nullptr) return false;
    const auto& a = service.spec();
    const auto& b = old->spec();
    return a.ipfamilypolicy() == "PreferDualStack" && b.ipfamilypolicy() == "PreferDualStack" &&
           a.type() == b.type() && same_list(a.clusterips(), b.clusterips()) &&
           same_list(a.ipfamilies(), b.ipfamilies());
}

void apply_downgrade(ServiceMessage* service, const ServiceMessage& old, FieldErrors* errors) {
    auto* spec = service->mutable_spec();
    if (spec->ipfamilypolicy() == kSingle) {
        // The policy alone says which address to give up: the second.
        if (same_list(spec->clusterips(), old.spec().clusterips()) && spec->clusterips_size() > 1) {
            spec->mutable_clusterips()->DeleteSubrange(1, spec->clusterips_size() - 1);
        }
        if (same_list(spec->ipfamilies(), old.spec().ipfamilies()) && spec->ipfamilies_size() > 1) {
            spec->mutable_ipfamilies()->DeleteSubrange(1, spec->ipfamilies_size() - 1);
        }
        return;
    }
    if (reduced(spec->clusterips(), old.spec().clusterips())) {
        errors->invalid("spec.ipFamilyPolicy", spec->ipfamilypolicy(),
                        "must be 'SingleStack' to release the secondary cluster IP");
    }
    if (reduced(spec->ipfamilies(), old.spec().ipfamilies())) {
        errors->invalid("spec.ipFamilyPolicy", spec->ipfamilypolicy(),
                        "must be 'SingleStack' to release the secondary IP family");
    }
}

void check_single(const ServiceMessage& service, FieldErrors* errors) {
    const auto& spec = service.spec();
    if (spec.ipfamilypolicy() != kSingle) return;
    if (spec.clusterips_size() == 2) {
        errors->invalid("spec.ipFamilyPolicy", spec.ipfamilypolicy(),
                        "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs "
                        "are specified");
    }
    if (spec.ipfamilies_size() == 2) {
        errors->invalid("spec.ipFamilyPolicy", spec.ipfamilypolicy(),
                        "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families "
                        "are specified");
    }
}

}  // namespace

std::string family_name(IpFamily family) { return family == IpFamily::kIpv4 ? "IPv4" : "IPv6"; }

void init_ip_families(ServiceMessage* service, const ServiceMessage* old,
                      std::span<const IpFamily> offered, FieldErrors* errors) {
    auto* spec = service->mutable_spec();
    if (spec->type() == "ExternalName" || keeps_preference(*service, old)) return;
    const bool headless = spec->clusterip() == "None";
    const bool free_headless = headless && spec->selector().empty();
    if (!spec->has_ipfamilypolicy()) {
        if (old != nullptr && old->spec().has_ipfamilypolicy()) {
            spec->set_ipfamilypolicy(old->spec().ipfamilypolicy());
        } else {
            spec->set_ipfamilypolicy(free_headless ? kRequire : kSingle);
        }
    }
    if (old != nullptr) apply_downgrade(service, *old, errors);
    check_single(*service, errors);
    const auto is_offered = [&offered](std::string_view name) {
        return std::any_of(offered.begin(), offered.end(),
                           [name](IpFamily family) { return family_name(family) == name; });
    };
    for (int i = spec->ipfamilies_size(); i < spec->clusterips_size() && !headless; ++i) {
        const auto address = IpAddress::parse_sloppy(spec->clusterips(i));
        if (!address) continue;  // validation has named it
        const std::string family = family_name(address->family());
        if (is_offered(family)) {
            spec->add_ipfamilies(family);
        } else {
            errors->invalid(field_index("spec.clusterIPs", i),
                            BadValue::verbatim(go_string_list(std::vector<std::string>(
                                spec->clusterips().begin(), spec->clusterips().end()))),
                            fmt::format("{} is not configured on this cluster", family));
        }
    }
    if (!errors->empty()) return;
    const bool single = spec->ipfamilypolicy() == kSingle;
    if (free_headless) {
        // Nothing is allocated, so families that the cluster lacks are welcome.
        if (spec->ipfamilies_size() == 0) spec->add_ipfamilies(family_name(offered.front()));
        if (spec->ipfamilies_size() < 2 && !single) {
            spec->add_ipfamilies(std::string(other_family(spec->ipfamilies(0))));
        }
        return;
    }
    if (spec->ipfamilypolicy() == kRequire && offered.size() < 2) {
        errors->invalid("spec.ipFamilyPolicy", spec->ipfamilypolicy(),
                        "this cluster is not configured for dual-stack services");
    }
    for (int i = 0; i < spec->ipfamilies_size(); ++i) {
        if (!is_offered(spec->ipfamilies(i))) {
            errors->invalid(field_index("spec.ipFamilies", i), spec->ipfamilies(i),
                            "not configured on this cluster");
        }
    }
    if (!errors->empty()) return;
    if (spec->ipfamilies_size() == 0) spec->add_ipfamilies(family_name(offered.front()));
    if (!single && spec->ipfamilies_size() == 1 && offered.size() == 2) {
        spec->add_ipfamilies(std::string(other_family(spec->ipfamilies(0))));
    }
}

}  // namespace sluice::registry
