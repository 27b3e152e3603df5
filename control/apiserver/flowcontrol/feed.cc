#include "control/apiserver/flowcontrol/feed.h"

#include <google/protobuf/message.h>

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "api/base/log.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/flowcontrol/defaults.h"
#include "control/apiserver/flowcontrol/gate.h"
#include "control/apiserver/registry/api.h"

namespace sluice::flowcontrol {
namespace {

namespace flowv1 = ::k8s::io::api::flowcontrol::v1;

constexpr std::string_view kComponent = "flowcontrol";
constexpr char kGroup[] = "flowcontrol.apiserver.k8s.io";
// What Kubernetes marks objects with that it keeps as it makes them.
constexpr char kAutoUpdate[] = "apf.kubernetes.io/autoupdate-spec";

std::vector<std::string> list(const google::protobuf::RepeatedPtrField<std::string>& from) {
    return {from.begin(), from.end()};
}

void fill(const std::vector<std::string>& from, google::protobuf::RepeatedPtrField<std::string>* to) {
    for (const auto& item : from) *to->Add() = item;
}

std::uint32_t positive(std::int32_t value) {
    return value > 0 ? static_cast<std::uint32_t>(value) : 0;
}

Subject subject_of(const flowv1::Subject& from) {
    if (from.kind() == "Group") return {Subject::Kind::kGroup, from.group().name(), {}};
    if (from.kind() == "ServiceAccount") {
        return {Subject::Kind::kServiceAccount, from.serviceaccount().name(),
                from.serviceaccount().namespace_()};
    }
    return {Subject::Kind::kUser, from.user().name(), {}};
}

void fill_subject(const Subject& from, flowv1::Subject* to) {
    switch (from.kind) {
        case Subject::Kind::kUser:
            to->set_kind("User");
            to->mutable_user()->set_name(from.name);
            break;
        case Subject::Kind::kGroup:
            to->set_kind("Group");
            to->mutable_group()->set_name(from.name);
            break;
        case Subject::Kind::kServiceAccount:
            to->set_kind("ServiceAccount");
            to->mutable_serviceaccount()->set_name(from.name);
            to->mutable_serviceaccount()->set_namespace_(from.name_space);
            break;
    }
}

Rules rules_of(const flowv1::PolicyRulesWithSubjects& from) {
    Rules out;
    for (const auto& subject : from.subjects()) out.subjects.push_back(subject_of(subject));
    for (const auto& rule : from.resourcerules()) {
        out.resource_rules.push_back({list(rule.verbs()), list(rule.apigroups()),
                                      list(rule.resources()), rule.clusterscope(),
                                      list(rule.namespaces())});
    }
    for (const auto& rule : from.nonresourcerules()) {
        out.non_resource_rules.push_back({list(rule.verbs()), list(rule.nonresourceurls())});
    }
    return out;
}

class FeedImpl final : public Feed {
public:
    FeedImpl(registry::Api& api, Gate& gate) : api_(api), gate_(gate) {}
    ~FeedImpl() override { observations_.clear(); }
    FeedImpl(const FeedImpl&) = delete;
    FeedImpl& operator=(const FeedImpl&) = delete;

    Result<void> start();

private:
    template <class Object, class Item>
    Result<void> follow(const char* resource, std::map<std::string, Item>* items);
    template <class Object, class Item>
    void make_missing(const char* resource, const std::vector<Item>& items);
    void apply_locked();

