#include "control/apiserver/service_accounts/default_accounts.h"

#include "api/base/log.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/serviceaccount.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/api.h"

namespace sluice::service_accounts {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr std::string_view kComponent = "service-accounts";
constexpr char kDefault[] = "default";

}  // namespace

Result<std::unique_ptr<registry::Observation>> keep_default_accounts(registry::Api& api) {
    return api.observe(*codec::find_resource("", "v1", "namespaces"), true, [&api](const registry::Observed& seen) {
        if (seen.object == nullptr) return;
        const auto& found = static_cast<const corev1::Namespace&>(*seen.object);
        if (found.metadata().has_deletiontimestamp()) return;
        const std::string name_space = seen.name;
        api.amend(
            *codec::find_resource("", "v1", "serviceaccounts"), name_space, kDefault,
            [name_space](const google::protobuf::Message* existing) -> std::unique_ptr<google::protobuf::Message> {
                if (existing != nullptr) return nullptr;
                auto account = std::make_unique<corev1::ServiceAccount>();
                account->mutable_metadata()->set_name(kDefault);
                account->mutable_metadata()->set_namespace_(name_space);
                return account;
            },
            [](const Result<void>& done) {
                if (!done) log::warn(kComponent, "{}", done.error().message);
            });
    });
}

}  // namespace sluice::service_accounts
