#include "agent/listener.h"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::agent {
namespace {

health::HttpAnswer answer(const std::string&) { return {200, "text/plain", "ok"}; }

ListenOptions options(const std::string& address, bool hard_fail) {
    return {"healthzBindAddress", address, 0, hard_fail, std::chrono::milliseconds(10)};
}

TEST(Listener, ATakenAddressIsTriedAgainUntilItIsFree) {
    auto holder = health::HttpServer::listen("127.0.0.1:0", 0, answer);
    ASSERT_TRUE(holder);
    const std::string address = "127.0.0.1:" + std::to_string((*holder)->port());
    Listener listener;
    ASSERT_TRUE(listener.start(options(address, false), answer));
    EXPECT_EQ(listener.port(), 0);
    const std::uint16_t port = (*holder)->port();
    holder->reset();
    for (int i = 0; i < 1000 && listener.port() == 0; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(listener.port(), port);
}

TEST(Listener, WithHardFailATakenAddressIsAnErrorThatNamesTheSetting) {
    auto holder = health::HttpServer::listen("127.0.0.1:0", 0, answer);
    ASSERT_TRUE(holder);
    Listener listener;
    const auto started =
        listener.start(options("127.0.0.1:" + std::to_string((*holder)->port()), true), answer);
    ASSERT_FALSE(started);
    EXPECT_NE(started.error().message.find("healthzBindAddress"), std::string::npos);
}

TEST(Listener, EndsAtOnceWhileItWaits) {
    auto holder = health::HttpServer::listen("127.0.0.1:0", 0, answer);
    ASSERT_TRUE(holder);
    Listener listener;
    auto patient = options("127.0.0.1:" + std::to_string((*holder)->port()), false);
    patient.retry = std::chrono::hours(1);
    ASSERT_TRUE(listener.start(patient, answer));
}

TEST(Listener, NoAddressIsNoServer) {
    Listener listener;
    ASSERT_TRUE(listener.start(options("", true), answer));
    EXPECT_EQ(listener.port(), 0);
}

}  // namespace
}  // namespace sluice::agent
