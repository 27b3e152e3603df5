// ConfigMaps and Secrets that a test puts down, for what asks an ObjectSource.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "control/kubelet/objects.h"

namespace sluice::kubelet {

class TestObjects final : public ObjectSource {
public:
    using Data = std::map<std::string, std::string>;

    void put_config_map(const std::string& name, const Data& data) {
        auto object = std::make_shared<corev1::ConfigMap>();
        for (const auto& [key, value] : data) (*object->mutable_data())[key] = value;
        config_maps_[name] = std::move(object);
    }
    void put_secret(const std::string& name, const Data& data) {
        auto object = std::make_shared<corev1::Secret>();
        for (const auto& [key, value] : data) (*object->mutable_data())[key] = value;
        secrets_[name] = std::move(object);
    }

    void follow_pod(const corev1::Pod&) override {}
    void forget_pod(const std::string&) override {}
    void on_change(std::function<void(const std::string&)>) override {}
    Result<std::shared_ptr<const corev1::ConfigMap>> config_map(const std::string&,
                                                                const std::string& name) override {
        const auto found = config_maps_.find(name);
        if (found != config_maps_.end()) return found->second;
        return make_error(Code::kNotFound, "configmap \"{}\" not found", name);
    }
    Result<std::shared_ptr<const corev1::Secret>> secret(const std::string&,
                                                         const std::string& name) override {
        const auto found = secrets_.find(name);
        if (found != secrets_.end()) return found->second;
        return make_error(Code::kNotFound, "secret \"{}\" not found", name);
    }
    // Says what was asked for, and which one it is.
    Result<std::string> token(const corev1::Pod& pod, const std::string& audience,
                              std::int64_t expiration_seconds) override {
        return pod.spec().serviceaccountname() + "/" + audience + "/" + std::to_string(expiration_seconds) + "/" +
               std::to_string(token_version);
    }
    int token_version = 1;

private:
    std::map<std::string, std::shared_ptr<const corev1::ConfigMap>> config_maps_;
    std::map<std::string, std::shared_ptr<const corev1::Secret>> secrets_;
};

}  // namespace sluice::kubelet
