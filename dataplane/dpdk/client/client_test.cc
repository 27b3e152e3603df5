// The agent's engine on shared memory: what it publishes is read by another user of the same files, through deaths of
// either side. No DPDK; the socket is the real one.
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <utility>

#include "dataplane/dpdk/client/dpdk_client.h"
#include "dataplane/dpdk/client/test_engine.h"
#include "dataplane/image/test_image.h"

namespace sluice::dpdk {
namespace {

using image::backend;
using image::cluster_ip;
using image::service;
using image::Service;
using image::Tables;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The look-up of a packet: "name: backend ..." or what becomes of it else.
std::string answer(const Tables& tables, const std::string& address) {
    const sluice_view view = view_of(tables);
    sluice_frontend_key key{image::image_address(image::ip(address)), htons(80), IPPROTO_TCP, SLUICE_SCOPE_ADDRESS};
    sluice_match match{};
    sluice_classify(&view, &key, 0, &match);
    if (match.verdict != SLUICE_VERDICT_TRANSLATE) {
        return fmt::format("verdict {}", match.verdict);
    }
    std::string out = image::read_name(tables, tables.services[match.service].name) + ":";
    for (const auto& member : image::read_set(tables, match.word)) {
        out += " " + image::address_of(member.address).to_string();
    }
    return out;
}

std::uint32_t service_index(const Tables& tables, const std::string& name) {
    for (std::uint32_t i = 0; i < tables.header->service_capacity; ++i) {
        if ((tables.services[i].flags & SLUICE_SERVICE_IN_USE) != 0 &&
            image::read_name(tables, tables.services[i].name) == name) {
            return i;
        }
    }
    return UINT32_MAX;
}

// Index and incarnation of the backends that serve at an address.
std::vector<std::pair<std::uint32_t, std::uint32_t>> backends_at(const Tables& tables, const std::string& address) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> out;
    for (std::uint32_t i = 0; i < tables.header->backend_capacity; ++i) {
        const sluice_backend& found = tables.backends[i];
        if (found.incarnation % 2 == 1 && image::address_of(found.address) == image::ip(address)) {
            out.emplace_back(i, found.incarnation);
        }
    }
    return out;
}

Service web(std::vector<int> pods = {1, 2}) {
    std::vector<image::Backend> backends;
    for (const int pod : pods) backends.push_back(backend(pod));
    return service(1, std::move(backends), {cluster_ip("10.96.0.1")});
}

Service numbered(int i) {
    return service(100 + i, {backend(i % 200)}, {cluster_ip(fmt::format("10.97.{}.{}", i / 250, 1 + i % 250))});
}

class Client : public EngineTest {
protected:
    void start_agent() {
        DpdkOptions options;
        options.socket = socket_;
        options.state_directory = directory_;
        auto opened = open_dpdk_engine(options);
        ASSERT_TRUE(opened) << opened.error().to_string();
        agent_ = std::move(*opened);
    }
    void publish(const std::vector<Service>& services, const image::Node& node = {}) {
        const auto done = agent_->replace_all(node, services);
        ASSERT_TRUE(done) << done.error().to_string();
    }
    void upsert(const Service& changed) {
        const auto done = agent_->apply({{changed}, {}});
        ASSERT_TRUE(done) << done.error().to_string();
    }
    [[nodiscard]] std::string asked(const std::string& address = "10.96.0.1") const {
        return engine_->with_tables([&](const Tables& tables) { return answer(tables, address); });
    }
    // Of what is current, as a new engine would find it.
    [[nodiscard]] std::string found(const std::string& address = "10.96.0.1") const {
        const auto number = current_image(directory_);
        if (!number) return "no image";
        return answer(ImageSegment::open_to_read(directory_, *number).value()->tables(), address);
    }
    bool agent_knows(bool engine) {
        return eventually([&] { return agent_->status().lcores.empty() != engine; });
    }
    // Reclaims until no image but the one in force is left.
    void settle() {
        EXPECT_TRUE(eventually([&] {
            agent_->reclaim();
            return list_images(directory_).size() == 1;
        }));
    }
    void TearDown() override {
        agent_.reset();
        EngineTest::TearDown();
    }

