#include "control/apiserver/authorization/feed.h"

#include <google/protobuf/message.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/base/log.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/persistentvolume.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "api/kubernetes/rbac/v1/rbac.pb.h"
#include "api/kubernetes/storage/v1/storage.pb.h"
#include "control/apiserver/authorization/aggregation.h"
#include "control/apiserver/authorization/policy/policy.h"
#include "control/apiserver/registry/api.h"

namespace sluice::authorization {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;
namespace rbacv1 = ::k8s::io::api::rbac::v1;
namespace storagev1 = ::k8s::io::api::storage::v1;

constexpr std::string_view kComponent = "authorization";
constexpr char kGroup[] = "rbac.authorization.k8s.io";

const codec::KindInfo& rbac_kind(const char* resource) {
    const codec::KindInfo* kind = codec::find_resource(kGroup, "v1", resource);
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

// Counts writes that are under way, so that one can wait for all of them.
struct Writes {
    std::mutex mutex;
    std::condition_variable done;
    std::size_t under_way = 0;
    Result<void> first_error;

    void begin() {
        const std::lock_guard lock(mutex);
        ++under_way;
    }
    void end(const Result<void>& result) {
        const std::lock_guard lock(mutex);
        if (!result && first_error) first_error = result.error();
        --under_way;
        done.notify_all();
    }
    Result<void> wait() {
        std::unique_lock lock(mutex);
        done.wait(lock, [this] { return under_way == 0; });
        return std::exchange(first_error, Result<void>());
    }
};

// The aggregated roles, brought up to date whenever a role changes that they draw on. Shared with writes that may end
// after the feed.
class Aggregator : public std::enable_shared_from_this<Aggregator> {
public:
    explicit Aggregator(registry::Api& api) : api_(api), kind_(rbac_kind("clusterroles")) {}

    void changed(const std::string& name, ClusterRolePtr role);
    // From now on changes are carried out; before, they are gathered.
    void begin();
    void stop() {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
    }
    Writes& writes() { return writes_; }

private:
    void mark(const std::string& name, const ClusterRolePtr& before, const ClusterRolePtr& now);
    void write(const std::string& name);
    [[nodiscard]] std::unique_ptr<google::protobuf::Message> wanted(const google::protobuf::Message* existing);

    registry::Api& api_;
    const codec::KindInfo& kind_;
    std::mutex mutex_;
    std::map<std::string, ClusterRolePtr> roles_;
    std::set<std::string> aggregated_;
    std::set<std::string> due_;
    std::set<std::string> busy_;
    bool begun_ = false;
    bool stopped_ = false;
    Writes writes_;
};

void Aggregator::mark(const std::string& name, const ClusterRolePtr& before, const ClusterRolePtr& now) {
    if (now != nullptr && now->has_aggregationrule()) {
        aggregated_.insert(name);
        due_.insert(name);
    } else {
        aggregated_.erase(name);
        due_.erase(name);
    }
    for (const std::string& other : aggregated_) {
        const rbacv1::ClusterRole& aggregated = *roles_.at(other);
        if ((before != nullptr && feeds(*before, aggregated)) || (now != nullptr && feeds(*now, aggregated))) {
            due_.insert(other);
        }
    }
}

void Aggregator::changed(const std::string& name, ClusterRolePtr role) {
    std::vector<std::string> to_write;
    {
        const std::lock_guard lock(mutex_);
        ClusterRolePtr before;
        if (const auto found = roles_.find(name); found != roles_.end()) before = found->second;
        if (role == nullptr) {
            roles_.erase(name);
        } else {
            roles_[name] = role;
        }
        mark(name, before, role);
        if (!begun_ || stopped_) return;
        for (const std::string& due : due_) {
            if (busy_.insert(due).second) to_write.push_back(due);
        }
        for (const std::string& due : to_write) due_.erase(due);
    }
    for (const std::string& due : to_write) write(due);
}

void Aggregator::begin() {
    std::vector<std::string> to_write;
    {
        const std::lock_guard lock(mutex_);
        begun_ = true;
        for (const std::string& due : due_) {
            if (busy_.insert(due).second) to_write.push_back(due);
        }
        due_.clear();
    }
    for (const std::string& due : to_write) write(due);
}

std::unique_ptr<google::protobuf::Message> Aggregator::wanted(const google::protobuf::Message* existing) {
    if (existing == nullptr) return nullptr;
    const auto& role = static_cast<const rbacv1::ClusterRole&>(*existing);
    if (!role.has_aggregationrule()) return nullptr;
    const std::lock_guard lock(mutex_);
    return aggregate(role, roles_);
}

void Aggregator::write(const std::string& name) {
    writes_.begin();
    api_.amend(
        kind_, "", name,
        [self = shared_from_this()](const google::protobuf::Message* existing) {
            return self->wanted(existing);
        },
        [self = shared_from_this(), name](const Result<void>& result) {
            if (!result) log::warn(kComponent, "clusterrole={} is not aggregated: {}", name, result.error().message);
            bool again = false;
            {
                const std::lock_guard lock(self->mutex_);
                again = self->due_.erase(name) > 0 && !self->stopped_;
                if (!again) self->busy_.erase(name);
            }
            if (again) self->write(name);
            self->writes_.end({});
        });
}

class FeedImpl final : public Feed {
public:
    FeedImpl(registry::Api& api, Authorizer& authorizer)
        : api_(api), authorizer_(authorizer), aggregator_(std::make_shared<Aggregator>(api)) {}
    ~FeedImpl() override {
        aggregator_->stop();
        observations_.clear();
        (void)aggregator_->writes().wait();
    }
    FeedImpl(const FeedImpl&) = delete;
    FeedImpl& operator=(const FeedImpl&) = delete;

    Result<void> start();

private:
    Result<void> observe(const codec::KindInfo& kind, bool hold, registry::Observer observer);
    Result<void> observe_roles();
    Result<void> observe_bindings();
    Result<void> observe_nodes();
    Result<void> write_policy();

    registry::Api& api_;
    Authorizer& authorizer_;
    std::shared_ptr<Aggregator> aggregator_;
    std::vector<std::unique_ptr<registry::Observation>> observations_;
};

Result<void> FeedImpl::observe(const codec::KindInfo& kind, bool hold, registry::Observer observer) {
    SLUICE_TRY_ASSIGN(auto observation, api_.observe(kind, hold, std::move(observer)));
    observations_.push_back(std::move(observation));
    return {};
}

Result<void> FeedImpl::observe_roles() {
    Rbac& rbac = authorizer_.rbac();
    SLUICE_TRY(observe(rbac_kind("clusterroles"), true, [this, &rbac](const registry::Observed& seen) {
        if (seen.object == nullptr) {
            rbac.remove_role("", seen.name);
            aggregator_->changed(seen.name, nullptr);
            return;
        }
        auto role = std::static_pointer_cast<const rbacv1::ClusterRole>(seen.object);
        rbac.put(*role);
        aggregator_->changed(seen.name, std::move(role));
    }));
    return observe(rbac_kind("roles"), true, [&rbac](const registry::Observed& seen) {
        if (seen.object == nullptr) return rbac.remove_role(seen.name_space, seen.name);
        rbac.put(static_cast<const rbacv1::Role&>(*seen.object));
    });
}

Result<void> FeedImpl::observe_bindings() {
    Rbac& rbac = authorizer_.rbac();
    SLUICE_TRY(observe(rbac_kind("clusterrolebindings"), true, [&rbac](const registry::Observed& seen) {
        if (seen.object == nullptr) return rbac.remove_binding("", seen.name);
        rbac.put(static_cast<const rbacv1::ClusterRoleBinding&>(*seen.object));
    }));
    return observe(rbac_kind("rolebindings"), true, [&rbac](const registry::Observed& seen) {
        if (seen.object == nullptr) return rbac.remove_binding(seen.name_space, seen.name);
        rbac.put(static_cast<const rbacv1::RoleBinding&>(*seen.object));
    });
}

Result<void> FeedImpl::observe_nodes() {
    NodeGraph& graph = authorizer_.graph();
    SLUICE_TRY(observe(*codec::find_resource("", "v1", "pods"), false, [&graph](const registry::Observed& seen) {
        if (seen.object == nullptr) return graph.remove_pod(seen.name_space, seen.name);
        graph.put(static_cast<const corev1::Pod&>(*seen.object));
    }));
    if (const auto* volumes = codec::find_resource("", "v1", "persistentvolumes")) {
        SLUICE_TRY(observe(*volumes, false, [&graph](const registry::Observed& seen) {
            if (seen.object == nullptr) return graph.remove_volume(seen.name);
            graph.put(static_cast<const corev1::PersistentVolume&>(*seen.object));
        }));
    }
    if (const auto* attachments = codec::find_resource("storage.k8s.io", "v1", "volumeattachments")) {
        SLUICE_TRY(observe(*attachments, false, [&graph](const registry::Observed& seen) {
            if (seen.object == nullptr) return graph.remove_attachment(seen.name);
            graph.put(static_cast<const storagev1::VolumeAttachment&>(*seen.object));
        }));
    }
    return {};
}

Result<void> FeedImpl::write_policy() {
    Writes writes;
    // All at once: the store commits what comes together in one sync.
    for (const PolicyObject& wanted : default_policy()) {
        const codec::KindInfo* kind = codec::kind_of(*wanted);
        SLUICE_ASSERT(kind != nullptr);
        const auto& meta = codec::object_meta(*wanted);
        writes.begin();
        api_.amend(
            *kind, meta.namespace_(), meta.name(),
            [wanted](const google::protobuf::Message* existing) { return reconcile(existing, *wanted); },
            [&writes](const Result<void>& result) { writes.end(result); });
    }
    SLUICE_TRY(writes.wait());
    aggregator_->begin();
    return aggregator_->writes().wait();
}

Result<void> FeedImpl::start() {
    SLUICE_TRY(observe_roles());
    SLUICE_TRY(observe_bindings());
    if (authorizer_.has(Mode::kNode)) SLUICE_TRY(observe_nodes());
    if (!authorizer_.has(Mode::kRbac)) {
        aggregator_->begin();
        return {};
    }
    return write_policy();
}

}  // namespace

Result<std::unique_ptr<Feed>> start_feed(registry::Api& api, Authorizer& authorizer) {
    auto feed = std::make_unique<FeedImpl>(api, authorizer);
    SLUICE_TRY(feed->start());
    return std::unique_ptr<Feed>(std::move(feed));
}

}  // namespace sluice::authorization
