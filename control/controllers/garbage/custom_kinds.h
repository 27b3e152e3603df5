// The custom kinds of the cluster as CustomResourceDefinitions come and go, each with an informer of its own: what the
// garbage collector follows besides the scheme.
//
// Thread-safe; sync() for one name at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "api/client/informer.h"
#include "control/controllers/controller.h"

namespace sluice::controllers::garbage {

// Definitions that are followed; objects of further ones are not collected, and the log says so.
inline constexpr std::size_t kMaxCustomKinds = 1'000;

class CustomKinds {
public:
    struct Events {
        // An object changed, as client::Handler has it.
        std::function<void(const codec::KindInfo& kind, const client::SharedObject& before,
                           const client::SharedObject& after)>
            changed;
        // Objects of the kind can be looked for from now on.
        std::function<void(const codec::KindInfo& kind)> served;
    };
    CustomKinds(client::Client& client, Events events) : client_(client), events_(std::move(events)) {}
    ~CustomKinds();
    CustomKinds(const CustomKinds&) = delete;
    CustomKinds& operator=(const CustomKinds&) = delete;

    // Brings what is followed in step with the definition; null: it is gone. Objects that were known of a kind that is
    // gone are told as gone. May wait for an informer to end.
    void sync(const std::string& name, const google::protobuf::Message* definition);
    // Null when there is none. Any version will do, as they are views of the same objects.
    [[nodiscard]] std::shared_ptr<const codec::KindInfo> find(const std::string& group, const std::string& kind) const;

private:
    struct Followed {
        std::shared_ptr<const codec::KindInfo> kind;
        std::unique_ptr<client::Informer> informer;  // before the kind that it refers to
    };
    void end(Followed followed);

    client::Client& client_;
    const Events events_;
    mutable std::mutex mutex_;
    std::map<std::string, Followed> by_name_;  // of definitions
};

}  // namespace sluice::controllers::garbage
