// See environment.h.
#include "control/kubelet/environment/environment.h"

#include <algorithm>
#include <cctype>
#include <unordered_map>

#include "api/base/host_port.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"

namespace sluice::kubelet {
namespace {

// The variables in the order in which they were first set.
class Builder {
public:
    Result<void> set(const std::string& name, std::string value) {
        bytes_ += name.size() + value.size() + 2;
        if (bytes_ > kMaxEnvironmentBytes || variables_.size() >= kMaxVariables) {
            return make_error(Code::kResourceExhausted,
                              "the environment has more than {} variables or {} bytes",
                              kMaxVariables, kMaxEnvironmentBytes);
        }
        const auto [place, is_new] = places_.emplace(name, variables_.size());
        values_[name] = value;
        if (is_new) {
            variables_.emplace_back(name, std::move(value));
        } else {
            variables_[place->second].second = std::move(value);
        }
        return {};
    }
    [[nodiscard]] bool has(const std::string& name) const { return places_.contains(name); }
    // The values by name, for references.
    [[nodiscard]] std::map<std::string, std::string>& values() { return values_; }
    [[nodiscard]] Environment take() { return std::move(variables_); }

private:
    Environment variables_;
    std::unordered_map<std::string, std::size_t> places_;
    std::map<std::string, std::string> values_;
    std::size_t bytes_ = 0;
};

std::string variable_name(std::string_view name) {
    std::string out(name);
    std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) {
        return c == '-' ? '_' : static_cast<char>(std::toupper(c));
    });
    return out;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

// FOO_SERVICE_HOST and what Docker's links had, of one service.
void add_service(const corev1::Service& service, Environment* out) {
    const std::string prefix = variable_name(service.metadata().name());
    const std::string& address = service.spec().clusterip();
    const auto& ports = service.spec().ports();
    out->emplace_back(prefix + "_SERVICE_HOST", address);
    if (ports.empty()) return;
    out->emplace_back(prefix + "_SERVICE_PORT", std::to_string(ports[0].port()));
    for (const auto& port : ports) {
        if (port.name().empty()) continue;
        out->emplace_back(prefix + "_SERVICE_PORT_" + variable_name(port.name()),
                          std::to_string(port.port()));
    }
    bool is_first = true;
    for (const auto& port : ports) {
        const std::string protocol = port.protocol().empty() ? "TCP" : port.protocol();
        const std::string url = fmt::format("{}://{}", lower(protocol), host_and_port(address, port.port()));
        if (is_first) out->emplace_back(prefix + "_PORT", url);
        is_first = false;
        const std::string of_port =
            fmt::format("{}_PORT_{}_{}", prefix, port.port(), variable_name(protocol));
        out->emplace_back(of_port, url);
        out->emplace_back(of_port + "_PROTO", lower(protocol));
        out->emplace_back(of_port + "_PORT", std::to_string(port.port()));
        out->emplace_back(of_port + "_ADDR", address);
    }
}

// Variables of the namespace's services, and always of default/kubernetes unless the namespace has
// its own.
Environment service_variables(const corev1::Pod& pod,
                              const std::vector<std::shared_ptr<const corev1::Service>>& services) {
    const bool links = !pod.spec().has_enableservicelinks() || pod.spec().enableservicelinks();
    std::map<std::string, const corev1::Service*> chosen;
    for (const auto& service : services) {
        const std::string& address = service->spec().clusterip();
        if (address.empty() || address == "None") continue;
        const auto& metadata = service->metadata();
        if (links && metadata.namespace_() == pod.metadata().namespace_()) {
            chosen[metadata.name()] = service.get();
        } else if (metadata.namespace_() == "default" && metadata.name() == "kubernetes") {
            chosen.emplace(metadata.name(), service.get());
        }
    }
    Environment out;
    for (const auto& [name, service] : chosen) add_service(*service, &out);
    return out;
}

Result<void> add_map(const auto& data, const std::string& prefix, Builder* out) {
    // In the order of the keys, so that the same object always gives the same environment.
    const std::map<std::string, std::string> sorted(data.begin(), data.end());
    for (const auto& [key, value] : sorted) {
        SLUICE_TRY(out->set(prefix + key, value));
    }
    return {};
}

Result<void> add_env_from(const std::string& namespace_name, const corev1::EnvFromSource& source,
                          ObjectSource& objects, Builder* out) {
    if (source.has_configmapref()) {
        const auto& reference = source.configmapref();
        auto object = objects.config_map(namespace_name, reference.localobjectreference().name());
        if (!object) {
            if (object.error().code == Code::kNotFound && reference.optional()) return {};
            return object.error();
        }
        return add_map((*object)->data(), source.prefix(), out);
    }
    if (source.has_secretref()) {
        const auto& reference = source.secretref();
        auto object = objects.secret(namespace_name, reference.localobjectreference().name());
        if (!object) {
            if (object.error().code == Code::kNotFound && reference.optional()) return {};
            return object.error();
        }
        return add_map((*object)->data(), source.prefix(), out);
    }
    return {};
}

const corev1::Container* find_container(const corev1::Pod& pod, const std::string& name) {
    for (const auto& container : pod.spec().containers()) {
        if (container.name() == name) return &container;
    }
    for (const auto& container : pod.spec().initcontainers()) {
        if (container.name() == name) return &container;
    }
    return nullptr;
}

// A value that may be absent because its source is optional.
using MaybeValue = Result<std::pair<bool, std::string>>;

MaybeValue key_value(const auto& object, const auto& reference, std::string_view kind,
                     const std::string& namespace_name) {
    if (!object) {
        if (object.error().code == Code::kNotFound && reference.optional()) {
            return std::pair(false, std::string());
        }
        return object.error();
    }
    const auto found = (*object)->data().find(reference.key());
    if (found != (*object)->data().end()) return std::pair(true, std::string(found->second));
    if (reference.optional()) return std::pair(false, std::string());
    return make_error(Code::kNotFound, "couldn't find key {} in {} {}/{}", reference.key(), kind,
                      namespace_name, reference.localobjectreference().name());
}

MaybeValue value_from(const corev1::Pod& pod, const corev1::Container& container,
                      const PodFacts& facts, const corev1::EnvVar& variable,
                      ObjectSource& objects) {
    const auto& from = variable.valuefrom();
    const std::string& namespace_name = pod.metadata().namespace_();
    if (from.has_fieldref()) {
        SLUICE_TRY_ASSIGN(std::string value,
                          field_value(pod, facts, from.fieldref().fieldpath()));
        return std::pair(true, std::move(value));
    }
    if (from.has_resourcefieldref()) {
        const auto& reference = from.resourcefieldref();
        const corev1::Container* of = &container;
        if (!reference.containername().empty() && reference.containername() != container.name()) {
            of = find_container(pod, reference.containername());
        }
        if (of == nullptr) {
            return make_error(Code::kInvalidArgument, "container {} not found",
                              reference.containername());
        }
        SLUICE_TRY_ASSIGN(std::string value, resource_value(*of, facts, reference.resource(),
                                                            reference.divisor().string()));
        return std::pair(true, std::move(value));
    }
    if (from.has_configmapkeyref()) {
        const auto& reference = from.configmapkeyref();
        const auto object =
            objects.config_map(namespace_name, reference.localobjectreference().name());
        return key_value(object, reference, "ConfigMap", namespace_name);
    }
    if (from.has_secretkeyref()) {
        const auto& reference = from.secretkeyref();
        const auto object = objects.secret(namespace_name, reference.localobjectreference().name());
        return key_value(object, reference, "Secret", namespace_name);
    }
    if (from.has_filekeyref()) {
        return make_error(Code::kUnimplemented,
                          "environment variable {}: valueFrom.fileKeyRef is not supported by this kubelet",
                          variable.name());
    }
    return std::pair(true, std::string());
}

}  // namespace

Result<Environment> make_environment(
    const corev1::Pod& pod, const corev1::Container& container, const PodFacts& facts,
    const std::vector<std::shared_ptr<const corev1::Service>>& services, ObjectSource& objects) {
    Builder builder;
    for (const auto& source : container.envfrom()) {
        SLUICE_TRY(add_env_from(pod.metadata().namespace_(), source, objects, &builder));
    }
    const Environment of_services = service_variables(pod, services);
    // References see what was set so far, and behind it the services.
    for (const auto& [name, value] : of_services) builder.values().emplace(name, value);
    for (const auto& variable : container.env()) {
        std::string value;
        if (!variable.value().empty()) {
            value = expand(variable.value(), builder.values());
        } else if (variable.has_valuefrom()) {
            SLUICE_TRY_ASSIGN(auto from, value_from(pod, container, facts, variable, objects));
            if (!from.first) continue;
            value = std::move(from.second);
        }
        SLUICE_TRY(builder.set(variable.name(), std::move(value)));
    }
    for (const auto& [name, value] : of_services) {
        if (!builder.has(name)) SLUICE_TRY(builder.set(name, value));
    }
    return builder.take();
}

}  // namespace sluice::kubelet
