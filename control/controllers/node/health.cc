#include "control/controllers/node/health.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::nodes {
namespace {

constexpr std::array<const char*, 4> kKubeletConditions = {"Ready", "MemoryPressure",
                                                           "DiskPressure", "PIDPressure"};

// A condition in this state calls for this taint.
struct ConditionTaint {
    const char* type;
    const char* status;
    const char* key;
};
constexpr std::array<ConditionTaint, 6> kConditionTaints = {{
    {"Ready", "False", kNotReadyTaint},
    {"Ready", "Unknown", kUnreachableTaint},
    {"MemoryPressure", "True", "node.kubernetes.io/memory-pressure"},
    {"DiskPressure", "True", "node.kubernetes.io/disk-pressure"},
    {"NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"},
    {"PIDPressure", "True", "node.kubernetes.io/pid-pressure"},
}};
constexpr char kUnschedulableTaint[] = "node.kubernetes.io/unschedulable";

using TaintId = std::pair<std::string_view, std::string_view>;  // key, effect

bool is_managed(const corev1::Taint& taint) {
    if (taint.effect() == kNoExecute) {
        return taint.key() == kNotReadyTaint || taint.key() == kUnreachableTaint;
    }
    if (taint.effect() != kNoSchedule) return false;
    return taint.key() == kUnschedulableTaint ||
           std::any_of(kConditionTaints.begin(), kConditionTaints.end(),
                       [&](const auto& rule) { return taint.key() == rule.key; });
}

std::string label_of(const corev1::Node& node, const char* name) {
    const auto found = node.metadata().labels().find(name);
    return found == node.metadata().labels().end() ? std::string() : found->second;
}

}  // namespace

std::string condition_status(const corev1::Node& node, const std::string& type) {
    for (const auto& condition : node.status().conditions()) {
        if (condition.type() == type) return condition.status();
    }
    return {};
}

bool mark_unknown(corev1::Node* node, std::int64_t now_s) {
    bool changed = false;
    for (const char* type : kKubeletConditions) {
        corev1::NodeCondition* found = nullptr;
        for (auto& condition : *node->mutable_status()->mutable_conditions()) {
            if (condition.type() == type) found = &condition;
        }
        if (found == nullptr) {
            found = node->mutable_status()->add_conditions();
            found->set_type(type);
            found->set_reason("NodeStatusNeverUpdated");
            found->set_message("Kubelet never posted node status.");
            if (node->metadata().has_creationtimestamp()) {
                *found->mutable_lastheartbeattime() = node->metadata().creationtimestamp();
            }
        } else if (found->status() == "Unknown") {
            continue;
        } else {
            found->set_reason("NodeStatusUnknown");
            found->set_message("Kubelet stopped posting node status.");
        }
        found->set_status("Unknown");
        found->mutable_lasttransitiontime()->set_seconds(now_s);
        changed = true;
    }
    return changed;
}

const char* eviction_taint(const corev1::Node& node) {
    const std::string ready = condition_status(node, "Ready");
    if (ready == "False") return kNotReadyTaint;
    if (ready == "Unknown") return kUnreachableTaint;
    return nullptr;
}

std::optional<std::vector<corev1::Taint>> wanted_taints(const corev1::Node& node, bool evict,
                                                        std::int64_t now_s) {
    std::vector<TaintId> wanted;
    for (const auto& rule : kConditionTaints) {
        if (condition_status(node, rule.type) == rule.status) {
            wanted.emplace_back(rule.key, kNoSchedule);
        }
    }
    if (node.spec().unschedulable()) wanted.emplace_back(kUnschedulableTaint, kNoSchedule);
    const char* eviction = eviction_taint(node);
    if (eviction != nullptr && evict) wanted.emplace_back(eviction, kNoExecute);

    std::vector<corev1::Taint> out;
    bool changed = false;
    for (const auto& taint : node.spec().taints()) {
        if (!is_managed(taint)) {
            out.push_back(taint);
            continue;
        }
        const auto found =
            std::find(wanted.begin(), wanted.end(), TaintId(taint.key(), taint.effect()));
        if (found == wanted.end()) {
            changed = true;
            continue;
        }
        out.push_back(taint);
        wanted.erase(found);
    }
    for (const auto& [key, effect] : wanted) {
        corev1::Taint taint;
        taint.set_key(std::string(key));
        taint.set_effect(std::string(effect));
        taint.mutable_timeadded()->set_seconds(now_s);
        out.push_back(std::move(taint));
        changed = true;
    }
    if (!changed) return std::nullopt;
    return out;
}

bool tolerates(const corev1::Toleration& toleration, const corev1::Taint& taint) {
    if (!toleration.effect().empty() && toleration.effect() != taint.effect()) return false;
    if (!toleration.key().empty() && toleration.key() != taint.key()) return false;
    const std::string& op = toleration.operator_();
    if (op == "Exists") return true;
    // Without a key only Exists makes sense: anything is tolerated, or nothing.
    if (toleration.key().empty()) return false;
    return (op.empty() || op == "Equal") && toleration.value() == taint.value();
}

std::optional<std::int64_t> eviction_time(const corev1::Pod& pod,
                                          const std::vector<corev1::Taint>& taints,
                                          std::int64_t now_s, std::int64_t since_s) {
    std::optional<std::int64_t> earliest;
    const auto consider = [&](std::int64_t when) {
        earliest = earliest ? std::min(*earliest, when) : when;
    };
    for (const auto& taint : taints) {
        if (taint.effect() != kNoExecute) continue;
        bool tolerated = false;
        for (const auto& toleration : pod.spec().tolerations()) {
            if (!tolerates(toleration, taint)) continue;
            tolerated = true;
            if (!toleration.has_tolerationseconds()) continue;
            const std::int64_t added =
                taint.has_timeadded() ? taint.timeadded().seconds() : since_s;
            consider(added + std::clamp<std::int64_t>(toleration.tolerationseconds(), 0,
                                                      std::int64_t{1} << 40));
        }
        if (!tolerated) consider(now_s);
    }
    return earliest;
}

ZoneState zone_state(int ready, int not_ready) {
    if (ready == 0 && not_ready > 0) return ZoneState::kFullDisruption;
    if (not_ready > 2 && static_cast<double>(not_ready) >=
                             kUnhealthyZoneThreshold * static_cast<double>(ready + not_ready)) {
        return ZoneState::kPartialDisruption;
    }
    return ZoneState::kNormal;
}

std::optional<std::int64_t> eviction_interval_s(ZoneState state, int nodes) {
    if (state != ZoneState::kPartialDisruption) return kEvictionIntervalS;
    if (nodes > kLargeZone) return kSecondaryEvictionIntervalS;
    return std::nullopt;
}

std::string zone_of(const corev1::Node& node) {
    return label_of(node, "topology.kubernetes.io/region") + ":" +
           label_of(node, "topology.kubernetes.io/zone");
}

}  // namespace sluice::controllers::nodes
