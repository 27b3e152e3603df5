// The message of all custom kinds.
#include <google/protobuf/message.h>

#include "api/codec/scheme.h"
#include "api/sluice/custom.pb.h"

namespace sluice::codec {

using api::custom::CustomObject;

const google::protobuf::Message& custom_object_prototype() {
    return CustomObject::default_instance();
}

const google::protobuf::Message& custom_list_prototype() {
    return api::custom::CustomObjectList::default_instance();
}

std::string_view custom_members(const google::protobuf::Message& object) {
    SLUICE_ASSERT(object.GetDescriptor() == CustomObject::descriptor());
    const auto& custom = static_cast<const CustomObject&>(object);
    return custom.members().empty() ? std::string_view("{}") : std::string_view(custom.members());
}

void set_custom_members(google::protobuf::Message* object, std::string members) {
    SLUICE_ASSERT(object->GetDescriptor() == CustomObject::descriptor());
    auto* custom = static_cast<CustomObject*>(object);
    if (members == "{}") {
        custom->clear_members();
    } else {
        custom->set_members(std::move(members));
    }
}

}  // namespace sluice::codec
