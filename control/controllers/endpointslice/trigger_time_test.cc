// Cases from what Kubernetes says of the annotation: the last change of some Pod or Service that led to the
// update, the earliest one if there are several.
#include "control/controllers/endpointslice/trigger_time.h"

#include <gtest/gtest.h>

#include "api/kubernetes/core/v1/types.pb.h"

namespace sluice::controllers::endpoints {
namespace {

constexpr std::int64_t kBegin = 1'546'300'800;  // 2019-01-01T00:00:00Z

corev1::Service created(std::int64_t second) {
    corev1::Service service;
    service.mutable_metadata()->mutable_creationtimestamp()->set_seconds(kBegin + second);
    return service;
}

PodPtr ready(const std::string& name, std::int64_t second, const std::string& status = "True") {
    auto pod = std::make_shared<corev1::Pod>();
    pod->mutable_metadata()->set_name(name);
    auto* other = pod->mutable_status()->add_conditions();
    other->set_type("Initialized");
    other->mutable_lasttransitiontime()->set_seconds(kBegin - 100);
    auto* condition = pod->mutable_status()->add_conditions();
    condition->set_type("Ready");
    condition->set_status(status);
    condition->mutable_lasttransitiontime()->set_seconds(kBegin + second);
    return pod;
}

class Following : public ::testing::Test {
protected:
    // Seconds from kBegin; -1 for none. The update is made.
    std::int64_t update(const corev1::Service& service, const std::vector<PodPtr>& pods) {
        auto look = times.look("ns/web", service, pods);
        const auto trigger = look.trigger;
        times.followed("ns/web", std::move(look));
        return trigger ? trigger->seconds - kBegin : -1;
    }
    TriggerTimes times;
};

TEST_F(Following, ANewServiceGivesItsCreationWhateverItsPodsSay) {
    EXPECT_EQ(update(created(3), {ready("a", 0), ready("b", 5)}), 3);
}

TEST_F(Following, OfSeveralChangesTheEarliestCounts) {
    EXPECT_EQ(update(created(0), {ready("c", 1)}), 0);
    EXPECT_EQ(update(created(0), {ready("a", 9), ready("b", 7), ready("c", 1)}), 7);
    EXPECT_EQ(update(created(0), {ready("a", 12), ready("b", 11, "False"), ready("c", 1)}), 11);
}

TEST_F(Following, WhatHasNoTimeOfItsOwnGivesNone) {
    EXPECT_EQ(update(created(0), {ready("a", 1), ready("b", 2)}), 0);
    EXPECT_EQ(update(created(0), {ready("a", 1), ready("b", 2)}), -1) << "nothing changed";
    EXPECT_EQ(update(created(0), {ready("a", 1)}), -1) << "a pod went";
    auto other_ports = created(0);
    other_ports.mutable_spec()->add_ports()->set_port(81);
    EXPECT_EQ(update(other_ports, {ready("a", 1)}), -1);
    auto unscheduled = std::make_shared<corev1::Pod>();
    unscheduled->mutable_metadata()->set_name("new");
    EXPECT_EQ(update(created(0), {ready("a", 1), unscheduled}), -1) << "its readiness was never told";
}

TEST_F(Following, APodThatChangesTwiceInASecondHasChangedTwice) {
    EXPECT_EQ(update(created(0), {}), 0);
    EXPECT_EQ(update(created(0), {ready("a", 3, "False")}), 3);
    EXPECT_EQ(update(created(0), {ready("a", 3)}), 3);
    EXPECT_EQ(update(created(0), {ready("a", 3)}), -1);
}

TEST_F(Following, APodOfAnEarlierNameIsNew) {
    EXPECT_EQ(update(created(0), {ready("a", 1)}), 0);
    EXPECT_EQ(update(created(0), {}), -1);
    EXPECT_EQ(update(created(0), {ready("a", 4)}), 4);
}

TEST_F(Following, AServiceMadeAnewIsNew) {
    EXPECT_EQ(update(created(0), {ready("a", 1)}), 0);
    EXPECT_EQ(update(created(6), {ready("a", 1)}), 6) << "deleted and made again between two looks";
    times.forget("ns/web");
    EXPECT_EQ(update(created(6), {ready("a", 9)}), 6);
}

TEST_F(Following, AnUpdateThatFailsLeavesItsTimeToTheNext) {
    EXPECT_EQ(update(created(0), {}), 0);
    EXPECT_EQ(times.look("ns/web", created(0), {ready("a", 4)}).trigger->seconds, kBegin + 4);
    // Not followed. Meanwhile there is more.
    EXPECT_EQ(update(created(0), {ready("a", 4), ready("b", 5)}), 4);
    EXPECT_EQ(update(created(0), {ready("a", 4), ready("b", 5)}), -1);
}

TEST_F(Following, ServicesAreApart) {
    EXPECT_EQ(update(created(0), {ready("a", 1)}), 0);
    EXPECT_EQ(times.look("ns/other", created(8), {ready("a", 1)}).trigger->seconds, kBegin + 8);
}

// RFC3339Nano: UTC, no more digits of fraction than there are.
TEST(TriggerTime, IsWrittenAsGoWritesIt) {
    const auto text = [](std::int64_t seconds, std::int32_t nanos) {
        ObjectMeta meta;
        set_trigger_time(codec::Timestamp{seconds, nanos}, &meta);
        return meta.annotations().at("endpoints.kubernetes.io/last-change-trigger-time");
    };
    EXPECT_EQ(text(1'540'236'772, 100'000'000), "2018-10-22T19:32:52.1Z");
    EXPECT_EQ(text(1'540'236'772, 0), "2018-10-22T19:32:52Z");
    EXPECT_EQ(text(1'540'236'772, 1), "2018-10-22T19:32:52.000000001Z");
    EXPECT_EQ(text(1'540'236'772, 20'300), "2018-10-22T19:32:52.0000203Z");
}

TEST(TriggerTime, IsTakenAwayWhenThereIsNone) {
    ObjectMeta meta;
    (*meta.mutable_annotations())["mine"] = "stays";
    set_trigger_time(codec::Timestamp{kBegin, 0}, &meta);
    EXPECT_EQ(meta.annotations_size(), 2);
    set_trigger_time(std::nullopt, &meta);
    EXPECT_EQ(meta.annotations_size(), 1);
    EXPECT_EQ(meta.annotations().at("mine"), "stays");
}

}  // namespace
}  // namespace sluice::controllers::endpoints
