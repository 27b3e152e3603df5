// When a node says that its runtime is not ready.
#include "control/kubelet/pods/runtime_health.h"

#include <gtest/gtest.h>

#include "control/kubelet/pods/test_fakes.h"

namespace sluice::kubelet {
namespace {

class FailingCri : public FakeCri {
public:
    Result<criv1::RuntimeStatus> status() override {
        if (down) return make_error(Code::kUnavailable, "connection refused");
        criv1::RuntimeStatus status;
        auto* network = status.add_conditions();
        network->set_type("NetworkReady");
        network->set_status(network_ready);
        network->set_reason("NetworkPluginNotReady");
        return status;
    }
    bool down = false;
    bool network_ready = true;
};

class RuntimeHealthTest : public ::testing::Test {
protected:
    FailingCri cri;
    std::int64_t now_ms = 1'000;
    RuntimeHealth health{cri, [this] { return now_ms; }};
};

TEST_F(RuntimeHealthTest, ARestartOfTheRuntimeIsNotAnOutage) {
    EXPECT_EQ(health.ask().runtime_not_ready, "");
    cri.down = true;
    now_ms += 29'000;
    EXPECT_EQ(health.ask().runtime_not_ready, "");
    now_ms += 2'000;
    EXPECT_NE(health.ask().runtime_not_ready.find("container runtime is down"), std::string::npos);
    cri.down = false;
    EXPECT_EQ(health.ask().runtime_not_ready, "");
}

TEST_F(RuntimeHealthTest, ARuntimeThatNeverAnsweredIsDown) {
    cri.down = true;
    EXPECT_NE(health.ask().runtime_not_ready, "");
}

TEST_F(RuntimeHealthTest, ANetworkThatWasNotReadyIsNotTakenForReady) {
    cri.network_ready = false;
    EXPECT_NE(health.ask().network_not_ready, "");
    cri.down = true;
    now_ms += 1'000;
    EXPECT_NE(health.ask().network_not_ready, "");
}

}  // namespace
}  // namespace sluice::kubelet
