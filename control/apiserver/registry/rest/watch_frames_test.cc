// What watches share of a batch of changes, and for how long.
#include <gtest/gtest.h>

#include "control/apiserver/registry/rest/watch_frames.h"

namespace sluice::registry {
namespace {

class WatchFramesTest : public ::testing::Test {
protected:
    static store::EventBatch batch() { return std::make_shared<const std::vector<store::Event>>(1); }
    static WatchFrames::View view(Encoding encoding) {
        WatchFrames::View out;
        out.format.encoding = encoding;
        return out;
    }
    // What is given for the batch, when whoever has to make it makes `text`.
    std::string ask(const store::EventBatch& events, const WatchFrames::View& how, const std::string& text) {
        const auto got = frames.get(events, how, [&]() -> Answer<std::string> {
            ++made;
            return text;
        });
        EXPECT_TRUE(got.has_value());
        return got ? **got : std::string();
    }

    WatchFrames frames;
    int made = 0;
};

TEST_F(WatchFramesTest, AreMadeOnceForEachWayToShowABatch) {
    const auto first = batch();
    const auto second = batch();
    EXPECT_EQ(ask(first, view(Encoding::kJson), "a"), "a");
    EXPECT_EQ(ask(first, view(Encoding::kJson), "b"), "a");
    EXPECT_EQ(ask(first, view(Encoding::kProtobuf), "c"), "c");
    EXPECT_EQ(ask(second, view(Encoding::kJson), "d"), "d");
    EXPECT_EQ(ask(first, view(Encoding::kJson), "e"), "a");
    EXPECT_EQ(made, 3);
}

TEST_F(WatchFramesTest, ErrorsAreNotKept) {
    const auto events = batch();
    const auto failed = frames.get(events, view(Encoding::kJson),
                                   []() -> Answer<std::string> { return refuse(internal_error("broken")); });
    EXPECT_FALSE(failed.has_value());
    EXPECT_EQ(ask(events, view(Encoding::kJson), "whole"), "whole");
}

TEST_F(WatchFramesTest, TheOldestBatchesAreForgotten) {
    const auto oldest = batch();
    ask(oldest, view(Encoding::kJson), "old");
    const std::weak_ptr<const std::vector<store::Event>> held = [&] {
        auto next = batch();
        ask(next, view(Encoding::kJson), "next");
        return next;
    }();
    EXPECT_FALSE(held.expired());
    for (std::size_t i = 0; i < WatchFrames::kMaxBatches; ++i) ask(batch(), view(Encoding::kJson), "x");
    EXPECT_TRUE(held.expired());
    EXPECT_EQ(ask(oldest, view(Encoding::kJson), "new"), "new");
}

TEST_F(WatchFramesTest, LargeFramesTakeTheRoomOfOlderOnes) {
    const auto old = batch();
    ask(old, view(Encoding::kJson), "old");
    const auto larger = batch();
    const std::string whole(WatchFrames::kMaxBytes - 1, 'x');
    EXPECT_EQ(ask(larger, view(Encoding::kJson), whole), whole);
    EXPECT_EQ(ask(old, view(Encoding::kJson), "new"), "new");
    EXPECT_EQ(ask(larger, view(Encoding::kJson), "again"), "again");
    // Larger than everything together: given, and not kept.
    const auto huge = batch();
    EXPECT_EQ(ask(huge, view(Encoding::kJson), std::string(WatchFrames::kMaxBytes + 1, 'y')).size(),
              WatchFrames::kMaxBytes + 1);
    EXPECT_EQ(ask(huge, view(Encoding::kJson), "small"), "small");
}

}  // namespace
}  // namespace sluice::registry
