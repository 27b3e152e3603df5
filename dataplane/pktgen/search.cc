#include "dataplane/pktgen/search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <utility>

namespace sluice::pktgen {

namespace {

// Runs one trial at a rate (0: no limit), judges it and says so to whom it concerns. nullopt: the
// search was stopped while it ran.
using TrialAt = std::function<Result<std::optional<Trial>>(double)>;

struct Found {
    double rate = 0;
    double first_reached = 0;
    bool settled = false;
    std::optional<std::size_t> best;
    std::vector<Trial> trials;
};

// The rate that a trial stands for. Who could not send as fast as it should has shown something
// about the rate that it reached, and nothing about the other.
double stands_for(const Trial& trial) {
    if (trial.offered_per_second == 0 ||
        trial.reached_per_second < kReached * trial.offered_per_second) {
        return trial.reached_per_second;
    }
    return trial.offered_per_second;
}

class Search {
public:
    Search(const SearchOptions& options, const Progress& progress, const TrialAt& trial_at)
        : options_(options), progress_(progress), trial_at_(trial_at) {}

    // The first trial is at `maximum`, 0 for no limit.
    Result<Found> run(double maximum) {
        SLUICE_TRY_ASSIGN(bool going, attempt(maximum));
        if (found_.trials.empty()) {
            return std::move(found_);
        }
        const Trial& first = found_.trials.front();
        if (first.reached_per_second <= 0) {
            return make_error(Code::kOutOfRange, "the first trial sent nothing");
        }
        found_.first_reached = first.reached_per_second;
        const double top = stands_for(first);
        step_ = options_.resolution * top;
        high_ = top;
        low_ = first.passed ? top : 0;
        while (going) {
            SLUICE_TRY_ASSIGN(going, halve());
            if (!going) break;
            SLUICE_TRY_ASSIGN(const Held held, confirm());
            if (held == Held::kYes) {
                found_.settled = true;
            }
            going = held == Held::kNo;
        }
        conclude();
        return std::move(found_);
    }

private:
    enum class Held { kYes, kNo, kStopped };

    // False: stopped, or there were as many trials as may be.
    Result<bool> attempt(double rate) {
        if (found_.trials.size() == kMaxTrials) {
            return false;
        }
        if (!found_.trials.empty() && !wait()) {
            return false;
        }
        SLUICE_TRY_ASSIGN(std::optional<Trial> trial, trial_at_(rate));
        if (!trial) {
            return false;
        }
        found_.trials.push_back(std::move(*trial));
        return !progress_ || progress_(found_.trials.back());
    }

    bool wait() const {
        if (options_.wait) {
            return options_.wait(options_.settle_s);
        }
        std::this_thread::sleep_for(std::chrono::duration<double>(options_.settle_s));
        return true;
    }

    // Until low_ and high_ are a step apart. False: stopped.
    Result<bool> halve() {
        while (high_ - low_ > step_) {
            SLUICE_TRY_ASSIGN(const bool going, attempt((low_ + high_) / 2));
            if (!going) {
                return false;
            }
            const Trial& trial = found_.trials.back();
            const double rate = stands_for(trial);
            // A rate out of the interval, because the sender was slow: the interval still shrinks
            // by half.
            if (trial.passed) {
                low_ = std::max(low_, rate);
                if (rate < trial.offered_per_second) {
                    high_ = std::max(low_, trial.offered_per_second);
                }
            } else {
                high_ = std::min(trial.offered_per_second, rate);
                if (high_ <= low_) {
                    low_ = highest_passed_below(high_);
                }
            }
        }
        return true;
    }

    // Tries low_ again. kNo: it failed, and the interval below it is to be searched.
    Result<Held> confirm() {
        for (std::uint32_t i = 0; i < options_.repeat_at_end && low_ > 0; ++i) {
            SLUICE_TRY_ASSIGN(const bool going, attempt(low_));
            if (!found_.trials.back().passed) {
                high_ = low_;
                low_ = highest_passed_below(high_);
                return going ? Held::kNo : Held::kStopped;
            }
            if (!going) {
                return Held::kStopped;
            }
        }
        return Held::kYes;
    }

    // Of all trials, 0 if there is none. What failed at or below a rate puts it out of question.
    [[nodiscard]] double highest_passed_below(double rate) const {
        double least_failed = rate;
        for (const Trial& trial : found_.trials) {
            if (!trial.passed) {
                least_failed = std::min(least_failed, stands_for(trial));
            }
        }
        double out = 0;
        for (const Trial& trial : found_.trials) {
            if (trial.passed && stands_for(trial) < least_failed) {
                out = std::max(out, stands_for(trial));
            }
        }
        return out;
    }

