#include "control/apiserver/registry/ip_addresses/ip_addresses.h"

#include <google/protobuf/message.h>

#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/log.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/networking/v1/servicecidr.pb.h"
#include "control/apiserver/registry/observe/observation.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/stopping_handle.h"

namespace sluice::registry {

namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace networkingv1 = ::k8s::io::api::networking::v1;

constexpr std::string_view kComponent = "ip-addresses";
constexpr const char* kFamilyLabel = "ipaddress.kubernetes.io/ip-family";
constexpr const char* kManagedLabel = "ipaddress.kubernetes.io/managed-by";
constexpr const char* kManager = "ipallocator.k8s.io";
constexpr std::chrono::seconds kRetryInterval{5};

// Namespace and name of a Service.
using Owner = std::pair<std::string, std::string>;

bool is_managed(const networkingv1::IPAddress& object) {
    const auto& labels = object.metadata().labels();
    const auto found = labels.find(kManagedLabel);
    return found != labels.end() && found->second == kManager;
}

bool belongs_to(const networkingv1::IPAddress& object, const Owner& owner) {
    const auto& parent = object.spec().parentref();
    return parent.group().empty() && parent.resource() == "services" &&
           parent.namespace_() == owner.first && parent.name() == owner.second;
}

std::unique_ptr<Message> make_object(const std::string& address, const Owner& owner) {
    auto object = std::make_unique<networkingv1::IPAddress>();
    auto* meta = object->mutable_metadata();
    meta->set_name(address);
    const bool v4 = address.find(':') == std::string::npos;
    (*meta->mutable_labels())[kFamilyLabel] = v4 ? "IPv4" : "IPv6";
    (*meta->mutable_labels())[kManagedLabel] = kManager;
    auto* parent = object->mutable_spec()->mutable_parentref();
    parent->set_resource("services");
    parent->set_namespace_(owner.first);
    parent->set_name(owner.second);
    return object;
}

std::set<std::string> addresses_of(const corev1::Service& service) {
    std::set<std::string> out;
    const auto add = [&out](const std::string& text) {
        if (const auto address = IpAddress::parse_sloppy(text)) out.insert(address->to_string());
    };
    add(service.spec().clusterip());
    for (const std::string& text : service.spec().clusterips()) add(text);
    return out;
}

class Keeper final : public std::enable_shared_from_this<Keeper> {
public:
    explicit Keeper(Core& core)
        : core_(core),
          services_(core.strategies.of(*codec::find_resource("", "v1", "services"))),
          addresses_(core.strategies.of(
              *codec::find_resource("networking.k8s.io", "v1", "ipaddresses"))) {}

    Result<void> start() {
        const auto weak = weak_from_this();
        // Objects first, so that a start with everything in place writes nothing.
        objects_ = std::make_shared<KindObservation>(core_, addresses_, [weak](const Observed& seen) {
            if (const auto self = weak.lock()) self->see_object(seen);
        });
        SLUICE_TRY(objects_->start());
        owners_ = std::make_shared<KindObservation>(core_, services_, [weak](const Observed& seen) {
            if (const auto self = weak.lock()) self->see_service(seen);
        });
        SLUICE_TRY(owners_->start());
        {
            const std::lock_guard lock(mutex_);
            started_ = true;
            for (const auto& [address, entry] : entries_) {
                if (!entry.right()) pending_.insert(address);
            }
        }
        pump();
        return {};
    }
    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
            pending_.clear();
        }
        if (owners_ != nullptr) owners_->stop();
        if (objects_ != nullptr) objects_->stop();
    }

