#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/environment/object_references_private.h"

namespace sluice::kubelet {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

class Collector {
public:
    explicit Collector(const corev1::Pod& pod) : namespace_name_(pod.metadata().namespace_()) {}

    void config_map(const std::string& name) { add(false, name); }
    void secret(const std::string& name) { add(true, name); }

    // Of a Container or the common part of an EphemeralContainer.
    void container(const auto& container) {
        for (const auto& source : container.envfrom()) {
            config_map(source.configmapref().localobjectreference().name());
            secret(source.secretref().localobjectreference().name());
        }
        for (const auto& variable : container.env()) {
            const auto& from = variable.valuefrom();
            config_map(from.configmapkeyref().localobjectreference().name());
            secret(from.secretkeyref().localobjectreference().name());
        }
    }
    void volume(const corev1::VolumeSource& source) {
        config_map(source.configmap().localobjectreference().name());
        secret(source.secret().secretname());
        for (const auto& part : source.projected().sources()) {
            config_map(part.configmap().localobjectreference().name());
            secret(part.secret().localobjectreference().name());
        }
    }
    [[nodiscard]] std::set<ObjectKey> take() { return std::move(found_); }

private:
    // An unset reference has an empty name.
    void add(bool is_secret, const std::string& name) {
        if (!name.empty()) found_.insert({is_secret, namespace_name_, name});
    }

    const std::string& namespace_name_;
    std::set<ObjectKey> found_;
};

}  // namespace

std::set<ObjectKey> objects_of(const corev1::Pod& pod) {
    Collector collector(pod);
    for (const auto& container : pod.spec().initcontainers()) collector.container(container);
    for (const auto& container : pod.spec().containers()) collector.container(container);
    for (const auto& container : pod.spec().ephemeralcontainers()) {
        collector.container(container.ephemeralcontainercommon());
    }
    for (const auto& volume : pod.spec().volumes()) collector.volume(volume.volumesource());
    for (const auto& secret : pod.spec().imagepullsecrets()) collector.secret(secret.name());
    return collector.take();
}

}  // namespace sluice::kubelet
