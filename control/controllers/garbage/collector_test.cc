// The collector against an API server of maps, which tells of its changes as watches do.
#include "control/controllers/garbage/collector.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>

namespace sluice::controllers::garbage {
namespace {

class FakeServer final : public ObjectApi {
public:
    FakeServer() : collector_(*this, [this](const std::string& uid) { queue_.push_back(uid); }) {}

    Facts make(const std::string& name, const std::vector<std::string>& owners, bool blocks = true,
               const std::string& namespace_name = "ns", const std::string& owner_kind = "ConfigMap") {
        Facts facts;
        facts.where = {"v1", "ConfigMap", namespace_name, name};
        facts.uid = "uid-" + name;
        facts.resource_version = std::to_string(++version_);
        for (const auto& owner : owners) {
            facts.owners.push_back({"v1", owner_kind, owner, "uid-" + owner, blocks});
        }
        objects_[facts.where] = facts;
        collector_.graph().upsert(facts);
        return facts;
    }

    // A client's DELETE.
    void client_deletes(const std::string& name, Policy policy) {
        Facts& facts = objects_.at({"v1", "ConfigMap", "ns", name});
        begin_deletion(facts, policy);
    }

    [[nodiscard]] bool exists(const std::string& name, const std::string& namespace_name = "ns") const {
        return objects_.contains({"v1", "ConfigMap", namespace_name, name});
    }
    [[nodiscard]] Facts& at(const std::string& name) { return objects_.at({"v1", "ConfigMap", "ns", name}); }

    // Until nothing is left to do. Bounded: a collector that goes round in circles fails.
    void settle() {
        for (int i = 0; i < 20'000 && !queue_.empty(); ++i) {
            const std::string uid = queue_.front();
            queue_.pop_front();
            if (const auto done = collector_.look_at(uid); !done) queue_.push_back(uid);
        }
        ASSERT_TRUE(queue_.empty());
    }
    // One step; false when there is nothing to do.
    bool step() {
        if (queue_.empty()) return false;
        const std::string uid = queue_.front();
        queue_.pop_front();
        if (const auto done = collector_.look_at(uid); !done) queue_.push_back(uid);
        return true;
    }

    std::optional<bool> is_namespaced(const std::string&, const std::string& kind) const override {
        if (kind == "ConfigMap") return true;
        return std::nullopt;
    }
    Result<std::optional<Facts>> get(const Coordinates& where) override {
        ++gets;
        const auto found = objects_.find(where);
        if (found == objects_.end()) return std::optional<Facts>();
        return std::optional<Facts>(found->second);
    }
    Result<void> remove(const Facts& object, Policy policy) override {
        const auto found = objects_.find(object.where);
        if (found == objects_.end()) return {};
        if (found->second.uid != object.uid ||
            found->second.resource_version != object.resource_version) {
            return make_error(Code::kAborted, "changed");
        }
        begin_deletion(found->second, policy);
        return {};
    }
    Result<void> drop_owners(const Facts& object, const std::vector<std::string>& uids) override {
        return change(object, [&](Facts* facts) {
            std::erase_if(facts->owners, [&](const Owner& owner) {
                return std::find(uids.begin(), uids.end(), owner.uid) != uids.end();
            });
        });
    }
    Result<void> unblock_owners(const Facts& object) override {
        return change(object, [](Facts* facts) {
            for (auto& owner : facts->owners) owner.blocks = false;
        });
    }
    Result<void> drop_finalizer(const Facts& object, const std::string& finalizer) override {
        return change(object, [&](Facts* facts) {
            (finalizer == kOrphanFinalizer ? facts->orphan : facts->foreground) = false;
        });
    }
    void report_invalid_owner(const Facts& object, const Owner& owner) override {
        reports.push_back(object.where.name + "<-" + owner.name);
    }

    std::vector<std::string> reports;
    std::vector<std::string> order;  // of disappearance
    int gets = 0;

private:
    template <class Change>
    Result<void> change(const Facts& object, const Change& apply) {
        const auto found = objects_.find(object.where);
        if (found == objects_.end() || found->second.uid != object.uid) {
            return make_error(Code::kNotFound, "gone");
        }
        apply(&found->second);
        store(found->second);
        return {};
    }
    void begin_deletion(Facts& facts, Policy policy) {
        facts.foreground = facts.foreground || policy == Policy::kForeground;
        facts.orphan = facts.orphan || policy == Policy::kOrphan;
        facts.deleting = true;
        store(facts);
    }
    void store(Facts& facts) {
        facts.resource_version = std::to_string(++version_);
        const Facts copy = facts;
        if (copy.deleting && !copy.foreground && !copy.orphan) {
            objects_.erase(copy.where);
            order.push_back(copy.where.name);
            collector_.graph().erase(copy.uid);
        } else {
            collector_.graph().upsert(copy);
        }
    }

