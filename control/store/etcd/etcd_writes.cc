// Writes as transactions: of different keys many at once, of one key one after the other. One is
// answered when this store's own picture has reached its revision, so that whoever was told of a
// write sees it here.
#include <algorithm>

#include "control/store/etcd/etcd_store_private.h"

namespace sluice::store {

namespace {

// Transactions under way; etcd refuses what is beyond some thousands.
constexpr std::size_t kMaxInFlight = 1'024;

void compare(pb::TxnRequest* request, const std::string& key, std::optional<Revision> expected) {
    if (!expected) {
        return;
    }
    auto* compare = request->add_compare();
    compare->set_target(pb::Compare::MOD);
    compare->set_result(pb::Compare::EQUAL);
    compare->set_key(key);
    compare->set_mod_revision(static_cast<std::int64_t>(*expected));
}

// value: null deletes.
void change(pb::TxnRequest* request, const std::string& key, const std::string* value) {
    if (value == nullptr) {
        request->add_success()->mutable_request_delete_range()->set_key(key);
        return;
    }
    auto* put = request->add_success()->mutable_request_put();
    put->set_key(key);
    put->set_value(*value);
}

pb::TxnRequest transaction(const std::string& key, const std::string* value,
                           std::optional<Revision> expected, const std::vector<Companion>& also) {
    pb::TxnRequest request;
    compare(&request, key, expected);
    for (const Companion& other : also) {
        compare(&request, other.key, other.expected);
    }
    if (request.compare_size() > 0) {
        request.add_failure()->mutable_request_range()->set_key(key);
    }
    change(&request, key, value);
    for (const Companion& other : also) {
        if (!other.unchanged) {
            change(&request, other.key, other.value ? &*other.value : nullptr);
        }
    }
    return request;
}

const char* operation_of(const std::shared_ptr<const std::string>& value,
                         std::optional<Revision> expected) {
    if (value == nullptr) {
        return "delete";
    }
    return expected && *expected == 0 ? "create" : "update";
}

}  // namespace

void EtcdStore::enqueue(PendingWrite write) {
    writes_.push_back(std::move(write));
    const auto added = std::prev(writes_.end());
    auto& lane = lanes_[added->key];
    lane.push_back(added);
    if (lane.size() == 1) {
        ready_.push_back(added);
    }
}

void EtcdStore::send_ready() {
    while (connected_ && !ready_.empty() && in_flight_ < kMaxInFlight) {
        const auto write = ready_.front();
        ready_.pop_front();
        send(write);
    }
}

void EtcdStore::send(Writes::iterator write) {
    write->state = WriteState::kSent;
    write->sent = Clock::now();
    ++in_flight_;
    sent_writes_.fetch_add(1, std::memory_order_relaxed);
    call<pb::TxnResponse>(&pb::KV::Stub::AsyncTxn,
                          transaction(write->remote_key, write->value.get(), write->expected,
                                      write->also),
                          write->deadline,
                          [this, write](const grpc::Status& status, const pb::TxnResponse& answer) {
                              --in_flight_;
                              note_request(operation_of(write->value, write->expected),
                                           request_type(write->key, space_.local()), write->sent,
                                           status.ok());
                              answered(write, status, answer);
                          });
}

// The next write of the same key may be sent.
void EtcdStore::leave_lane(Writes::iterator write) {
    const auto lane = lanes_.find(write->key);
    lane->second.pop_front();
    if (lane->second.empty()) {
        lanes_.erase(lane);
    } else {
        ready_.push_back(lane->second.front());
    }
}

void EtcdStore::answered(Writes::iterator write, const grpc::Status& status,
                         const pb::TxnResponse& answer) {
    leave_lane(write);
    if (!write->done) {
        return;  // The store is closing and has answered everybody.
    }
    if (!status.ok()) {
        // Whether etcd has done it is not known unless it says so; only the caller can find out.
        return finish_write(write, to_error(status));
    }
    const auto revision = static_cast<Revision>(answer.header().revision());
    write->state = WriteState::kCommitted;
    write->result.revision = revision;
    write->result.current = {write->key, nullptr, 0, 0, false};
    if (!answer.succeeded()) {
        write->result.condition_failed = true;
        if (answer.responses_size() == 1 && answer.responses(0).response_range().kvs_size() == 1) {
            const mvccpb::KeyValue& kv = answer.responses(0).response_range().kvs(0);
            write->result.current.value = std::make_shared<const std::string>(kv.value());
            write->result.current.create_revision = static_cast<Revision>(kv.create_revision());
            write->result.current.mod_revision = static_cast<Revision>(kv.mod_revision());
        }
    }
    committed_.emplace(revision, write);
}

void EtcdStore::complete_writes() {
    while (!committed_.empty() && committed_.begin()->first <= index_.revision()) {
        const auto write = committed_.begin()->second;
        committed_.erase(committed_.begin());
        WriteResult result = std::move(write->result);
        if (!result.condition_failed) {
            // A deletion of an absent key has changed nothing at that revision.
            if (const auto change = index_.change_of(write->key, result.revision)) {
                result.previous = change->previous;
                if (write->value != nullptr) {
                    result.current = change->current;
                }
            } else if (write->value != nullptr) {
                // The picture was read anew at a later revision; the write is in it.
                result.current = {write->key, write->value, 0, result.revision, false};
            }
        }
        finish_write(write, std::move(result));
    }
}

void EtcdStore::finish_write(Writes::iterator write, Result<WriteResult> result) {
    (result ? done_writes_ : failed_writes_).fetch_add(1, std::memory_order_relaxed);
    const WriteDone done = std::move(write->done);
    const std::size_t bytes = write->bytes();
    writes_.erase(write);
    {
        std::lock_guard guard(mutex_);
        --open_writes_;
        open_bytes_ -= bytes;
    }
    done(std::move(result));
}

void EtcdStore::expire_writes(Clock::time_point now) {
    for (auto write = writes_.begin(); write != writes_.end() && write->deadline <= now;) {
        const auto next = std::next(write);
        const Error late = make_error(Code::kUnavailable, "etcdserver: request timed out");
        if (write->state == WriteState::kWaiting) {
            // Never sent, so that it is certain not to happen. It may wait behind one that was.
            const auto lane = lanes_.find(write->key);
            if (lane->second.front() == write) {
                std::erase(ready_, write);
                leave_lane(write);
            } else {
                std::erase(lane->second, write);
            }
            finish_write(write, late);
        } else if (write->state == WriteState::kCommitted) {
            // Done, but not to be seen here: as good as a lost answer.
            const auto [first, last] = committed_.equal_range(write->result.revision);
            committed_.erase(std::find_if(first, last, [write](const auto& entry) {
                return entry.second == write;
            }));
            finish_write(write, late);
        } else {
            // Sent: the call has the same deadline.
        }
        write = next;
    }
}

}  // namespace sluice::store
