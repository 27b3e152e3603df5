// The in-memory index; see index.h.
#include "control/store/index.h"

#include <xxhash.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <limits>
#include <mutex>
#include <shared_mutex>
#include <utility>

namespace sluice::store {

namespace {

// How often a list of the newest state starts over because compaction overtook it, before it holds
// the lock from beginning to end.
constexpr int kMaxRangeRestarts = 3;

KeyValue key_value(const std::string& key, const std::shared_ptr<const std::string>& value,
                   Revision create_revision, Revision mod_revision) {
    return {key, value, create_revision, mod_revision, false};
}

}  // namespace

// A node with the digest of its key, so that growing the table does not touch all keys.
struct Index::Table {
    struct Slot {
        Keys::iterator node;
        std::uint64_t digest = 0;
    };
    struct Wanted {
        std::string_view key;
        std::uint64_t digest = 0;
    };
    struct Hash {
        using is_transparent = void;
        using is_avalanching = void;
        std::size_t operator()(const Slot& slot) const { return slot.digest; }
        std::size_t operator()(const Wanted& wanted) const { return wanted.digest; }
    };
    struct Equal {
        using is_transparent = void;
        bool operator()(const Slot& a, const Slot& b) const { return a.node == b.node; }
        bool operator()(const Wanted& a, const Slot& b) const {
            return a.digest == b.digest && a.key == b.node->first;
        }
        bool operator()(const Slot& a, const Wanted& b) const { return (*this)(b, a); }
    };
    static std::uint64_t digest_of(std::string_view key) {
        return XXH3_64bits(key.data(), key.size());
    }

