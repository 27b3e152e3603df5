#include "agent/migrate/command.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <csignal>
#include <string>

namespace sluice::migrate {
namespace {

Result<std::string> run(const std::string& script, std::string_view input = "",
                        std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
    std::string out;
    SLUICE_TRY(run_command({"/bin/sh", "-c", script}, input,
                           [&](std::string_view piece) -> Result<void> {
                               out.append(piece);
                               return {};
                           },
                           timeout));
    return out;
}

TEST(Command, InputAndOutputOfAnyLengthPass) {
    const std::string text(3'000'000, 'x');
    const auto out = run("cat", text);
    ASSERT_TRUE(out) << out.error().message;
    EXPECT_EQ(*out, text);
}

TEST(Command, AFailureTellsTheCodeAndTheFirstLine) {
    const auto out = run("echo Bad rule >&2; echo more >&2; exit 4");
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().message, "/bin/sh ended with 4: Bad rule");
}

TEST(Command, AnEndlessProgramIsEnded) {
    const auto out = run("sleep 1000", "", std::chrono::milliseconds(50));
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().code, Code::kDeadlineExceeded);
}

TEST(Command, AnEndlessTalkerIsEnded) {
    std::uint64_t seen = 0;
    const auto done = run_command({"/bin/sh", "-c", "while :; do echo no end; done"}, "",
                                  [&](std::string_view piece) -> Result<void> {
                                      seen += piece.size();
                                      if (seen < 100'000) return {};
                                      return make_error(Code::kResourceExhausted, "enough");
                                  });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().message, "enough");
}

TEST(Command, ASignalIsTold) {
    const auto out = run("kill -9 $$");
    ASSERT_FALSE(out);
    EXPECT_NE(out.error().message.find("signal 9"), std::string::npos);
}

TEST(Command, AProgramThatIsNotThereIsAnError) {
    EXPECT_FALSE(run_command({"/nowhere/iptables-save"}, "", [](std::string_view) { return Result<void>{}; }));
    EXPECT_EQ(find_program("no-such-program-anywhere"), "");
}

TEST(Command, TheChildHasNoSignalBlocked) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const auto out = run("grep SigBlk /proc/self/status");
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ASSERT_TRUE(out);
    EXPECT_EQ(*out, "SigBlk:\t0000000000000000\n");
}

}  // namespace
}  // namespace sluice::migrate
