// ServiceAccount: a Pod runs as an account that exists, with a token of it mounted unless somebody opted out.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <set>
#include <string>

#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/serviceaccount.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/authorization/node_graph.h"
#include "control/apiserver/registry/quota/keeper.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::admission {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

using registry::AdmissionRequest;
using registry::Answer;
using registry::Message;
using registry::ObjectPtr;
using registry::refuse;

constexpr char kDefaultAccount[] = "default";
constexpr char kVolumePrefix[] = "kube-api-access-";
constexpr char kMountPath[] = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr char kEnforceMountable[] = "kubernetes.io/enforce-mountable-secrets";
constexpr std::int64_t kTokenSeconds = 3'607;
constexpr int kFileMode = 0644;

Answer<void> no(const AdmissionRequest& request, const std::string& why) {
    return refuse(registry::forbidden(request.kind, request.name, why));
}

bool is_pod(const Message* object) {
    return object != nullptr && object->GetDescriptor() == corev1::Pod::descriptor();
}

bool is_creation(const AdmissionRequest& request) {
    return request.old == nullptr && request.operation == registry::Operation::kCreate && request.subresource.empty();
}

bool is_mirror(const corev1::Pod& pod) {
    return pod.metadata().annotations().contains(authorization::kMirrorAnnotation);
}

// The account that every namespace has, when its controller has not come to it yet: a Pod that is made right after its
// namespace must not be refused for that. Waits for nobody but the store: the workers may all be waiting here. Null:
// there is no such namespace.
Answer<ObjectPtr> make_default_account(const AdmissionRequest& request) {
    registry::Core& core = *request.call.core;
    const auto space = read_stored(core, registry::kind_named("", "v1", "namespaces"), "", request.name_space);
    if (space == nullptr || space->meta().has_deletiontimestamp()) return ObjectPtr();
    const auto& kind = registry::kind_named("", "v1", "serviceaccounts");
    const auto& strategy = core.strategies.of(kind);
    auto account = std::make_unique<corev1::ServiceAccount>();
    account->mutable_metadata()->set_namespace_(std::string(request.name_space));
    account->mutable_metadata()->set_name(kDefaultAccount);
    auto change = prepare_creation(strategy, std::move(account));
    if (!change) return refuse(std::move(change).error());
    // Of no revision: it is written unless somebody else was there before, whose it is then.
    const auto made = std::make_shared<registry::StoredObject>(kind, std::move(change->object), 0);
    if (request.dry_run) return ObjectPtr(made);
    const auto written = registry::write_and_wait(core, strategy, *made, made->message());
    if (!written) return refuse(written.error());
    return read_stored(core, kind, request.name_space, kDefaultAccount);
}

Answer<ObjectPtr> account_of(const AdmissionRequest& request, const std::string& name) {
    const auto& kind = registry::kind_named("", "v1", "serviceaccounts");
    auto found = registry::read_stored(*request.call.core, kind, request.name_space, name);
    if (found == nullptr && name == kDefaultAccount) {
        auto made = make_default_account(request);
        if (!made) return made;
        found = std::move(*made);
    }
    if (found != nullptr) return found;
    return refuse(registry::forbidden(request.kind, request.name,
                                      fmt::format("error looking up service account {}/{}: serviceaccount {} not found",
                                                  request.name_space, name, registry::go_quote(name))));
}

// A mirror of a static Pod has access to nothing.
Answer<void> check_mirror(const AdmissionRequest& request, const corev1::Pod& pod) {
    const auto references = authorization::references_of(pod);
    const auto refers = [&references](authorization::Referred kind) {
        return std::any_of(references.begin(), references.end(),
                           [kind](const auto& reference) { return reference.kind == kind; });
    };
    if (refers(authorization::Referred::kServiceAccount)) {
        return no(request, "a mirror pod may not reference service accounts");
    }
    if (refers(authorization::Referred::kSecret)) return no(request, "a mirror pod may not reference secrets");
    for (const auto& volume : pod.spec().volumes()) {
        for (const auto& part : volume.volumesource().projected().sources()) {
            if (part.has_serviceaccounttoken()) {
                return no(request, "a mirror pod may not use ServiceAccountToken volume projections");
            }
        }
    }
    return {};
}

bool wants_token(const corev1::Pod& pod, const corev1::ServiceAccount& account) {
    if (pod.spec().has_automountserviceaccounttoken()) return pod.spec().automountserviceaccounttoken();
    return !account.has_automountserviceaccounttoken() || account.automountserviceaccounttoken();
}

void make_volume(const std::string& name, corev1::Volume* volume) {
    volume->set_name(name);
    auto* projected = volume->mutable_volumesource()->mutable_projected();
    projected->set_defaultmode(kFileMode);
    auto* token = projected->add_sources()->mutable_serviceaccounttoken();
    token->set_path("token");
    token->set_expirationseconds(kTokenSeconds);
    auto* authority = projected->add_sources()->mutable_configmap();
    authority->mutable_localobjectreference()->set_name("kube-root-ca.crt");
    auto* certificate = authority->add_items();
    certificate->set_key("ca.crt");
    certificate->set_path("ca.crt");
    auto* item = projected->add_sources()->mutable_downwardapi()->add_items();
    item->set_path("namespace");
    item->mutable_fieldref()->set_apiversion("v1");
    item->mutable_fieldref()->set_fieldpath("metadata.namespace");
}

