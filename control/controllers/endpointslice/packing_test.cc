#include "control/controllers/endpointslice/packing.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "api/kubernetes/core/v1/types.pb.h"

namespace sluice::controllers::endpoints {
namespace {

SliceTemplate pattern() {
    SliceTemplate out;
    out.namespace_name = "ns";
    out.generate_name = "web-";
    out.labels = {{kServiceNameLabel, "web"}};
    return out;
}

Groups groups_of(const std::set<int>& pods, int port = 80, bool ready = true) {
    if (pods.empty()) return {};
    Group group;
    discoveryv1::EndpointPort number;
    number.set_name("");
    number.set_protocol("TCP");
    number.set_port(port);
    group.ports.push_back(number);
    for (const int pod : pods) {
        discoveryv1::Endpoint endpoint;
        endpoint.add_addresses("10.0." + std::to_string(pod / 250) + "." + std::to_string(pod % 250));
        endpoint.mutable_conditions()->set_ready(ready);
        endpoint.mutable_targetref()->set_uid(std::to_string(pod));
        group.endpoints.push_back(endpoint);
    }
    return {{port_key(group.ports), group}};
}

// What the API server would hold after the changes.
class Held {
public:
    void apply(const Changes& changes) {
        for (const auto& slice : changes.create) put(slice, "s" + std::to_string(++made_));
        for (const auto& slice : changes.update) put(slice, slice.metadata().name());
        for (const auto& slice : changes.remove) slices_.erase(slice->metadata().name());
    }
    [[nodiscard]] std::vector<SlicePtr> list() const {
        std::vector<SlicePtr> out;
        for (const auto& [name, slice] : slices_) out.push_back(slice);
        return out;
    }
    [[nodiscard]] std::multiset<std::string> uids() const {
        std::multiset<std::string> out;
        for (const auto& [name, slice] : slices_) {
            for (const auto& endpoint : slice->endpoints()) out.insert(endpoint.targetref().uid());
        }
        return out;
    }

private:
    void put(Slice slice, const std::string& name) {
        slice.mutable_metadata()->set_name(name);
        slices_[name] = std::make_shared<const Slice>(std::move(slice));
    }
    std::map<std::string, SlicePtr> slices_;
    int made_ = 0;
};

std::set<int> range(int first, int end) {
    std::set<int> out;
    for (int i = first; i < end; ++i) out.insert(i);
    return out;
}

TEST(Packing, AHundredASlice) {
    Held held;
    held.apply(pack(pattern(), "IPv4", groups_of(range(0, 250)), {}));
    EXPECT_EQ(held.list().size(), 3U);
    EXPECT_TRUE(pack(pattern(), "IPv4", groups_of(range(0, 250)), held.list()).empty());
}

TEST(Packing, OneChangeIsOneWrite) {
    Held held;
    held.apply(pack(pattern(), "IPv4", groups_of(range(0, 250)), {}));
    auto next = groups_of(range(0, 250));
    next.begin()->second.endpoints[120].mutable_conditions()->set_ready(false);
    const auto changes = pack(pattern(), "IPv4", next, held.list());
    EXPECT_EQ(changes.update.size(), 1U);
    EXPECT_TRUE(changes.create.empty());
    EXPECT_TRUE(changes.remove.empty());
}

TEST(Packing, NewOnesFillWhatIsWrittenAnyway) {
    Held held;
    held.apply(pack(pattern(), "IPv4", groups_of(range(0, 150)), {}));
    auto pods = range(0, 160);
    pods.erase(0);
    const auto changes = pack(pattern(), "IPv4", groups_of(pods), held.list());
    // One leaves a full slice; ten come: one takes its place, nine go to the slice with room.
    EXPECT_EQ(changes.update.size(), 2U);
    EXPECT_TRUE(changes.create.empty());
}

TEST(Packing, NoEndpointsLeaveAPlaceholder) {
    Held held;
    held.apply(pack(pattern(), "IPv4", {}, {}));
    ASSERT_EQ(held.list().size(), 1U);
    EXPECT_EQ(held.list()[0]->endpoints_size(), 0);
    EXPECT_TRUE(pack(pattern(), "IPv4", {}, held.list()).empty());
    const auto first = pack(pattern(), "IPv4", groups_of({1}), held.list());
    EXPECT_EQ(first.update.size(), 1U);  // the placeholder becomes the slice
    EXPECT_TRUE(first.create.empty() && first.remove.empty());
    auto without = pattern();
    without.placeholder = false;
    EXPECT_TRUE(pack(without, "IPv4", {}, {}).empty());
}

TEST(Packing, ChangedLabelsAreWritten) {
    Held held;
    held.apply(pack(pattern(), "IPv4", groups_of({1}), {}));
    auto relabelled = pattern();
    relabelled.labels["team"] = "b";
    const auto changes = pack(relabelled, "IPv4", groups_of({1}), held.list());
    ASSERT_EQ(changes.update.size(), 1U);
    EXPECT_EQ(changes.update[0].metadata().labels().at("team"), "b");
}

TEST(Packing, ADuplicateStandsOnce) {
    Held held;
    held.apply(pack(pattern(), "IPv4", groups_of({1}), {}));
    held.apply(pack(pattern(), "IPv4", groups_of({1}), {}));
    held.apply(pack(pattern(), "IPv4", groups_of({1}), held.list()));
    EXPECT_EQ(held.uids(), (std::multiset<std::string>{"1"}));
}

// Any walk of sets of pods ends with each pod in one slice, none too full, and with nothing left to
// write.
RC_GTEST_PROP(PackingProperty, AnyWalkEndsAsWanted, ()) {
    const auto walk = *rc::gen::container<std::vector<std::vector<int>>>(
        rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 40)));
    Held held;
    for (const auto& chosen : walk) {
        const std::set<int> pods(chosen.begin(), chosen.end());
        const int port = *rc::gen::inRange(80, 82);
        const bool ready = *rc::gen::arbitrary<bool>();
        const auto wanted = groups_of(pods, port, ready);
        held.apply(pack(pattern(), "IPv4", wanted, held.list(), 7));
        std::multiset<std::string> uids;
        for (const int pod : pods) uids.insert(std::to_string(pod));
        RC_ASSERT(held.uids() == uids);
        for (const auto& slice : held.list()) {
            RC_ASSERT(slice->endpoints_size() <= 7);
            for (const auto& endpoint : slice->endpoints()) {
                RC_ASSERT(endpoint.conditions().ready() == ready);
                RC_ASSERT(slice->ports(0).port() == port);
            }
        }
        RC_ASSERT(pack(pattern(), "IPv4", wanted, held.list(), 7).empty());
    }
}

}  // namespace
}  // namespace sluice::controllers::endpoints
