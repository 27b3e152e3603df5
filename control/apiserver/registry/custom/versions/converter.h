// Brings objects of one definition from one version to another by asking its conversion webhook.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/registry/custom/versions/hooks.h"
#include "control/apiserver/registry/rest/stored_object.h"

namespace boost::json {
class value;
}
namespace k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1 {
class CustomResourceDefinition;
}

namespace sluice::registry {

struct Schema;

// Objects of one call; more are sent in several calls, one after another.
inline constexpr std::size_t kMaxObjectsPerReview = 500;
// Of JSON in one call, but for an object that is larger by itself.
inline constexpr std::size_t kMaxReviewBytes = 8U << 20U;

// Immutable, and thread-safe, once every version was added. What converts waits for the webhook.
class Converter {
public:
    // REQUIRES: a definition whose strategy is Webhook. hooks: outlives the converter.
    Converter(ConversionHooks& hooks, const ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1::
                                          CustomResourceDefinition& definition);
    ~Converter();
    Converter(const Converter&) = delete;
    Converter& operator=(const Converter&) = delete;

    void add_version(const std::string& version, std::shared_ptr<const Schema> schema);

    // Values as the store has them, in the version of `kind`, without metadata.resourceVersion. What is of another
    // version is converted, many in one call; one that cannot be converted fails all.
    Answer<std::vector<std::unique_ptr<Message>>> read(const codec::KindInfo& kind,
                                                       const std::vector<std::string_view>& values) const;
    // The store's value of an object without a resourceVersion.
    Answer<std::string> write(const codec::KindInfo& kind, const Message& object) const;
    // An object in another version of its kind.
    Answer<std::unique_ptr<Message>> convert(const codec::KindInfo& from, const Message& object,
                                             const codec::KindInfo& to) const;

private:
    using Values = std::vector<boost::json::value>;

    // What the objects, all of the version of `from`, are in the version of `to`, pruned.
    Answer<void> convert_all(const codec::GroupVersionKind& from, const codec::GroupVersionKind& to,
                             const std::vector<boost::json::value*>& objects) const;
    Answer<Values> ask(const codec::GroupVersionKind& from, const codec::GroupVersionKind& to,
                       const std::vector<std::string>& texts, const std::vector<boost::json::value*>& objects) const;
    Answer<std::unique_ptr<Message>> message_of(const codec::KindInfo& kind, const boost::json::value& document) const;

    ConversionHooks& hooks_;
    std::string definition_;
    std::string review_version_;  // the first of its list that is known here
    std::unique_ptr<webhooks::ClientConfig> where_;
    std::map<std::string, std::shared_ptr<const Schema>> schemas_;  // by version
};

}  // namespace sluice::registry
