// Random sequences of everything that can happen; after each decision the rules are checked from the API's objects,
// by code that shares nothing with the scheduler's.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

#include "control/scheduler/core.h"
#include "control/scheduler/test_objects.h"

namespace sluice::scheduler::testing {
namespace {

constexpr const char* kZones[] = {"z1", "z2", "z3"};

struct Model {
    struct Machine {
        int cpu = 0;  // whole ones
        int pods = 0;
        std::string zone;
        bool tainted = false;
        bool cordoned = false;
    };
    struct Placed {
        std::string node;
        int cpu = 0;
        int port = 0;      // 0: none
        bool apart = false;  // wants no other such pod in its zone
        bool even = false;   // spreads over zones, skew 1
        bool loud = false;   // only a label
        bool shy = false;    // wants no loud pod in its zone
    };
    struct Waiting : Placed {
        bool tolerates = false;
        std::string zone;  // nodeSelector
    };
    std::map<std::string, Machine> machines;
    std::map<std::string, Placed> placed;
    std::map<std::string, Waiting> waiting;

    [[nodiscard]] int in_zone(const std::string& zone, bool Placed::*kind) const {
        int out = 0;
        for (const auto& [name, pod] : placed) {
            const auto machine = machines.find(pod.node);
            out += machine != machines.end() && machine->second.zone == zone && pod.*kind;
        }
        return out;
    }