    registry::Api& api_;
    Gate& gate_;
    std::mutex mutex_;
    bool complete_ = false;  // all that was there at the start has been seen
    std::map<std::string, FlowSchema> schemas_;
    std::map<std::string, PriorityLevel> levels_;
    std::vector<std::unique_ptr<registry::Observation>> observations_;
};

void FeedImpl::apply_locked() {
    if (!complete_) return;
    // What a cluster starts with stands in until it is stored.
    Configuration configuration = defaults();
    std::erase_if(configuration.levels,
                  [&](const auto& own) { return levels_.contains(own.name); });
    std::erase_if(configuration.schemas,
                  [&](const auto& own) { return schemas_.contains(own.name); });
    for (const auto& [name, level] : levels_) configuration.levels.push_back(level);
    for (const auto& [name, schema] : schemas_) configuration.schemas.push_back(schema);
    gate_.configure(configuration);
}

template <class Object, class Item>
Result<void> FeedImpl::follow(const char* resource, std::map<std::string, Item>* items) {
    const codec::KindInfo* kind = codec::find_resource(kGroup, "v1", resource);
    if (kind == nullptr) {
        return make_error(Code::kNotFound, "{} of {} are not served", resource, kGroup);
    }
    SLUICE_TRY_ASSIGN(
        auto observation,
        api_.observe(*kind, false, [this, items](const registry::Observed& seen) {
            const std::lock_guard lock(mutex_);
            if (seen.object == nullptr) {
                items->erase(seen.name);
            } else {
                (*items)[seen.name] = from_object(static_cast<const Object&>(*seen.object));
            }
            apply_locked();
        }));
    observations_.push_back(std::move(observation));
    return {};
}

template <class Object, class Item>
void FeedImpl::make_missing(const char* resource, const std::vector<Item>& items) {
    const codec::KindInfo* kind = codec::find_resource(kGroup, "v1", resource);
    for (const Item& item : items) {
        api_.amend(
            *kind, "", item.name,
            [item](const google::protobuf::Message* existing)
                -> std::unique_ptr<google::protobuf::Message> {
                if (existing != nullptr) return nullptr;
                auto object = std::make_unique<Object>();
                to_object(item, object.get());
                return object;
            },
            [resource, name = item.name](const Result<void>& done) {
                if (!done) {
                    log::warn(kComponent, "{} \"{}\" cannot be written: {}", resource, name,
                              done.error().message);
                }
            });
    }
}

Result<void> FeedImpl::start() {
    SLUICE_TRY((follow<flowv1::PriorityLevelConfiguration, PriorityLevel>(
        "prioritylevelconfigurations", &levels_)));
    SLUICE_TRY((follow<flowv1::FlowSchema, FlowSchema>("flowschemas", &schemas_)));
    {
        const std::lock_guard lock(mutex_);
        complete_ = true;
        apply_locked();
    }
    const Configuration own = defaults();
    make_missing<flowv1::PriorityLevelConfiguration>("prioritylevelconfigurations", own.levels);
    make_missing<flowv1::FlowSchema>("flowschemas", own.schemas);
    return {};
}

}  // namespace

FlowSchema from_object(const flowv1::FlowSchema& object) {
    FlowSchema out;
    out.name = object.metadata().name();
    out.uid = object.metadata().uid();
    out.level = object.spec().prioritylevelconfiguration().name();
    out.precedence = object.spec().matchingprecedence();
    const std::string& type = object.spec().distinguishermethod().type();
    if (type == "ByUser") out.distinguisher = FlowSchema::Distinguisher::kByUser;
    if (type == "ByNamespace") out.distinguisher = FlowSchema::Distinguisher::kByNamespace;
    for (const auto& rules : object.spec().rules()) out.rules.push_back(rules_of(rules));
    return out;
}

PriorityLevel from_object(const flowv1::PriorityLevelConfiguration& object) {
    PriorityLevel out;
    out.name = object.metadata().name();
    out.uid = object.metadata().uid();
    out.exempt = object.spec().type() == "Exempt";
    if (out.exempt) {
        out.nominal_shares = positive(object.spec().exempt().nominalconcurrencyshares());
        out.lendable_percent = positive(object.spec().exempt().lendablepercent());
        return out;
    }
    const auto& limited = object.spec().limited();
    if (limited.has_nominalconcurrencyshares()) {
        out.nominal_shares = positive(limited.nominalconcurrencyshares());
    }
    out.lendable_percent = positive(limited.lendablepercent());
    out.borrowing_limited = limited.has_borrowinglimitpercent();
    out.borrowing_limit_percent = positive(limited.borrowinglimitpercent());
    out.queues_requests = limited.limitresponse().type() == "Queue";
    const auto& queuing = limited.limitresponse().queuing();
    if (queuing.queues() > 0) out.queues = positive(queuing.queues());
    if (queuing.handsize() > 0) out.hand_size = positive(queuing.handsize());
    if (queuing.queuelengthlimit() > 0) out.queue_length_limit = positive(queuing.queuelengthlimit());
    return out;
}

void to_object(const FlowSchema& schema, flowv1::FlowSchema* object) {
    object->mutable_metadata()->set_name(schema.name);
    (*object->mutable_metadata()->mutable_annotations())[kAutoUpdate] = "true";
    auto* spec = object->mutable_spec();
    spec->mutable_prioritylevelconfiguration()->set_name(schema.level);
    spec->set_matchingprecedence(schema.precedence);
    if (schema.distinguisher != FlowSchema::Distinguisher::kNone) {
        const bool by_user = schema.distinguisher == FlowSchema::Distinguisher::kByUser;
        spec->mutable_distinguishermethod()->set_type(by_user ? "ByUser" : "ByNamespace");
    }
    for (const Rules& rules : schema.rules) {
        auto* to = spec->add_rules();
        for (const Subject& subject : rules.subjects) fill_subject(subject, to->add_subjects());
        for (const ResourceRule& rule : rules.resource_rules) {
            auto* out = to->add_resourcerules();
            fill(rule.verbs, out->mutable_verbs());
            fill(rule.groups, out->mutable_apigroups());
            fill(rule.resources, out->mutable_resources());
            fill(rule.namespaces, out->mutable_namespaces());
            if (rule.cluster_scope) out->set_clusterscope(true);
        }
        for (const NonResourceRule& rule : rules.non_resource_rules) {
            auto* out = to->add_nonresourcerules();
            fill(rule.verbs, out->mutable_verbs());
            fill(rule.urls, out->mutable_nonresourceurls());
        }
    }
}

void to_object(const PriorityLevel& level, flowv1::PriorityLevelConfiguration* object) {
    object->mutable_metadata()->set_name(level.name);
    (*object->mutable_metadata()->mutable_annotations())[kAutoUpdate] = "true";
    auto* spec = object->mutable_spec();
    const auto number = [](std::uint32_t value) { return static_cast<std::int32_t>(value); };
    if (level.exempt) {
        spec->set_type("Exempt");
        spec->mutable_exempt()->set_nominalconcurrencyshares(number(level.nominal_shares));
        spec->mutable_exempt()->set_lendablepercent(number(level.lendable_percent));
        return;
    }
    spec->set_type("Limited");
    auto* limited = spec->mutable_limited();
    limited->set_nominalconcurrencyshares(number(level.nominal_shares));
    limited->set_lendablepercent(number(level.lendable_percent));
    limited->mutable_limitresponse()->set_type(level.queues_requests ? "Queue" : "Reject");
    if (!level.queues_requests) return;
    auto* queuing = limited->mutable_limitresponse()->mutable_queuing();
    queuing->set_queues(number(level.queues));
    queuing->set_handsize(number(level.hand_size));
    queuing->set_queuelengthlimit(number(level.queue_length_limit));
}

}  // namespace sluice::flowcontrol
