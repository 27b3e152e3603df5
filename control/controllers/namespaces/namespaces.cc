#include "control/controllers/namespaces/namespaces.h"

#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/serviceaccount.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr char kServiceAccount[] = "default";
constexpr char kRootCa[] = "kube-root-ca.crt";
constexpr char kRootCaKey[] = "ca.crt";
constexpr char kDescription[] = "kubernetes.io/description";
// Clients read this; it is Kubernetes' own text.
constexpr char kDescriptionText[] =
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters.";

// One object of a fixed name in every namespace that is not going away; keys are namespaces.
class InEveryNamespace : public Controller {
public:
    InEveryNamespace(Context& context, const codec::KindInfo& kind, std::string object_name)
        : context_(context),
          kind_(kind),
          object_name_(std::move(object_name)),
          namespaces_(context.informers.get(*codec::find_resource("", "v1", "namespaces"))),
          objects_(context.informers.get(kind)) {
        namespaces_.add_handler([this](const auto&, const auto& after) {
            if (after != nullptr) queue_.add(client::object_key(*after));
        });
        objects_.add_handler([this](const auto& before, const auto& after) {
            const auto& meta = codec::object_meta(after != nullptr ? *after : *before);
            if (meta.name() == object_name_) queue_.add(meta.namespace_());
        });
    }

    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }

    Reconciled reconcile(const std::string& key) override {
        const auto found = client::as<corev1::Namespace>(namespaces_.get(key));
        if (found == nullptr || found->metadata().has_deletiontimestamp() ||
            found->status().phase() == "Terminating") {
            return {};
        }
        const auto present = objects_.get(key + "/" + object_name_);
        if (present == nullptr) {
            const auto fresh = kind_.new_object();
            codec::object_meta(*fresh).set_namespace_(key);
            codec::object_meta(*fresh).set_name(object_name_);
            complete(fresh.get());
            const auto made = context_.client.create_object(kind_, *fresh);
            // Somebody was faster, or the namespace has begun to go: the next event decides.
            if (!made && !made.error().not_found() && made.error().code != Code::kAlreadyExists &&
                made.error().http_status != 403) {
                return failed(made.error(), "create", key);
            }
            return {};
        }
        const std::unique_ptr<google::protobuf::Message> next(present->New());
        next->CopyFrom(*present);
        if (!complete(next.get())) return {};
        const auto stored = context_.client.update(kind_, *next);
        if (!stored && !stored.error().not_found()) return failed(stored.error(), "restore", key);
        return {};
    }

protected:
    // Puts in what the object must hold; false when it holds it already.
    virtual bool complete(google::protobuf::Message* object) = 0;

private:
    Error failed(const client::ApiError& error, const char* verb, const std::string& key) const {
        return error.with_context(
            fmt::format("cannot {} {} {}/{}", verb, kind_.singular, key, object_name_));
    }

    Context& context_;
    const codec::KindInfo& kind_;
    const std::string object_name_;
    client::Informer& namespaces_;
    client::Informer& objects_;
    client::WorkQueue queue_;
};

class ServiceAccountController final : public InEveryNamespace {
public:
    explicit ServiceAccountController(Context& context)
        : InEveryNamespace(context, *codec::find_resource("", "v1", "serviceaccounts"),
                           kServiceAccount) {}
    [[nodiscard]] const char* name() const override { return "serviceaccount-controller"; }

protected:
    bool complete(google::protobuf::Message* /*object*/) override { return false; }
};

class RootCaPublisher final : public InEveryNamespace {
public:
    RootCaPublisher(Context& context, std::string root_ca_pem)
        : InEveryNamespace(context, *codec::find_resource("", "v1", "configmaps"), kRootCa),
          pem_(std::move(root_ca_pem)) {}
    [[nodiscard]] const char* name() const override { return "root-ca-certificate-publisher"; }

protected:
    bool complete(google::protobuf::Message* object) override {
        auto& map = static_cast<corev1::ConfigMap&>(*object);
        auto& data = *map.mutable_data();
        auto& annotations = *map.mutable_metadata()->mutable_annotations();
        const auto held = data.find(kRootCaKey);
        const auto described = annotations.find(kDescription);
        const bool same = data.size() == 1 && map.binarydata().empty() && held != data.end() &&
                          held->second == pem_ && described != annotations.end() &&
                          described->second == kDescriptionText;
        if (same) return false;
        data.clear();
        map.clear_binarydata();
        data[kRootCaKey] = pem_;
        annotations[kDescription] = kDescriptionText;
        return true;
    }

private:
    const std::string pem_;
};

}  // namespace

std::unique_ptr<Controller> make_service_account_controller(Context& context) {
    return std::make_unique<ServiceAccountController>(context);
}

std::unique_ptr<Controller> make_root_ca_publisher(Context& context, std::string root_ca_pem) {
    return std::make_unique<RootCaPublisher>(context, std::move(root_ca_pem));
}

}  // namespace sluice::controllers
