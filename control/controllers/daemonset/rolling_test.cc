// The steps of daemons node by node, the back-off of those that fail, and the records of templates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/kubernetes/apps/v1/apps.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/podtemplate.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/controllers/daemonset/failed_pods.h"
#include "control/controllers/daemonset/history.h"
#include "control/controllers/daemonset/rolling.h"

namespace sluice::controllers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr std::int64_t kNow = 10'000 * kSecondNs;

// A letter a state: capital for the present template. r ready, p pending, f failed, s succeeded, t
// being deleted.
PodPtr pod(const std::string& name, char state, int created = 100) {
    auto out = std::make_shared<Pod>();
    out->mutable_metadata()->set_name(name);
    out->mutable_metadata()->mutable_creationtimestamp()->set_seconds(created);
    out->mutable_spec()->set_nodename("n");
    const bool fresh = state >= 'A' && state <= 'Z';
    (*out->mutable_metadata()->mutable_labels())[kRevisionHashLabel] = fresh ? "new" : "old";
    switch (fresh ? state - 'A' + 'a' : state) {
        case 'r': {
            out->mutable_status()->set_phase("Running");
            auto* ready = out->mutable_status()->add_conditions();
            ready->set_type("Ready");
            ready->set_status("True");
            ready->mutable_lasttransitiontime()->set_seconds(5'000);
            break;
        }
        case 'f': out->mutable_status()->set_phase("Failed"); break;
        case 's': out->mutable_status()->set_phase("Succeeded"); break;
        case 't': out->mutable_metadata()->mutable_deletiontimestamp()->set_seconds(9'999); break;
        default: out->mutable_status()->set_phase("Pending");
    }
    return out;
}

// One node for each word; "-" has no pods. Pods are named by node and place: "0a" is the first of
// the first.
std::vector<Place> places(const std::vector<std::string>& words,
                          Eligibility eligible = {true, true}) {
    std::vector<Place> out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        Place place{"n" + std::to_string(i), eligible, {}};
        char letter = 'a';
        for (const char state : words[i]) {
            if (state == '-') continue;
            place.pods.push_back(pod(std::to_string(i) + letter, state, 100 + letter));
            ++letter;
        }
        out.push_back(std::move(place));
    }
    return out;
}

std::vector<std::string> names(const Pods& pods) {
    std::vector<std::string> out;
    for (const auto& entry : pods) out.push_back(entry->metadata().name());
    return out;
}

DaemonRules rules(int max_unavailable, int max_surge) {
    return {"new", "", 0, max_unavailable, max_surge, kNow};
}

TEST(StepsPerNode, OneWhereOneShouldRunAndTheOldestStays) {
    const auto steps = steps_per_node(places({"-", "R", "rr", "t", "f", "S"}), rules(1, 0));
    EXPECT_THAT(steps.create_on, ElementsAre("n0"));
    EXPECT_THAT(names(steps.remove), ElementsAre("2b"));
    EXPECT_THAT(names(steps.failed), ElementsAre("4a"));
    EXPECT_THAT(names(steps.succeeded), ElementsAre("5a"));
}

TEST(StepsPerNode, NoneWhereNoneMayStay) {
    const auto gone = steps_per_node(places({"-", "R", "rt", "f"}, {false, false}), rules(1, 0));
    EXPECT_THAT(gone.create_on, IsEmpty());
    EXPECT_THAT(names(gone.remove), ElementsAre("1a", "2a", "3a"));
    const auto tainted = steps_per_node(places({"-", "R", "r"}, {false, true}), rules(1, 0));
    EXPECT_THAT(tainted.create_on, IsEmpty());
    EXPECT_THAT(tainted.remove, IsEmpty());
}

TEST(StepsPerNode, WithSurgeTheOldStaysUntilTheNewIsAvailable) {
    EXPECT_THAT(names(steps_per_node(places({"rP"}), rules(0, 1)).remove), IsEmpty());
    EXPECT_THAT(names(steps_per_node(places({"rR"}), rules(0, 1)).remove), ElementsAre("0a"));
    EXPECT_THAT(names(steps_per_node(places({"pP"}), rules(0, 1)).remove), ElementsAre("0a"));
    EXPECT_THAT(names(steps_per_node(places({"rrPP"}), rules(0, 1)).remove),
                UnorderedElementsAre("0b", "0d"));
}

TEST(RollingSteps, NoMoreUnavailableThanAllowed) {
    EXPECT_THAT(names(rolling_steps(places({"r", "r", "r"}), rules(1, 0)).remove),
                ElementsAre("0a"));
    EXPECT_THAT(names(rolling_steps(places({"r", "r", "r"}), rules(2, 0)).remove),
                ElementsAre("0a", "1a"));
    // A successor that is not available yet, a pod on its way out and a node without one each take
    // their share.
    for (const char* busy : {"P", "t", "-", "rR"}) {
        EXPECT_THAT(rolling_steps(places({busy, "r", "r"}), rules(1, 0)).remove, IsEmpty()) << busy;
    }
    EXPECT_THAT(names(rolling_steps(places({"R", "r"}), rules(1, 0)).remove), ElementsAre("1a"));
    EXPECT_THAT(rolling_steps(places({"R", "R"}), rules(1, 0)).remove, IsEmpty());
}

TEST(RollingSteps, OldPodsThatServeNobodyGoAtOnce) {
    EXPECT_THAT(names(rolling_steps(places({"p", "p", "r", "P"}), rules(1, 0)).remove),
                ElementsAre("0a", "1a"));
}

TEST(RollingSteps, SurgeMakesTheSuccessorFirst) {
    const auto first = rolling_steps(places({"r", "r", "r"}), rules(0, 1));
    EXPECT_THAT(first.create_on, ElementsAre("n0"));
    EXPECT_THAT(first.remove, IsEmpty());
    const auto waits = rolling_steps(places({"rP", "r", "r"}), rules(0, 1));
    EXPECT_THAT(waits.create_on, IsEmpty());
    EXPECT_THAT(waits.remove, IsEmpty());
    const auto moves = rolling_steps(places({"rR", "r", "r"}), rules(0, 1));
    EXPECT_THAT(names(moves.remove), ElementsAre("0a"));
    EXPECT_THAT(moves.create_on, ElementsAre("n1"));
}

TEST(Counts, OfEachNodeItsOldestPod) {
    auto all = places({"-", "R", "r", "P", "rR"});
    all.push_back(places({"R"}, {false, true}).front());
    EXPECT_EQ(count_daemons(all, rules(1, 0)), (DaemonCounts{5, 4, 1, 3, 3, 2}));
    // Ready for 5,000 s, which is not long enough.
    auto slow = rules(1, 0);
    slow.min_ready_seconds = 6'000;
    EXPECT_EQ(count_daemons(all, slow).available, 0);
    EXPECT_EQ(count_daemons(all, slow).ready, 3);
}

TEST(FailedPods, WaitsTwiceAsLongEachTime) {
    FailedPods failed;
    std::int64_t now = kNow;
    EXPECT_EQ(failed.take("a", now), 0);
    EXPECT_EQ(failed.take("a", now), kSecondNs);
    EXPECT_EQ(failed.take("b", now), 0);
    now += kSecondNs;
    EXPECT_EQ(failed.take("a", now), 0);
    EXPECT_EQ(failed.take("a", now), 2 * kSecondNs);
    for (int i = 0; i < 20; ++i) {
        now += failed.take("a", now);
        EXPECT_EQ(failed.take("a", now), 0);
    }
    EXPECT_EQ(failed.take("a", now), 900 * kSecondNs);
    now += 1'801 * kSecondNs;
    EXPECT_EQ(failed.take("a", now), 0);
    EXPECT_EQ(failed.take("a", now), kSecondNs);
}

DaemonSet make_set(const std::string& image) {
    DaemonSet set;
    set.mutable_metadata()->set_name("d");
    auto* pod_template = set.mutable_spec()->mutable_template_();
    (*pod_template->mutable_metadata()->mutable_labels())["app"] = "d";
    auto* container = pod_template->mutable_spec()->add_containers();
    container->set_name("c");
    container->set_image(image);
    return set;
}

TEST(History, TheRecordIsAPatchInAlphabeticalOrder) {
    const std::string patch = template_patch(make_set("a:1"));
    // Go writes the time of creation that a template never has.
    EXPECT_TRUE(patch.starts_with(R"({"spec":{"template":{"$patch":"replace",)"
                                  R"("metadata":{"creationTimestamp":null,"labels":{"app":"d"}},)"
                                  R"("spec":{"containers":[{"image":"a:1","name":"c")"))
        << patch;
    EXPECT_NE(patch.find(R"("image":"a:1","name":"c")"), std::string::npos) << patch;
    ControllerRevision spaced;
    spaced.mutable_data()->set_raw(" " + patch + "\n");
    EXPECT_TRUE(records(spaced, patch));
    EXPECT_FALSE(records(spaced, template_patch(make_set("a:2"))));
}

TEST(History, NamesFollowTheTemplateAndItsCollisions) {
    auto set = make_set("a:1");
    const auto first = make_revision(set, template_patch(set), 1);
    EXPECT_EQ(first.metadata().name(), "d-" + hash_of(first));
    EXPECT_EQ(first.metadata().labels().at("app"), "d");
    set.mutable_status()->set_collisioncount(1);
    EXPECT_NE(make_revision(set, template_patch(set), 1).metadata().name(),
              first.metadata().name());
}

TEST(History, TheOldestGoUnlessPodsAreOfThem) {
    Revisions old;
    for (const int number : {4, 1, 3, 2}) {
        auto revision = std::make_shared<ControllerRevision>();
        revision->set_revision(number);
        (*revision->mutable_metadata()->mutable_labels())[kRevisionHashLabel] =
            "h" + std::to_string(number);
        old.push_back(std::move(revision));
    }
    const auto numbers = [&](int limit, const std::set<std::string>& live) {
        std::vector<std::int64_t> out;
        for (const auto& revision : superfluous(old, limit, live)) {
            out.push_back(revision->revision());
        }
        return out;
    };
    EXPECT_THAT(numbers(10, {}), IsEmpty());
    EXPECT_THAT(numbers(2, {}), ElementsAre(1, 2));
    EXPECT_THAT(numbers(2, {"h1"}), ElementsAre(2, 3));
    EXPECT_THAT(numbers(0, {"h4"}), ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace sluice::controllers
