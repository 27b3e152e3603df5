// Fences, the ticker and compaction. A fence is a linearizable read of etcd's revision that counts
// one absent key, shared by all who came before it was sent; the index then has to reach that
// revision, which it does, since the feed watches every key.
#include <algorithm>
#include <charconv>

#include "api/base/log.h"
#include "control/store/etcd/etcd_store_private.h"

namespace sluice::store {

namespace {

// The key that API servers use to agree on whose turn it is.
constexpr const char* kCompactKey = "compact_rev_key";
constexpr std::chrono::milliseconds kRoundRetry{50};
// A feed that has not brought what etcd is known to have for so long is opened anew.
constexpr std::chrono::milliseconds kMaxFeedLag{5'000};

}  // namespace

void EtcdStore::begin_round(Clock::time_point now) {
    const bool wanted = !fences_.empty() || now - last_round_ >= kEtcdTick;
    if (round_under_way_ || !wanted || now < round_at_) {
        return;
    }
    round_.assign(std::make_move_iterator(fences_.begin()), std::make_move_iterator(fences_.end()));
    fences_.clear();
    round_under_way_ = true;
    round_floor_ = index_.revision();
    last_round_ = now;
    fence_rounds_.fetch_add(1, std::memory_order_relaxed);
    pb::RangeRequest request;
    request.set_key(std::string(1, '\0'));
    request.set_count_only(true);
    call<pb::RangeResponse>(
        &pb::KV::Stub::AsyncRange, request, now + kMaxFeedLag,
        [this, now](const grpc::Status& status, const pb::RangeResponse& answer) {
            note_request("count", "*", now, status.ok());
            round_under_way_ = false;
            round_answered(status, answer);
        });
}

void EtcdStore::round_answered(const grpc::Status& status, const pb::RangeResponse& answer) {
    const auto now = Clock::now();
    if (!status.ok()) {
        round_at_ = now + kRoundRetry;
        // They came first and go first; their deadlines end this.
        fences_.insert(fences_.begin(), std::make_move_iterator(round_.begin()),
                       std::make_move_iterator(round_.end()));
        round_.clear();
        if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && !feed_.idle()) {
            feed_.cancel();  // This member does not answer; another may.
        }
        return;
    }
    const auto revision = static_cast<Revision>(answer.header().revision());
    const bool went_back = revision < round_floor_;
    for (Fence& fence : round_) {
        if (went_back) {
            fences_.push_back(std::move(fence));  // for a round after the state was read anew
        } else {
            fenced_.emplace(revision, std::move(fence));
        }
    }
    round_.clear();
    if (went_back) {
        // What was seen before the round was sent is gone: a backup was restored, or all was lost.
        log::error("store", "etcd is at revision {} and was at {}: reading anew", revision,
                   round_floor_);
        must_reload_ = true;
        feed_.cancel();
        return;
    }
    known_revision_ = revision;
    if (index_.revision() >= revision) {
        behind_since_ = {};
    } else if (behind_since_ == Clock::time_point{}) {
        behind_since_ = now;
    } else if (now - behind_since_ > kMaxFeedLag) {
        behind_since_ = {};
        log::warn("store", "etcd's watch at {} has stopped at revision {}, etcd is at {}",
                  cluster_->current().url, index_.revision(), revision);
        feed_.cancel();
    }
}

void EtcdStore::complete_fences() {
    while (!fenced_.empty() && fenced_.begin()->first <= index_.revision()) {
        const Fence fence = std::move(fenced_.begin()->second);
        fenced_.erase(fenced_.begin());
        {
            std::lock_guard guard(mutex_);
            --open_fences_;
        }
        fence.done(index_.revision());
    }
    if (index_.revision() >= known_revision_) {
        behind_since_ = {};
    }
}

void EtcdStore::refuse_fence(const Fence& fence, const Error& error) {
    refused_fences_.fetch_add(1, std::memory_order_relaxed);
    {
        std::lock_guard guard(mutex_);
        --open_fences_;
    }
    fence.done(error);
}

void EtcdStore::expire_fences(Clock::time_point now) {
    const Error late = make_error(Code::kUnavailable, "etcdserver: request timed out");
    while (!fences_.empty() && fences_.front().deadline <= now) {
        const Fence fence = std::move(fences_.front());
        fences_.pop_front();
        refuse_fence(fence, late);
    }
    for (auto at = fenced_.begin(); at != fenced_.end();) {
        if (at->second.deadline > now) {
            ++at;
            continue;
        }
        const Fence fence = std::move(at->second);
        at = fenced_.erase(at);
        refuse_fence(fence, late);
    }
}

void EtcdStore::compact_etcd(Revision revision, std::function<void(Result<void>)> then) {
    pb::CompactionRequest request;
    request.set_revision(static_cast<std::int64_t>(revision));
    call<pb::CompactionResponse>(
        &pb::KV::Stub::AsyncCompact, request, Clock::now() + options_.request_timeout,
        [then = std::move(then)](const grpc::Status& status, const pb::CompactionResponse&) {
            // Somebody else has compacted as much already: good.
            if (!status.ok() && status.error_code() != grpc::StatusCode::OUT_OF_RANGE) {
                return then(to_error(status));
            }
            then({});
        });
}

void EtcdStore::begin_compaction(Compaction compaction) {
    if (compaction.revision <= index_.compacted()) {
        compaction.done.set_value({});
        return;
    }
    auto shared = std::make_shared<Compaction>(std::move(compaction));
    compact_etcd(shared->revision, [this, shared](Result<void> result) {
        if (result && shared->revision > index_.compacted()) {
            // Watches are told first of what they would lose.
            behind_ = hub_.deliver(index_);
            index_.compact(std::min(shared->revision, index_.revision()), forgotten_);
            forgotten_.clear();
        }
        shared->done.set_value(std::move(result));
    });
}

// As kube-apiserver: whoever moves the key's version on has the turn, and compacts what was the
// newest revision at the turn before. Servers that lose only note where etcd is.
void EtcdStore::take_compaction_turn() {
    pb::TxnRequest request;
    auto* compare = request.add_compare();
    compare->set_target(pb::Compare::VERSION);
    compare->set_result(pb::Compare::EQUAL);
    compare->set_key(kCompactKey);
    compare->set_version(compaction_version_);
    auto* put = request.add_success()->mutable_request_put();
    put->set_key(kCompactKey);
    put->set_value(std::to_string(compaction_revision_));
    request.add_failure()->mutable_request_range()->set_key(kCompactKey);
    call<pb::TxnResponse>(
        &pb::KV::Stub::AsyncTxn, request, Clock::now() + options_.request_timeout,
        [this](const grpc::Status& status, const pb::TxnResponse& answer) {
            if (!status.ok()) {
                log::warn("store", "etcd: compaction has to wait: {}", status.error_message());
                return;
            }
            const Revision before = compaction_revision_;
            compaction_revision_ = static_cast<Revision>(answer.header().revision());
            if (!answer.succeeded()) {
                const bool there = answer.responses_size() == 1 &&
                                   answer.responses(0).response_range().kvs_size() == 1;
                compaction_version_ =
                    there ? answer.responses(0).response_range().kvs(0).version() : 0;
                return;
            }
            ++compaction_version_;
            if (before == 0) {
                return;  // The first turn only notes where etcd is.
            }
            compact_etcd(before, [before](const Result<void>& result) {
                if (!result) {
                    log::warn("store", "etcd: revision {} was not compacted: {}", before,
                              result.error().message);
                }
            });
        });
}

}  // namespace sluice::store