    std::unique_ptr<dataplane::Engine> agent_;
};

TEST_F(Client, PublishesIntoTheMemoryThatTheEngineReads) {
    start_engine();
    start_agent();
    publish({web()});
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.2 10.0.0.3");
    const auto image = engine_->image();
    upsert(web({3}));
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.4");
    ASSERT_TRUE(agent_->apply({{}, {web().key}}));
    EXPECT_EQ(asked(), "verdict 0");
    EXPECT_EQ(engine_->image(), image);
}

TEST_F(Client, SaysWhatTheEngineIsAndDoes) {
    start_engine();
    start_agent();
    publish({web()});
    const auto status = agent_->status();
    EXPECT_EQ(status.name, "dpdk");
    EXPECT_EQ(status.services, 1U);
    EXPECT_EQ(status.backends, 2U);
    EXPECT_THAT(status.attached, Contains(HasSubstr("eth0")));
    EXPECT_THAT(status.missing, Contains("nothing"));
    ASSERT_EQ(status.tables.size(), 1U);
    EXPECT_EQ(status.tables[0].name, "flows4");
    EXPECT_EQ(status.ports.size(), 1U);
    EXPECT_EQ(status.lcores.size(), 1U);
}

TEST_F(Client, AnImageThatIsTooSmallIsReplacedUnderTheEngine) {
    start_engine();
    start_agent();
    publish({web()});
    for (int i = 0; i < 1500; ++i) upsert(numbered(i));
    EXPECT_GT(engine_->attaches, 1);
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.2 10.0.0.3");
    EXPECT_EQ(asked("10.97.5.250"), "default/s1599:http: " + backend(1499 % 200).address.to_string());
    settle();
    EXPECT_THAT(list_images(directory_), ElementsAre(engine_->image()));
}

TEST_F(Client, OtherFactsOfTheNodeMakeAnotherImage) {
    start_engine();
    start_agent();
    publish({web()});
    const auto first = engine_->image();
    image::Node node;
    node.masquerade_all = true;
    node.nodeport_addresses = {image::ip("192.0.2.1")};
    ASSERT_TRUE(agent_->set_node(node));
    EXPECT_NE(engine_->image(), first);
    EXPECT_NE(engine_->with_tables([](const Tables& tables) { return tables.header->flags; }) &
                  SLUICE_HEADER_MASQUERADE_ALL,
              0U);
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.2 10.0.0.3");
    // NodePort addresses alone do not.
    const auto second = engine_->image();
    node.nodeport_addresses = {image::ip("192.0.2.2")};
    ASSERT_TRUE(agent_->set_node(node));
    EXPECT_EQ(engine_->image(), second);
}

TEST_F(Client, CountersGoOnInTheNextImage) {
    start_engine();
    start_agent();
    publish({web({1})});
    const auto index = engine_->with_tables([](const Tables& t) { return backends_at(t, "10.0.0.2").at(0).first; });
    engine_->with_tables([&](const Tables& tables) {
        tables.served[index].packets = 7;
        tables.drops[3] = 5;
        return 0;
    });
    // Counted while the image is being replaced: after the copy, before the engine turns. Once: an agent that hears of
    // the engine anew tells it of the image again.
    engine_->before_turning = [&, counted = false](const ImageSegment& former) mutable {
        if (std::exchange(counted, true)) return;
        former.tables().served[index].packets += 100;
        former.tables().drops[3] += 1000;
    };
    image::Node node;
    node.masquerade_all = true;
    ASSERT_TRUE(agent_->set_node(node));
    engine_->with_tables([&](const Tables& tables) {
        EXPECT_EQ(image::sum_served(tables, index).packets, 107U);
        EXPECT_EQ(image::sum_drops(tables, 3), 1005U);
        return 0;
    });
}

TEST_F(Client, ANewEngineBeginsWithWhatWasPublishedMeanwhile) {
    start_engine();
    start_agent();
    publish({web()});
    stop_engine();
    ASSERT_TRUE(agent_knows(false));
    EXPECT_THAT(agent_->status().missing, Contains(HasSubstr("no packet is forwarded")));
    EXPECT_EQ(agent_->status().engine_losses, 1U);
    upsert(web({3}));
    for (int i = 0; i < 1500; ++i) upsert(numbered(i));
    EXPECT_EQ(found(), "default/s1:http: 10.0.0.4");
    start_engine();
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.4");
    ASSERT_TRUE(agent_knows(true));
    upsert(web({5}));
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.6");
    settle();
}

TEST_F(Client, WithoutAnEngineTablesArePublishedForTheFirst) {
    start_agent();
    publish({web()});
    EXPECT_THAT(agent_->status().missing, Contains(HasSubstr(socket_)));
    upsert(web({4}));
    start_engine();
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.5");
    EXPECT_TRUE(agent_knows(true));
}

TEST_F(Client, AnEngineOnEmptyMemoryIsGivenTheImage) {
    start_engine();
    EXPECT_EQ(engine_->image(), 0U);
    start_agent();
    publish({web()});
    EXPECT_EQ(engine_->image(), current_image(directory_).value());
}

TEST_F(Client, ANewAgentKeepsIndicesIncarnationsAndCounters) {
    start_engine();
    start_agent();
    std::vector<Service> services;
    for (int i = 0; i < 30; ++i) services.push_back(numbered(i));
    services.push_back(web({240, 241}));
    publish(services);
    const auto facts = [&](const Tables& tables) {
        return std::make_tuple(service_index(tables, "default/s1:http"), backends_at(tables, "10.0.0.241"));
    };
    const auto before = engine_->with_tables(facts);
    const auto index = std::get<1>(before).at(0).first;
    engine_->with_tables([&](const Tables& tables) {
        tables.served[index].connections = 9;
        return 0;
    });
    const auto number = engine_->image();
    agent_.reset();
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.241 10.0.0.242");
    start_agent();
    // Others before it, and one of its backends gone.
    publish({web({240}), numbered(3)});
    EXPECT_NE(engine_->image(), number);
    EXPECT_EQ(engine_->with_tables(facts), before);
    EXPECT_EQ(engine_->with_tables([&](const Tables& t) { return image::sum_served(t, index).connections; }), 9U);
    settle();
}

TEST_F(Client, APlaceIsNotUsedAgainBeforeEveryLcoreHasSeenThatItIsFree) {
    start_engine();
    start_agent();
    publish({web({1})});
    const auto old = engine_->with_tables([](const Tables& t) { return backends_at(t, "10.0.0.2").at(0).first; });
    engine_->standing = true;
    upsert(web({2}));
    agent_->reclaim();
    EXPECT_TRUE(eventually([&] { return engine_->synchronizes > 0; }));
    // Neither waits for the lcores: they stand still all the time.
    agent_->reclaim();
    upsert(web({3}));
    const auto next = engine_->with_tables([](const Tables& t) { return backends_at(t, "10.0.0.4").at(0).first; });
    EXPECT_NE(next, old);
    engine_->standing = false;
    EXPECT_TRUE(eventually([&] {
        agent_->reclaim();
        static int pod = 4;
        upsert(web({++pod}));
        return engine_->with_tables([&](const Tables& tables) {
            return backends_at(tables, backend(pod).address.to_string()).at(0).first == old;
        });
    }));
}

TEST_F(Client, GracePeriodsOfManyChangesAreOne) {
    start_engine();
    start_agent();
    publish({web({1})});
    for (int i = 0; i < 100; ++i) upsert(web({2 + i % 2}));
    agent_->reclaim();
    EXPECT_TRUE(eventually([&] { return engine_->synchronizes == 1; }));
}

TEST_F(Client, AnImageThatTheEngineRefusesLeavesTheFormerInForce) {
    start_engine();
    start_agent();
    publish({web()});
    const auto before = current_image(directory_).value();
    engine_->refuse = static_cast<int>(Code::kDataLoss);
    image::Node node;
    node.masquerade_all = true;
    const auto refused = agent_->set_node(node);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("not to its taste"));
    EXPECT_EQ(current_image(directory_).value(), before);
    EXPECT_THAT(list_images(directory_), ElementsAre(before));
    upsert(web({3}));
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.4");
    engine_->refuse = 0;
    ASSERT_TRUE(agent_->set_node(node));
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.4");
}

