// LimitRanger: defaults for containers that ask for nothing, and bounds of what Pods, containers and claims may ask
// for.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <map>

#include "api/kubernetes/core/v1/limitrange.pb.h"
#include "api/kubernetes/core/v1/persistentvolumeclaim.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/quota/pod_resources.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::admission {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

using codec::Quantity;
using registry::Amounts;
using registry::pod_limits;
using registry::pod_requests;
using registry::AdmissionRequest;
using registry::Answer;
using registry::kind_named;
using registry::list_stored;
using registry::Operation;
using registry::QuantityMap;
using registry::refuse;

// Up to here a quantity in thousandths fits 64 bits.
constexpr std::int64_t kMaxMilliValue = INT64_MAX / 1000;
constexpr double kMilli = 1000.0;

struct Asked {
    Amounts requests;
    Amounts limits;
};

std::string joined(const std::vector<std::string>& parts, const char* between) {
    return fmt::format("{}", fmt::join(parts, between));
}

// Adds what is missing, and names it.
std::vector<std::string> fill(const QuantityMap& from, QuantityMap* to) {
    std::vector<std::string> set;
    for (const auto& [name, value] : from) {
        if (to->insert({name, value}).second) set.push_back(name);
    }
    std::sort(set.begin(), set.end());
    return set;
}

template <class Containers>
void default_containers(const corev1::LimitRangeItem& limits, const char* what, Containers* containers,
                        std::vector<std::string>* notes) {
    for (auto& container : *containers) {
        auto* resources = container.mutable_resources();
        const auto requests = fill(limits.defaultrequest(), resources->mutable_requests());
        const auto set = fill(limits.default_(), resources->mutable_limits());
        if (!requests.empty()) {
            notes->push_back(fmt::format("{} request for {} {}", joined(requests, ", "), what, container.name()));
        }
        if (!set.empty()) {
            notes->push_back(fmt::format("{} limit for {} {}", joined(set, ", "), what, container.name()));
        }
    }
}

// All container limits of one LimitRange as one; a later one of the same resource counts.
corev1::LimitRangeItem container_defaults(const corev1::LimitRange& range) {
    corev1::LimitRangeItem all;
    for (const auto& item : range.spec().limits()) {
        if (item.type() != "Container") continue;
        for (const auto& [name, value] : item.default_()) (*all.mutable_default_())[name] = value;
        for (const auto& [name, value] : item.defaultrequest()) (*all.mutable_defaultrequest())[name] = value;
    }
    return all;
}

void default_pod(const corev1::LimitRange& range, corev1::Pod* pod) {
    const auto defaults = container_defaults(range);
    std::vector<std::string> notes;
    default_containers(defaults, "container", pod->mutable_spec()->mutable_containers(), &notes);
    default_containers(defaults, "init container", pod->mutable_spec()->mutable_initcontainers(), &notes);
    if (notes.empty()) return;
    (*pod->mutable_metadata()->mutable_annotations())["kubernetes.io/limit-ranger"] =
        "LimitRanger plugin set: " + joined(notes, "; ");
}

const Quantity* find(const Amounts& amounts, const std::string& name) {
    const auto found = amounts.find(name);
    return found == amounts.end() ? nullptr : &found->second;
}

void check_min(const std::string& type, const std::string& name, const Quantity& enforced, const Asked& asked,
               std::vector<std::string>* errors) {
    const auto* request = find(asked.requests, name);
    const auto* limit = find(asked.limits, name);
    const auto say = [&](const std::string& why) {
        errors->push_back(fmt::format("minimum {} usage per {} is {}{}", name, type, enforced.to_string(), why));
    };
    if (request == nullptr) return say(".  No request is specified");
    if (*request < enforced) return say(", but request is " + request->to_string());
    if (limit != nullptr && *limit < enforced) say(", but limit is " + limit->to_string());
}

// by_request: claims have no limits.
void check_max(const std::string& type, const std::string& name, const Quantity& enforced, const Asked& asked,
               bool by_request, std::vector<std::string>* errors) {
    const auto* request = find(asked.requests, name);
    const auto* limit = find(asked.limits, name);
    const auto say = [&](const std::string& why) {
        errors->push_back(fmt::format("maximum {} usage per {} is {}{}", name, type, enforced.to_string(), why));
    };
    if (by_request && request == nullptr) return say(".  No request is specified");
    if (!by_request && limit == nullptr) return say(".  No limit is specified");
    if (!by_request && *limit > enforced) return say(", but limit is " + limit->to_string());
    if (request != nullptr && *request > enforced) say(", but request is " + request->to_string());
}

