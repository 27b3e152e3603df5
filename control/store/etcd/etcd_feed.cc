// How the picture in memory follows etcd: complete revisions of the watch go into the index; a
// watch that ends is opened again after the last complete revision, at the next member; and when
// the history between is compacted, the whole state is read anew.
#include <algorithm>

#include "api/base/log.h"
#include "control/store/etcd/etcd_store_private.h"

namespace sluice::store {

namespace {

constexpr std::chrono::milliseconds kFirstBackoff{50};
constexpr std::chrono::milliseconds kLongestBackoff{2'000};
constexpr std::chrono::seconds kFailureLogInterval{5};
constexpr std::chrono::milliseconds kOpenFeedTimeout{3'000};

}  // namespace

void EtcdStore::reconnect(Clock::time_point now) {
    if (must_reload_) {
        reload();
        if (must_reload_) {
            return;
        }
    }
    feed_deadline_ = now + kOpenFeedTimeout;
    feed_.open(cluster_->current(), index_.revision() + 1);
}

void EtcdStore::feed_opened() {
    connected_ = true;
    round_at_ = {};
    {
        std::lock_guard guard(mutex_);
        if (!trouble_.empty()) {
            log::info("store", "etcd answers again at {}", cluster_->current().url);
        }
        trouble_.clear();
    }
}

void EtcdStore::feed_received(pb::WatchResponse& response) {
    backoff_ = {};
    for (mvccpb::Event& event : *response.mutable_events()) {
        mvccpb::KeyValue& kv = *event.mutable_kv();
        const auto revision = static_cast<Revision>(kv.mod_revision());
        if (revision <= index_.revision()) {
            continue;
        }
        if (revision > feed_revision_ && !changes_.empty()) {
            // What came before belongs to a revision that is now complete.
            index_.apply(changes_, changes_.back().mod_revision);
            changes_.clear();
        }
        feed_revision_ = std::max(feed_revision_, revision);
        auto key = space_.to_local(kv.key());
        if (!key) {
            continue;
        }
        KeyValue change{std::move(*key), nullptr, 0, revision, false};
        if (event.type() == mvccpb::Event::PUT) {
            change.value = std::make_shared<const std::string>(std::move(*kv.mutable_value()));
            change.create_revision = static_cast<Revision>(kv.create_revision());
        } else if (index_.newest(change.key).value == nullptr) {
            continue;
        }
        changes_.push_back(std::move(change));
    }
    // A fragment may end within a revision.
    if (!response.fragment() && feed_revision_ > index_.revision()) {
        index_.apply(changes_, feed_revision_);
        changes_.clear();
    }
}

void EtcdStore::lost_contact(const Error& why) {
    connected_ = false;
    const auto now = Clock::now();
    std::lock_guard guard(mutex_);
    trouble_ = "etcd at " + cluster_->current().url + ": " + why.message;
    if (now - last_trouble_log_ > kFailureLogInterval) {
        last_trouble_log_ = now;
        log::warn("store", "{}", trouble_);
    }
}

void EtcdStore::feed_ended(const Error& why, Revision compacted) {
    changes_.clear();
    feed_revision_ = index_.revision();
    if (closing_) {
        return;
    }
    reconnects_.fetch_add(1, std::memory_order_relaxed);
    if (compacted > index_.revision() + 1) {
        log::warn("store", "etcd has compacted revision {}, this store was at {}: reading anew",
                  compacted, index_.revision());
        must_reload_ = true;
        connected_ = false;
        reconnect_at_ = Clock::now();
        return;
    }
    lost_contact(why);
    cluster_->rotate();
    // The next member at once; after a round of all of them, longer and longer pauses.
    reconnect_at_ = Clock::now() + backoff_;
    backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kLongestBackoff);
}

// The state as it now is in place of a history that nobody has any more. Watches are told to begin
// anew, as changes of theirs may be missing.
void EtcdStore::reload() {
    auto picture = cluster_->load(space_, 0,
                                  std::chrono::system_clock::now() + options_.request_timeout);
    if (!picture) {
        lost_contact(picture.error());
        cluster_->rotate();
        reconnect_at_ = Clock::now() + std::max(backoff_, kFirstBackoff);
        backoff_ = std::clamp(backoff_ * 2, kFirstBackoff, kLongestBackoff);
        return;
    }
    must_reload_ = false;
    reloads_.fetch_add(1, std::memory_order_relaxed);
    feed_revision_ = picture->revision;
    known_revision_ = picture->revision;
    behind_since_ = {};
    index_.reset(std::move(picture->items), picture->revision);
    hub_.restart(make_error(Code::kOutOfRange,
                            "the history before revision {} was lost while etcd was away",
                            feed_revision_),
                 feed_revision_);
}

}  // namespace sluice::store
