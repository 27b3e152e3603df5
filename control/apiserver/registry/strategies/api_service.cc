// APIService: a group and version of the API, and who serves it.
#include <fmt/format.h>

#include "api/kubernetes/apiregistration/v1/apiservice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"

namespace sluice::registry {

namespace {

namespace apiregv1 = ::k8s::io::kube_aggregator::pkg::apis::apiregistration::v1;

constexpr std::int32_t kMaxGroupPriority = 20'000;
constexpr std::int32_t kMaxVersionPriority = 1'000;
constexpr std::int32_t kHttpsPort = 443;

constexpr Column kColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Service", "string", "", "The service that serves it; Local: this server itself."},
    {"Available", "string", "", "Whether it can be reached."},
    {"Age", "string", "", "Time since the object was created."},
};

const apiregv1::APIServiceCondition* available(const apiregv1::APIService& object) {
    for (const auto& condition : object.status().conditions()) {
        if (condition.type() == "Available") return &condition;
    }
    return nullptr;
}

class ApiServiceStrategy final : public TypedStrategy<apiregv1::APIService> {
public:
    using TypedStrategy::TypedStrategy;
    // The aggregator keeps its objects under its group's name.
    [[nodiscard]] std::string storage_prefix() const override {
        return "/registry/apiregistration.k8s.io/apiservices";
    }
    [[nodiscard]] std::span<const Column> columns() const override { return kColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }
    [[nodiscard]] NameCheck name_check() const override { return check_path_segment; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        const auto& conditions =
            static_cast<const apiregv1::APIService&>(object).status().conditions();
        for (int i = 0; i < conditions.size(); ++i) {
            const std::string& status = conditions.Get(i).status();
            if (status == "True" || status == "False" || status == "Unknown") continue;
            errors->not_supported(field_index("status.conditions", i) + ".status", status,
                                  {"True", "False", "Unknown"});
        }
    }

protected:
    void defaults(apiregv1::APIService* object) const override {
        if (!object->spec().has_service()) return;
        auto* service = object->mutable_spec()->mutable_service();
        if (!service->has_port()) service->set_port(kHttpsPort);
    }
    void prepare_create(apiregv1::APIService* object) const override {
        TypedStrategy::prepare_create(object);
        // What is served here is there at once.
        if (object->spec().has_service()) return;
        set_local_available(object);
    }
    void prepare_update(apiregv1::APIService* object,
                        const apiregv1::APIService& old) const override {
        TypedStrategy::prepare_update(object, old);
        if (!object->spec().has_service() && old.spec().has_service()) set_local_available(object);
    }
    void check(const apiregv1::APIService& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        const auto& spec = object.spec();
        const std::string wanted = spec.version() + "." + spec.group();
        if (object.metadata().name() != wanted) {
            errors->invalid("metadata.name", object.metadata().name(),
                            fmt::format("must be `spec.version+\".\"+spec.group`: {}",
                                        go_quote(wanted)));
        }
        if (spec.group().empty() && spec.version() != "v1") {
            errors->required("spec.group",
                             "only v1 may have an empty group and it better be legacy kube");
        }
        if (!spec.group().empty()) {
            errors->invalid_all("spec.group", spec.group(), check_dns1123_subdomain(spec.group()));
        }
        errors->invalid_all("spec.version", spec.version(), check_dns1035_label(spec.version()));
        if (spec.grouppriorityminimum() <= 0 || spec.grouppriorityminimum() > kMaxGroupPriority) {
            errors->invalid("spec.groupPriorityMinimum", spec.grouppriorityminimum(),
                            "must be positive and less than 20000");
        }
        if (spec.versionpriority() <= 0 || spec.versionpriority() > kMaxVersionPriority) {
            errors->invalid("spec.versionPriority", spec.versionpriority(),
                            "must be positive and less than 1000");
        }
        check_server(spec, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const apiregv1::APIService& object) const override {
        std::string service = "Local";
        if (object.spec().has_service()) {
            service = object.spec().service().namespace_() + "/" + object.spec().service().name();
        }
        std::string state = "Unknown";
        if (const auto* condition = available(object)) {
            state = condition->status();
            if (state != "True") state += " (" + condition->reason() + ")";
        }
        return {object.metadata().name(), service, state, age_cell(object.metadata())};
    }

private:
    static void set_local_available(apiregv1::APIService* object) {
        object->clear_status();
        auto* condition = object->mutable_status()->add_conditions();
        condition->set_type("Available");
        condition->set_status("True");
        condition->set_reason("Local");
        condition->set_message("Local APIServices are always available");
        condition->mutable_lasttransitiontime()->set_seconds(unix_now());
    }
    static void check_server(const apiregv1::APIServiceSpec& spec, FieldErrors* errors) {
        if (!spec.has_service()) {
            if (!spec.cabundle().empty()) {
                errors->invalid("spec.caBundle", fmt::format("{} bytes", spec.cabundle().size()),
                                "local APIServices may not have a caBundle");
            }
            if (spec.insecureskiptlsverify()) {
                errors->invalid("spec.insecureSkipTLSVerify", BadValue::verbatim("true"),
                                "local APIServices may not have insecureSkipTLSVerify");
            }
            return;
        }
        if (spec.service().namespace_().empty()) errors->required("spec.service.namespace");
        if (spec.service().name().empty()) errors->required("spec.service.name");
        for (const std::string& why : check_port_number(spec.service().port())) {
            errors->invalid("spec.service.port", spec.service().port(), why);
        }
        if (spec.insecureskiptlsverify() && !spec.cabundle().empty()) {
            errors->invalid("spec.insecureSkipTLSVerify", BadValue::verbatim("true"),
                            "may not be true if caBundle is present");
        }
    }
};

}  // namespace

std::unique_ptr<Strategy> make_apiservice_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ApiServiceStrategy>(kind);
}

}  // namespace sluice::registry