    boost::unordered_flat_set<Slot, Hash, Equal> slots;
};

Index::Index(Revision compacted)
    : table_(std::make_unique<Table>()), revision_(compacted), compacted_(compacted) {}

Index::~Index() = default;

Index::Keys::iterator Index::find(std::string_view key) const {
    const auto slot = table_->slots.find(Table::Wanted{key, Table::digest_of(key)});
    // The map gives no iterator that can change it to those who may not; this one is only for looking.
    return slot == table_->slots.end() ? const_cast<Keys&>(map_).end() : slot->node;
}

std::pair<Index::Keys::iterator, bool> Index::place(const std::string& key) {
    const Table::Wanted wanted{key, Table::digest_of(key)};
    if (const auto slot = table_->slots.find(wanted); slot != table_->slots.end()) {
        return {slot->node, false};
    }
    const auto node = map_.try_emplace(key).first;
    table_->slots.insert({node, wanted.digest});
    keys_.fetch_add(1, std::memory_order_relaxed);
    return {node, true};
}

void Index::erase(Keys::iterator node) {
    table_->slots.erase(Table::Slot{node, Table::digest_of(node->first)});
    map_.erase(node);
    keys_.fetch_sub(1, std::memory_order_relaxed);
}

// Where a range that takes the lock in pieces has got to.
struct Index::Cursor {
    RangeResult result;
    std::string last;  // the last key walked, when `started`
    bool started = false;
    bool done = false;
};

const Index::Version* Index::visible(const Versions& versions, Revision at) {
    // Nearly every read is of the newest version.
    if (!versions.empty() && versions.back().mod_revision <= at) {
        return &versions.back();
    }
    auto after = std::upper_bound(
        versions.begin(), versions.end(), at,
        [](Revision revision, const Version& version) { return revision < version.mod_revision; });
    return after == versions.begin() ? nullptr : &*std::prev(after);
}

Result<Revision> Index::resolve(Revision at) const {
    const Revision newest = revision();
    if (at == 0) {
        return newest;
    }
    if (at > newest) {
        return make_error(Code::kFailedPrecondition,
                          "revision {} is in the future, the store is at {}", at, newest);
    }
    if (at < compacted()) {
        return make_error(Code::kOutOfRange, "revision {} has been compacted, the oldest is {}", at,
                          compacted());
    }
    return at;
}

Result<std::optional<KeyValue>> Index::get(std::string_view key, Revision at) const {
    std::shared_lock guard(lock_);
    SLUICE_TRY_ASSIGN(const Revision seen_at, resolve(at));
    const auto node = find(key);
    if (node == map_.end()) {
        return std::optional<KeyValue>{};
    }
    const Version* version = visible(node->second, seen_at);
    if (version == nullptr || version->value == nullptr) {
        return std::optional<KeyValue>{};
    }
    return std::optional<KeyValue>{
        key_value(node->first, version->value, version->create_revision, version->mod_revision)};
}

void Index::walk_piece(std::string_view prefix, std::uint64_t limit, Cursor& cursor,
                       std::size_t piece) const {
    auto node = cursor.started ? map_.upper_bound(cursor.last) : map_.lower_bound(prefix);
    RangeResult& result = cursor.result;
    auto last = map_.end();
    for (; node != map_.end() && node->first.starts_with(prefix); ++node) {
        if (piece-- == 0) {
            cursor.last = last->first;
            cursor.started = true;
            return;
        }
        last = node;
        const Version* version = visible(node->second, result.revision);
        if (version == nullptr || version->value == nullptr) {
            continue;
        }
        if (limit != 0 && result.items.size() == limit) {
            ++result.remaining;
            continue;
        }
        result.items.push_back(key_value(node->first, version->value, version->create_revision,
                                         version->mod_revision));
    }
    result.more = result.remaining > 0;
    cursor.done = true;
}

Result<RangeResult> Index::range(std::string_view prefix, std::string_view after,
                                 std::uint64_t limit, Revision at) const {
    for (int restarts = 0;; ++restarts) {
        const std::size_t piece =
            restarts < kMaxRangeRestarts ? kRangePiece : std::numeric_limits<std::size_t>::max();
        Cursor cursor;
        if (after >= prefix && !after.empty()) {
            cursor.last = after;
            cursor.started = true;
        }
        bool overtaken = false;
        while (!cursor.done && !overtaken) {
            std::shared_lock guard(lock_);
            if (cursor.result.revision == 0) {
                SLUICE_TRY_ASSIGN(cursor.result.revision, resolve(at));
            }
            overtaken = cursor.result.revision < compacted();
            if (!overtaken) {
                walk_piece(prefix, limit, cursor, piece);
            }
        }
        if (cursor.done) {
            return std::move(cursor.result);
        }
        if (at != 0) {
            return make_error(Code::kOutOfRange,
                              "revision {} was compacted while it was read, the oldest is {}", at,
                              compacted());
        }
    }
}

KeyValue Index::newest(std::string_view key) const {
    const auto node = find(key);
    if (node == map_.end() || node->second.back().value == nullptr) {
        return {std::string(key), nullptr, 0, 0, false};
    }
    const Version& version = node->second.back();
    return key_value(node->first, version.value, version.create_revision, version.mod_revision);
}

void Index::add(const KeyValue& change) {
    const auto node = place(change.key).first;
    if (!node->second.empty()) {
        history_bytes_.fetch_add(bytes_of(node->second.back()), std::memory_order_relaxed);
    }
    node->second.push_back({change.mod_revision, change.create_revision, change.value});
    history_.push_back({change.mod_revision, node});
}

void Index::apply(std::span<const KeyValue> changes, Revision through) {
    SLUICE_ASSERT(through >= revision());
    std::unique_lock guard(lock_);
    Revision newest = revision() + 1;
    for (const KeyValue& change : changes) {
        SLUICE_ASSERT(change.mod_revision >= newest && change.mod_revision <= through);
        add(change);
        newest = change.mod_revision;
    }
    revision_.store(through, std::memory_order_release);
}

Result<void> Index::load(KeyValue change, std::vector<Revision>& forgotten) {
    const Revision revision = change.mod_revision;
    const bool old = revision <= compacted();
    if (!old && revision != this->revision() + 1) {
        return make_error(Code::kDataLoss, "the changes {} to {} are missing", this->revision() + 1,
                          revision - 1);
    }
    auto node = find(change.key);
    const Version* previous = node == map_.end() ? nullptr : &node->second.back();
    const bool existed = previous != nullptr && previous->value != nullptr;
    bool fits = false;
    if (change.value == nullptr) {
        // Only compaction may have removed what a deletion deleted.
        fits = change.create_revision == 0 && (existed || (old && previous == nullptr));
    } else if (existed) {
        fits = change.create_revision == previous->create_revision;
    } else {
        fits = change.create_revision == revision ||
               (old && previous == nullptr && change.create_revision < revision &&
                change.create_revision > 0);
    }
    if (!fits) {
        return make_error(Code::kDataLoss, "change {} does not follow from the ones before it",
                          revision);
    }
    if (!old) {
        add(change);
        revision_.store(revision, std::memory_order_release);
        return {};
    }
    if (previous != nullptr) {
        forgotten.push_back(previous->mod_revision);
    }
    if (change.value == nullptr) {
        forgotten.push_back(revision);
        if (node != map_.end()) {
            erase(node);
        }
        return {};
    }
    if (node == map_.end()) {
        node = place(change.key).first;
    }
    node->second.assign(1, {revision, change.create_revision, change.value});
    return {};
}

void Index::forget_before(Keys::iterator node, Revision revision,
                          std::vector<Revision>& forgotten) {
    Versions& versions = node->second;
    const Version* kept = visible(versions, revision);
    SLUICE_ASSERT(kept != nullptr);
    auto first_kept = versions.begin() + (kept - versions.data());
    if (first_kept->value == nullptr) {
        ++first_kept;
    }
    for (auto version = versions.begin(); version != first_kept; ++version) {
        forgotten.push_back(version->mod_revision);
        if (version + 1 != versions.end()) {
            history_bytes_.fetch_sub(bytes_of(*version), std::memory_order_relaxed);
        }
    }
    versions.erase(versions.begin(), first_kept);
    if (versions.empty()) {
        erase(node);
    }
}

void Index::compact(Revision revision, std::vector<Revision>& forgotten) {
    SLUICE_ASSERT(revision <= this->revision());
    std::vector<Keys::iterator> touched;
    while (compacted() < revision) {
        // A revision is forgotten as a whole, so that compacted() is true of every key.
        const std::size_t end = history_after(revision);
        std::size_t count = std::min<std::size_t>(end, kCompactPiece);
        while (count > 0 && count < end &&
               history_[count].revision == history_[count - 1].revision) {
            ++count;
        }
        const Revision step = count == end ? revision : history_[count - 1].revision;
        std::unique_lock guard(lock_);
        // Each key once, however often it changed: trimming a key costs its remaining versions.
        touched.clear();
        for (std::size_t i = 0; i < count; ++i) {
            touched.push_back(history_[i].node);
        }
        history_.erase(history_.begin(), history_.begin() + static_cast<std::ptrdiff_t>(count));
        std::sort(touched.begin(), touched.end(), [](const auto& left, const auto& right) {
            return std::less<>{}(&*left, &*right);
        });
        touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
        compacted_.store(step, std::memory_order_release);
        for (auto node : touched) {
            forget_before(node, step, forgotten);
        }
    }
}

void Index::reset(std::vector<KeyValue> items, Revision revision) {
    Keys keys;
    for (KeyValue& item : items) {
        keys[std::move(item.key)].push_back(
            {item.mod_revision, item.create_revision, std::move(item.value)});
    }
    auto table = std::make_unique<Table>();
    table->slots.reserve(keys.size());
    for (auto node = keys.begin(); node != keys.end(); ++node) {
        table->slots.insert({node, Table::digest_of(node->first)});
    }
    {
        std::unique_lock guard(lock_);
        history_.clear();
        map_.swap(keys);
        table_.swap(table);
        history_bytes_.store(0, std::memory_order_relaxed);
        keys_.store(map_.size(), std::memory_order_relaxed);
        revision_.store(revision, std::memory_order_release);
        compacted_.store(revision, std::memory_order_release);
    }
    // What was there before goes here, without the lock.
}

std::size_t Index::history_after(Revision revision) const {
    auto first = std::upper_bound(
        history_.begin(), history_.end(), revision,
        [](Revision wanted, const Change& change) { return wanted < change.revision; });
    return static_cast<std::size_t>(first - history_.begin());
}

Revision Index::history_revision(std::size_t position) const {
    SLUICE_ASSERT(position < history_.size());
    return history_[position].revision;
}

const std::string& Index::history_key(std::size_t position) const {
    SLUICE_ASSERT(position < history_.size());
    return history_[position].node->first;
}

Event Index::event_of(const std::string& key, const Versions& versions, const Version& version) {
    Event event;
    event.current = key_value(key, version.value, version.create_revision, version.mod_revision);
    if (&version != versions.data()) {
        event.previous = std::prev(&version)->value;
    }
    return event;
}

Event Index::history_event(std::size_t position) const {
    SLUICE_ASSERT(position < history_.size());
    const auto& [revision, node] = history_[position];
    const Version* version = visible(node->second, revision);
    SLUICE_ASSERT(version != nullptr && version->mod_revision == revision);
    return event_of(node->first, node->second, *version);
}

std::optional<Event> Index::change_of(std::string_view key, Revision revision) const {
    const auto node = find(key);
    if (node == map_.end()) {
        return std::nullopt;
    }
    const Version* version = visible(node->second, revision);
    if (version == nullptr || version->mod_revision != revision) {
        return std::nullopt;
    }
    return event_of(node->first, node->second, *version);
}

}  // namespace sluice::store
