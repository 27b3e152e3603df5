#include "control/controllers/daemonset/rolling.h"

#include <algorithm>
#include <optional>

#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers {
namespace {

// Bound before unbound, older before newer: the first of a node is the one to keep.
bool older(const PodPtr& a, const PodPtr& b) {
    const bool a_bound = !a->spec().nodename().empty();
    const bool b_bound = !b->spec().nodename().empty();
    if (a_bound != b_bound) return a_bound;
    const auto& a_time = a->metadata().creationtimestamp();
    const auto& b_time = b->metadata().creationtimestamp();
    if (a_time.seconds() != b_time.seconds()) return a_time.seconds() < b_time.seconds();
    return a->metadata().name() < b->metadata().name();
}

bool available(const Pod& pod, const DaemonRules& rules) {
    return is_available(pod, rules.min_ready_seconds, rules.now_ns);
}

// Without surge the oldest stays. With surge the oldest of each template does, until the new one is
// available or the old one serves nobody.
void remove_excess(Pods running, const DaemonRules& rules, Pods* remove) {
    if (running.size() <= 1) return;
    std::ranges::sort(running, older);
    if (rules.max_surge == 0) {
        remove->insert(remove->end(), running.begin() + 1, running.end());
        return;
    }
    PodPtr fresh;
    PodPtr old;
    for (const auto& pod : running) {
        auto& kept = is_updated(*pod, rules) ? fresh : old;
        if (kept == nullptr) {
            kept = pod;
        } else {
            remove->push_back(pod);
        }
    }
    if (fresh != nullptr && old != nullptr && (!is_ready(*old) || available(*fresh, rules))) {
        remove->push_back(old);
    }
}

// The pods of a node that stay, by template; nullopt when there is more than one of either, which
// is for steps_per_node to clear up.
struct Pair {
    PodPtr fresh;
    PodPtr old;
};
std::optional<Pair> pair_on(const Place& place, const DaemonRules& rules) {
    Pair out;
    for (const auto& pod : place.pods) {
        if (is_deleting(*pod)) continue;
        auto& slot = is_updated(*pod, rules) ? out.fresh : out.old;
        if (slot != nullptr) return std::nullopt;
        slot = pod;
    }
    return out;
}

DaemonSteps replace_in_place(const std::vector<Place>& places, const DaemonRules& rules) {
    DaemonSteps out;
    Pods candidates;
    int unavailable = 0;
    for (const auto& place : places) {
        if (place.pods.empty()) {
            unavailable += place.eligible.should_run ? 1 : 0;
            continue;
        }
        const auto pair = pair_on(place, rules);
        if (!pair || (pair->fresh == nullptr) == (pair->old == nullptr)) {
            ++unavailable;
        } else if (pair->fresh != nullptr) {
            unavailable += available(*pair->fresh, rules) ? 0 : 1;
        } else if (!available(*pair->old, rules)) {
            // It counts as unavailable already, and its replacement makes that no worse.
            out.remove.push_back(pair->old);
            ++unavailable;
        } else {
            candidates.push_back(pair->old);
        }
    }
    const int room = std::clamp(rules.max_unavailable - unavailable, 0,
                                static_cast<int>(candidates.size()));
    out.remove.insert(out.remove.end(), candidates.begin(), candidates.begin() + room);
    return out;
}

DaemonSteps replace_beside(const std::vector<Place>& places, const DaemonRules& rules) {
    DaemonSteps out;
    std::vector<std::string> candidates;
    int surging = 0;
    for (const auto& place : places) {
        const auto pair = pair_on(place, rules);
        if (!pair) {
            ++surging;
            continue;
        }
        if (pair->old == nullptr) continue;
        if (pair->fresh == nullptr) {
            if (!place.eligible.should_run) continue;
            (available(*pair->old, rules) ? candidates : out.create_on).push_back(place.node);
        } else if (available(*pair->fresh, rules)) {
            out.remove.push_back(pair->old);
        } else {
            ++surging;
        }
    }
    const int room =
        std::clamp(rules.max_surge - surging, 0, static_cast<int>(candidates.size()));
    out.create_on.insert(out.create_on.end(), candidates.begin(), candidates.begin() + room);
    return out;
}

}  // namespace

bool is_updated(const Pod& pod, const DaemonRules& rules) {
    const auto carries = [&](const char* label, const std::string& wanted) {
        const auto found = pod.metadata().labels().find(label);
        return !wanted.empty() && found != pod.metadata().labels().end() &&
               found->second == wanted;
    };
    return carries(kRevisionHashLabel, rules.hash) ||
           carries(kTemplateGenerationLabel, rules.template_generation);
}

DaemonSteps steps_per_node(const std::vector<Place>& places, const DaemonRules& rules) {
    DaemonSteps out;
    for (const auto& place : places) {
        if (place.eligible.should_run && place.pods.empty()) {
            out.create_on.push_back(place.node);
            continue;
        }
        Pods running;
        for (const auto& pod : place.pods) {
            if (is_deleting(*pod)) continue;
            if (!place.eligible.should_stay) {
                out.remove.push_back(pod);
            } else if (pod->status().phase() == "Failed") {
                out.failed.push_back(pod);
            } else if (pod->status().phase() == "Succeeded") {
                out.succeeded.push_back(pod);
            } else {
                running.push_back(pod);
            }
        }
        remove_excess(std::move(running), rules, &out.remove);
    }
    return out;
}

DaemonSteps rolling_steps(const std::vector<Place>& places, const DaemonRules& rules) {
    return rules.max_surge > 0 ? replace_beside(places, rules) : replace_in_place(places, rules);
}

DaemonCounts count_daemons(const std::vector<Place>& places, const DaemonRules& rules) {
    DaemonCounts out;
    for (const auto& place : places) {
        const bool there = !place.pods.empty();
        if (!place.eligible.should_run) {
            out.misscheduled += there ? 1 : 0;
            continue;
        }
        ++out.desired;
        if (!there) continue;
        ++out.current;
        const Pod& pod = **std::ranges::min_element(place.pods, older);
        out.ready += is_ready(pod) ? 1 : 0;
        out.available += available(pod, rules) ? 1 : 0;
        out.updated += is_updated(pod, rules) ? 1 : 0;
    }
    return out;
}

}  // namespace sluice::controllers
