// Direct access to a message's map<string, T> by descriptor. protobuf's public reflection can only read a map
// through a second copy as a list, which it makes under a lock and keeps: three times the time, and twice the
// memory of every cached object. The way in is the friend that protobuf declares for CEL, another library that
// needed it. Private to api/codec. Thread-safe for const messages.
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
    template <class Visit>
    static void read_messages(const Message& message, const FieldDescriptor* field, Visit visit) {
        const Reflection* reflection = message.GetReflection();
        // An iterator is made from a message that may be changed; through this one nothing is.
        auto* target = const_cast<Message*>(&message);
        const MapIterator end = reflection->MapEnd(target, field);
        for (MapIterator at = reflection->MapBegin(target, field); at != end; ++at) {
            visit(at.GetKey().GetStringValue(), at.GetValueRef().GetMessageValue());
        }
    }
    template <class Visit>
    static void write_messages(Message* message, const FieldDescriptor* field, Visit visit) {
        const Reflection* reflection = message->GetReflection();
        const MapIterator end = reflection->MapEnd(message, field);
        for (MapIterator at = reflection->MapBegin(message, field); at != end; ++at) {
            visit(at.MutableValueRef()->MutableMessageValue());
        }
    }
    static Message* insert_message(Message* message, const FieldDescriptor* field,
                                   const std::string& key) {
        MapKey map_key;
        map_key.SetStringValue(key);
        MapValueRef value;
        message->GetReflection()->InsertOrLookupMapValue(message, field, map_key, &value);
        return value.MutableMessageValue();
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

// Value: std::string for string and bytes values, the generated class for messages that the caller
// knows by name. The three functions after these two serve messages of any class.
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
// visit(key, value) for each entry, in no order.
template <class Visit>
void read_message_map(const google::protobuf::Message& message,
                      const google::protobuf::FieldDescriptor* field, Visit visit) {
    google::protobuf::expr::CelMapReflectionFriend::read_messages(message, field, visit);
}
// visit(value) for each entry, in no order.
template <class Visit>
void write_message_map(google::protobuf::Message* message,
                       const google::protobuf::FieldDescriptor* field, Visit visit) {
    google::protobuf::expr::CelMapReflectionFriend::write_messages(message, field, visit);
}
// The value of that key, made empty when there was none.
inline google::protobuf::Message* insert_map_message(
    google::protobuf::Message* message, const google::protobuf::FieldDescriptor* field,
    const std::string& key) {
    return google::protobuf::expr::CelMapReflectionFriend::insert_message(message, field, key);
}

}  // namespace sluice::codec
