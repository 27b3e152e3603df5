#include "control/apiserver/registry/conversion/conversion.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <vector>

#include "control/apiserver/registry/conversion/versions.h"

namespace sluice::registry {

namespace {

using google::protobuf::Message;

// A handful of rows: looking through them costs less than hashing a name.
const std::vector<Conversion>& conversions() {
    static const std::vector<Conversion> rows = {
        {{"autoscaling", "v1", "HorizontalPodAutoscaler"},
         {"autoscaling", "v2", "HorizontalPodAutoscaler"},
         autoscaler_v1_to_v2,
         autoscaler_v2_to_v1},
        {{"events.k8s.io", "v1", "Event"},
         {"", "v1", "Event"},
         event_v1_to_core,
         event_core_to_v1,
         event_v1_field},
    };
    return rows;
}

}  // namespace

const Conversion* conversion_of(const codec::KindInfo& served) {
    const auto& rows = conversions();
    const auto found = std::ranges::find(rows, served.gvk, &Conversion::served);
    return found == rows.end() ? nullptr : &*found;
}

const codec::KindInfo& stored_kind(const codec::KindInfo& served) {
    const Conversion* conversion = conversion_of(served);
    if (conversion == nullptr) return served;
    const codec::KindInfo* stored = codec::find_kind(conversion->stored);
    SLUICE_ASSERT(stored != nullptr);
    return *stored;
}

Result<std::unique_ptr<Message>> to_stored(const codec::KindInfo& served,
                                           std::unique_ptr<Message> object) {
    const Conversion* conversion = conversion_of(served);
    if (conversion == nullptr) return object;
    return conversion->to_stored(*object);
}

std::unique_ptr<Message> to_served(const codec::KindInfo& served, const Message& object) {
    if (const Conversion* conversion = conversion_of(served); conversion != nullptr) {
        return conversion->to_served(object);
    }
    std::unique_ptr<Message> copy(object.New());
    copy->CopyFrom(object);
    return copy;
}

}  // namespace sluice::registry