    std::map<Coordinates, Facts> objects_;
    std::deque<std::string> queue_;
    int version_ = 0;
    Collector collector_;
};

TEST(Collector, BackgroundTakesDependentsOfDependents) {
    FakeServer server;
    server.make("deployment", {});
    server.make("set", {"deployment"});
    server.make("pod", {"set"});
    server.make("other", {});
    server.settle();
    server.client_deletes("deployment", Policy::kBackground);
    EXPECT_FALSE(server.exists("deployment"));  // the owner goes at once
    EXPECT_TRUE(server.exists("pod"));
    server.settle();
    EXPECT_FALSE(server.exists("set"));
    EXPECT_FALSE(server.exists("pod"));
    EXPECT_TRUE(server.exists("other"));
}

TEST(Collector, ForegroundTakesDependentsFirst) {
    FakeServer server;
    server.make("deployment", {});
    server.make("set", {"deployment"});
    server.make("pod", {"set"});
    server.settle();
    server.client_deletes("deployment", Policy::kForeground);
    EXPECT_TRUE(server.exists("deployment"));
    server.settle();
    EXPECT_EQ(server.order, (std::vector<std::string>{"pod", "set", "deployment"}));
}

TEST(Collector, ForegroundDoesNotWaitForWhatDoesNotBlock) {
    FakeServer server;
    server.make("owner", {});
    server.make("pod", {"owner"}, false);
    server.settle();
    server.client_deletes("owner", Policy::kForeground);
    server.settle();
    EXPECT_FALSE(server.exists("owner"));
    EXPECT_FALSE(server.exists("pod"));
}

TEST(Collector, OrphanFreesDependents) {
    FakeServer server;
    server.make("set", {});
    server.make("pod", {"set"});
    server.settle();
    server.client_deletes("set", Policy::kOrphan);
    server.settle();
    EXPECT_FALSE(server.exists("set"));
    ASSERT_TRUE(server.exists("pod"));
    EXPECT_TRUE(server.at("pod").owners.empty());
}

TEST(Collector, AnOwnerThatNeverWasIsAskedFor) {
    FakeServer server;
    server.make("pod", {"ghost"});
    server.settle();
    EXPECT_FALSE(server.exists("pod"));
}

TEST(Collector, AnOwnerOfTheSameNameButAnotherUidIsNoOwner) {
    FakeServer server;
    server.make("owner", {});
    Facts facts = server.make("pod", {"owner"});
    server.at("owner").uid = "uid-second";
    server.make("late", {"owner"});
    server.settle();
    EXPECT_FALSE(server.exists("late"));
    EXPECT_TRUE(server.exists("owner"));
}

TEST(Collector, OneLivingOwnerKeepsItAndDeadOnesAreCrossedOut) {
    FakeServer server;
    server.make("a", {});
    server.make("b", {});
    server.make("pod", {"a", "b"});
    server.settle();
    server.client_deletes("a", Policy::kBackground);
    server.settle();
    ASSERT_TRUE(server.exists("pod"));
    ASSERT_EQ(server.at("pod").owners.size(), 1U);
    EXPECT_EQ(server.at("pod").owners[0].uid, "uid-b");
}

TEST(Collector, OwnersOfUnknownKindsKeepTheirDependents) {
    FakeServer server;
    server.make("pod", {"widget"}, true, "ns", "Widget");
    server.settle();
    EXPECT_TRUE(server.exists("pod"));
}

TEST(Collector, AnOwnerInAnotherNamespaceIsReportedAndAbsent) {
    FakeServer server;
    server.make("owner", {}, true, "elsewhere");
    server.make("pod", {"owner"});
    server.settle();
    EXPECT_EQ(server.reports, (std::vector<std::string>{"pod<-owner"}));
    EXPECT_FALSE(server.exists("pod"));
    EXPECT_TRUE(server.exists("owner", "elsewhere"));
}

TEST(Collector, ACircleInTheForegroundEnds) {
    FakeServer server;
    server.make("a", {"b"});
    server.make("b", {"a"});
    server.settle();
    server.client_deletes("a", Policy::kForeground);
    server.settle();
    EXPECT_FALSE(server.exists("a"));
    EXPECT_FALSE(server.exists("b"));
}

// Whatever the graph and the cascade: an object goes if and only if all its owners have gone.
RC_GTEST_PROP(CollectorProperty, ExactlyTheReachableGo, ()) {
    const int count = *rc::gen::inRange(1, 14);
    const bool foreground = *rc::gen::arbitrary<bool>();
    const bool watch_first = *rc::gen::arbitrary<bool>();
    std::vector<std::vector<int>> owners(static_cast<std::size_t>(count));
    for (int i = 1; i < count; ++i) {
        const auto chosen =
            *rc::gen::container<std::set<int>>(rc::gen::inRange(0, i));
        int taken = 0;
        for (const int owner : chosen) {
            if (taken++ == 3) break;
            owners[static_cast<std::size_t>(i)].push_back(owner);
        }
    }
    FakeServer server;
    const auto name = [](int i) { return "n" + std::to_string(i); };
    std::vector<int> sequence(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) sequence[static_cast<std::size_t>(i)] = i;
    // Objects may be seen in any order, their owners later than they.
    if (!watch_first) std::reverse(sequence.begin(), sequence.end());
    for (const int i : sequence) {
        std::vector<std::string> names;
        for (const int owner : owners[static_cast<std::size_t>(i)]) names.push_back(name(owner));
        server.make(name(i), names, *rc::gen::arbitrary<bool>());
    }
    if (watch_first) server.settle();
    const int victim = *rc::gen::inRange(0, count);
    server.client_deletes(name(victim), foreground ? Policy::kForeground : Policy::kBackground);
    server.settle();

    std::vector<bool> gone(static_cast<std::size_t>(count), false);
    for (int i = 0; i < count; ++i) {
        const auto& mine = owners[static_cast<std::size_t>(i)];
        gone[static_cast<std::size_t>(i)] =
            i == victim || (!mine.empty() && std::all_of(mine.begin(), mine.end(), [&](int owner) {
                return gone[static_cast<std::size_t>(owner)];
            }));
    }
    for (int i = 0; i < count; ++i) {
        RC_ASSERT(server.exists(name(i)) == !gone[static_cast<std::size_t>(i)]);
    }
}

}  // namespace
}  // namespace sluice::controllers::garbage
