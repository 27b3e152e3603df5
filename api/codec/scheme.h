// The scheme: which kinds exist, how they are named, and which protobuf message each one is.
// Adding a kind to the system begins with one row in scheme.cc.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace google::protobuf {
class Message;
}
namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class ObjectMeta;
class ListMeta;
}  // namespace k8s::io::apimachinery::pkg::apis::meta::v1

namespace sluice::codec {

namespace metav1 = ::k8s::io::apimachinery::pkg::apis::meta::v1;

struct GroupVersionKind {
    std::string group;  // empty for the core group
    std::string version;
    std::string kind;

    // "v1" or "apps/v1".
    [[nodiscard]] std::string api_version() const;
    // From an apiVersion such as "apps/v1" and a kind; more than one slash is kInvalidArgument.
    static Result<GroupVersionKind> parse(std::string_view api_version, std::string_view kind);
    auto operator<=>(const GroupVersionKind&) const = default;
};

// A part of an object with a path of its own below the object's, or something done to it.
struct Subresource {
    std::string name;                // "status", "scale", "log"
    GroupVersionKind gvk;            // of what is read and written there
    std::vector<std::string> verbs;  // in alphabetical order
};

// What a kind that a CustomResourceDefinition makes (docs/adr/0014) has beyond its KindInfo. Immutable; thread-safe.
class CustomForm {
public:
    virtual ~CustomForm() = default;
    // The version in which objects are written to the store.
    [[nodiscard]] virtual const GroupVersionKind& stored_gvk() const = 0;
    // Makes an object as the store has it into one of this version: pruned, and with defaults.
    virtual Result<void> complete(google::protobuf::Message* object) const = 0;
};

// One kind. Those of the scheme live as long as the program, a custom one as long as somebody holds it; compare by
// address.
struct KindInfo {
    GroupVersionKind gvk;
    std::string resource;  // plural: "services"
    std::string singular;  // "service"
    std::vector<std::string> short_names;
    std::vector<std::string> categories;
    bool namespaced = true;
    bool has_status = false;                      // serves the subresource status
    std::vector<Subresource> subresources{};      // by name, status among them
    const google::protobuf::Message* prototype;   // New() makes an empty object
    const google::protobuf::Message* list_prototype;
    std::string list_name{};             // of a list, where it is not the kind with List behind it
    const CustomForm* custom = nullptr;  // of custom kinds

    [[nodiscard]] std::string list_kind() const {
        return list_name.empty() ? gvk.kind + "List" : list_name;
    }
    [[nodiscard]] std::unique_ptr<google::protobuf::Message> new_object() const;
    [[nodiscard]] std::unique_ptr<google::protobuf::Message> new_list() const;
    // Null when the kind has none of that name.
    [[nodiscard]] const Subresource* find_subresource(std::string_view name) const;
};

// A custom kind as discovery and OpenAPI show it, apart from the kind that serves requests: a copy whose `custom` is
// null.
struct PublishedKind {
    PublishedKind(const KindInfo& info_in, std::string schema_in)
        : info(info_in), schema(std::move(schema_in)) {
        info.custom = nullptr;
    }
    KindInfo info;
    std::string schema;  // openAPIV3Schema as JSON text
};

// A resource that can only be created: what is posted there has an effect, and is not stored.
struct ActionResource {
    GroupVersionKind gvk;
    std::string resource;  // plural: "bindings"
    std::string singular;
    bool namespaced = true;
};

// All kinds, in a fixed order: core/v1 first, then groups by name.
[[nodiscard]] std::span<const KindInfo> all_kinds();
[[nodiscard]] std::span<const ActionResource> action_resources();
// Null when there is none.
[[nodiscard]] const KindInfo* find_kind(const GroupVersionKind& gvk);
[[nodiscard]] const KindInfo* find_resource(std::string_view group, std::string_view version,
                                            std::string_view resource);
[[nodiscard]] const KindInfo* kind_of(const google::protobuf::Message& object);

// The prototypes of every custom kind: objects that keep all but their metadata as text.
[[nodiscard]] const google::protobuf::Message& custom_object_prototype();
[[nodiscard]] const google::protobuf::Message& custom_list_prototype();
// All members of a custom object but kind, apiVersion and metadata, as canonical JSON text: an object, "{}" when there
// are none. REQUIRES: an object of a custom kind; members as write_sorted_json writes them.
[[nodiscard]] std::string_view custom_members(const google::protobuf::Message& object);
void set_custom_members(google::protobuf::Message* object, std::string members);

// The object's `metadata`. REQUIRES: a message that has one (every kind and list in the scheme).
[[nodiscard]] metav1::ObjectMeta& object_meta(google::protobuf::Message& object);
[[nodiscard]] const metav1::ObjectMeta& object_meta(const google::protobuf::Message& object);
[[nodiscard]] metav1::ListMeta& list_meta(google::protobuf::Message& list);

}  // namespace sluice::codec
