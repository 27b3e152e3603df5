#include "control/main/token.h"

#include <ctime>

#include "api/client/bootstrap.h"
#include "api/client/client.h"
#include "api/client/kubeconfig.h"
#include "api/codec/scheme.h"
#include "api/codec/time.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::control {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::int64_t kMaxTtlS = 365 * 86'400;
constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

// "10.0.0.1:6443" out of what the cluster publishes about itself.
std::string published_server(client::Client& client) {
    const auto object =
        client.get(*codec::find_resource("", "v1", "configmaps"), "kube-public", "cluster-info");
    if (!object) return {};
    const auto& data = static_cast<const corev1::ConfigMap&>(**object).data();
    const auto found = data.find("kubeconfig");
    if (found == data.end()) return {};
    constexpr std::string_view kServer = "server: https://";
    const std::size_t begin = found->second.find(kServer);
    if (begin == std::string::npos) return {};
    const std::size_t end = found->second.find('\n', begin);
    return found->second.substr(begin + kServer.size(), end - begin - kServer.size());
}

}  // namespace

Result<std::int64_t> parse_token_ttl(const std::string& text) {
    const auto duration = codec::parse_duration_ns(text);
    if (!duration || *duration < 0 || *duration / kNanosecondsPerSecond > kMaxTtlS) {
        return make_error(Code::kInvalidArgument,
                          "--ttl \"{}\" is no time from 0 (for ever) to 8760h, such as 24h or 90m",
                          text);
    }
    return *duration / kNanosecondsPerSecond;
}

Result<std::string> create_token(const std::string& data_dir, std::int64_t ttl_s,
                                 const std::string& server) {
    auto config = client::load_kubeconfig(data_dir + "/admin.kubeconfig");
    if (!config) return config.error().with_context("is the control plane running there?");
    SLUICE_TRY_ASSIGN(auto client, client::Client::create(*config, "sluice-control"));
    SLUICE_TRY_ASSIGN(const auto token, client::make_bootstrap_token());
    SLUICE_TRY_ASSIGN(const std::string pin, client::ca_pin(config->ca_pem));

    corev1::Secret secret;
    secret.mutable_metadata()->set_namespace_("kube-system");
    secret.mutable_metadata()->set_name("bootstrap-token-" + token.id);
    secret.set_type("bootstrap.kubernetes.io/token");
    auto& data = *secret.mutable_data();
    data["token-id"] = token.id;
    data["token-secret"] = token.secret;
    data["usage-bootstrap-authentication"] = "true";
    data["usage-bootstrap-signing"] = "true";
    data["description"] = "made by sluice-control token create";
    if (ttl_s > 0) data["expiration"] = codec::format_time(std::time(nullptr) + ttl_s);
    const auto made = client->create_object(*codec::find_resource("", "v1", "secrets"), secret);
    if (!made) return made.error().with_context("cannot create the token");

    std::string address = server.empty() ? published_server(*client) : server;
    if (address.empty()) {
        address = config->url().substr(config->url().find("//") + 2);
    }
    return fmt::format("sluice join {} --token {} --discovery-token-ca-cert-hash {}\n", address,
                       token.text(), pin);
}

}  // namespace sluice::control
