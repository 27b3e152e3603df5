// FlowSchema and PriorityLevelConfiguration: which requests wait in which queues when the server is busy.
#include <fmt/format.h>

#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/defaults/defaults.h"
#include "control/apiserver/registry/strategies/platform.h"
#include "control/apiserver/registry/table/cells.h"
#include "control/apiserver/registry/validation/flow_control.h"

namespace sluice::registry {

namespace {

constexpr std::int32_t kDefaultPrecedence = 1000;
constexpr std::int32_t kDefaultShares = 30;
constexpr std::int32_t kDefaultQueues = 64;
constexpr std::int32_t kDefaultHand = 8;
constexpr std::int32_t kDefaultQueueLength = 50;

constexpr Column kSchemaColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"PriorityLevel", "string", "", "The level of the requests."},
    {"MatchingPrecedence", "string", "", "The least number of those that match counts."},
    {"DistinguisherMethod", "string", "", "How flows are told apart."},
    {"Age", "string", "", "Time since the object was created."},
    {"MissingPL", "string", "", "Whether the level does not exist."},
};

class FlowSchemaStrategy final : public TypedStrategy<flowv1::FlowSchema> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kSchemaColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        validate_flow_schema_status(static_cast<const flowv1::FlowSchema&>(object), errors);
    }

protected:
    void defaults(flowv1::FlowSchema* object) const override {
        auto* spec = object->mutable_spec();
        if (spec->matchingprecedence() == 0) spec->set_matchingprecedence(kDefaultPrecedence);
    }
    void prepare_create(flowv1::FlowSchema* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(flowv1::FlowSchema* object, const flowv1::FlowSchema& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const flowv1::FlowSchema& object, FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_flow_schema(object, errors);
        const std::string& name = object.metadata().name();
        const auto* fixed = mandatory_flow_schema(name);
        if (fixed == nullptr || same_field(object, *fixed, "spec")) return;
        errors->invalid("spec", BadValue::verbatim("flowcontrol.FlowSchemaSpec{...}"),
                        fmt::format("spec of '{}' must equal the fixed value", name));
    }
    [[nodiscard]] std::vector<Cell> cells(const flowv1::FlowSchema& object) const override {
        const auto& spec = object.spec();
        std::string dangling = "?";
        for (const auto& condition : object.status().conditions()) {
            if (condition.type() == "Dangling") dangling = condition.status();
        }
        return {object.metadata().name(),
                spec.prioritylevelconfiguration().name(),
                std::int64_t{spec.matchingprecedence()},
                spec.has_distinguishermethod() ? spec.distinguishermethod().type()
                                               : std::string("<none>"),
                age_cell(object.metadata()),
                dangling};
    }
};

constexpr Column kLevelColumns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace."},
    {"Type", "string", "", "Whether its requests may have to wait."},
    {"NominalConcurrencyShares", "string", "", "Its share of the server's concurrency."},
    {"Queues", "string", "", "Number of queues."},
    {"HandSize", "string", "", "How many of them a flow is dealt."},
    {"QueueLengthLimit", "string", "", "How many requests wait in a queue at most."},
    {"Age", "string", "", "Time since the object was created."},
};

class PriorityLevelStrategy final : public TypedStrategy<flowv1::PriorityLevelConfiguration> {
public:
    using TypedStrategy::TypedStrategy;
    [[nodiscard]] std::span<const Column> columns() const override { return kLevelColumns; }
    [[nodiscard]] bool allow_unconditional_update() const override { return false; }
    void validate_status_update(const Message& object, const Message& old,
                                FieldErrors* errors) const override {
        Strategy::validate_status_update(object, old, errors);
        validate_priority_level_status(
            static_cast<const flowv1::PriorityLevelConfiguration&>(object), errors);
    }

protected:
    void defaults(flowv1::PriorityLevelConfiguration* object) const override {
        auto* spec = object->mutable_spec();
        if (spec->has_exempt()) {
            auto* exempt = spec->mutable_exempt();
            if (!exempt->has_nominalconcurrencyshares()) exempt->set_nominalconcurrencyshares(0);
            if (!exempt->has_lendablepercent()) exempt->set_lendablepercent(0);
        }
        if (!spec->has_limited()) return;
        auto* limited = spec->mutable_limited();
        if (!limited->has_nominalconcurrencyshares()) {
            limited->set_nominalconcurrencyshares(kDefaultShares);
        }
        if (!limited->has_lendablepercent()) limited->set_lendablepercent(0);
        if (!limited->limitresponse().has_queuing()) return;
        auto* queuing = limited->mutable_limitresponse()->mutable_queuing();
        if (queuing->queues() == 0) queuing->set_queues(kDefaultQueues);
        if (queuing->handsize() == 0) queuing->set_handsize(kDefaultHand);
        if (queuing->queuelengthlimit() == 0) queuing->set_queuelengthlimit(kDefaultQueueLength);
    }
    void prepare_create(flowv1::PriorityLevelConfiguration* object) const override {
        TypedStrategy::prepare_create(object);
        start_generation(object);
    }
    void prepare_update(flowv1::PriorityLevelConfiguration* object,
                        const flowv1::PriorityLevelConfiguration& old) const override {
        TypedStrategy::prepare_update(object, old);
        count_generation(object, old);
    }
    void check(const flowv1::PriorityLevelConfiguration& object,
               FieldErrors* errors) const override {
        TypedStrategy::check(object, errors);
        validate_priority_level(object, errors);
        const std::string& name = object.metadata().name();
        const auto* fixed = mandatory_priority_level(name);
        if (fixed == nullptr) return;
        flowv1::PriorityLevelConfiguration wanted = *fixed;
        // What the exempt level lends to others may be changed.
        if (object.spec().has_exempt() && fixed->spec().has_exempt()) {
            *wanted.mutable_spec()->mutable_exempt() = object.spec().exempt();
        }
        if (same_field(object, wanted, "spec")) return;
        errors->invalid("spec", BadValue::verbatim("flowcontrol.PriorityLevelConfigurationSpec{...}"),
                        fmt::format("spec of '{}' must equal the fixed value", name));
    }
    [[nodiscard]] std::vector<Cell> cells(
        const flowv1::PriorityLevelConfiguration& object) const override {
        const auto& spec = object.spec();
        const Cell none = std::string("<none>");
        std::vector<Cell> row = {object.metadata().name(), spec.type(), none, none, none, none,
                                 age_cell(object.metadata())};
        if (spec.has_limited()) {
            row[2] = std::int64_t{spec.limited().nominalconcurrencyshares()};
            if (spec.limited().limitresponse().has_queuing()) {
                const auto& queuing = spec.limited().limitresponse().queuing();
                row[3] = std::int64_t{queuing.queues()};
                row[4] = std::int64_t{queuing.handsize()};
                row[5] = std::int64_t{queuing.queuelengthlimit()};
            }
        }
        return row;
    }
};

}  // namespace

std::unique_ptr<Strategy> make_flowschema_strategy(const codec::KindInfo& kind) {
    return std::make_unique<FlowSchemaStrategy>(kind);
}

std::unique_ptr<Strategy> make_prioritylevel_strategy(const codec::KindInfo& kind) {
    return std::make_unique<PriorityLevelStrategy>(kind);
}

}  // namespace sluice::registry
