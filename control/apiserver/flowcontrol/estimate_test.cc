// What requests are taken to need. Expectations are kube-apiserver 1.32's: a seat for each hundred objects that a list
// has to look at, and one for each ten watches that a change is told to, for five milliseconds.
#include "control/apiserver/flowcontrol/estimate.h"

#include <gtest/gtest.h>

namespace sluice::flowcontrol {
namespace {

using Query = std::vector<std::pair<std::string, std::string>>;
using std::chrono::microseconds;

authorization::Attributes ask(const std::string& verb, const std::string& resource, const std::string& name_space = "",
                              const std::string& name = "", const std::string& group = "") {
    authorization::Attributes out;
    out.is_resource = true;
    out.verb = verb;
    out.group = group;
    out.version = "v1";
    out.resource = resource;
    out.namespace_name = name_space;
    out.name = name;
    return out;
}

class Estimate : public ::testing::Test {
protected:
    Estimate() { objects_.renew({{"pods", 799}, {"deployments.apps", 1'000}, {"nodes", 0}, {"events", 1'000'000}}); }

    std::uint64_t seats(const authorization::Attributes& asked, Query query = {}) {
        http::Request request;
        request.query = std::move(query);
        const Work work = estimate(request, asked, objects_, *watches_);
        EXPECT_EQ(work.final_seats, 0U);
        return work.seats;
    }
    std::uint64_t final_seats(const authorization::Attributes& asked) {
        const Work work = estimate({}, asked, objects_, *watches_);
        EXPECT_EQ(work.seats, 1U);
        return work.final_seats;
    }

    ObjectCounts objects_;
    std::shared_ptr<WatchCounts> watches_ = std::make_shared<WatchCounts>();
};

TEST_F(Estimate, ListsByWhatTheyLookAt) {
    const auto pods = ask("list", "pods");
    EXPECT_EQ(seats(pods), 8U);
    EXPECT_EQ(seats(ask("list", "pods", "a")), 8U);  // a namespace's are found among all
    EXPECT_EQ(seats(ask("list", "deployments", "", "", "apps")), 10U);
    EXPECT_EQ(seats(ask("list", "nodes")), 1U);
    EXPECT_EQ(seats(pods, {{"labelSelector", "a=b"}}), 8U);
    // A page is read and skipped over.
    EXPECT_EQ(seats(pods, {{"limit", "500"}}), 10U);  // twice 500
    EXPECT_EQ(seats(pods, {{"limit", "50"}}), 1U);
    EXPECT_EQ(seats(pods, {{"limit", "51"}}), 2U);
    EXPECT_EQ(seats(pods, {{"limit", "5000"}}), 16U);  // twice what there is
    EXPECT_EQ(seats(pods, {{"limit", "50"}, {"labelSelector", "a=b"}}), 9U);  // all to find 50
    EXPECT_EQ(seats(pods, {{"limit", "50"}, {"fieldSelector", "spec.nodeName=n"}}), 9U);
    EXPECT_EQ(seats(pods, {{"limit", "50"}, {"continue", "t"}}), 1U);
    EXPECT_EQ(seats(pods, {{"continue", "t"}}), 16U);
    // Anything from the cache, as it came.
    EXPECT_EQ(seats(pods, {{"limit", "50"}, {"resourceVersion", "0"}}), 8U);
    EXPECT_EQ(seats(pods, {{"resourceVersion", "5"}, {"resourceVersionMatch", "NotOlderThan"}}), 8U);
    EXPECT_EQ(seats(pods, {{"resourceVersion", "5"}, {"resourceVersionMatch", "Exact"}}), 16U);
    // One object, by its name.
    EXPECT_EQ(seats(ask("list", "events", "", "one")), 1U);
    EXPECT_EQ(seats(ask("get", "events", "a", "one")), 1U);
    // What nobody counts is another server's; what cannot be read will be refused.
    EXPECT_EQ(seats(ask("list", "flunders", "", "", "wardle.example.com")), 1U);
    EXPECT_GE(seats(pods, {{"limit", "many"}}), kMaxRequestSeats);
}

TEST_F(Estimate, WatchesThatBeginWithAList) {
    EXPECT_EQ(seats(ask("watch", "pods")), 1U);
    EXPECT_EQ(seats(ask("watch", "pods"), {{"sendInitialEvents", "false"}}), 1U);
    EXPECT_EQ(seats(ask("watch", "pods"), {{"sendInitialEvents", "true"}}), 8U);
    EXPECT_EQ(seats(ask("watch", "pods", "", "one"), {{"sendInitialEvents", "true"}}), 1U);
}

TEST_F(Estimate, ChangesByWhoIsTold) {
    std::vector<std::shared_ptr<void>> open;
    const auto watch = [&](int count, const authorization::Attributes& what) {
        for (int i = 0; i < count; ++i) open.push_back(watches_->add(what));
    };
    watch(9, ask("watch", "pods"));
    EXPECT_EQ(final_seats(ask("create", "pods", "a")), 0U);  // few cost nothing
    watch(1, ask("watch", "pods"));
    watch(5, ask("watch", "pods", "a"));
    watch(20, ask("watch", "pods", "b"));
    watch(6, ask("watch", "pods", "a", "one"));
    watch(50, ask("watch", "pods", "", "", "example.com"));
    watch(50, ask("watch", "nodes"));
    EXPECT_EQ(final_seats(ask("create", "pods", "a")), 2U);        // 15
    EXPECT_EQ(final_seats(ask("update", "pods", "a", "one")), 3U);  // 21
    EXPECT_EQ(final_seats(ask("patch", "pods", "a", "two")), 2U);
    EXPECT_EQ(final_seats(ask("delete", "pods", "c", "one")), 1U);
    EXPECT_EQ(final_seats(ask("get", "pods", "a", "one")), 0U);
    EXPECT_EQ(final_seats(ask("deletecollection", "pods", "a")), 0U);
    watch(30, ask("watch", "serviceaccounts"));
    EXPECT_EQ(final_seats(ask("update", "serviceaccounts", "a", "x")), 3U);
    auto token = ask("create", "serviceaccounts", "a", "x");
    token.subresource = "token";
    EXPECT_EQ(final_seats(token), 0U);  // nobody is told of it
    open.clear();
    EXPECT_EQ(final_seats(ask("update", "pods", "a", "one")), 0U);
}

TEST_F(Estimate, OldCountsAreNotTrusted) {
    const auto now = ObjectCounts::Clock::now();
    EXPECT_EQ(objects_.find("pods", now), 799U);
    const auto late = now + kStaleAfter + std::chrono::minutes(1);
    EXPECT_EQ(objects_.find("pods", late), UINT64_MAX);
    objects_.renew({{"nodes", 3}}, late);
    EXPECT_EQ(objects_.find("nodes", late), 3U);
    EXPECT_EQ(objects_.find("pods", late), UINT64_MAX);
    // A kind that went is forgotten in the end.
    objects_.renew({{"nodes", 3}}, now + std::chrono::hours(2));
    EXPECT_EQ(objects_.find("pods", now + std::chrono::hours(2)), std::nullopt);
    ObjectCounts old;
    old.renew({{"pods", 1}}, now - kStaleAfter - std::chrono::minutes(1));
    EXPECT_GE(estimate({}, ask("list", "pods"), old, *watches_).seats, kMaxRequestSeats);
}

TEST(Width, WhatDoesNotFitTakesLonger) {
    const auto width = [](const Work& work, std::uint32_t most) {
        const Width out = width_of(work, most);
        return std::pair(out.seats, out.after);
    };
    EXPECT_EQ(width({}, 10), std::pair(1U, microseconds(0)));
    EXPECT_EQ(width({8, 0}, 10), std::pair(8U, microseconds(0)));
    EXPECT_EQ(width({80, 0}, 100), std::pair(10U, microseconds(0)));
    EXPECT_EQ(width({8, 0}, 3), std::pair(3U, microseconds(0)));
    EXPECT_EQ(width({8, 0}, 0), std::pair(1U, microseconds(0)));
    EXPECT_EQ(width({1, 3}, 10), std::pair(3U, microseconds(5'000)));
    EXPECT_EQ(width({1, 30}, 10), std::pair(10U, microseconds(15'000)));
    EXPECT_EQ(width({1, 30}, 2), std::pair(2U, microseconds(75'000)));
}

}  // namespace
}  // namespace sluice::flowcontrol
