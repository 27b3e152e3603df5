#include "control/controllers/node/health.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::controllers::nodes {
namespace {

corev1::Node node(const std::string& ready) {
    corev1::Node out;
    out.mutable_metadata()->set_name("n");
    if (ready.empty()) return out;
    auto* condition = out.mutable_status()->add_conditions();
    condition->set_type("Ready");
    condition->set_status(ready);
    return out;
}

std::vector<std::string> texts(const std::vector<corev1::Taint>& taints) {
    std::vector<std::string> out;
    for (const auto& taint : taints) out.push_back(taint.key() + ":" + taint.effect());
    std::sort(out.begin(), out.end());
    return out;
}

TEST(Health, SilenceMakesConditionsUnknown) {
    auto silent = node("True");
    ASSERT_TRUE(mark_unknown(&silent, 100));
    const auto& ready = silent.status().conditions(0);
    EXPECT_EQ(ready.status(), "Unknown");
    EXPECT_EQ(ready.reason(), "NodeStatusUnknown");
    EXPECT_EQ(ready.message(), "Kubelet stopped posting node status.");
    EXPECT_EQ(ready.lasttransitiontime().seconds(), 100);
    EXPECT_EQ(silent.status().conditions_size(), 4);
    EXPECT_EQ(silent.status().conditions(1).reason(), "NodeStatusNeverUpdated");
    EXPECT_FALSE(mark_unknown(&silent, 200));
}

TEST(Health, TaintsFollowTheState) {
    using Texts = std::vector<std::string>;
    EXPECT_FALSE(wanted_taints(node("True"), true, 1));
    EXPECT_EQ(texts(*wanted_taints(node("Unknown"), true, 1)),
              (Texts{"node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"}));
    EXPECT_EQ(texts(*wanted_taints(node("False"), false, 1)), (Texts{"node.kubernetes.io/not-ready:NoSchedule"}));
    auto back = node("True");
    const auto lost = wanted_taints(node("Unknown"), true, 1);
    for (const auto& taint : *lost) *back.mutable_spec()->add_taints() = taint;
    auto* own = back.mutable_spec()->add_taints();
    own->set_key("dedicated");
    own->set_effect("NoExecute");
    EXPECT_EQ(texts(*wanted_taints(back, true, 1)), (Texts{"dedicated:NoExecute"}));
    auto cordoned = node("True");
    cordoned.mutable_spec()->set_unschedulable(true);
    EXPECT_EQ(texts(*wanted_taints(cordoned, true, 1)), (Texts{"node.kubernetes.io/unschedulable:NoSchedule"}));
    auto full = node("True");
    auto* disk = full.mutable_status()->add_conditions();
    disk->set_type("DiskPressure");
    disk->set_status("True");
    EXPECT_EQ(texts(*wanted_taints(full, true, 1)), (Texts{"node.kubernetes.io/disk-pressure:NoSchedule"}));
}

TEST(Health, TolerationsDecideWhenAPodLeaves) {
    corev1::Taint taint;
    taint.set_key(kUnreachableTaint);
    taint.set_effect(kNoExecute);
    taint.mutable_timeadded()->set_seconds(1'000);
    corev1::Pod pod;
    EXPECT_EQ(eviction_time(pod, {taint}, 1'010, 1'005), 1'010);  // at once
    EXPECT_FALSE(eviction_time(pod, {}, 1'010, 1'005));
    auto* toleration = pod.mutable_spec()->add_tolerations();
    toleration->set_key(kUnreachableTaint);
    toleration->set_operator_("Exists");
    toleration->set_effect(kNoExecute);
    EXPECT_FALSE(eviction_time(pod, {taint}, 1'010, 1'005));  // for ever
    toleration->set_tolerationseconds(300);
    EXPECT_EQ(eviction_time(pod, {taint}, 1'010, 1'005), 1'300);
    toleration->set_tolerationseconds(-5);
    EXPECT_EQ(eviction_time(pod, {taint}, 1'010, 1'005), 1'000);
    toleration->set_key(kNotReadyTaint);
    EXPECT_EQ(eviction_time(pod, {taint}, 1'010, 1'005), 1'010);
    taint.set_effect(kNoSchedule);
    EXPECT_FALSE(eviction_time(pod, {taint}, 1'010, 1'005));
}

TEST(Health, TolerationsMatchAsInKubernetes) {
    corev1::Taint taint;
    taint.set_key("k");
    taint.set_value("v");
    taint.set_effect("NoSchedule");
    const auto matches = [&](const char* key, const char* op, const char* value, const char* effect) {
        corev1::Toleration toleration;
        toleration.set_key(key);
        toleration.set_operator_(op);
        toleration.set_value(value);
        toleration.set_effect(effect);
        return tolerates(toleration, taint);
    };
    EXPECT_TRUE(matches("k", "Equal", "v", "NoSchedule"));
    EXPECT_TRUE(matches("k", "", "v", ""));
    EXPECT_FALSE(matches("k", "Equal", "w", ""));
    EXPECT_TRUE(matches("k", "Exists", "", ""));
    EXPECT_TRUE(matches("", "Exists", "", ""));
    EXPECT_FALSE(matches("", "Equal", "v", ""));
    EXPECT_FALSE(matches("k", "Exists", "", "NoExecute"));
}

TEST(Health, ZonesThatAreLost) {
    EXPECT_EQ(zone_state(0, 1), ZoneState::kFullDisruption);
    EXPECT_EQ(zone_state(1, 1), ZoneState::kNormal);
    EXPECT_EQ(zone_state(2, 3), ZoneState::kPartialDisruption);
    EXPECT_EQ(zone_state(3, 3), ZoneState::kNormal);
    EXPECT_EQ(zone_state(0, 0), ZoneState::kNormal);
    EXPECT_EQ(eviction_interval_s(ZoneState::kNormal, 2), 10);
    EXPECT_FALSE(eviction_interval_s(ZoneState::kPartialDisruption, 50));
    EXPECT_EQ(eviction_interval_s(ZoneState::kPartialDisruption, 51), 100);
}

}  // namespace
}  // namespace sluice::controllers::nodes
