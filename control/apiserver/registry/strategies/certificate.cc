// CertificateSigningRequest: somebody asks for a certificate, somebody else approves, a signer answers.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/certificate.h"

namespace sluice::registry {

namespace {

namespace certv1 = ::k8s::io::api::certificates::v1;
using Conditions = google::protobuf::RepeatedPtrField<certv1::CertificateSigningRequestCondition>;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Age", "string", "", "Time since the object was created."},
    {"SignerName", "string", "", "Who is to sign it."},
    {"Requestor", "string", "", "Who asked for it."},
    {"RequestedDuration", "string", "", "How long the certificate is to be valid."},
    {"Condition", "string", "", "How the request stands."},
};
constexpr std::string_view kFields[] = {"spec.signerName"};

const certv1::CertificateSigningRequestCondition* find(const Conditions& conditions,
                                                       std::string_view type) {
    const auto found = std::find_if(conditions.begin(), conditions.end(),
                                    [type](const auto& item) { return item.type() == type; });
    return found == conditions.end() ? nullptr : &*found;
}

// Times that the client left out.
void complete_conditions(Conditions* conditions, const Conditions& old) {
    for (auto& condition : *conditions) {
        if (!condition.has_lastupdatetime()) {
            condition.mutable_lastupdatetime()->set_seconds(unix_now());
        }
        if (condition.has_lasttransitiontime()) continue;
        const auto* before = find(old, condition.type());
        if (before != nullptr && before->status() == condition.status() &&
            before->has_lasttransitiontime()) {
            *condition.mutable_lasttransitiontime() = before->lasttransitiontime();
        } else {
            condition.mutable_lasttransitiontime()->set_seconds(unix_now());
        }
    }
}

std::string condition_cell(const certv1::CertificateSigningRequest& object) {
    const auto& conditions = object.status().conditions();
    std::string out;
    const bool denied = find(conditions, "Denied") != nullptr;
    const bool approved = find(conditions, "Approved") != nullptr;
    if (denied) {
        out = "Denied";
    } else if (approved) {
        out = "Approved";
    } else {
        out = "Pending";
    }
    if (find(conditions, "Failed") != nullptr) out += ",Failed";
    if (!object.status().certificate().empty()) out += ",Issued";
    return out;
}

void check_conditions(const Conditions& conditions, FieldErrors* errors) {
    const std::string field = "status.conditions";
    std::set<std::string> types;
    for (int i = 0; i < conditions.size(); ++i) {
        const auto& condition = conditions[i];
        const std::string at = field_index(field, i);
        const std::string& type = condition.type();
        if (type.empty()) {
            errors->required(at + ".type");
        } else if (!types.insert(type).second) {
            errors->duplicate(at + ".type", type);
        }
        const bool final = type == "Approved" || type == "Denied" || type == "Failed";
        if (condition.status().empty()) {
            errors->required(at + ".status");
        } else if (final && condition.status() != "True") {
            errors->not_supported(at + ".status", condition.status(), {"True"});
        } else if (condition.status() != "True" && condition.status() != "False" &&
                   condition.status() != "Unknown") {
            errors->not_supported(at + ".status", condition.status(), {"False", "True", "Unknown"});
        }
    }
    const auto* approved = find(conditions, "Approved");
    if (approved != nullptr && find(conditions, "Denied") != nullptr) {
        errors->invalid(field_index(field, static_cast<int>(approved - &conditions[0])) + ".type",
                        "Approved", "Approved and Denied conditions are mutually exclusive");
    }
}

// What was decided stays decided.
void check_conditions_kept(const Conditions& now, const Conditions& was, FieldErrors* errors) {
    for (const char* type : {"Approved", "Denied", "Failed"}) {
        if (find(was, type) != nullptr && find(now, type) == nullptr) {
            errors->forbidden("status.conditions",
                              fmt::format("updates may not remove a condition of type {}",
                                          go_quote(type)));
        }
    }
}

class CsrStrategy final : public TypedStrategy<certv1::CertificateSigningRequest> {
public:
    using Csr = certv1::CertificateSigningRequest;
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] std::span<const std::string_view> selectable_fields() const override {
        return kFields;
    }
    [[nodiscard]] NameCheck name_check() const override { return check_path_segment; }

