#include "control/controllers/endpointslice/written.h"

#include <charconv>
#include <cstdint>

namespace sluice::controllers::endpoints {
namespace {

// Versions of one kind can be compared as numbers; one that is no number counts as old.
std::uint64_t version_of(const Slice& slice) {
    const auto& text = slice.metadata().resourceversion();
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

}  // namespace

void WrittenSlices::wrote(const std::string& service, SlicePtr slice) {
    const std::scoped_lock lock(mutex_);
    const std::string name = slice->metadata().name();
    entries_[service][name] = Entry{std::move(slice), false, Clock::now()};
}

void WrittenSlices::removed(const std::string& service, SlicePtr slice) {
    const std::scoped_lock lock(mutex_);
    const std::string name = slice->metadata().name();
    entries_[service][name] = Entry{std::move(slice), true, Clock::now()};
}

void WrittenSlices::forget(const std::string& service) {
    const std::scoped_lock lock(mutex_);
    entries_.erase(service);
}

std::vector<SlicePtr> WrittenSlices::after_writes(const std::string& service,
                                                  std::vector<SlicePtr> cached) {
    const std::scoped_lock lock(mutex_);
    const auto found = entries_.find(service);
    if (found == entries_.end()) return cached;
    auto& entries = found->second;
    const auto now = Clock::now();
    std::erase_if(entries, [&](const auto& item) { return now - item.second.when > kMaxAge; });
    std::vector<SlicePtr> out;
    std::map<std::string, bool> seen;
    for (auto& slice : cached) {
        const std::string& name = slice->metadata().name();
        seen[name] = true;
        const auto entry = entries.find(name);
        if (entry == entries.end()) {
            out.push_back(std::move(slice));
        } else if (entry->second.removed) {
            // Gone, unless it is another of the same name.
            if (entry->second.slice->metadata().uid() == slice->metadata().uid()) continue;
            entries.erase(entry);
            out.push_back(std::move(slice));
        } else if (version_of(*entry->second.slice) <= version_of(*slice)) {
            entries.erase(entry);
            out.push_back(std::move(slice));
        } else {
            out.push_back(entry->second.slice);
        }
    }
    for (auto item = entries.begin(); item != entries.end();) {
        if (seen.contains(item->first)) {
            ++item;
        } else if (item->second.removed) {
            item = entries.erase(item);  // the cache has heard of it
        } else {
            out.push_back(item->second.slice);
            ++item;
        }
    }
    if (entries.empty()) entries_.erase(found);
    return out;
}

bool WrittenSlices::is_echo(const std::string& service, const Slice& slice) const {
    const std::scoped_lock lock(mutex_);
    const auto found = entries_.find(service);
    if (found == entries_.end()) return false;
    const auto entry = found->second.find(slice.metadata().name());
    return entry != found->second.end() && !entry->second.removed &&
           entry->second.slice->metadata().resourceversion() == slice.metadata().resourceversion();
}

}  // namespace sluice::controllers::endpoints
