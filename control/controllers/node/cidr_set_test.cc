#include "control/controllers/node/cidr_set.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace sluice::controllers::nodes {
namespace {

IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }

TEST(CidrSet, SharesComeInTurnAndAreUsedAgainLast) {
    auto set = CidrSet::make(prefix("10.244.0.0/22"), 24);
    ASSERT_TRUE(set);
    EXPECT_EQ(set->take()->to_string(), "10.244.0.0/24");
    EXPECT_EQ(set->take()->to_string(), "10.244.1.0/24");
    set->release(prefix("10.244.0.0/24"));
    EXPECT_EQ(set->take()->to_string(), "10.244.2.0/24");
    EXPECT_EQ(set->take()->to_string(), "10.244.3.0/24");
    EXPECT_EQ(set->take()->to_string(), "10.244.0.0/24");
    EXPECT_FALSE(set->take());
}

TEST(CidrSet, Ipv6) {
    auto set = CidrSet::make(prefix("fd00:10:244::/48"), 64);
    ASSERT_TRUE(set);
    EXPECT_EQ(set->take()->to_string(), "fd00:10:244::/64");
    EXPECT_EQ(set->take()->to_string(), "fd00:10:244:1::/64");
}

TEST(CidrSet, WhatIsTakenOrReservedIsSkipped) {
    auto set = CidrSet::make(prefix("10.244.0.0/22"), 24);
    set->reserve(prefix("10.244.1.128/25"));
    EXPECT_TRUE(set->occupy(prefix("10.244.0.0/24")));
    EXPECT_FALSE(set->occupy(prefix("10.9.0.0/24")));
    EXPECT_EQ(set->take()->to_string(), "10.244.2.0/24");
    set->release(prefix("10.244.1.0/24"));  // stays reserved
    EXPECT_EQ(set->take()->to_string(), "10.244.3.0/24");
    EXPECT_FALSE(set->take());
    auto all = CidrSet::make(prefix("10.244.0.0/22"), 24);
    all->reserve(prefix("10.0.0.0/8"));
    EXPECT_FALSE(all->take());
}

TEST(CidrSet, RangesThatCannotBeCut) {
    EXPECT_FALSE(CidrSet::make(prefix("10.244.0.0/25"), 24));
    EXPECT_FALSE(CidrSet::make(prefix("10.0.0.0/7"), 24));
    EXPECT_FALSE(CidrSet::make(prefix("10.0.0.0/24"), 33));
}

// No share is held twice, and none is lost, whatever is taken and given back.
RC_GTEST_PROP(CidrSetProperty, SharesAreHeldOnce, (const std::vector<bool>& walk)) {
    auto set = CidrSet::make(prefix("10.244.0.0/20"), 24);
    std::set<std::string> held;
    for (const bool take : walk) {
        if (take) {
            const auto share = set->take();
            RC_ASSERT(share.has_value() == (held.size() < 16));
            if (share) RC_ASSERT(held.insert(share->to_string()).second);
        } else if (!held.empty()) {
            set->release(*IpPrefix::parse(*held.begin()));
            held.erase(held.begin());
        }
        RC_ASSERT(set->used() == held.size());
    }
}

}  // namespace
}  // namespace sluice::controllers::nodes
