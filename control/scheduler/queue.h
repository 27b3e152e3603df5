// Which pod is tried next: pods by priority and age; those that fitted nowhere wait for a change that can help them,
// and for a back-off that grows with their tries.
//
// One thread; the caller brings the time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "control/scheduler/model.h"

namespace sluice::scheduler {

using Time = std::chrono::steady_clock::time_point;

inline constexpr std::chrono::seconds kFirstBackoff{1};
inline constexpr std::chrono::seconds kLongestBackoff{10};
// After this a pod is tried again even if nothing happened that could help it: a net below the rules.
inline constexpr std::chrono::minutes kLongestWait{5};

// What can happen in a cluster, as bits.
enum Change : std::uint32_t {
    kNodeAdded = 1U << 0U,
    kNodeRemoved = 1U << 1U,
    kNodeResources = 1U << 2U,
    kNodeLabels = 1U << 3U,
    kNodeTaints = 1U << 4U,  // and spec.unschedulable
    kPodPlaced = 1U << 5U,
    kPodRemoved = 1U << 6U,  // or asks for less
    kPodLabels = 1U << 7U,
    kNamespaceLabels = 1U << 8U,
};
using Changes = std::uint32_t;

class PodQueue {
public:
    // A pod that waits to be placed, or a new form of one that is known: that is tried as soon as its back-off is
    // over, for what was changed may help it. A pod with another uid under a known key is a new one.
    void put(const PodPointer& pod, Time now);
    // The same pod with nothing changed that matters; keeps its place.
    void refresh(const PodPointer& pod);
    void remove(const std::string& key);

    // The next pod to try; it is no longer queued until it comes back by one of the two below, or by put().
    std::optional<PodPointer> pop(Time now);
    // It fitted nowhere; one of `helpful` may change that.
    void unschedulable(const PodPointer& pod, Changes helpful, Time now);
    // It is tried again after its back-off, come what may.
    void retry(const PodPointer& pod, Time now);
    // Forgets how often the pod was tried.
    void forget(const std::string& key) { tries_.erase(key); }

    void happened(Changes changes, Time now);
    // When pop() may have something it has not now; nothing if only a change can bring that about.
    [[nodiscard]] std::optional<Time> next_time() const;
    [[nodiscard]] bool has_active(Time now);
    [[nodiscard]] const PodPointer* find(const std::string& key) const;
    [[nodiscard]] std::size_t size() const { return entries_.size(); }

private:
    enum class Place : std::uint8_t { kActive, kBackoff, kUnschedulable };
    struct Entry {
        PodPointer pod;
        Place place = Place::kActive;
        Time since;  // first seen: the age that counts
        Time until;  // end of back-off, or of the longest wait
        Changes helpful = 0;
        std::uint64_t sequence = 0;
    };
    struct Tries {
        int number = 0;
        Time since;
        Time backoff_end;
        std::string uid;
    };
    using ActiveKey = std::tuple<std::int32_t, Time, std::uint64_t, std::string>;
    [[nodiscard]] static ActiveKey active_key(const Entry& entry);
    void insert(Entry entry);
    void erase(std::unordered_map<std::string, Entry>::iterator entry);
    void move_due(Time now);

    std::unordered_map<std::string, Entry> entries_;
    std::unordered_map<std::string, Tries> tries_;
    std::set<ActiveKey> active_;
    std::set<std::pair<Time, std::string>> timed_;  // back-off ends and longest waits
    std::unordered_map<Changes, std::unordered_set<std::string>> unschedulable_;  // keys by helpful
    std::uint64_t sequence_ = 0;
};

}  // namespace sluice::scheduler
