#include "control/kubelet/volumes/payload_private.h"

#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "control/kubelet/volumes/volumes.h"

namespace sluice::kubelet {
namespace {

constexpr std::uint32_t kDefaultMode = 0644;
constexpr std::uint32_t kModeMask = 07777;
constexpr std::uint32_t kOwnerMode = 0600;

struct Defaults {
    std::uint32_t mode = kDefaultMode;
    std::optional<std::int64_t> user;
};

Defaults defaults_of(const auto& source) {
    Defaults defaults;
    if (source.has_defaultmode()) {
        defaults.mode = static_cast<std::uint32_t>(source.defaultmode()) & kModeMask;
    }
    if (source.has_defaultuser()) defaults.user = source.defaultuser();
    return defaults;
}

ProjectedFile file_of(std::string content, const auto& item, const Defaults& defaults) {
    ProjectedFile file{std::move(content), defaults.mode, defaults.user};
    if (item.has_mode()) file.mode = static_cast<std::uint32_t>(item.mode()) & kModeMask;
    if (item.has_user()) file.user = item.user();
    return file;
}

// The values of an object, taken as the items say.
Result<void> add_keys(const std::map<std::string, const std::string*>& values, const auto& items,
                      bool optional, const char* kind, const Defaults& defaults, Payload* out) {
    if (items.empty()) {
        for (const auto& [key, value] : values) {
            (*out)[key] = ProjectedFile{*value, defaults.mode, defaults.user};
        }
        return {};
    }
    for (const auto& item : items) {
        const auto value = values.find(item.key());
        if (value == values.end()) {
            if (optional) continue;
            return make_error(Code::kNotFound, "references non-existent {} key: {}", kind,
                              item.key());
        }
        (*out)[item.path()] = file_of(*value->second, item, defaults);
    }
    return {};
}

// The user that all containers run as by the pod's word; nullopt when one has no such word, or two differ.
std::optional<std::int64_t> sole_user(const corev1::Pod& pod) {
    const auto& of_pod = pod.spec().securitycontext();
    std::optional<std::int64_t> user;
    for (const auto* containers : {&pod.spec().initcontainers(), &pod.spec().containers()}) {
        for (const auto& container : *containers) {
            const auto& own = container.securitycontext();
            if (!own.has_runasuser() && !of_pod.has_runasuser()) return std::nullopt;
            const std::int64_t found = own.has_runasuser() ? own.runasuser() : of_pod.runasuser();
            if (user && *user != found) return std::nullopt;
            user = found;
        }
    }
    return user;
}

class Maker {
public:
    Maker(const corev1::Pod& pod, const PodFacts& facts, ObjectSource& objects)
        : pod_(pod), facts_(facts), objects_(objects) {}