    // What the trials have shown, whether the search came to its end or not.
    void conclude() {
        const double found = found_.settled ? low_ : highest_passed_below(high_ + step_);
        if (found <= 0) {
            return;
        }
        found_.rate = found;
        for (std::size_t i = 0; i < found_.trials.size(); ++i) {
            const Trial& trial = found_.trials[i];
            if (trial.passed && (stands_for(trial) == found || trial.offered_per_second == found)) {
                found_.best = i;
            }
        }
    }

    const SearchOptions& options_;
    const Progress& progress_;
    const TrialAt& trial_at_;
    Found found_;
    double low_ = 0;
    double high_ = 0;
    double step_ = 0;
};

// Runs a profile; nullopt if the observer ended it, for what was cut short is no trial.
Result<std::optional<RunResult>> run_whole(Runner& runner, const Profile& profile,
                                           const Observer& observer) {
    bool stopped = false;
    SLUICE_TRY_ASSIGN(RunResult result, runner.run(profile, [&](const Sample& sample) {
        stopped = stopped || (observer && !observer(sample));
        return !stopped;
    }));
    if (stopped) {
        return std::optional<RunResult>();
    }
    return std::optional<RunResult>(std::move(result));
}

bool tolerable(std::uint64_t failed, std::uint64_t of, double tolerance) {
    return of > 0 && static_cast<double>(failed) <= tolerance * static_cast<double>(of);
}

Profile for_trials(const Profile& profile, const SearchOptions& options) {
    Profile out = profile;
    out.packets_per_second = 0;
    out.bits_per_second = 0;
    out.connections_per_second = 0;
    out.count = 0;
    out.duration_s = options.trial_s;
    return out;
}

double frames_of_line(double bits_per_second, std::uint32_t frame_bytes) {
    return bits_per_second / 8 / (frame_bytes + kLinkOverheadBytes);
}

Result<ThroughputResult> throughput_of_size(Runner& runner, const Profile& profile,
                                            const SearchOptions& options, const Progress& progress,
                                            const Observer& observer) {
    ThroughputResult out;
    out.frame_bytes = profile.sizes.front().frame_bytes;
    const TrialAt trial_at = [&](double rate) -> Result<std::optional<Trial>> {
        Profile at = profile;
        at.packets_per_second = rate;
        SLUICE_TRY_ASSIGN(auto result, run_whole(runner, at, observer));
        if (!result) {
            return std::optional<Trial>();
        }
        Trial trial;
        trial.offered_per_second = rate;
        trial.reached_per_second = result->sent_pps;
        trial.failed = result->lost;
        trial.passed = tolerable(result->lost, result->sent, options.loss_tolerance);
        trial.result = std::move(*result);
        return std::optional<Trial>(std::move(trial));
    };
    const double line = frames_of_line(options.line_bits_per_second, out.frame_bytes);
    double maximum = options.max_packets_per_second;
    if (line > 0 && (maximum == 0 || line < maximum)) {
        maximum = line;
    }
    SLUICE_TRY_ASSIGN(Found found, Search(options, progress, trial_at).run(maximum));
    out.packets_per_second = found.rate;
    out.bits_per_second = found.rate * 8 * (out.frame_bytes + kLinkOverheadBytes);
    out.ceiling_is_line = line > 0;
    out.ceiling_packets_per_second = line > 0 ? line : found.first_reached;
    out.settled = found.settled;
    out.best = found.best;
    out.trials = std::move(found.trials);
    return out;
}

}  // namespace

Result<void> check(const SearchOptions& options) {
    const auto wrong = [](const char* name, double value, const char* what) {
        return make_error(Code::kInvalidArgument, "{}: {} is not {}", name, value, what);
    };
    // Written so that what is not a number is wrong as well.
    if (!(options.trial_s > 0 && options.trial_s <= 86400)) {
        return wrong("trial-s", options.trial_s, "between 0 and 86400 seconds");
    }
    if (!(options.loss_tolerance >= 0 && options.loss_tolerance < 1)) {
        return wrong("loss-tolerance", options.loss_tolerance, "a share from 0 to below 1");
    }
    if (!(options.resolution >= 1e-6 && options.resolution <= 0.5)) {
        return wrong("resolution", options.resolution, "a share from 0.000001 to 0.5");
    }
    if (!(options.settle_s >= 0 && options.settle_s <= 3600)) {
        return wrong("settle-s", options.settle_s, "between 0 and 3600 seconds");
    }
    if (options.repeat_at_end > kMaxTrials / 2) {
        return wrong("repeat", options.repeat_at_end, "at most 32");
    }
    for (const auto& [name, value] :
         {std::pair{"max-packets-per-second", options.max_packets_per_second},
          std::pair{"max-connections-per-second", options.max_connections_per_second},
          std::pair{"line-bits-per-second", options.line_bits_per_second}}) {
        if (!(value >= 0 && std::isfinite(value))) {
            return wrong(name, value, "a rate");
        }
    }
    if (options.frame_bytes.empty() || options.frame_bytes.size() > kMaxFrameSizes) {
        return make_error(Code::kInvalidArgument,
                          "frame-bytes: between 1 and {} sizes are searched", kMaxFrameSizes);
    }
    return {};
}

Result<std::vector<ThroughputResult>> search_throughput(Runner& runner, const Profile& profile,
                                                        const SearchOptions& options,
                                                        const Progress& progress,
                                                        const Observer& observer) {
    SLUICE_TRY(check(options));
    if (!profile.probe) {
        return make_error(Code::kInvalidArgument,
                          "probe: a search counts what was lost, so packets have to carry probes");
    }
    if (profile.life_cycle == LifeCycle::kStateful) {
        return make_error(Code::kInvalidArgument,
                          "life-cycle: connections that answer each other have no packet rate; "
                          "search their connections a second");
    }
    // All sizes are looked at before the first trial, which may take a minute.
    std::vector<Profile> profiles;
    for (const std::uint32_t bytes : options.frame_bytes) {
        Profile of_size = for_trials(profile, options);
        of_size.sizes = {{bytes, 1}};
        if (auto checked = check(of_size); !checked) {
            return checked.error().with_context(fmt::format("frame-bytes {}", bytes));
        }
        profiles.push_back(std::move(of_size));
    }
    std::vector<ThroughputResult> out;
    bool stopped = false;
    const Progress told = [&](const Trial& trial) {
        stopped = stopped || (progress && !progress(trial));
        return !stopped;
    };
    const Observer seen = [&](const Sample& sample) {
        stopped = stopped || (observer && !observer(sample));
        return !stopped;
    };
    SearchOptions with_wait = options;
    with_wait.wait = [&](double seconds) {
        if (options.wait) {
            stopped = stopped || !options.wait(seconds);
        } else {
            std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
        }
        return !stopped;
    };
    for (const Profile& of_size : profiles) {
        if (!out.empty() && !with_wait.wait(options.settle_s)) {
            break;
        }
        auto found = throughput_of_size(runner, of_size, with_wait, told, seen);
        if (!found) {
            return found.error().with_context(
                fmt::format("frames of {} bytes", of_size.sizes.front().frame_bytes));
        }
        if (!found->trials.empty()) {
            out.push_back(std::move(*found));
        }
        if (stopped) {
            break;
        }
    }
    return out;
}

Result<ConnectionRateResult> search_connection_rate(Runner& runner, const Profile& profile,
                                                    const SearchOptions& options,
                                                    const Progress& progress,
                                                    const Observer& observer) {
    SLUICE_TRY(check(options));
    if (profile.life_cycle != LifeCycle::kStateful) {
        return make_error(
            Code::kInvalidArgument,
            "life-cycle: connections a second are searched with stateful connections");
    }
    const Profile base = for_trials(profile, options);
    SLUICE_TRY(check(base));
    const TrialAt trial_at = [&](double rate) -> Result<std::optional<Trial>> {
        Profile at = base;
        at.connections_per_second = rate;
        SLUICE_TRY_ASSIGN(auto result, run_whole(runner, at, observer));
        if (!result) {
            return std::optional<Trial>();
        }
        const ConnectionCounts& counts = result->connections;
        Trial trial;
        trial.offered_per_second = rate;
        trial.reached_per_second =
            result->seconds > 0 ? static_cast<double>(counts.opened) / result->seconds : 0;
        // Whatever became of them: only one that was closed in order has been served.
        trial.failed =
            counts.opened - std::min(counts.opened, std::min(counts.closed, counts.established));
        trial.passed = tolerable(trial.failed, counts.opened, options.loss_tolerance);
        trial.result = std::move(*result);
        return std::optional<Trial>(std::move(trial));
    };
    SLUICE_TRY_ASSIGN(Found found,
                      Search(options, progress, trial_at).run(options.max_connections_per_second));
    ConnectionRateResult out;
    out.connections_per_second = found.rate;
    out.ceiling_connections_per_second = found.first_reached;
    out.settled = found.settled;
    out.best = found.best;
    out.trials = std::move(found.trials);
    return out;
}

}  // namespace sluice::pktgen