void check_ratio(const std::string& type, const std::string& name, const Quantity& enforced, const Asked& asked,
                 std::vector<std::string>* errors) {
    const auto* request = find(asked.requests, name);
    const auto* limit = find(asked.limits, name);
    const auto say = [&](const std::string& why) {
        errors->push_back(
            fmt::format("{} max limit to request ratio per {} is {}, but {}", name, type, enforced.to_string(), why));
    };
    if (request == nullptr || request->is_zero()) return say("no request is specified or request is 0");
    if (limit == nullptr || limit->is_zero()) return say("no limit is specified or limit is 0");
    // In thousandths as long as all of them fit.
    const bool fine = request->units() <= kMaxMilliValue && limit->units() <= kMaxMilliValue;
    const double ratio = fine ? static_cast<double>(limit->milli()) / static_cast<double>(request->milli())
                              : static_cast<double>(limit->units()) / static_cast<double>(request->units());
    const bool small = enforced.units() <= kMaxMilliValue;
    const double most = small ? static_cast<double>(enforced.milli()) : static_cast<double>(enforced.units());
    if ((small ? ratio * kMilli : ratio) > most) say(fmt::format("provided ratio is {:f}", ratio));
}

void check_item(const corev1::LimitRangeItem& item, const Asked& asked, bool by_request,
                std::vector<std::string>* errors) {
    for (const auto& [name, value] : registry::quantities_of(item.min())) {
        check_min(item.type(), name, value, asked, errors);
    }
    for (const auto& [name, value] : registry::quantities_of(item.max())) {
        check_max(item.type(), name, value, asked, by_request, errors);
    }
    if (by_request) return;
    for (const auto& [name, value] : registry::quantities_of(item.maxlimitrequestratio())) {
        check_ratio(item.type(), name, value, asked, errors);
    }
}

Asked asked_by(const corev1::ResourceRequirements& resources) {
    return {registry::quantities_of(resources.requests()), registry::quantities_of(resources.limits())};
}

void check_pod(const corev1::LimitRange& range, const corev1::Pod& pod, std::vector<std::string>* errors) {
    for (const auto& item : range.spec().limits()) {
        if (item.type() == "Container") {
            for (const auto& container : pod.spec().containers()) {
                check_item(item, asked_by(container.resources()), false, errors);
            }
            for (const auto& container : pod.spec().initcontainers()) {
                check_item(item, asked_by(container.resources()), false, errors);
            }
        }
        if (item.type() == "Pod") {
            check_item(item, {pod_requests(pod, false), pod_limits(pod, false)}, false, errors);
        }
    }
}

bool is_pod_creation(const AdmissionRequest& request) {
    return request.operation == Operation::kCreate && request.old == nullptr && request.subresource.empty() &&
           request.object != nullptr && request.object->GetDescriptor() == corev1::Pod::descriptor();
}

std::vector<registry::ObjectPtr> ranges_of(const AdmissionRequest& request) {
    return list_stored(*request.call.core, kind_named("", "v1", "limitranges"), request.name_space);
}

}  // namespace

void set_default_limits(const AdmissionRequest& request, registry::Message* object) {
    if (!is_pod_creation(request)) return;
    for (const auto& range : ranges_of(request)) {
        default_pod(static_cast<const corev1::LimitRange&>(range->message()), static_cast<corev1::Pod*>(object));
    }
}

Answer<void> check_limits(const AdmissionRequest& request) {
    const bool pod = is_pod_creation(request);
    const bool claim = request.object != nullptr && request.subresource.empty() &&
                       request.object->GetDescriptor() == corev1::PersistentVolumeClaim::descriptor();
    if (!pod && !claim) return {};
    for (const auto& found : ranges_of(request)) {
        const auto& range = static_cast<const corev1::LimitRange&>(found->message());
        std::vector<std::string> errors;
        if (pod) check_pod(range, static_cast<const corev1::Pod&>(*request.object), &errors);
        if (claim) {
            const auto& wanted = static_cast<const corev1::PersistentVolumeClaim&>(*request.object).spec();
            const Asked asked{registry::quantities_of(wanted.resources().requests()), {}};
            for (const auto& item : range.spec().limits()) {
                if (item.type() == "PersistentVolumeClaim") check_item(item, asked, true, &errors);
            }
        }
        if (errors.empty()) continue;
        const std::string why = errors.size() == 1 ? errors.front() : "[" + joined(errors, ", ") + "]";
        return refuse(registry::forbidden(request.kind, request.name, why));
    }
    return {};
}

}  // namespace sluice::admission
