// LimitRange: what a single Pod, container or claim of a namespace may ask for. ResourceQuota: what all of them may.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/codec/time.h"
#include "api/kubernetes/core/v1/limitrange.pb.h"
#include "api/kubernetes/core/v1/resourcequota.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/strategies/kinds.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/limits.h"
#include "control/apiserver/registry/validation/quantities.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr Column kLimitRangeColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Created At", "date", "", "When the object was created."},
};
constexpr Column kQuotaColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Request", "string", "", "What is used and what may be used of everything but limits."},
    {"Limit", "string", "", "What is used and what may be used of limits."},
    {"Age", "string", "", "Time since the object was created."},
};

class LimitRangeStrategy final : public TypedStrategy<corev1::LimitRange> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kLimitRangeColumns; }

protected:
    // A limit is the default where none is given, and the default limit the default request.
    void defaults(corev1::LimitRange* object) const override {
        for (auto& limit : *object->mutable_spec()->mutable_limits()) {
            if (limit.type() != "Container") continue;
            for (const auto& [name, value] : limit.max()) {
                limit.mutable_default_()->insert({name, value});
            }
            for (const auto& [name, value] : limit.default_()) {
                limit.mutable_defaultrequest()->insert({name, value});
            }
            for (const auto& [name, value] : limit.min()) {
                limit.mutable_defaultrequest()->insert({name, value});
            }
        }
    }
    void check(const corev1::LimitRange& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_limit_range(object, errors);
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::LimitRange& object) const override {
        const auto& meta = object.metadata();
        return {meta.name(), codec::format_time(meta.creationtimestamp().seconds())};
    }
};

class ResourceQuotaStrategy final : public TypedStrategy<corev1::ResourceQuota> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kQuotaColumns; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        validate_quota_status(static_cast<const corev1::ResourceQuota&>(object), errors);
    }

protected:
    void check(const corev1::ResourceQuota& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_quota(object, errors);
    }
    void check_update(const corev1::ResourceQuota& object, const corev1::ResourceQuota& old,
                      FieldErrors* errors) const override {
        check(object, errors);
        const auto scopes = [](const corev1::ResourceQuota& quota) {
            return std::set<std::string>(quota.spec().scopes().begin(), quota.spec().scopes().end());
        };
        if (scopes(object) != scopes(old)) {
            errors->invalid("spec.scopes", go_scopes(object), "field is immutable");
        }
    }
    [[nodiscard]] std::vector<Cell> cells(const corev1::ResourceQuota& object) const override {
        std::string requests;
        std::string limits;
        const auto& status = object.status();
        for (const auto& [name, hard] : quantities_of(status.hard())) {
            std::string& column = name.starts_with("limits.") ? limits : requests;
            if (!column.empty()) column += ", ";
            column += fmt::format("{}: {}/{}", name, quantity_text(status.used(), name),
                                  hard.to_string());
        }
        return {object.metadata().name(), requests, limits, age_cell(object.metadata())};
    }
};

}  // namespace

std::unique_ptr<Strategy> make_limitrange_strategy(const codec::KindInfo& kind) {
    return std::make_unique<LimitRangeStrategy>(kind);
}

std::unique_ptr<Strategy> make_resourcequota_strategy(const codec::KindInfo& kind) {
    return std::make_unique<ResourceQuotaStrategy>(kind);
}

}  // namespace sluice::registry
