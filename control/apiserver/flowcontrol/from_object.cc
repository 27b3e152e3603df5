#include "control/apiserver/flowcontrol/from_object.h"

#include <string>
#include <vector>

#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::flowcontrol {
namespace {

namespace flowv1 = ::k8s::io::api::flowcontrol::v1;

std::vector<std::string> list(const google::protobuf::RepeatedPtrField<std::string>& from) {
    return {from.begin(), from.end()};
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

}  // namespace sluice::flowcontrol
