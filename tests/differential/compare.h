// Runs scenarios through engines and the oracle, and says where they part. What they part over is made small.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/differential/side.h"

namespace sluice::differential {

struct Mismatch {
    std::size_t step = 0;  // steps.size(): the counters at the end
    std::string what;
};

// An engine that is deliberately wrong: what the last side says and does is changed.
struct Canary {
    const char* name = "";
    // `room` holds what outcome.packet is to point at.
    void (*outcome)(const Step& step, Outcome& outcome, Bytes& room) = nullptr;
    void (*tables)(const Step& step, const image::Tables& tables) = nullptr;
    bool time_stands = false;
    bool misses_changes = false;
    bool other_choices = false;
};

class Comparison {
public:
    // The oracle goes by what sides.front() chooses. Sides outlive this.
    explicit Comparison(std::vector<Side*> sides, const Canary* canary = nullptr)
        : sides_(std::move(sides)), canary_(canary) {}

    // What is done to each frame before anybody sees it. The steps that are kept have it.
    using Damage = std::function<void(Step&)>;
    // `packets` frames of the seed's scenario.
    std::optional<Mismatch> run(std::uint64_t seed, std::size_t packets, const Damage& damage = nullptr);
    // The same steps, or fewer, for the node of the seed.
    std::optional<Mismatch> replay(std::uint64_t seed, const std::vector<Step>& steps);

    [[nodiscard]] const std::vector<Step>& steps() const { return steps_; }
    // Removes steps as long as there is a mismatch (Zeller, Hildebrandt 2002). At most `tries` replays.
    std::vector<Step> minimise(std::uint64_t seed, std::vector<Step> steps, std::size_t tries);

    struct Totals {
        std::uint64_t packets = 0;
        std::uint64_t sent = 0, stack = 0, dropped = 0;
        std::uint64_t flows = 0;  // in the table at the ends of scenarios
        std::uint64_t reasons[SLUICE_DROP_REASON_COUNT] = {};
    };
    [[nodiscard]] const Totals& totals() const { return totals_; }

private:
    void begin(const Generator& generator);
    std::optional<std::string> take(const Step& step);
    std::optional<std::string> take_frame(const Step& step);
    std::optional<std::string> compare_counters();
    void note_lives(const image::ServiceKey& key);

    std::vector<Side*> sides_;
    const Canary* canary_;
    std::unique_ptr<oracle::Oracle> oracle_;
    std::vector<Step> steps_;
    std::map<std::uint32_t, std::shared_ptr<oracle::BackendLife>> backends_;  // by index
    std::map<std::uint32_t, std::shared_ptr<oracle::ServiceLife>> services_;
    Bytes last_;  // what became of the last frame
    Bytes room_;
    Totals totals_;
    std::size_t changes_ = 0;
};

std::string report(std::uint64_t seed, const std::vector<Step>& steps, const Mismatch& mismatch);

}  // namespace sluice::differential