    // Empty if the pod may run there.
    [[nodiscard]] std::string objection(const Waiting& pod, const std::string& node) const {
        const auto found = machines.find(node);
        if (found == machines.end()) return "no such node";
        const Machine& machine = found->second;
        int cpu = pod.cpu;
        int pods = 1;
        for (const auto& [name, other] : placed) {
            if (other.node != node) continue;
            cpu += other.cpu;
            ++pods;
            if (pod.port != 0 && other.port == pod.port) return "port";
        }
        if (pod.cpu > 0 && cpu > machine.cpu) return "cpu";
        if (pods > machine.pods) return "pods";
        if (machine.cordoned) return "cordoned";
        if (machine.tainted && !pod.tolerates) return "taint";
        if (!pod.zone.empty() && pod.zone != machine.zone) return "zone";
        if (pod.apart && in_zone(machine.zone, &Placed::apart) > 0) return "apart";
        if (pod.shy && in_zone(machine.zone, &Placed::loud) > 0) return "shy";
        if (pod.loud && in_zone(machine.zone, &Placed::shy) > 0) return "loud";
        if (pod.even) {
            std::set<std::string> zones;
            for (const auto& [name, other] : machines) {
                if (pod.zone.empty() || other.zone == pod.zone) zones.insert(other.zone);
            }
            int least = 1'000'000;
            for (const auto& zone : zones) least = std::min(least, in_zone(zone, &Placed::even));
            if (in_zone(machine.zone, &Placed::even) + 1 - least > 1) return "skew";
        }
        return "";
    }
};

Node node_object(const std::string& name, const Model::Machine& machine) {
    return make_node(
        name,
        fmt::format(R"("unschedulable":{},"taints":[{}])", machine.cordoned,
                    machine.tainted ? R"({"key":"t","value":"","effect":"NoSchedule"})" : ""),
        fmt::format(R"(,"topology.kubernetes.io/zone":"{}")", machine.zone),
        fmt::format(R"("cpu":"{}","memory":"1Ti","pods":"{}")", machine.cpu, machine.pods));
}

std::shared_ptr<const Pod> pod_object(const std::string& name, const Model::Waiting& pod) {
    std::string spec = fmt::format(
        R"("containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{}"}}}})", pod.cpu);
    if (pod.port != 0) spec += fmt::format(R"(,"ports":[{{"containerPort":1,"hostPort":{}}}])", pod.port);
    spec += "}]";
    if (pod.tolerates) spec += R"(,"tolerations":[{"key":"t","operator":"Exists"}])";
    if (!pod.zone.empty()) spec += R"(,"nodeSelector":{"topology.kubernetes.io/zone":")" + pod.zone + "\"}";
    const auto away_from = [](const char* label) {
        return fmt::format(R"({{"topologyKey":"topology.kubernetes.io/zone",)"
                           R"("labelSelector":{{"matchLabels":{{"{}":"true"}}}}}})", label);
    };
    if (pod.apart || pod.shy) {
        spec += R"(,"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[)";
        if (pod.apart) spec += away_from("apart");
        if (pod.apart && pod.shy) spec += ",";
        if (pod.shy) spec += away_from("loud");
        spec += "]}}";
    }
    if (pod.even) {
        spec += R"(,"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"topology.kubernetes.io/zone",
            "whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"even":"true"}}}])";
    }
    return make_pod(name, spec, fmt::format(R"(,"labels":{{"apart":"{}","even":"{}","loud":"{}"}})",
                                            pod.apart, pod.even, pod.loud));
}

template <class Map>
std::string any_key(const Map& map) {
    return std::next(map.begin(), *rc::gen::inRange<int>(0, static_cast<int>(map.size())))->first;
}

RC_GTEST_PROP(SchedulerProperty, NeverBreaksARuleAndNeverLeavesAPodThatFits, ()) {
    Model model;
    Core core(*rc::gen::arbitrary<std::uint64_t>());
    Time now = Time{} + std::chrono::hours(1);
    int names = 0;
    const int steps = *rc::gen::inRange(5, 60);
    const auto put_node = [&](const std::string& name) {
        RC_ASSERT(core.set_node(node_object(name, model.machines.at(name))).has_value());
    };
    for (int i = 0; i < steps; ++i) {
        switch (*rc::gen::inRange(0, 9)) {
            case 0:
            case 1: {
                const std::string name = "n" + std::to_string(names++);
                model.machines[name] = {*rc::gen::inRange(0, 5), *rc::gen::inRange(0, 6),
                                        kZones[*rc::gen::inRange(0, 3)],
                                        *rc::gen::inRange(0, 4) == 0, false};
                put_node(name);
                break;
            }
            case 2:
                if (!model.machines.empty()) {
                    const std::string name = any_key(model.machines);
                    auto& machine = model.machines.at(name);
                    machine.cordoned = *rc::gen::inRange(0, 3) == 0;
                    machine.tainted = *rc::gen::inRange(0, 3) == 0;
                    machine.cpu = *rc::gen::inRange(0, 5);
                    put_node(name);
                }
                break;
            case 3:
                if (!model.machines.empty()) {
                    const std::string name = any_key(model.machines);
                    model.machines.erase(name);
                    core.remove_node(name);
                }
                break;
            case 4:
                if (!model.placed.empty()) {
                    const std::string name = any_key(model.placed);
                    model.placed.erase(name);
                    core.remove_pod("default/" + name, now);
                }
                break;
            default: {
                const std::string name = "p" + std::to_string(names++);
                Model::Waiting pod;
                pod.cpu = *rc::gen::inRange(0, 4);
                pod.port = *rc::gen::inRange(0, 4) == 0 ? 80 + *rc::gen::inRange(0, 2) : 0;
                pod.apart = *rc::gen::inRange(0, 5) == 0;
                pod.even = *rc::gen::inRange(0, 4) == 0;
                pod.loud = *rc::gen::inRange(0, 4) == 0;
                pod.shy = !pod.loud && *rc::gen::inRange(0, 4) == 0;
                pod.tolerates = *rc::gen::inRange(0, 3) == 0;
                if (*rc::gen::inRange(0, 4) == 0) pod.zone = kZones[*rc::gen::inRange(0, 3)];
                model.waiting[name] = pod;
                RC_ASSERT(!core.set_pod(pod_object(name, pod), now));
                break;
            }
        }
        // Far enough on that no back-off hides a pod, but less than the five minutes that wake all.
        now += std::chrono::seconds(11);
        while (const auto outcome = core.schedule_next(now)) {
            const std::string& name = outcome->pod->name;
            const Model::Waiting pod = model.waiting.at(name);
            if (outcome->node.empty()) continue;
            RC_ASSERT(model.objection(pod, outcome->node) == "");
            if (*rc::gen::inRange(0, 6) == 0) {
                core.bind_failed(outcome->pod, true, now);
                continue;
            }
            model.waiting.erase(name);
            model.placed[name] = pod;
            model.placed[name].node = outcome->node;
            if (*rc::gen::arbitrary<bool>()) {
                RC_ASSERT(!core.set_pod(assigned(pod_object(name, pod), outcome->node), now));
            }
        }
        // Those that were put back are tried once more.
        now += std::chrono::seconds(11);
        while (const auto outcome = core.schedule_next(now)) {
            if (outcome->node.empty()) continue;
            const Model::Waiting pod = model.waiting.at(outcome->pod->name);
            RC_ASSERT(model.objection(pod, outcome->node) == "");
            model.waiting.erase(outcome->pod->name);
            model.placed[outcome->pod->name] = pod;
            model.placed[outcome->pod->name].node = outcome->node;
        }
        // Whoever could run somewhere has been woken and placed, or has a back-off still to come.
        now += std::chrono::seconds(11);
        while (const auto outcome = core.schedule_next(now)) {
            if (outcome->node.empty()) continue;
            const Model::Waiting pod = model.waiting.at(outcome->pod->name);
            model.waiting.erase(outcome->pod->name);
            model.placed[outcome->pod->name] = pod;
            model.placed[outcome->pod->name].node = outcome->node;
        }
        for (const auto& [name, pod] : model.waiting) {
            for (const auto& [node, machine] : model.machines) {
                if (model.objection(pod, node).empty()) RC_FAIL("pod " + name + " fits on " + node);
            }
        }
    }
}

}  // namespace
}  // namespace sluice::scheduler::testing
