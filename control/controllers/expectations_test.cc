#include "control/controllers/expectations.h"

#include <gtest/gtest.h>

namespace sluice::controllers {
namespace {

class ExpectationsTest : public ::testing::Test {
protected:
    Expectations::Clock::time_point now_;
    Expectations expectations_{[this] { return now_; }};
};

TEST_F(ExpectationsTest, NothingExpectedIsSatisfied) {
    EXPECT_TRUE(expectations_.satisfied("ns/a"));
    expectations_.creation_observed("ns/a");
    expectations_.deletion_observed("ns/a", "ns/pod");
    EXPECT_TRUE(expectations_.satisfied("ns/a"));
}

TEST_F(ExpectationsTest, CreationsAreCounted) {
    expectations_.expect("ns/a", 3, {});
    expectations_.creation_observed("ns/a");
    expectations_.creation_observed("ns/b");
    EXPECT_FALSE(expectations_.satisfied("ns/a"));
    expectations_.creation_observed("ns/a", 2);
    EXPECT_TRUE(expectations_.satisfied("ns/a"));
}

// Pods that others make, and pods that are told of twice, are not taken for later ones.
TEST_F(ExpectationsTest, NoMoreIsObservedThanWasExpected) {
    expectations_.expect("ns/a", 1, {});
    expectations_.creation_observed("ns/a", 5);
    expectations_.expect_more("ns/a", 1, {});
    EXPECT_FALSE(expectations_.satisfied("ns/a"));
}

TEST_F(ExpectationsTest, DeletionsAreKnownByPod) {
    expectations_.expect("ns/a", 0, {"ns/x", "ns/y"});
    expectations_.deletion_observed("ns/a", "ns/x");
    expectations_.deletion_observed("ns/a", "ns/x");
    expectations_.deletion_observed("ns/a", "ns/other");
    EXPECT_FALSE(expectations_.satisfied("ns/a"));
    expectations_.deletion_observed("ns/a", "ns/y");
    EXPECT_TRUE(expectations_.satisfied("ns/a"));
}

TEST_F(ExpectationsTest, BothAtOnce) {
    expectations_.expect("ns/a", 1, {"ns/x"});
    expectations_.deletion_observed("ns/a", "ns/x");
    EXPECT_FALSE(expectations_.satisfied("ns/a"));
    expectations_.creation_observed("ns/a");
    EXPECT_TRUE(expectations_.satisfied("ns/a"));
}

TEST_F(ExpectationsTest, GivenUpAfterTheirTime) {
    expectations_.expect("ns/a", 1, {"ns/x"});
    now_ += kExpectationTimeout - std::chrono::seconds(1);
    EXPECT_FALSE(expectations_.satisfied("ns/a"));
    // More of them begin the time anew.
    expectations_.expect_more("ns/a", 1, {});
    now_ += std::chrono::seconds(2);
    EXPECT_FALSE(expectations_.satisfied("ns/a"));
    now_ += kExpectationTimeout;
    EXPECT_TRUE(expectations_.satisfied("ns/a"));
}

TEST_F(ExpectationsTest, ForgottenWithTheirOwner) {
    expectations_.expect("ns/a", 1, {});
    expectations_.expect("ns/b", 1, {});
    expectations_.forget("ns/a");
    EXPECT_TRUE(expectations_.satisfied("ns/a"));
    EXPECT_FALSE(expectations_.satisfied("ns/b"));
}

}  // namespace
}  // namespace sluice::controllers