private:
    struct Entry {
        Owner owner;           // empty name: nobody uses the address
        bool exists = false;   // an IPAddress that is kept here
        bool foreign = false;  // an IPAddress that a user made
        bool correct = false;  // it names the owner
        // Nothing to write.
        [[nodiscard]] bool right() const {
            if (foreign) return true;
            return owner.second.empty() ? !exists : exists && correct;
        }
    };

    void see_object(const Observed& seen) {
        {
            const std::lock_guard lock(mutex_);
            if (stopped_) return;
            Entry& entry = entries_[seen.name];
            entry.exists = entry.foreign = entry.correct = false;
            if (seen.object != nullptr) {
                const auto& object = static_cast<const networkingv1::IPAddress&>(*seen.object);
                (is_managed(object) ? entry.exists : entry.foreign) = true;
                entry.correct = belongs_to(object, entry.owner);
                // Before the Services are known, it is taken to be right.
                if (!started_) parents_[seen.name] = {object.spec().parentref().namespace_(),
                                                      object.spec().parentref().name()};
            }
            settle(seen.name);
        }
        pump();
    }
    void see_service(const Observed& seen) {
        {
            const std::lock_guard lock(mutex_);
            if (stopped_) return;
            const Owner owner{seen.name_space, seen.name};
            std::set<std::string> now;
            if (seen.object != nullptr) {
                now = addresses_of(static_cast<const corev1::Service&>(*seen.object));
            }
            auto& before = held_[owner];
            for (const std::string& address : before) {
                if (now.contains(address)) continue;
                // Another Service may have taken it already.
                Entry& entry = entries_[address];
                if (entry.owner == owner) set_owner(address, &entry, {});
                settle(address);
            }
            for (const std::string& address : now) {
                Entry& entry = entries_[address];
                if (entry.owner == owner) continue;
                set_owner(address, &entry, owner);
                settle(address);
            }
            before = std::move(now);
            if (before.empty()) held_.erase(owner);
        }
        pump();
    }
    // REQUIRES: mutex_.
    void set_owner(const std::string& address, Entry* entry, const Owner& owner) {
        entry->owner = owner;
        entry->correct = false;
        if (started_) return;
        const auto parent = parents_.find(address);
        entry->correct = parent != parents_.end() && parent->second == owner;
    }
    // REQUIRES: mutex_.
    void settle(const std::string& address) {
        if (!started_) return;
        parents_.clear();
        const auto found = entries_.find(address);
        if (found == entries_.end()) return;
        if (!found->second.right()) {
            pending_.insert(address);
        } else if (found->second.owner.second.empty() && !found->second.foreign) {
            entries_.erase(found);
        }
    }
    void pump() {
        while (true) {
            std::string address;
            {
                const std::lock_guard lock(mutex_);
                if (stopped_ || !started_ || writing_ == kMaxAddressWrites || pending_.empty()) {
                    return;
                }
                address = *pending_.begin();
                pending_.erase(pending_.begin());
                ++writing_;
            }
            write(address);
        }
    }
    void write(const std::string& address) {
        const auto self = shared_from_this();
        change_object(
            core_, addresses_, "", address, false,
            [self, address](const ObjectPtr& existing) { return self->decide(address, existing); },
            [self, address](const Answer<Outcome>& outcome) {
                if (!outcome) self->retry_later(address, outcome.error().message);
                {
                    const std::lock_guard lock(self->mutex_);
                    --self->writing_;
                }
                // The stack does not grow with the number of addresses.
                if (!self->core_.stopping) self->core_.executor.post([self] { self->pump(); });
            });
    }
    Answer<Change> decide(const std::string& address, const ObjectPtr& existing) {
        Owner owner;
        {
            const std::lock_guard lock(mutex_);
            const auto found = entries_.find(address);
            if (found != entries_.end()) owner = found->second.owner;
        }
        if (existing == nullptr) {
            if (owner.second.empty()) return Change{};
            return prepare_creation(addresses_, make_object(address, owner));
        }
        const auto& object = static_cast<const networkingv1::IPAddress&>(existing->message());
        if (!is_managed(object)) return Change{};
        if (!owner.second.empty() && belongs_to(object, owner)) return Change{};
        // The reference cannot be changed: the object goes, and seeing that makes the next.
        Change change;
        change.kind = Change::Kind::kDelete;
        return change;
    }
    void retry_later(const std::string& address, const std::string& why) {
        if (core_.stopping) return;
        log::warn(kComponent, "ipaddresses {} cannot be written: {}", address, why);
        const auto weak = weak_from_this();
        core_.executor.post_at(std::chrono::steady_clock::now() + kRetryInterval,
                               [weak, address] {
                                   const auto self = weak.lock();
                                   if (self == nullptr) return;
                                   {
                                       const std::lock_guard lock(self->mutex_);
                                       self->settle(address);
                                   }
                                   self->pump();
                               });
    }

    Core& core_;
    const Strategy& services_;
    const Strategy& addresses_;
    std::shared_ptr<KindObservation> objects_;
    std::shared_ptr<KindObservation> owners_;
    std::mutex mutex_;
    std::unordered_map<std::string, Entry> entries_;    // by address
    std::map<Owner, std::set<std::string>> held_;       // the addresses of each Service
    std::unordered_map<std::string, Owner> parents_;    // as stored, until the start is over
    std::set<std::string> pending_;
    std::size_t writing_ = 0;
    bool started_ = false;
    bool stopped_ = false;
};

}  // namespace

Result<std::unique_ptr<IpAddresses>> start_ip_addresses(Core& core) {
    auto keeper = std::make_shared<Keeper>(core);
    auto handle = std::make_unique<StoppingHandle<IpAddresses, Keeper>>(keeper);
    SLUICE_TRY(keeper->start());
    return std::unique_ptr<IpAddresses>(std::move(handle));
}

}  // namespace sluice::registry
