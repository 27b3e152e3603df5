// What a machine outside of the cluster may read, and how it knows that it is not a stranger's:
// cluster-info.
#include <algorithm>
#include <map>

#include "api/base/log.h"
#include "api/client/bootstrap.h"
#include "api/codec/time.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/certificates/certificates.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kComponent = "bootstrap-signer";
constexpr char kKey[] = "cluster-info";
constexpr char kMapKey[] = "kube-public/cluster-info";
constexpr char kTokenNamespace[] = "kube-system";
constexpr char kTokenType[] = "bootstrap.kubernetes.io/token";
constexpr std::string_view kTokenPrefix = "bootstrap-token-";
constexpr std::string_view kSignaturePrefix = "jws-kubeconfig-";
constexpr std::int64_t kSecond = 1'000'000'000;

std::string value_of(const corev1::Secret& secret, const char* key) {
    const auto found = secret.data().find(key);
    return found == secret.data().end() ? std::string() : found->second;
}

bool is_token(const google::protobuf::Message& object) {
    const auto& secret = static_cast<const corev1::Secret&>(object);
    return secret.type() == kTokenType && secret.metadata().namespace_() == kTokenNamespace &&
           secret.metadata().name().starts_with(kTokenPrefix);
}

class BootstrapSigner final : public Controller {
public:
    BootstrapSigner(Context& context, std::string server_url, const std::string& root_ca_pem)
        : context_(context),
          map_kind_(*codec::find_resource("", "v1", "configmaps")),
          secret_kind_(*codec::find_resource("", "v1", "secrets")),
          maps_(context.informers.get(map_kind_)),
          secrets_(context.informers.get(secret_kind_)),
          kubeconfig_(fmt::format("apiVersion: v1\n"
                                  "clusters:\n"
                                  "- cluster:\n"
                                  "    certificate-authority-data: {}\n"
                                  "    server: {}\n"
                                  "  name: \"\"\n"
                                  "contexts: null\n"
                                  "current-context: \"\"\n"
                                  "kind: Config\n"
                                  "preferences: {{}}\n"
                                  "users: null\n",
                                  client::base64_text(root_ca_pem), server_url)) {
        maps_.add_handler([this](const auto& before, const auto& after) {
            if (client::object_key(after != nullptr ? *after : *before) == kMapKey) queue_.add(kKey);
        });
        secrets_.add_handler([this](const auto& before, const auto& after) {
            if ((before != nullptr && is_token(*before)) || (after != nullptr && is_token(*after))) {
                queue_.add(kKey);
            }
        });
        queue_.add(kKey);
    }

    [[nodiscard]] const char* name() const override { return "bootstrap-signer-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    [[nodiscard]] int workers() const override { return 1; }
    Reconciled reconcile(const std::string& key) override;

private:
    // True when it may be used; one that has expired is removed.
    bool is_alive(const corev1::Secret& secret);
    Result<std::map<std::string, std::string>> wanted();

    Context& context_;
    const codec::KindInfo& map_kind_;
    const codec::KindInfo& secret_kind_;
    client::Informer& maps_;
    client::Informer& secrets_;
    const std::string kubeconfig_;
    client::WorkQueue queue_;
};

bool BootstrapSigner::is_alive(const corev1::Secret& secret) {
    const std::string text = value_of(secret, "expiration");
    if (text.empty()) return true;
    const auto end = codec::parse_time(text);
    if (!end) {
        log::warn(kComponent, "secret={} expiration \"{}\" is no time; the token is not used",
                  client::object_key(secret), text);
        return false;
    }
    const std::int64_t left = end->seconds - context_.now_ns() / kSecond;
    if (left > 0) {
        queue_.add_after(kKey, std::chrono::seconds(left));
        return true;
    }
    client::DeleteRequest request;
    request.uid = secret.metadata().uid();
    const auto gone = context_.client.remove(secret_kind_, secret.metadata().namespace_(),
                                             secret.metadata().name(), request);
    if (!gone && !gone.error().not_found()) {
        log::warn(kComponent, "secret={} has expired and cannot be removed: {}",
                  client::object_key(secret), gone.error().message);
    }
    return false;
}

Result<std::map<std::string, std::string>> BootstrapSigner::wanted() {
    std::map<std::string, std::string> out{{"kubeconfig", kubeconfig_}};
    for (const auto& object : secrets_.list()) {
        if (!is_token(*object)) continue;
        const auto& secret = static_cast<const corev1::Secret&>(*object);
        if (!is_alive(secret) || value_of(secret, "usage-bootstrap-signing") != "true") continue;
        const auto token = client::parse_bootstrap_token(value_of(secret, "token-id") + "." +
                                                         value_of(secret, "token-secret"));
        if (!token || secret.metadata().name() != std::string(kTokenPrefix) + token->id) {
            log::warn(kComponent, "secret={} holds no bootstrap token of its name",
                      client::object_key(secret));
            continue;
        }
        SLUICE_TRY_ASSIGN(out[std::string(kSignaturePrefix) + token->id],
                          client::sign_detached(kubeconfig_, *token));
    }
    return out;
}

Reconciled BootstrapSigner::reconcile(const std::string& /*key*/) {
    SLUICE_TRY_ASSIGN(const auto data, wanted());
    const auto present = client::as<corev1::ConfigMap>(maps_.get(kMapKey));
    corev1::ConfigMap next;
    if (present != nullptr) {
        const auto& held = present->data();
        const bool same = static_cast<std::size_t>(held.size()) == data.size() &&
                          std::all_of(data.begin(), data.end(), [&](const auto& item) {
                              const auto found = held.find(item.first);
                              return found != held.end() && found->second == item.second;
                          });
        if (same) return {};
        next = *present;
    } else {
        next.mutable_metadata()->set_namespace_("kube-public");
        next.mutable_metadata()->set_name("cluster-info");
    }
    next.clear_data();
    for (const auto& [name, value] : data) (*next.mutable_data())[name] = value;
    const auto stored = present != nullptr ? context_.client.update(map_kind_, next)
                                           : context_.client.create_object(map_kind_, next);
    if (!stored) return stored.error().with_context("cannot write configmap kube-public/cluster-info");
    return {};
}

}  // namespace

std::unique_ptr<Controller> make_bootstrap_signer(Context& context, std::string server_url,
                                                  std::string root_ca_pem) {
    return std::make_unique<BootstrapSigner>(context, std::move(server_url), root_ca_pem);
}

}  // namespace sluice::controllers
