#include "control/controllers/tokens/tokens.h"

#include <google/protobuf/util/message_differencer.h>

#include "api/kubernetes/core/v1/secret.pb.h"
#include "api/kubernetes/core/v1/serviceaccount.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr char kType[] = "kubernetes.io/service-account-token";
constexpr char kName[] = "kubernetes.io/service-account.name";
constexpr char kUid[] = "kubernetes.io/service-account.uid";
constexpr char kByAccount[] = "account";

std::string annotation(const corev1::Secret& secret, const char* key) {
    const auto found = secret.metadata().annotations().find(key);
    return found == secret.metadata().annotations().end() ? std::string() : found->second;
}

bool is_empty(const corev1::Secret& secret, const char* key) {
    const auto found = secret.data().find(key);
    return found == secret.data().end() || found->second.empty();
}

// "namespace/name" of the account that the Secret is for; empty for other Secrets.
std::string account_key(const google::protobuf::Message& object) {
    const auto& secret = static_cast<const corev1::Secret&>(object);
    const std::string name = secret.type() == kType ? annotation(secret, kName) : std::string();
    return name.empty() ? std::string() : secret.metadata().namespace_() + "/" + name;
}

class TokensController final : public Controller {
public:
    TokensController(Context& context, SignToken sign, std::string root_ca_pem)
        : context_(context),
          secret_kind_(*codec::find_resource("", "v1", "secrets")),
          account_kind_(*codec::find_resource("", "v1", "serviceaccounts")),
          secrets_(context.informers.get(secret_kind_)),
          sign_(std::move(sign)),
          root_ca_pem_(std::move(root_ca_pem)) {
        secrets_.add_index(kByAccount, [](const google::protobuf::Message& object) {
            std::string key = account_key(object);
            return key.empty() ? std::vector<std::string>() : std::vector<std::string>{std::move(key)};
        });
        secrets_.add_handler([this](const auto&, const auto& after) {
            if (after != nullptr && !account_key(*after).empty()) queue_.add(client::object_key(*after));
        });
        context.informers.get(account_kind_).add_handler([this](const auto& before, const auto& after) {
            const auto& account = after != nullptr ? *after : *before;
            for (const auto& secret : secrets_.by_index(kByAccount, client::object_key(account))) {
                queue_.add(client::object_key(*secret));
            }
        });
    }

    [[nodiscard]] const char* name() const override { return "serviceaccount-token-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }

    Reconciled reconcile(const std::string& key) override {
        const auto secret = client::as<corev1::Secret>(secrets_.get(key));
        if (secret == nullptr || account_key(*secret).empty() || secret->metadata().has_deletiontimestamp()) return {};
        const std::string& space = secret->metadata().namespace_();
        // The server itself is asked: a Secret is often made right after its account, and is deleted on its word alone.
        const auto found = context_.client.get(account_kind_, space, annotation(*secret, kName));
        if (!found && !found.error().not_found()) return failed(found.error(), "look for the account of", key);
        const auto* account = found ? static_cast<const corev1::ServiceAccount*>(found->get()) : nullptr;
        const std::string uid = annotation(*secret, kUid);
        if (account == nullptr || (!uid.empty() && uid != account->metadata().uid())) return remove(*secret, key);
        return fill(*secret, *account, key);
    }

private:
    Reconciled remove(const corev1::Secret& secret, const std::string& key) {
        client::DeleteRequest request;
        request.uid = secret.metadata().uid();
        request.resource_version = secret.metadata().resourceversion();
        const auto done =
            context_.client.remove(secret_kind_, secret.metadata().namespace_(), secret.metadata().name(), request);
        if (!done && !done.error().not_found()) return failed(done.error(), "delete", key);
        return {};
    }

    Reconciled fill(const corev1::Secret& secret, const corev1::ServiceAccount& account, const std::string& key) {
        corev1::Secret next = secret;
        auto& data = *next.mutable_data();
        if (!root_ca_pem_.empty()) data["ca.crt"] = root_ca_pem_;
        if (is_empty(secret, "namespace")) data["namespace"] = secret.metadata().namespace_();
        if (is_empty(secret, "token")) {
            SLUICE_TRY_ASSIGN(data["token"], sign_(secret.metadata().namespace_(), secret.metadata().name(),
                                                   account.metadata().name(), account.metadata().uid()));
        }
        auto& annotations = *next.mutable_metadata()->mutable_annotations();
        annotations[kUid] = account.metadata().uid();
        if (google::protobuf::util::MessageDifferencer::Equals(next, secret)) return {};
        const auto stored = context_.client.update(secret_kind_, next);
        if (!stored && !stored.error().not_found()) return failed(stored.error(), "fill", key);
        return {};
    }

    static Error failed(const client::ApiError& error, const char* what, const std::string& key) {
        return error.with_context(fmt::format("cannot {} secret {}", what, key));
    }

    Context& context_;
    const codec::KindInfo& secret_kind_;
    const codec::KindInfo& account_kind_;
    client::Informer& secrets_;
    const SignToken sign_;
    const std::string root_ca_pem_;
    client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> make_tokens_controller(Context& context, SignToken sign, std::string root_ca_pem) {
    return std::make_unique<TokensController>(context, std::move(sign), std::move(root_ca_pem));
}

}  // namespace sluice::controllers
