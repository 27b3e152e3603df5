// The functions behind the rows of conversion.cc; conversion.h says what each promises.
#pragma once

#include <memory>
#include <string_view>

#include "api/base/result.h"

namespace google::protobuf {
class Message;
}

namespace sluice::registry {

// autoscaling.cc: autoscaling/v1 shows one target for the CPU, and whatever else v2 knows as annotations.
Result<std::unique_ptr<google::protobuf::Message>> autoscaler_v1_to_v2(
    const google::protobuf::Message& object);
std::unique_ptr<google::protobuf::Message> autoscaler_v2_to_v1(
    const google::protobuf::Message& object);

// event.cc: events.k8s.io/v1 is core/v1 under other names.
Result<std::unique_ptr<google::protobuf::Message>> event_v1_to_core(
    const google::protobuf::Message& object);
std::unique_ptr<google::protobuf::Message> event_core_to_v1(
    const google::protobuf::Message& object);
std::string_view event_v1_field(std::string_view field);

}  // namespace sluice::registry
