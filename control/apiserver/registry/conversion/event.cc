// Event: core/v1 is stored. events.k8s.io/v1 has the same object under other names; what only core/v1 has carries the
// prefix deprecated there.
#include <google/protobuf/message.h>

#include <array>
#include <utility>

#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/types.pb.h"
#include "api/kubernetes/events/v1/event.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/conversion/versions.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace eventsv1 = ::k8s::io::api::events::v1;
using google::protobuf::Message;

constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kFields = {{
    {"regarding.kind", "involvedObject.kind"},
    {"regarding.namespace", "involvedObject.namespace"},
    {"regarding.name", "involvedObject.name"},
    {"regarding.uid", "involvedObject.uid"},
    {"regarding.apiVersion", "involvedObject.apiVersion"},
    {"regarding.resourceVersion", "involvedObject.resourceVersion"},
    {"regarding.fieldPath", "involvedObject.fieldPath"},
    {"reportingController", "reportingComponent"},
    {"reason", "reason"},
    {"type", "type"},
}};

// What both versions have under the same name.
template <class From, class To>
void copy_common(const From& from, To* to) {
    if (from.has_metadata()) *to->mutable_metadata() = from.metadata();
    if (from.has_reason()) to->set_reason(from.reason());
    if (from.has_type()) to->set_type(from.type());
    if (from.has_eventtime()) *to->mutable_eventtime() = from.eventtime();
    if (from.has_action()) to->set_action(from.action());
    if (from.has_related()) *to->mutable_related() = from.related();
    if (from.has_reportinginstance()) to->set_reportinginstance(from.reportinginstance());
    if (!from.has_series()) return;
    auto* series = to->mutable_series();
    if (from.series().has_count()) series->set_count(from.series().count());
    if (from.series().has_lastobservedtime()) {
        *series->mutable_lastobservedtime() = from.series().lastobservedtime();
    }
}

}  // namespace

Result<std::unique_ptr<Message>> event_v1_to_core(const Message& object) {
    const auto& from = static_cast<const eventsv1::Event&>(object);
    auto to = std::make_unique<corev1::Event>();
    copy_common(from, to.get());
    if (from.has_regarding()) *to->mutable_involvedobject() = from.regarding();
    if (from.has_note()) to->set_message(from.note());
    if (from.has_reportingcontroller()) to->set_reportingcomponent(from.reportingcontroller());
    if (from.has_deprecatedsource()) *to->mutable_source() = from.deprecatedsource();
    if (from.has_deprecatedfirsttimestamp()) {
        *to->mutable_firsttimestamp() = from.deprecatedfirsttimestamp();
    }
    if (from.has_deprecatedlasttimestamp()) {
        *to->mutable_lasttimestamp() = from.deprecatedlasttimestamp();
    }
    if (from.has_deprecatedcount()) to->set_count(from.deprecatedcount());
    return std::unique_ptr<Message>(std::move(to));
}

std::unique_ptr<Message> event_core_to_v1(const Message& object) {
    const auto& from = static_cast<const corev1::Event&>(object);
    auto to = std::make_unique<eventsv1::Event>();
    copy_common(from, to.get());
    if (from.has_involvedobject()) *to->mutable_regarding() = from.involvedobject();
    if (from.has_message()) to->set_note(from.message());
    if (from.has_reportingcomponent()) to->set_reportingcontroller(from.reportingcomponent());
    if (from.has_source()) *to->mutable_deprecatedsource() = from.source();
    if (from.has_firsttimestamp()) {
        *to->mutable_deprecatedfirsttimestamp() = from.firsttimestamp();
    }
    if (from.has_lasttimestamp()) *to->mutable_deprecatedlasttimestamp() = from.lasttimestamp();
    if (from.has_count()) to->set_deprecatedcount(from.count());
    return to;
}

std::string_view event_v1_field(std::string_view field) {
    for (const auto& [served, stored] : kFields) {
        if (served == field) return stored;
    }
    return {};
}

}  // namespace sluice::registry
