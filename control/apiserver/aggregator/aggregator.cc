#include "control/apiserver/aggregator/aggregator.h"

#include <fmt/format.h>

#include <chrono>
#include <future>

#include "api/base/log.h"
#include "api/base/metrics_text.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/apiregistration/v1/apiservice.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/aggregator/handover.h"

namespace sluice::aggregator {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kComponent = "aggregator";
constexpr const char* kConfigNamespace = "kube-system";
constexpr const char* kConfigName = "extension-apiserver-authentication";
constexpr std::string_view kApis = "/apis/";
constexpr std::string_view kOpenApi = "/openapi/v3/apis/";

const codec::KindInfo& kind(const char* group, const char* resource) {
    const auto* found = codec::find_resource(group, "v1", resource);
    SLUICE_ASSERT(found != nullptr);
    return *found;
}

std::int64_t unix_now() {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

// "GROUP/VERSION" at the beginning of the text; empty: there is none.
std::string_view group_version(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return {};
    return text.substr(0, text.find('/', slash + 1));
}

}  // namespace

Aggregator::Aggregator(registry::Api& api, FrontProxy us, Checks::Publish publish)
    : api_(api),
      checks_([this](const std::string& name, const Availability& state) { write_condition(name, state); },
              std::move(publish)),
      remotes_(api, std::move(us), [this] { checks_.set(remotes_.snapshot()); }) {}

Aggregator::~Aggregator() { Aggregator::stop(); }

Result<void> Aggregator::start(const Authorities& authorities) {
    SLUICE_TRY(publish_authorities(authorities));
    SLUICE_TRY(remotes_.start());
    checks_.start();
    return {};
}

void Aggregator::stop() {
    remotes_.stop();
    checks_.stop();
}

Result<void> Aggregator::publish_authorities(const Authorities& authorities) {
    const std::pair<const char*, std::string> wanted[] = {
        {"client-ca-file", authorities.client_ca_pem},
        {"requestheader-allowed-names", R"(["front-proxy-client"])"},
        {"requestheader-client-ca-file", authorities.front_proxy_ca_pem},
        {"requestheader-extra-headers-prefix", R"(["X-Remote-Extra-"])"},
        {"requestheader-group-headers", R"(["X-Remote-Group"])"},
        {"requestheader-uid-headers", R"(["X-Remote-Uid"])"},
        {"requestheader-username-headers", R"(["X-Remote-User"])"},
    };
    const auto done = std::make_shared<std::promise<Result<void>>>();
    auto result = done->get_future();
    api_.amend(
        kind("", "configmaps"), kConfigNamespace, kConfigName,
        [&wanted](const google::protobuf::Message* existing) -> std::unique_ptr<google::protobuf::Message> {
            auto object = std::make_unique<corev1::ConfigMap>();
            if (existing != nullptr) object->CopyFrom(*existing);
            object->mutable_metadata()->set_name(kConfigName);
            object->mutable_metadata()->set_namespace_(kConfigNamespace);
            bool changed = false;
            for (const auto& [key, value] : wanted) {
                std::string& now = (*object->mutable_data())[key];
                if (now == value) continue;
                now = value;
                changed = true;
            }
            if (!changed) return nullptr;
            return object;
        },
        [done](Result<void> ok) { done->set_value(std::move(ok)); });
    return result.get();
}

void Aggregator::write_condition(const std::string& name, const Availability& state) {
    api_.amend(
        kind("apiregistration.k8s.io", "apiservices"), "", name,
        [state](const google::protobuf::Message* existing) -> std::unique_ptr<google::protobuf::Message> {
            if (existing == nullptr) return nullptr;
            auto object = std::make_unique<ApiService>();
            object->CopyFrom(*existing);
            if (!object->spec().has_service()) return nullptr;
            auto* conditions = object->mutable_status()->mutable_conditions();
            ::k8s::io::kube_aggregator::pkg::apis::apiregistration::v1::APIServiceCondition* condition = nullptr;
            for (auto& one : *conditions) {
                if (one.type() == "Available") condition = &one;
            }
            if (condition == nullptr) {
                condition = conditions->Add();
                condition->set_type("Available");
            }
            if (Availability{condition->status(), condition->reason(), condition->message()} == state) return nullptr;
            if (condition->status() != state.status) {
                condition->mutable_lasttransitiontime()->set_seconds(unix_now());
            }
            condition->set_status(state.status);
            condition->set_reason(state.reason);
            condition->set_message(state.message);
            return object;
        },
        [name](const Result<void>& ok) {
            if (!ok) log::warn(kComponent, "apiservice={} status cannot be written: {}", name, ok.error().message);
        },
        true);
}

RemotePtr Aggregator::find(std::string_view path) const {
    if (!remotes_.any()) return nullptr;
    std::string_view rest;
    if (path.starts_with(kApis)) {
        rest = path.substr(kApis.size());
    } else if (path.starts_with(kOpenApi)) {
        rest = path.substr(kOpenApi.size());
    }
    const std::string_view wanted = group_version(rest);
    if (wanted.empty()) return nullptr;
    const auto remotes = remotes_.snapshot();
    const auto found = remotes->find(wanted);
    return found == remotes->end() ? nullptr : found->second;
}

bool Aggregator::relay(const std::shared_ptr<const http::Request>& request,
                       const std::shared_ptr<http::Responder>& responder) {
    const RemotePtr remote = find(request->path);
    if (remote == nullptr) return false;
    hand_over(relay_, *remote, turn_.fetch_add(1, std::memory_order_relaxed), request, responder);
    return true;
}

std::string Aggregator::metrics() const {
    std::string out = checks_.metrics();
    out += relay_.metrics("sluice_aggregator", "other API servers");
    metrics_text::single(&out, "sluice_aggregator_refused_apiservices", "gauge",
                         "APIServices whose servers are not asked, as there are too many.", remotes_.refused());
    return out;
}

}  // namespace sluice::aggregator