// A volume that bears the name already is taken for the one.
void mount_token(corev1::PodSpec* spec) {
    std::string name;
    for (const corev1::Volume& volume : spec->volumes()) {
        if (volume.name().starts_with(kVolumePrefix)) {
            name = volume.name();
            break;
        }
    }
    const bool present = !name.empty();
    if (!present) name = kVolumePrefix + registry::name_suffix();
    bool needed = false;
    for (auto* containers : {spec->mutable_initcontainers(), spec->mutable_containers()}) {
        for (corev1::Container& container : *containers) {
            const auto& mounts = container.volumemounts();
            if (std::any_of(mounts.begin(), mounts.end(),
                            [](const auto& mount) { return mount.mountpath() == kMountPath; })) {
                continue;
            }
            needed = true;
            auto* mount = container.add_volumemounts();
            mount->set_name(name);
            mount->set_readonly(true);
            mount->set_mountpath(kMountPath);
        }
    }
    if (needed && !present) make_volume(name, spec->add_volumes());
}

// Whether an account's annotation limits its Pods to the Secrets that it lists, as Go reads booleans.
bool is_limited(const corev1::ServiceAccount& account) {
    const auto found = account.metadata().annotations().find(kEnforceMountable);
    if (found == account.metadata().annotations().end()) return false;
    static const std::set<std::string_view> kTrue = {"1", "t", "T", "true", "TRUE", "True"};
    return kTrue.contains(found->second);
}

// Why the container may not refer to a Secret that it refers to; empty when it may.
std::string beyond_limits(const auto& container, const char* what, const std::set<std::string>& mountable,
                          const std::string& account) {
    for (const auto& variable : container.env()) {
        if (!variable.valuefrom().has_secretkeyref()) continue;
        const std::string& secret = variable.valuefrom().secretkeyref().localobjectreference().name();
        if (mountable.contains(secret)) continue;
        return fmt::format("{} {} with envVar {} referencing secret.secretName=\"{}\" is not allowed because service "
                           "account {} does not reference that secret",
                           what, container.name(), variable.name(), secret, account);
    }
    for (const auto& source : container.envfrom()) {
        if (!source.has_secretref()) continue;
        const std::string& secret = source.secretref().localobjectreference().name();
        if (mountable.contains(secret)) continue;
        return fmt::format("{} {} with envFrom referencing secret.secretName=\"{}\" is not allowed because service "
                           "account {} does not reference that secret",
                           what, container.name(), secret, account);
    }
    return {};
}

Answer<void> check_limits_of(const AdmissionRequest& request, const corev1::ServiceAccount& account,
                             const corev1::Pod& pod) {
    if (!is_limited(account)) return {};
    const std::string& name = account.metadata().name();
    std::set<std::string> mountable;
    for (const auto& secret : account.secrets()) mountable.insert(secret.name());
    const auto& spec = pod.spec();
    if (request.old != nullptr) {
        for (const auto& container : spec.ephemeralcontainers()) {
            const auto why =
                beyond_limits(container.ephemeralcontainercommon(), "ephemeral container", mountable, name);
            if (!why.empty()) return no(request, why);
        }
        return {};
    }
    for (const auto& volume : spec.volumes()) {
        if (!volume.volumesource().has_secret()) continue;
        const std::string& secret = volume.volumesource().secret().secretname();
        if (mountable.contains(secret)) continue;
        return no(request, fmt::format("volume with secret.secretName=\"{}\" is not allowed because service account {} "
                                       "does not reference that secret",
                                       secret, name));
    }
    for (const auto& container : spec.initcontainers()) {
        const auto why = beyond_limits(container, "init container", mountable, name);
        if (!why.empty()) return no(request, why);
    }
    for (const auto& container : spec.containers()) {
        const auto why = beyond_limits(container, "container", mountable, name);
        if (!why.empty()) return no(request, why);
    }
    std::set<std::string> pulls;
    for (const auto& secret : account.imagepullsecrets()) pulls.insert(secret.name());
    for (int i = 0; i < spec.imagepullsecrets_size(); ++i) {
        if (pulls.contains(spec.imagepullsecrets(i).name())) continue;
        return no(request, fmt::format("imagePullSecrets[{}].name=\"{}\" is not allowed because service account {} "
                                       "does not reference that imagePullSecret",
                                       i, spec.imagepullsecrets(i).name(), name));
    }
    return {};
}

}  // namespace

Answer<void> set_service_account(const AdmissionRequest& request, Message* object) {
    if (!is_creation(request) || !is_pod(object)) return {};
    auto* pod = static_cast<corev1::Pod*>(object);
    if (is_mirror(*pod)) return check_mirror(request, *pod);
    auto* spec = pod->mutable_spec();
    if (spec->serviceaccountname().empty()) spec->set_serviceaccountname(kDefaultAccount);
    // The member's older name.
    spec->set_serviceaccount(spec->serviceaccountname());
    const auto found = account_of(request, spec->serviceaccountname());
    if (!found) return refuse(found.error());
    const auto& account = static_cast<const corev1::ServiceAccount&>((*found)->message());
    if (wants_token(*pod, account)) mount_token(spec);
    if (spec->imagepullsecrets().empty()) *spec->mutable_imagepullsecrets() = account.imagepullsecrets();
    return {};
}

Answer<void> check_service_account(const AdmissionRequest& request) {
    if (!is_pod(request.object)) return {};
    const auto& pod = static_cast<const corev1::Pod&>(*request.object);
    const bool debugs = request.old != nullptr && request.subresource == "ephemeralcontainers";
    if (!debugs && !is_creation(request)) return {};
    if (is_mirror(pod)) return debugs ? Answer<void>() : check_mirror(request, pod);
    if (pod.spec().serviceaccountname().empty()) {
        if (debugs) return {};
        return no(request, fmt::format("no service account specified for pod {}/{}", request.name_space, request.name));
    }
    const auto found = account_of(request, pod.spec().serviceaccountname());
    if (!found) return refuse(found.error());
    return check_limits_of(request, static_cast<const corev1::ServiceAccount&>((*found)->message()), pod);
}

}  // namespace sluice::admission
