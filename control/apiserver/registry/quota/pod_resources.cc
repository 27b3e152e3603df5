#include "control/apiserver/registry/quota/pod_resources.h"

#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::registry {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

void add(const Amounts& more, Amounts* to) {
    for (const auto& [name, value] : more) (*to)[name] += value;
}

void raise(const Amounts& least, Amounts* to) {
    for (const auto& [name, value] : least) {
        const auto [entry, added] = to->emplace(name, value);
        if (!added && entry->second < value) entry->second = value;
    }
}

template <class Of>
Amounts sum(const corev1::Pod& pod, const Of& of) {
    Amounts total;
    for (const auto& container : pod.spec().containers()) add(of(container), &total);
    Amounts lasting;
    Amounts largest;
    for (const auto& container : pod.spec().initcontainers()) {
        Amounts now = of(container);
        if (container.restartpolicy() == "Always") {
            add(now, &total);
            add(now, &lasting);
            now = lasting;
        } else {
            add(lasting, &now);
        }
        raise(now, &largest);
    }
    raise(largest, &total);
    return total;
}

}  // namespace

Amounts pod_requests(const corev1::Pod& pod, bool overhead) {
    Amounts total = sum(pod, [](const corev1::Container& container) {
        return quantities_of(container.resources().requests());
    });
    if (overhead) add(quantities_of(pod.spec().overhead()), &total);
    return total;
}

Amounts pod_limits(const corev1::Pod& pod, bool overhead) {
    Amounts total = sum(pod, [](const corev1::Container& container) {
        return quantities_of(container.resources().limits());
    });
    if (!overhead) return total;
    for (const auto& [name, value] : quantities_of(pod.spec().overhead())) {
        const auto found = total.find(name);
        if (found != total.end() && !found->second.is_zero()) found->second += value;
    }
    return total;
}

}  // namespace sluice::registry