TEST_F(Client, AnotherNumberOfLcoresGivesAnotherNumberOfCounterRows) {
    start_engine(1);
    start_agent();
    publish({web()});
    const auto rows = [&] {
        return engine_->with_tables([](const Tables& tables) {
            return std::make_pair(tables.header->counter_rows,
                                  (tables.header->flags & SLUICE_HEADER_OWN_ROWS) != 0);
        });
    };
    EXPECT_EQ(rows(), std::make_pair(1U, true));
    stop_engine();
    start_engine(3);
    ASSERT_TRUE(agent_knows(true));
    EXPECT_TRUE(eventually([&] {
        agent_->reclaim();
        return rows() == std::make_pair(4U, true);
    }));
    stop_engine();
    // More than there can be rows: they share, and must add atomically.
    start_engine(image::kMaxCounterRows + 1);
    EXPECT_TRUE(eventually([&] {
        agent_->reclaim();
        return rows() == std::make_pair(image::kMaxCounterRows, false);
    }));
}

TEST_F(Client, WhereThereIsNoRoomTheFormerImageStays) {
    ASSERT_EQ(mkdir(directory_.c_str(), 0700), 0);
    if (mount("tmpfs", directory_.c_str(), "tmpfs", 0, "size=6m,mode=0700") != 0) {
        GTEST_SKIP() << "mounting needs root";
    }
    start_engine();
    start_agent();
    publish({web()});
    Result<void> outcome;
    int last = 0;
    for (; last < 20000 && outcome; ++last) outcome = agent_->apply({{numbered(last)}, {}});
    EXPECT_FALSE(outcome);
    EXPECT_EQ(outcome ? Code::kUnknown : outcome.error().code, Code::kResourceExhausted);
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.2 10.0.0.3");
    EXPECT_EQ(asked("10.97.0.20"), "default/s119:http: " + backend(19).address.to_string());
    // What fits goes on.
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(agent_->apply({{}, {numbered(i).key}}));
    EXPECT_TRUE(eventually([&] {
        agent_->reclaim();
        return agent_->apply({{web({3})}, {}}).has_value();
    }));
    EXPECT_EQ(asked(), "default/s1:http: 10.0.0.4");
    agent_.reset();
    stop_engine();
    EXPECT_EQ(umount(directory_.c_str()), 0);
}

