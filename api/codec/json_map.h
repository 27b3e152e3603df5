// Direct access to a message's map<string, string>, map<string, bytes> and map<string, Quantity> by
// descriptor. protobuf's public reflection can only read a map through a second copy as a list, which
// it makes under a lock and keeps: three times the time, and twice the memory of every cached object.
// The way in is the friend that protobuf declares for CEL, another library that needed it.
// Private to api/codec. Thread-safe for const messages.
#pragma once

#include <google/protobuf/map_field.h>
#include <google/protobuf/message.h>

#include <string>

namespace google::protobuf::expr {

class CelMapReflectionFriend {
public:
    template <class Value>
    static const Map<std::string, Value>& read(const Message& message,
                                               const FieldDescriptor* field) {
        const auto* data = message.GetReflection()->GetMapData(message, field);
        return static_cast<const internal::TypeDefinedMapFieldBase<std::string, Value>*>(data)
            ->GetMap();
    }
    template <class Value>
    static Map<std::string, Value>* write(Message* message, const FieldDescriptor* field) {
        auto* data = message->GetReflection()->MutableMapData(message, field);
        return static_cast<internal::TypeDefinedMapFieldBase<std::string, Value>*>(data)
            ->MutableMap();
    }
};

}  // namespace google::protobuf::expr

namespace sluice::codec {

// Value: std::string for string and bytes values, the generated class for messages.
template <class Value>
const google::protobuf::Map<std::string, Value>& read_map(
    const google::protobuf::Message& message, const google::protobuf::FieldDescriptor* field) {
    return google::protobuf::expr::CelMapReflectionFriend::read<Value>(message, field);
}
template <class Value>
google::protobuf::Map<std::string, Value>* write_map(
    google::protobuf::Message* message, const google::protobuf::FieldDescriptor* field) {
    return google::protobuf::expr::CelMapReflectionFriend::write<Value>(message, field);
}

}  // namespace sluice::codec
