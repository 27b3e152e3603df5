// Which objects a node has to do with, through the Pods that are bound to it:
//
//   node <- Pod -> Secrets, ConfigMaps, PersistentVolumeClaims, its ServiceAccount
//                  PersistentVolumeClaim <- PersistentVolume -> Secrets
//   node <- VolumeAttachment
//
// A mirror Pod leads to nothing: a node makes those itself, and could grant itself anything.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace k8s::io::api::core::v1 {
class PersistentVolume;
class Pod;
}
namespace k8s::io::api::storage::v1 {
class VolumeAttachment;
}

namespace sluice::authorization {

inline constexpr char kMirrorAnnotation[] = "kubernetes.io/config.mirror";

// What a Pod or a volume refers to.
enum class Referred : std::uint8_t {
    kPod,
    kSecret,
    kConfigMap,
    kClaim,
    kServiceAccount,
    kVolume,
    kAttachment,
    kResourceClaim,
};
struct Reference {
    Referred kind = Referred::kSecret;
    std::string name_space;
    std::string name;
    auto operator<=>(const Reference&) const = default;
};

// Everything that the Pod's spec names, itself not included. Found by the types of the spec's fields, so that a new
// kind of volume needs no code here.
[[nodiscard]] std::vector<Reference> references_of(const ::k8s::io::api::core::v1::Pod& pod);

// Thread-safe. A look-up costs one hash; one more for each volume behind a claim.
class NodeGraph {
public:
    void put(const ::k8s::io::api::core::v1::Pod& pod);
    void remove_pod(const std::string& name_space, const std::string& name);
    void put(const ::k8s::io::api::core::v1::PersistentVolume& volume);
    void remove_volume(const std::string& name);
    void put(const ::k8s::io::api::storage::v1::VolumeAttachment& attachment);
    void remove_attachment(const std::string& name);

    [[nodiscard]] bool reaches(const std::string& node, const Reference& object) const;

private:
    struct PodEdges {
        std::string node;
        std::vector<Reference> references;
    };
    struct VolumeEdges {
        Reference claim;
        std::vector<Reference> secrets;
    };
    using Key = std::pair<std::string, std::string>;

    void drop_pod(const Key& key);
    void drop_volume(const std::string& name);
    [[nodiscard]] bool direct(const std::string& node, const Reference& object) const;
    static std::string edge(const std::string& node, const Reference& object);

    mutable std::shared_mutex mutex_;
    std::map<Key, PodEdges> pods_;
    std::unordered_map<std::string, std::size_t> edges_;  // node and object: how many Pods
    std::map<std::string, VolumeEdges> volumes_;
    std::map<Reference, std::set<std::string>> volumes_of_;  // of a Secret
    std::map<std::string, std::string> attachments_;         // name to node
};

}  // namespace sluice::authorization
