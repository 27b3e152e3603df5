// Which of many counters have a series of their own, and what the rest add up to, such that no series ever falls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace sluice::metrics {

struct Counters {
    std::uint64_t connections = 0, packets = 0, bytes = 0, refused = 0;

    Counters& operator+=(const Counters& more);
    bool operator==(const Counters&) const = default;
};

// A service or an endpoint at one scrape.
struct Counted {
    std::uint64_t key = 0;  // the same at each scrape, another for each
    Counters total{};       // rises while it lives; a new one of the same key begins at zero
    bool own = false;       // filled in: it has a series of its own, which shows `shown`
    Counters shown{};
};

// A place is kept for as long as its owner lives, unless that has never counted anything and another has. A free place
// goes to the busiest of the others, whose series then begins with what it counts from there on: what it had counted
// before stays in the others' sum, as does what was counted by those who have gone. Thus all series together are right.
// One thread at a time. Memory: limit entries, and 40 bytes for each of the others.
class SeriesLedger {
public:
    explicit SeriesLedger(std::size_t limit) : limit_(limit) {}

    // Fills in own and shown. Returns what the others' series shows. Keys are unique.
    Counters settle(std::vector<Counted>* items);

private:
    struct Seen {
        std::uint64_t key = 0;
        Counters total{};
    };
    [[nodiscard]] Counters seen_of(std::uint64_t key) const;
    void give_places(std::vector<Counted>* items);

    std::size_t limit_;
    std::unordered_map<std::uint64_t, Counters> owners_;  // key to what is not its series' but the others'
    std::vector<Seen> seen_;                              // of the others, at the last scrape; by key
    Counters others_{};
};

}  // namespace sluice::metrics
