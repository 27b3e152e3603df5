// The control thread's routing as the runtime uses it: frames in, frames and snapshots out.
#include "dataplane/dpdk/routing/controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/dpdk/routing/discovery.h"
#include "dataplane/dpdk/routing/static_config.h"
#include "dataplane/dpdk/routing/test_routing.h"
#include "dataplane/image/test_image.h"

namespace sluice::dpdk {
namespace {

using ::testing::HasSubstr;

struct Held {
    explicit Held(const std::vector<std::uint8_t>& bytes, std::uint16_t interface = 0)
        : memory(bytes) {
        memory.resize(bytes.size() + 64);
        frame.data = memory.data();
        frame.length = static_cast<std::uint32_t>(bytes.size());
        frame.tailroom = 64;
        frame.interface = interface;
    }
    std::vector<std::uint8_t> memory;
    Frame frame;
};

std::vector<std::uint8_t> ip_packet_to(const char* destination) {
    const IpAddress to = address(destination);
    std::vector<std::uint8_t> out(to.is_v4() ? 34 : 54);
    out[12] = to.is_v4() ? 0x08 : 0x86;
    out[13] = to.is_v4() ? 0x00 : 0xdd;
    out[14] = to.is_v4() ? 0x45 : 0x60;
    const std::size_t at = to.is_v4() ? 30 : 38;
    std::copy(to.bytes.begin() + (to.is_v4() ? 12 : 0), to.bytes.end(),
              out.begin() + static_cast<std::ptrdiff_t>(at));
    return out;
}

class ControllerTest : public ::testing::Test {
protected:
    ControllerTest() {
        options.interfaces = {
            make_interface("up0", 0, 0, "02:00:00:00:00:01", {"192.0.2.2/24", "2001:db8::2/64"}),
            make_interface("pods", 1, 7, "02:00:00:00:00:02", {"10.244.1.1/24"})};
        options.routes = {"default via 192.0.2.1", "10.244.2.0/24 via 192.0.2.9 dev up0 metric 7"};
        options.neighbours = {"10.244.1.5 lladdr 02:00:00:00:00:55 dev pods"};
    }
    void start() {
        auto made = Controller::make(
            options,
            [this](const Forwarding* in_force, std::unique_ptr<const Forwarding> before) {
                ++replaced;
                EXPECT_EQ(before.get(), last);
                last = in_force;
            },
            now);
        ASSERT_TRUE(made) << made.error().to_string();
        controller = std::move(*made);
        EXPECT_EQ(controller->current(), last);
    }
    void tick(int milliseconds = 10) {
        now += Milliseconds(milliseconds);
        controller->tick(now);
    }
    const Hop& ask(const char* text) const { return lookup(*controller->current(), text); }
    Controller::Outcome control(const char* text, std::uint16_t interface = 0) {
        Held held(from_hex(text), interface);
        const auto outcome = controller->on_control_frame(held.frame, now);
        answer = hex({held.frame.data, held.frame.length});
        return outcome;
    }
    ControllerOptions options;
    std::unique_ptr<Controller> controller;
    const Forwarding* last = nullptr;
    int replaced = 0;
    Milliseconds now{1'000'000};
    std::string answer;
};

constexpr const char* kReplyOfGateway =
    "020000000001 0200000000aa 0806 0001 0800 06 04 0002 0200000000aa c0000201 020000000001 "
    "c0000202";

TEST_F(ControllerTest, FromTheFirstPacketToAHop) {
    start();
    EXPECT_EQ(replaced, 1);
    EXPECT_EQ(ask("10.244.1.5").kind, HopKind::kForward) << "configured";
    EXPECT_EQ(ask("198.51.100.1").kind, HopKind::kUnresolved);
    // Both gateways are asked for before there is a packet.
    EXPECT_EQ(controller->take_frames_to_send().size(), 2U);
    Held packet(ip_packet_to("198.51.100.1"));
    controller->on_unresolved(packet.frame, now);
    EXPECT_EQ(control(kReplyOfGateway), Controller::Outcome::kKernel)
        << "the kernel may have asked, too";
    const auto sent = controller->take_frames_to_send();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(hex({sent[0].bytes.data(), 14}),
              "0200000000aa"
              "020000000001"
              "0800");
    EXPECT_LE(controller->next_tick(now), now + kSnapshotLeast);
    tick();
    EXPECT_EQ(replaced, 2);
    EXPECT_EQ(ask("198.51.100.1").kind, HopKind::kForward);
    EXPECT_EQ(ask("10.244.2.1").kind, HopKind::kUnresolved);
    EXPECT_EQ(controller->current()->generation(), 2U);
    tick();
    EXPECT_EQ(replaced, 2) << "nothing new, no snapshot";
}

TEST_F(ControllerTest, OnLinkPacketsAskForThemselves) {
    start();
    (void)controller->take_frames_to_send();
    Held v6(ip_packet_to("2001:db8::77"));
    controller->on_unresolved(v6.frame, now);
    Held pod(ip_packet_to("10.244.1.9"));
    controller->on_unresolved(pod.frame, now);
    const auto frames = controller->take_frames_to_send();
    ASSERT_EQ(frames.size(), 2U);
    EXPECT_EQ(frames[0].bytes, make_question(0, options.interfaces[0], address("2001:db8::2"),
                                             address("2001:db8::77"), {})
                                   .bytes);
    EXPECT_EQ(frames[1].interface, 1);
    // What has no next hop is counted.
    Held ours(ip_packet_to("192.0.2.2"));
    controller->on_unresolved(ours.frame, now);
    Held nothing(std::vector<std::uint8_t>(14));
    controller->on_unresolved(nothing.frame, now);
    EXPECT_EQ(controller->counters().unresolved_unroutable, 2U);
}

TEST_F(ControllerTest, AnswersAndLeavesTheRestToTheKernel) {
    start();
    EXPECT_EQ(control("ffffffffffff 020000000009 0806 0001 0800 06 04 0001 020000000009 c0000209 "
                      "000000000000 c0000202"),
              Controller::Outcome::kReply);
    EXPECT_EQ(answer.substr(0, 24), "020000000009020000000001");
    EXPECT_EQ(control("ffffffffffff 020000000009 0806 0001 0800 06 04 0001 020000000009 c0000209 "
                      "000000000000 c0000203"),
              Controller::Outcome::kKernel);
    EXPECT_EQ(control("ffffffffffff 020000000009 0806 0001"), Controller::Outcome::kDrop);
    EXPECT_EQ(
        control(
            "333300000001 020000000009 86dd 60000000 0004 3a ff fe800000000000000000000000000009"
            "ff020000000000000000000000000001 86000000"),
        Controller::Outcome::kKernel)
        << "a router advertisement";
    EXPECT_EQ(control(kReplyOfGateway, 77), Controller::Outcome::kDrop) << "from no interface";
    // Who asked is known now.
    tick();
    EXPECT_EQ(ask("10.244.2.1").kind, HopKind::kForward);
}

TEST_F(ControllerTest, AddressesOfTheImageAreAnnouncedTwiceAndAnswered) {
    start();
    (void)controller->take_frames_to_send();
    image::Image of;
    of.upsert(image::service(1, {image::backend(1)},
                             {image::external_ip("192.0.2.50"), image::cluster_ip("10.96.0.1")}));
    controller->use(of.tables());
    const char* const question =
        "ffffffffffff 020000000009 0806 0001 0800 06 04 0001 020000000009 c0000209 000000000000 "
        "c0000232";
    EXPECT_EQ(control(question), Controller::Outcome::kKernel) << "before the image was read";
    tick(100);
    EXPECT_EQ(control(question), Controller::Outcome::kReply);
    const auto announced_in = [&] {
        std::size_t count = 0;
        for (const auto& frame : controller->take_frames_to_send()) {
            count +=
                frame.bytes ==
                        make_announcement(0, options.interfaces[0], address("192.0.2.50")).bytes
                    ? 1U
                    : 0U;
        }
        return count;
    };
    EXPECT_EQ(announced_in(), 1U);
    for (int i = 0; i < 100; ++i) tick(100);
    EXPECT_EQ(announced_in(), 1U);
    ASSERT_EQ(controller->announced().size(), 1U);
    EXPECT_EQ(controller->announced()[0].first, "up0");
    controller->use(image::Tables{});
    EXPECT_EQ(control(question), Controller::Outcome::kKernel);
}

TEST_F(ControllerTest, SnapshotsAreNotMadeForEachFrame) {
    start();
    for (int i = 3; i < 103; ++i) {
        const auto request = fmt::format(
            "ffffffffffff 020000000{:03x} 0806 0001 0800 06 04 0001 020000000{:03x} c00002{:02x} "
            "000000000000 c0000202",
            i, i, i);
        EXPECT_EQ(control(request.c_str()), Controller::Outcome::kReply);
        controller->tick(now);
    }
    EXPECT_EQ(replaced, 1);
    tick();
    EXPECT_EQ(replaced, 2);
    EXPECT_EQ(ask("192.0.2.102").kind, HopKind::kForward);
    EXPECT_EQ(controller->neighbours().size(), 102U)
        << "these, of whom one is a gateway, the other gateway, and the configured one";
}

TEST_F(ControllerTest, RefusesWhatCannotBe) {
    const auto refuse = [&](const char* what) {
        const auto made = Controller::make(options, {}, now);
        ASSERT_FALSE(made) << what;
        EXPECT_EQ(made.error().code, Code::kInvalidArgument);
        EXPECT_THAT(made.error().message, HasSubstr(what));
    };
    const auto routes = options.routes;
    for (const auto& [text, what] : std::vector<std::pair<const char*, const char*>>{
             {"", "route \"\": there is no prefix"},
             {"10.9.0.0/16", "neither via nor dev"},
             {"10.9.0.0/16 via", "nothing follows \"via\""},
             {"10.9.0.0/16 dev nosuch", "there is no interface nosuch"},
             {"10.9.0.0/16 via 203.0.113.1", "no interface has 203.0.113.1 on its link"},
             {"10.9.0.0/16 via fe80::1", "may be on up0 and on pods"},
             {"10.9.0.0/16 via fe80::1 dev up0", "of the other family"},
             {"10.9.0.0/16 dev up0 dev pods", "\"dev\" stands twice"},
             {"10.9.0.0/16 dev up0 onlink yes", "\"onlink\" is none of via, dev, metric"},
             {"10.9.0.0/16 dev up0 metric 4294967296", "metric \"4294967296\""},
             {"10.9.0.0/16 dev up0 metric -1", "metric \"-1\""},
             {"10.9.0.1/16 dev up0", "10.9.0.1/16"}}) {
        options.routes = {text};
        refuse(what);
    }
    options.routes = routes;
    for (const auto& [text, what] : std::vector<std::pair<const char*, const char*>>{
             {"10.244.1.5 dev pods", "there is no lladdr"},
             {"10.244.1.5 lladdr 02:00:00:00:00 dev pods", "is not a MAC address"},
             {"10.244.1.5 lladdr 01:00:00:00:00:01 dev pods", "cannot be a station's"},
             {"x lladdr 02:00:00:00:00:01 dev pods", "\"x\" is not a valid IP address"},
             {"203.0.113.5 lladdr 02:00:00:00:00:01", "no interface has 203.0.113.5"}}) {
        options.neighbours = {text};
        refuse(what);
    }
    options.neighbours.clear();
    options.twins = {{2, "tap0"}};
    refuse("twin tap0: interface 2 is none of 2");
    options.twins = {{0, "tap0"}, {1, "tap0"}};
    refuse("twin tap0: two interfaces");
    options.twins = {{0, "tap0"}, {0, "tap1"}};
    refuse("twin tap1: interface 0 has another");
    options.twins = {{0, ""}};
    refuse("has no device name");
}

TEST(StaticConfig, Reads) {
    const std::vector<Interface> interfaces = {
        make_interface("up0", 0, 0, "02:00:00:00:00:01", {"192.0.2.2/24"}),
        make_interface("up1", 1, 0, "02:00:00:00:00:02", {"2001:db8::2/64"})};
    EXPECT_EQ(parse_route("default via 192.0.2.1", interfaces).value(),
              route("0.0.0.0/0", "192.0.2.1", 0));
    EXPECT_EQ(parse_route("default via 2001:db8::1", interfaces).value(),
              route("::/0", "2001:db8::1", 1));
    EXPECT_EQ(parse_route("  10.0.0.0/8\tmetric 4294967295  dev up1 ", interfaces).value(),
              route("10.0.0.0/8", "", 1, 4294967295U));
    EXPECT_EQ(parse_neighbour("2001:db8::7 lladdr 0A:00:00:00:00:ff", interfaces).value(),
              neighbour(1, "2001:db8::7", "0a:00:00:00:00:ff"));
}

}  // namespace
}  // namespace sluice::dpdk