    Result<void> config_map(const std::string& name, const auto& source, const Defaults& defaults) {
        auto object = objects_.config_map(pod_.metadata().namespace_(), name);
        if (!object) {
            if (object.error().code == Code::kNotFound && source.optional()) return {};
            return object.error();
        }
        std::map<std::string, const std::string*> values;
        for (const auto& [key, value] : (*object)->data()) values[key] = &value;
        for (const auto& [key, value] : (*object)->binarydata()) values[key] = &value;
        return add_keys(values, source.items(), source.optional(), "config", defaults, &payload_);
    }
    Result<void> secret(const std::string& name, const auto& source, const Defaults& defaults) {
        auto object = objects_.secret(pod_.metadata().namespace_(), name);
        if (!object) {
            if (object.error().code == Code::kNotFound && source.optional()) return {};
            return object.error();
        }
        std::map<std::string, const std::string*> values;
        for (const auto& [key, value] : (*object)->data()) values[key] = &value;
        return add_keys(values, source.items(), source.optional(), "secret", defaults, &payload_);
    }
    Result<void> downward(const auto& source, const Defaults& defaults) {
        for (const auto& item : source.items()) {
            std::string content;
            if (item.has_fieldref()) {
                SLUICE_TRY_ASSIGN(content, field_value(pod_, facts_, item.fieldref().fieldpath()));
            } else if (item.has_resourcefieldref()) {
                SLUICE_TRY_ASSIGN(content, resource(item.resourcefieldref()));
            }
            payload_[item.path()] = file_of(std::move(content), item, defaults);
        }
        return {};
    }
    Result<void> projected(const corev1::ProjectedVolumeSource& source) {
        const Defaults defaults = defaults_of(source);
        for (const auto& part : source.sources()) {
            if (part.has_configmap()) {
                SLUICE_TRY(config_map(part.configmap().localobjectreference().name(),
                                      part.configmap(), defaults));
            } else if (part.has_secret()) {
                SLUICE_TRY(secret(part.secret().localobjectreference().name(), part.secret(),
                                  defaults));
            } else if (part.has_downwardapi()) {
                SLUICE_TRY(downward(part.downwardapi(), defaults));
            } else if (part.has_serviceaccounttoken()) {
                SLUICE_TRY(token(part.serviceaccounttoken(), defaults));
            } else if (part.has_clustertrustbundle() && part.clustertrustbundle().optional()) {
                // There are no such bundles here, and this one may be missing: an empty file, as
                // upstream.
                payload_[part.clustertrustbundle().path()] =
                    ProjectedFile{"", defaults.mode, defaults.user};
            } else {
                return make_error(Code::kUnimplemented,
                                  "projected source {} is not supported by this kubelet",
                                  part.has_clustertrustbundle() ? "clusterTrustBundle"
                                                                : "podCertificate");
            }
        }
        return {};
    }
    Payload& payload() { return payload_; }

private:
    Result<void> token(const corev1::ServiceAccountTokenProjection& source, const Defaults& defaults) {
        SLUICE_TRY_ASSIGN(auto content, objects_.token(pod_, source.audience(), source.expirationseconds()));
        ProjectedFile file{std::move(content), defaults.mode, sole_user(pod_)};
        // For its owner alone, where there is one besides root.
        if (file.user || pod_.spec().securitycontext().has_fsgroup()) file.mode = kOwnerMode;
        payload_[source.path()] = std::move(file);
        return {};
    }
    Result<std::string> resource(const corev1::ResourceFieldSelector& reference) {
        for (const auto* containers : {&pod_.spec().containers(), &pod_.spec().initcontainers()}) {
            for (const auto& container : *containers) {
                if (container.name() != reference.containername()) continue;
                return resource_value(container, facts_, reference.resource(),
                                      reference.divisor().string());
            }
        }
        return make_error(Code::kNotFound, "container {} not found", reference.containername());
    }

    const corev1::Pod& pod_;
    const PodFacts& facts_;
    ObjectSource& objects_;
    Payload payload_;
};

}  // namespace

bool is_projected(const corev1::Volume& volume) {
    const auto& source = volume.volumesource();
    return source.has_configmap() || source.has_secret() || source.has_downwardapi() ||
           source.has_projected();
}

Result<Payload> make_payload(const corev1::Pod& pod, const corev1::Volume& volume,
                             const PodFacts& facts, ObjectSource& objects) {
    Maker maker(pod, facts, objects);
    const auto& source = volume.volumesource();
    if (source.has_configmap()) {
        const auto& from = source.configmap();
        SLUICE_TRY(maker.config_map(from.localobjectreference().name(), from, defaults_of(from)));
    } else if (source.has_secret()) {
        const auto& from = source.secret();
        SLUICE_TRY(maker.secret(from.secretname(), from, defaults_of(from)));
    } else if (source.has_downwardapi()) {
        SLUICE_TRY(maker.downward(source.downwardapi(), defaults_of(source.downwardapi())));
    } else {
        SLUICE_TRY(maker.projected(source.projected()));
    }
    return std::move(maker.payload());
}

}  // namespace sluice::kubelet
