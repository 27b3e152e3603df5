// What publisher_plan.cc decides and publisher.cc carries out. Included by the publisher's own
// sources only.
#pragma once

#include <algorithm>
#include <string_view>

#include "dataplane/image/publisher.h"
#include "dataplane/image/reader.h"

namespace sluice::image {

inline std::uint32_t name_units(std::size_t length) {
    return static_cast<std::uint32_t>(length / kNameUnit + 1);
}

// What of a name is kept: names end at a NUL, and have a bounded length.
inline std::string_view bounded_name(std::string_view name) {
    return name.substr(0, std::min(name.find('\0'), kMaxNameLength - 1));
}

// In the order of enum sluice_traffic.
inline std::array<const BackendSet*, SLUICE_TRAFFIC_KINDS> sets_of(const Service& service) {
    return {&service.internal, &service.external, &service.inside};
}

// What an upsert will do, decided before anything is written.
struct Publisher::Plan {
    struct Member {
        const Backend* backend;
        std::uint32_t index;
        bool fresh;
        bool renamed;
        std::uint32_t name;  // for fresh or renamed
        std::array<bool, SLUICE_TRAFFIC_KINDS> in;
    };
    std::vector<Member> members;         // the union of the sets, ordered by place
    std::vector<std::uint32_t> leaving;  // backends of the record that are in no set
    std::array<std::vector<std::uint32_t>, SLUICE_TRAFFIC_KINDS> sets;
    std::array<Run, SLUICE_TRAFFIC_KINDS> runs;
    std::array<bool, SLUICE_TRAFFIC_KINDS> write_run{};
    // Not empty: the ring of that run is new, and these are its members.
    std::array<RingMembers, SLUICE_TRAFFIC_KINDS> new_rings;
    Run sources;
    bool write_sources = false;
    std::vector<Frontend> frontends;  // unique by key
    std::vector<Claim> claims;        // new or changed; the service index is filled in later
    std::vector<sluice_frontend_key> withdrawals;
    // A kind that no frontend follows any more is emptied only after its last frontend is gone.
    std::array<bool, SLUICE_TRAFFIC_KINDS> flip_last{};
    std::uint32_t name = 0;  // of a fresh service
    std::uint32_t index = 0;
    bool carried = false;  // the index is the one it had in the former image
};

// Takes from the allocators, and gives back unless kept.
class Publisher::Taken {
public:
    explicit Taken(Publisher& owner) : owner_(owner) {}
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;
    ~Taken() {
        if (kept_) {
            return;
        }
        for (const auto index : backends_) owner_.backends_free_.give_back(index);
        for (const auto index : services_) owner_.services_free_.give_back(index);
        for (const auto& run : sets_) owner_.sets_free_.give_back(run.first, run.count);
        for (const auto& run : names_) owner_.names_free_.give_back(run.first, run.count);
        for (const auto& run : ranges_) owner_.ranges_free_.give_back(run.first, run.count);
        for (const auto& [line, size] : rings_) owner_.rings_.give_back(line, size);
    }
    void keep() { kept_ = true; }

    std::optional<std::uint32_t> backend() { return single(owner_.backends_free_, backends_); }
    std::optional<std::uint32_t> service() { return single(owner_.services_free_, services_); }
    std::optional<std::uint32_t> set(std::uint32_t count) {
        return run(owner_.sets_free_, sets_, count);
    }
    std::optional<std::uint32_t> ranges(std::uint32_t count) {
        return run(owner_.ranges_free_, ranges_, count);
    }
    // The first line of a ring of this size word.
    std::optional<std::uint32_t> ring(std::uint32_t size_word) {
        const auto line = owner_.rings_.take(size_word);
        if (line) {
            rings_.emplace_back(*line, size_word);
        }
        return line;
    }
    // An offset in bytes; 0 for an empty name.
    std::optional<std::uint32_t> name(std::string_view text) {
        if (text.empty()) {
            return 0;
        }
        const auto unit = run(owner_.names_free_, names_, name_units(text.size()));
        return unit ? std::optional(*unit * kNameUnit) : std::nullopt;
    }

private:
    static std::optional<std::uint32_t> single(IndexAllocator& from,
                                               std::vector<std::uint32_t>& into) {
        const auto index = from.take();
        if (index) {
            into.push_back(*index);
        }
        return index;
    }
    static std::optional<std::uint32_t> run(RunAllocator& from, std::vector<Retired::Run>& into,
                                            std::uint32_t count) {
        const auto first = from.take(count);
        if (first) {
            into.push_back({*first, count});
        }
        return first;
    }

    Publisher& owner_;
    bool kept_ = false;
    std::vector<std::uint32_t> backends_;
    std::vector<std::uint32_t> services_;
    std::vector<Retired::Run> sets_;
    std::vector<Retired::Run> names_;
    std::vector<Retired::Run> ranges_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> rings_;
};

}  // namespace sluice::image