    // Signers and approvers decide by who asked, so the client has no say in it.
    void set_requester(Message* object, const http::Identity& identity) const override {
        auto* spec = static_cast<Csr*>(object)->mutable_spec();
        spec->clear_uid();
        spec->clear_groups();
        spec->clear_extra();
        spec->set_username(identity.user);
        for (const std::string& group : identity.groups) spec->add_groups(group);
    }
    // The signer's part: the certificate, and conditions other than the approver's.
    void prepare_for_status_update(Message* object, const Message& old) const override {
        TypedStrategy::prepare_for_status_update(object, old);
        const auto& before = static_cast<const Csr&>(old).status().conditions();
        auto* conditions = static_cast<Csr*>(object)->mutable_status()->mutable_conditions();
        Conditions kept;
        for (const auto& condition : *conditions) {
            if (condition.type() != "Approved" && condition.type() != "Denied") {
                *kept.Add() = condition;
            }
        }
        for (const char* type : {"Approved", "Denied"}) {
            if (const auto* decided = find(before, type)) *kept.Add() = *decided;
        }
        *conditions = std::move(kept);
        complete_conditions(conditions, before);
    }
    // The approver's part: conditions only.
    void prepare_for_approval(Message* object, const Message& old) const override {
        TypedStrategy::prepare_for_status_update(object, old);
        const auto& before = static_cast<const Csr&>(old).status();
        auto* status = static_cast<Csr*>(object)->mutable_status();
        status->clear_certificate();
        if (before.has_certificate()) status->set_certificate(before.certificate());
        complete_conditions(status->mutable_conditions(), before.conditions());
    }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        const auto& now = static_cast<const Csr&>(object).status();
        const auto& was = static_cast<const Csr&>(old).status();
        check_conditions(now.conditions(), errors);
        check_conditions_kept(now.conditions(), was.conditions(), errors);
        if (!was.certificate().empty() && now.certificate() != was.certificate()) {
            errors->forbidden("status.certificate",
                              "updates may not change existing certificate content");
        } else if (!now.certificate().empty() && now.certificate() != was.certificate()) {
            validate_certificate_chain(now.certificate(), "status.certificate", errors);
        }
    }

protected:
    void defaults(Csr* object) const override { (void)object; }
    void prepare_create(Csr* object) const override {
        TypedStrategy::prepare_create(object);
    }
    void prepare_update(Csr* object, const Csr& old) const override {
        *object->mutable_spec() = old.spec();
        copy_field(old, object, "status");
    }
    void check(const Csr& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_certificate_request(object, errors);
    }
    // Stored requests are immutable, and their signature was checked when they came.
    void check_update(const Csr& object, const Csr& old, FieldErrors* errors) const override {
        (void)old;
        TypedStrategy::check(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const Csr& object) const override {
        const auto& spec = object.spec();
        return {object.metadata().name(),
                age_cell(object.metadata()),
                spec.signername().empty() ? std::string("<none>") : spec.signername(),
                spec.username(),
                spec.has_expirationseconds() ? human_duration(spec.expirationseconds())
                                             : std::string("<none>"),
                condition_cell(object)};
    }
    [[nodiscard]] std::string field_of(const Csr& object, std::string_view field) const override {
        return field == "spec.signerName" ? object.spec().signername() : "";
    }
};

}  // namespace

std::unique_ptr<Strategy> make_csr_strategy(const codec::KindInfo& kind) {
    return std::make_unique<CsrStrategy>(kind);
}

}  // namespace sluice::registry
