#include "control/apiserver/aggregator/remotes.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "api/base/log.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/apiregistration/v1/apiservice.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::aggregator {
namespace {

constexpr std::string_view kComponent = "aggregator";
constexpr const char* kServiceLabel = "kubernetes.io/service-name";
// Before what could not be followed is tried again.
constexpr std::chrono::seconds kRetryInterval{1};

const codec::KindInfo& kind(const char* group, const char* resource) {
    const auto* found = codec::find_resource(group, "v1", resource);
    SLUICE_ASSERT(found != nullptr);
    return *found;
}

bool is_served_here(std::string_view group, std::string_view version) {
    const auto is = [&](const auto& one) { return one.gvk.group == group && one.gvk.version == version; };
    // What is posted and not stored decides who may do what: that is no other server's least of all.
    return std::ranges::any_of(codec::all_kinds(), is) || std::ranges::any_of(codec::action_resources(), is);
}

std::pair<std::string, std::string> service_of(const MessagePtr& object) {
    const auto& service = static_cast<const ApiService&>(*object).spec().service();
    return {service.namespace_(), service.name()};
}

}  // namespace

Remotes::Remotes(registry::Api& api, FrontProxy us, std::function<void()> changed)
    : api_(api), us_(std::move(us)), changed_(std::move(changed)) {}

Remotes::~Remotes() { Remotes::stop(); }

Result<void> Remotes::start() {
    SLUICE_TRY_ASSIGN(of_objects_, api_.observe(kind("apiregistration.k8s.io", "apiservices"), true,
                                                [this](const registry::Observed& observed) { seen(observed); }));
    SLUICE_TRY(follow());
    rebuild();
    thread_ = std::thread([this] { work(); });
    return {};
}

void Remotes::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    of_objects_.reset();
    of_services_.reset();
    of_slices_.reset();
}

std::shared_ptr<const RemoteMap> Remotes::snapshot() const {
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

std::size_t Remotes::refused() const {
    const std::lock_guard lock(mutex_);
    return refused_;
}

void Remotes::seen(const registry::Observed& observed) {
    const std::lock_guard lock(mutex_);
    bool remote = false;
    if (observed.object != nullptr) {
        const auto& spec = static_cast<const ApiService&>(*observed.object).spec();
        remote = spec.has_service() && !is_served_here(spec.group(), spec.version());
        if (spec.has_service() && !remote) {
            log::warn(kComponent, "apiservice={} names a service for a group version that is served here",
                      observed.name);
        }
    }
    if (remote) {
        objects_[observed.name] = observed.object;
    } else if (objects_.erase(observed.name) == 0) {
        return;
    }
    dirty_ = true;
    wake_.notify_all();
}

void Remotes::seen_service(const registry::Observed& observed) {
    const std::lock_guard lock(mutex_);
    Key key{observed.name_space, observed.name};
    if (!followed_.contains(key)) return;
    if (observed.object != nullptr) {
        services_[std::move(key)] = observed.object;
    } else {
        services_.erase(key);
    }
    dirty_ = true;
    wake_.notify_all();
}

void Remotes::seen_slice(const registry::Observed& observed) {
    Key owner;
    if (observed.object != nullptr) {
        const auto& labels = codec::object_meta(*observed.object).labels();
        if (const auto label = labels.find(kServiceLabel); label != labels.end()) {
            owner = {observed.name_space, label->second};
        }
    }
    const std::lock_guard lock(mutex_);
    Key key{observed.name_space, observed.name};
    if (followed_.contains(owner)) {
        slices_[std::move(key)] = {std::move(owner), observed.object};
    } else if (slices_.erase(key) == 0) {
        return;
    }
    dirty_ = true;
    wake_.notify_all();
}

Result<void> Remotes::follow() {
    {
        const std::lock_guard lock(mutex_);
        std::set<Key> wanted;
        for (const auto& [name, object] : objects_) wanted.insert(service_of(object));
        if (wanted == followed_) return {};
        followed_ = std::move(wanted);
        services_.clear();
        slices_.clear();
    }
    // Anew, so that what is there is told again; without the lock, which the observers take.
    of_services_.reset();
    of_slices_.reset();
    bool any = false;
    {
        const std::lock_guard lock(mutex_);
        any = !followed_.empty();
    }
    if (!any) return {};
    const auto observe = [this]() -> Result<void> {
        SLUICE_TRY_ASSIGN(of_services_, api_.observe(kind("", "services"), false, [this](const auto& observed) {
                              seen_service(observed);
                          }));
        SLUICE_TRY_ASSIGN(of_slices_, api_.observe(kind("discovery.k8s.io", "endpointslices"), false,
                                                   [this](const auto& observed) { seen_slice(observed); }));
        return {};
    };
    auto done = observe();
    if (!done) {
        // Not followed after all: the next look tries again.
        const std::lock_guard lock(mutex_);
        followed_.clear();
    }
    return done;
}

void Remotes::trust_system() {
    if (us_.of_system != nullptr) return;
    for (const auto& [name, object] : objects_) {
        if (!static_cast<const ApiService&>(*object).spec().cabundle().empty()) continue;
        auto made = http::ClientTls::create_with_system_roots(us_.certificate_pem, us_.private_key_pem);
        if (made) us_.of_system = std::move(*made);
        return;
    }
}

void Remotes::rebuild() {
    {
        const std::lock_guard lock(mutex_);
        trust_system();
        auto next = std::make_shared<RemoteMap>();
        refused_ = 0;
        for (const auto& [name, object] : objects_) {
            const auto& service = static_cast<const ApiService&>(*object);
            if (next->size() >= kMaxRemotes) {
                ++refused_;
                continue;
            }
            const Key key = service_of(object);
            std::vector<MessagePtr> slices;
            for (const auto& [own, slice] : slices_) {
                if (slice.first == key) slices.push_back(slice.second);
            }
            const auto found = services_.find(key);
            next->insert_or_assign(
                fmt::format("{}/{}", service.spec().group(), service.spec().version()),
                make_remote(service, us_, found == services_.end() ? nullptr : found->second.get(), slices));
        }
        any_.store(!next->empty(), std::memory_order_release);
        snapshot_ = std::move(next);
    }
    changed_();
}

void Remotes::work() {
    std::unique_lock lock(mutex_);
    while (true) {
        wake_.wait(lock, [this] { return stopping_ || dirty_; });
        if (stopping_) return;
        dirty_ = false;
        lock.unlock();
        const auto followed = follow();
        rebuild();
        lock.lock();
        if (followed) continue;
        log::warn(kComponent, "services of other API servers cannot be followed: {}", followed.error().message);
        dirty_ = true;
        wake_.wait_for(lock, kRetryInterval, [this] { return stopping_; });
        if (stopping_) return;
    }
}

}  // namespace sluice::aggregator
