// See queue.h.
#include "control/scheduler/queue.h"

#include <algorithm>
#include <vector>

namespace sluice::scheduler {

PodQueue::ActiveKey PodQueue::active_key(const Entry& entry) {
    // The highest priority first, then the oldest.
    const std::int64_t reversed = -static_cast<std::int64_t>(entry.pod->priority) - 1;
    return {static_cast<std::int32_t>(reversed), entry.since, entry.sequence, entry.pod->key};
}

void PodQueue::insert(Entry entry) {
    const std::string key = entry.pod->key;
    if (const auto found = entries_.find(key); found != entries_.end()) erase(found);
    switch (entry.place) {
        case Place::kActive: active_.insert(active_key(entry)); break;
        case Place::kUnschedulable: unschedulable_[entry.helpful].insert(key); [[fallthrough]];
        case Place::kBackoff: timed_.emplace(entry.until, key); break;
    }
    entries_.emplace(key, std::move(entry));
}

void PodQueue::erase(std::unordered_map<std::string, Entry>::iterator entry) {
    switch (entry->second.place) {
        case Place::kActive: active_.erase(active_key(entry->second)); break;
        case Place::kUnschedulable: {
            const auto group = unschedulable_.find(entry->second.helpful);
            group->second.erase(entry->first);
            if (group->second.empty()) unschedulable_.erase(group);
            [[fallthrough]];
        }
        case Place::kBackoff: timed_.erase({entry->second.until, entry->first}); break;
    }
    entries_.erase(entry);
}

void PodQueue::put(const PodPointer& pod, Time now) {
    const auto tries = tries_.find(pod->key);
    const bool is_known = tries != tries_.end() && tries->second.uid == pod->uid;
    if (!is_known) tries_[pod->key] = {0, now, now, pod->uid};
    const Tries& known = tries_.at(pod->key);
    Entry entry{pod, Place::kActive, known.since, {}, 0, ++sequence_};
    if (known.backoff_end > now) {
        entry.place = Place::kBackoff;
        entry.until = known.backoff_end;
    }
    insert(std::move(entry));
}

void PodQueue::refresh(const PodPointer& pod) {
    const auto found = entries_.find(pod->key);
    if (found != entries_.end()) found->second.pod = pod;
}

void PodQueue::remove(const std::string& key) {
    if (const auto found = entries_.find(key); found != entries_.end()) erase(found);
    tries_.erase(key);
}

std::optional<PodPointer> PodQueue::pop(Time now) {
    move_due(now);
    if (active_.empty()) return std::nullopt;
    const auto found = entries_.find(std::get<3>(*active_.begin()));
    PodPointer pod = found->second.pod;
    erase(found);
    Tries& tries = tries_.at(pod->key);
    ++tries.number;
    auto backoff = std::chrono::duration_cast<std::chrono::steady_clock::duration>(kFirstBackoff);
    for (int i = 1; i < tries.number && backoff < kLongestBackoff; ++i) backoff *= 2;
    tries.backoff_end = now + std::min<std::chrono::steady_clock::duration>(backoff, kLongestBackoff);
    return pod;
}

void PodQueue::unschedulable(const PodPointer& pod, Changes helpful, Time now) {
    const auto tries = tries_.find(pod->key);
    if (tries == tries_.end()) return;
    insert({pod, Place::kUnschedulable, tries->second.since, now + kLongestWait, helpful,
            ++sequence_});
}

void PodQueue::retry(const PodPointer& pod, Time now) {
    const auto tries = tries_.find(pod->key);
    if (tries == tries_.end()) return;
    insert({pod, Place::kBackoff, tries->second.since, std::max(now, tries->second.backoff_end), 0,
            ++sequence_});
}

void PodQueue::happened(Changes changes, Time now) {
    std::vector<std::string> helped;
    for (const auto& [helpful, keys] : unschedulable_) {
        if ((helpful & changes) != 0) helped.insert(helped.end(), keys.begin(), keys.end());
    }
    for (const std::string& key : helped) {
        Entry entry = entries_.at(key);
        entry.place = Place::kActive;
        const Time backoff_end = tries_.at(key).backoff_end;
        if (backoff_end > now) {
            entry.place = Place::kBackoff;
            entry.until = backoff_end;
        }
        insert(std::move(entry));
    }
}

void PodQueue::move_due(Time now) {
    while (!timed_.empty() && timed_.begin()->first <= now) {
        Entry entry = entries_.at(timed_.begin()->second);
        entry.place = Place::kActive;
        insert(std::move(entry));
    }
}

std::optional<Time> PodQueue::next_time() const {
    if (timed_.empty()) return std::nullopt;
    return timed_.begin()->first;
}

bool PodQueue::has_active(Time now) {
    move_due(now);
    return !active_.empty();
}

const PodPointer* PodQueue::find(const std::string& key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() ? nullptr : &found->second.pod;
}

}  // namespace sluice::scheduler