TEST_F(Client, AFormerImageThatIsBrokenIsLeftBehind) {
    start_agent();
    publish({web()});
    agent_.reset();
    std::filesystem::resize_file(fmt::format("{}/image-{}", directory_, current_image(directory_).value()), 4096);
    start_agent();
    publish({web({6})});
    EXPECT_EQ(found(), "default/s1:http: 10.0.0.7");
    EXPECT_EQ(list_images(directory_).size(), 1U);
}

TEST_F(Client, FlowsWithoutTheirImageMeetNoBackendThatTheyKnow) {
    start_engine();
    ASSERT_TRUE(FlowSegment::open_or_create(directory_, 0, 64, 64));
    start_agent();
    publish({web()});
    const auto incarnation =
        engine_->with_tables([](const Tables& t) { return backends_at(t, "10.0.0.2").at(0).second; });
    EXPECT_GT(incarnation, 1000U) << "seen one time in four million by chance";
}

TEST_F(Client, AnEngineOnOtherMemoryIsTold) {
    start_engine();
    DpdkOptions options;
    options.socket = socket_;
    options.state_directory = root_ + "/other";
    agent_ = open_dpdk_engine(options).value();
    publish({web()});
    EXPECT_THAT(agent_->status().missing, Contains(HasSubstr(root_ + "/other")));
}

TEST_F(Client, CleansUpOnlyWhereNoEngineRuns) {
    start_engine();
    start_agent();
    publish({web()});
    agent_.reset();
    DpdkOptions options;
    options.state_directory = directory_;
    EXPECT_EQ(cleanup_dpdk(options).error().code, Code::kFailedPrecondition);
    EXPECT_EQ(found(), "default/s1:http: 10.0.0.2 10.0.0.3");
    stop_engine();
    EXPECT_THAT(cleanup_dpdk(options).value(), Not(IsEmpty()));
    EXPECT_FALSE(std::filesystem::exists(directory_));
    EXPECT_THAT(cleanup_dpdk(options).value(), IsEmpty());
}

}  // namespace
}  // namespace sluice::dpdk
