// ResourceQuota: a write is charged to the quotas of its namespace before it is done, by compare-and-swap of their
// status.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/core/v1/resourcequota.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/quota/keeper.h"
#include "control/apiserver/registry/quota/usage.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::admission {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

using registry::AdmissionRequest;
using registry::Amounts;
using registry::Answer;
using registry::refuse;

// Attempts to charge one quota that many write at once.
constexpr int kMaxChargeAttempts = 64;

std::string listed(const Amounts& amounts) {
    std::string out;
    for (const auto& [name, value] : amounts) {
        out += fmt::format("{}{}={}", out.empty() ? "" : ",", name, value.to_string());
    }
    return out;
}

// What the write adds to what is used; less than nothing where it gives back.
Amounts delta_of(const AdmissionRequest& request, const corev1::ResourceQuota& quota) {
    Amounts out;
    if (!registry::in_scope(quota, *request.object)) return out;
    out = registry::usage_of(request.kind, *request.object);
    if (request.old == nullptr || !registry::in_scope(quota, *request.old)) return out;
    for (const auto& [name, value] : registry::usage_of(request.kind, *request.old)) out[name] -= value;
    return out;
}

// Updates that can change what is used; those of other kinds are counted where they are made.
bool concerns(const AdmissionRequest& request) {
    if (request.object == nullptr || !request.kind.namespaced || !request.subresource.empty()) return false;
    if (request.old == nullptr) return true;
    const auto* type = request.object->GetDescriptor();
    return type == corev1::Service::descriptor() || type == corev1::PersistentVolumeClaim::descriptor();
}

// Null: nothing of the quota changes.
Answer<std::unique_ptr<corev1::ResourceQuota>> charged(const AdmissionRequest& request,
                                                       const corev1::ResourceQuota& quota) {
    const Amounts hard = registry::quantities_of(quota.status().hard());
    const Amounts used = registry::quantities_of(quota.status().used());
    std::set<std::string> names;
    for (const auto& [name, value] : hard) names.insert(name);
    if (request.old == nullptr && registry::in_scope(quota, *request.object)) {
        const std::string missing = registry::unspecified(names, *request.object);
        if (!missing.empty()) {
            return refuse(registry::forbidden(
                request.kind, request.name,
                fmt::format("failed quota: {}: must specify {}", quota.metadata().name(), missing)));
        }
    }
    std::unique_ptr<corev1::ResourceQuota> out;
    Amounts requested;
    Amounts was;
    Amounts limited;
    for (const auto& [name, amount] : delta_of(request, quota)) {
        const auto limit = hard.find(name);
        if (limit == hard.end() || amount.is_zero()) continue;
        const auto before = used.find(name);
        codec::Quantity now = before == used.end() ? codec::Quantity() : before->second;
        const codec::Quantity then = now;
        now += amount;
        if (!amount.is_negative() && now > limit->second) {
            requested[name] = amount;
            was[name] = then;
            limited[name] = limit->second;
        }
        if (out == nullptr) out = std::make_unique<corev1::ResourceQuota>(quota);
        (*out->mutable_status()->mutable_used())[name].set_string(now.to_string());
    }
    if (requested.empty()) return out;
    return refuse(registry::forbidden(
        request.kind, request.name,
        fmt::format("exceeded quota: {}, requested: {}, used: {}, limited: {}", quota.metadata().name(),
                    listed(requested), listed(was), listed(limited))));
}

}  // namespace

Answer<void> charge_quotas(const AdmissionRequest& request) {
    if (request.again || !concerns(request)) return {};
    registry::Core& core = *request.call.core;
    const auto& kind = registry::kind_named("", "v1", "resourcequotas");
    const auto quotas = registry::list_stored(core, kind, request.name_space);
    // All are asked before one is charged.
    for (const auto& quota : quotas) {
        const auto wanted = charged(request, static_cast<const corev1::ResourceQuota&>(quota->message()));
        if (!wanted) return refuse(wanted.error());
    }
    if (request.dry_run) return {};
    for (auto quota : quotas) {
        for (int attempt = 0; quota != nullptr; ++attempt) {
            const auto wanted = charged(request, static_cast<const corev1::ResourceQuota&>(quota->message()));
            if (!wanted) return refuse(wanted.error());
            if (*wanted == nullptr) break;
            const auto written = registry::write_and_wait(core, core.strategies.of(kind), *quota, **wanted);
            if (!written) return refuse(written.error());
            if (*written) break;
            if (attempt == kMaxChargeAttempts) {
                return refuse(registry::conflict(
                    kind, quota->meta().name(),
                    "the object has been modified; please apply your changes to the latest version and try again"));
            }
            quota = registry::read_stored(core, kind, request.name_space, quota->meta().name());
        }
    }
    return {};
}

}  // namespace sluice::admission
