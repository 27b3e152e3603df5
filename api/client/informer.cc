#include "api/client/informer.h"

#include <google/protobuf/message.h>

#include "api/base/log.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::client {

std::string object_key(const google::protobuf::Message& object) {
    const auto& metadata = codec::object_meta(object);
    if (metadata.namespace_().empty()) return metadata.name();
    return metadata.namespace_() + "/" + metadata.name();
}

std::pair<std::string, std::string> split_key(const std::string& key) {
    const std::size_t slash = key.find('/');
    if (slash == std::string::npos) return {"", key};
    return {key.substr(0, slash), key.substr(slash + 1)};
}

Informer::Informer(Client& client, const codec::KindInfo& kind, Selection selection)
    : client_(client), kind_(kind), selection_(std::move(selection)) {}

Informer::~Informer() { stop(); }

void Informer::add_index(std::string name, Indexer indexer) {
    SLUICE_ASSERT(!thread_.joinable());
    const std::unique_lock lock(mutex_);
    indexes_[std::move(name)].indexer = std::move(indexer);
}

void Informer::add_handler(Handler handler) {
    const std::scoped_lock handlers_lock(handlers_mutex_);
    for (const auto& object : list()) handler(nullptr, object);
    handlers_.push_back(std::move(handler));
}

void Informer::start() {
    SLUICE_ASSERT(!thread_.joinable());
    thread_ = std::jthread([this](const std::stop_token& stop) {
        ReflectorOptions options;
        options.selection = selection_;
        run_reflector(client_, kind_, options, ReflectorEnvironment::real(),
                      [this](const Batch& batch) {
                          apply(batch);
                          return true;
                      },
                      stop);
    });
}

void Informer::stop() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    thread_.join();
}

bool Informer::synced() const {
    const std::scoped_lock lock(synced_mutex_);
    return synced_;
}

bool Informer::wait_synced(const std::stop_token& stop) const {
    std::unique_lock lock(synced_mutex_);
    return synced_changed_.wait(lock, stop, [&] { return synced_; });
}

SharedObject Informer::get(std::string_view key) const {
    const std::shared_lock lock(mutex_);
    const auto found = objects_.find(std::string(key));
    return found == objects_.end() ? nullptr : found->second;
}

std::vector<SharedObject> Informer::list() const {
    const std::shared_lock lock(mutex_);
    std::vector<SharedObject> out;
    out.reserve(objects_.size());
    for (const auto& [key, object] : objects_) out.push_back(object);
    return out;
}

std::vector<SharedObject> Informer::by_index(const std::string& index,
                                             const std::string& value) const {
    const std::shared_lock lock(mutex_);
    const auto found = indexes_.find(index);
    SLUICE_ASSERT(found != indexes_.end());
    std::vector<SharedObject> out;
    const auto keys = found->second.keys.find(value);
    if (keys == found->second.keys.end()) return out;
    out.reserve(keys->second.size());
    for (const auto& key : keys->second) out.push_back(objects_.at(key));
    return out;
}

std::size_t Informer::size() const {
    const std::shared_lock lock(mutex_);
    return objects_.size();
}

void Informer::index_locked(const std::string& key, const SharedObject& before,
                            const SharedObject& after) {
    for (auto& [name, index] : indexes_) {
        if (before != nullptr) {
            for (const auto& value : index.indexer(*before)) {
                const auto found = index.keys.find(value);
                if (found == index.keys.end()) continue;
                found->second.erase(key);
                if (found->second.empty()) index.keys.erase(found);
            }
        }
        if (after != nullptr) {
            for (const auto& value : index.indexer(*after)) index.keys[value].insert(key);
        }
    }
}

void Informer::apply(const Batch& batch) {
    const std::scoped_lock handlers_lock(handlers_mutex_);
    for (const Delta& delta : batch.deltas) {
        SharedObject before;
        {
            const std::unique_lock lock(mutex_);
            const auto found = objects_.find(delta.key);
            if (found != objects_.end()) before = found->second;
            if (before == nullptr && delta.object == nullptr) continue;
            index_locked(delta.key, before, delta.object);
            if (delta.object == nullptr) {
                objects_.erase(found);
            } else if (found != objects_.end()) {
                found->second = delta.object;
            } else {
                objects_.emplace(delta.key, delta.object);
            }
        }
        for (const auto& handler : handlers_) handler(before, delta.object);
    }
    if (batch.synced || batch.not_served) {
        const std::scoped_lock lock(synced_mutex_);
        synced_ = true;
        synced_changed_.notify_all();
    }
}

}  // namespace sluice::client
