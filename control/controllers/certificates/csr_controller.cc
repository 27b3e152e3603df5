// Approves, denies, signs and clears away certificate requests of nodes.
#include "api/base/log.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/certificates/certificates.h"
#include "control/controllers/certificates/policy.h"

namespace sluice::controllers {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
using certificates::Request;
using certificates::Verdict;

constexpr std::string_view kComponent = "certificates";
constexpr std::int64_t kSecond = 1'000'000'000;

const codec::KindInfo& request_kind() {
    return *codec::find_resource("certificates.k8s.io", "v1", "certificatesigningrequests");
}

void add_condition(Request* request, const char* type, const std::string& reason,
                   const std::string& message, std::int64_t now_s) {
    auto* condition = request->mutable_status()->add_conditions();
    condition->set_type(type);
    condition->set_status("True");
    condition->set_reason(reason);
    condition->set_message(message);
    condition->mutable_lastupdatetime()->set_seconds(now_s);
    condition->mutable_lasttransitiontime()->set_seconds(now_s);
}

class CsrController final : public Controller {
public:
    CsrController(Context& context, pki::KeyPair ca)
        : context_(context),
          ca_(std::move(ca)),
          requests_(context.informers.get(request_kind())),
          nodes_(context.informers.get(*codec::find_resource("", "v1", "nodes"))),
          services_(context.informers.get(*codec::find_resource("", "v1", "services"))) {
        requests_.add_handler([this](const auto&, const auto& after) {
            if (after != nullptr) queue_.add(client::object_key(*after));
        });
    }

    [[nodiscard]] const char* name() const override { return "certificate-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    Reconciled reconcile(const std::string& key) override;

private:
    [[nodiscard]] std::int64_t now_s() const { return context_.now_ns() / kSecond; }
    [[nodiscard]] certificates::NodeNames names_of(const std::string& node) const;
    Reconciled decide(const Request& request, const Verdict& verdict);
    Reconciled issue(const Request& request, const pki::RequestFacts& facts);
    Reconciled fail(const Request& request, const std::string& message);
    Reconciled store(const Request& request, const char* subresource);

    Context& context_;
    const pki::KeyPair ca_;
    client::Informer& requests_;
    client::Informer& nodes_;
    client::Informer& services_;
    client::WorkQueue queue_;
};

certificates::NodeNames CsrController::names_of(const std::string& node) const {
    certificates::NodeNames out;
    for (const auto& object : nodes_.list()) {
        const auto& found = static_cast<const corev1::Node&>(*object);
        const bool own = found.metadata().name() == node;
        out.exists = out.exists || own;
        for (const auto& condition : found.status().conditions()) {
            out.ready = out.ready ||
                        (own && condition.type() == "Ready" && condition.status() == "True");
        }
        for (const auto& item : found.status().addresses()) {
            if (const auto address = IpAddress::parse(item.address())) {
                (own ? out.addresses : out.others).push_back(*address);
            } else if (own) {
                out.dns_names.push_back(item.address());
            }
        }
    }
    for (const auto& object : services_.list()) {
        const auto& spec = static_cast<const corev1::Service&>(*object).spec();
        for (const auto& text : spec.clusterips()) {
            if (const auto address = IpAddress::parse(text)) out.others.push_back(*address);
        }
    }
    return out;
}

Reconciled CsrController::store(const Request& request, const char* subresource) {
    const auto stored = context_.client.update(request_kind(), request, subresource);
    if (stored || stored.error().not_found()) return {};
    return stored.error().with_context(fmt::format("cannot write the {} of certificate request {}",
                                                   subresource, request.metadata().name()));
}

Reconciled CsrController::decide(const Request& request, const Verdict& verdict) {
    const bool approve = verdict.kind == Verdict::Kind::kApprove;
    log::info(kComponent, "request={} user={} {}: {}", request.metadata().name(),
              request.spec().username(), approve ? "approved" : "denied", verdict.message);
    Request next = request;
    add_condition(&next, approve ? "Approved" : "Denied", verdict.reason, verdict.message, now_s());
    return store(next, "approval");
}

Reconciled CsrController::fail(const Request& request, const std::string& message) {
    log::info(kComponent, "request={} cannot be signed: {}", request.metadata().name(), message);
    Request next = request;
    add_condition(&next, "Failed", "SignerValidationFailure", message, now_s());
    return store(next, "status");
}

Reconciled CsrController::issue(const Request& request, const pki::RequestFacts& facts) {
    auto certificate =
        pki::sign(ca_, certificates::spec_of(request, facts), facts.public_key_pem, now_s());
    if (!certificate) return fail(request, certificate.error().message);
    Request next = request;
    next.mutable_status()->set_certificate(std::move(*certificate));
    return store(next, "status");
}

Reconciled CsrController::reconcile(const std::string& key) {
    const auto request = client::as<Request>(requests_.get(key));
    if (request == nullptr || !certificates::is_known_signer(request->spec().signername())) {
        return {};
    }
    if (!request->status().certificate().empty() || certificates::has_condition(*request, "Denied") ||
        certificates::has_condition(*request, "Failed")) {
        return {};
    }
    const bool approved = certificates::has_condition(*request, "Approved");
    const auto facts = pki::read_request(request->spec().request());
    const auto fault = facts ? certificates::fault_of(*request, *facts)
                             : std::optional<std::string>(facts.error().message);
    if (fault) {
        if (approved) return fail(*request, *fault);
        return decide(*request, {Verdict::Kind::kDeny, "SignerValidationFailure", *fault});
    }
    if (approved) return issue(*request, *facts);
    const auto verdict = certificates::judge(
        *request, *facts, names_of(certificates::node_of(facts->common_name)));
    // A person may decide; what waits too long is cleared away.
    if (verdict.kind == Verdict::Kind::kWait) return {};
    return decide(*request, verdict);
}

class CsrCleaner final : public Controller {
public:
    explicit CsrCleaner(Context& context)
        : context_(context), requests_(context.informers.get(request_kind())) {
        requests_.add_handler([this](const auto&, const auto& after) {
            if (after != nullptr) queue_.add(client::object_key(*after));
        });
    }

    [[nodiscard]] const char* name() const override { return "certificate-cleaner-controller"; }
    [[nodiscard]] client::WorkQueue& queue() override { return queue_; }
    [[nodiscard]] int workers() const override { return 1; }

    Reconciled reconcile(const std::string& key) override {
        const auto request = client::as<Request>(requests_.get(key));
        if (request == nullptr) return {};
        std::optional<std::int64_t> end;
        if (!request->status().certificate().empty()) {
            const auto facts = pki::read_certificate(request->status().certificate());
            if (facts) end = facts->not_after_s;
        }
        const std::int64_t left =
            certificates::expires_at(*request, end) - context_.now_ns() / kSecond;
        if (left > 0) {
            queue_.add_after(key, std::chrono::seconds(left));
            return {};
        }
        client::DeleteRequest how;
        how.uid = request->metadata().uid();
        const auto gone = context_.client.remove(request_kind(), "", key, how);
        if (gone || gone.error().not_found()) return {};
        return gone.error().with_context(fmt::format("cannot remove certificate request {}", key));
    }

private:
    Context& context_;
    client::Informer& requests_;
    client::WorkQueue queue_;
};

}  // namespace

std::unique_ptr<Controller> make_csr_controller(Context& context, pki::KeyPair ca) {
    return std::make_unique<CsrController>(context, std::move(ca));
}

std::unique_ptr<Controller> make_csr_cleaner(Context& context) {
    return std::make_unique<CsrCleaner>(context);
}

}  // namespace sluice::controllers
