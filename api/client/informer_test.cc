#include "api/client/informer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "api/client/fake_http.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::client {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

const codec::KindInfo& pods() { return *codec::find_kind({"", "v1", "Pod"}); }

std::shared_ptr<corev1::Pod> pod(const std::string& name, const std::string& node) {
    auto out = std::make_shared<corev1::Pod>();
    out->mutable_metadata()->set_namespace_("ns");
    out->mutable_metadata()->set_name(name);
    out->mutable_spec()->set_nodename(node);
    return out;
}

Delta there(const std::shared_ptr<corev1::Pod>& object) { return {object_key(*object), object}; }
Delta gone(const std::string& name) { return {"ns/" + name, nullptr}; }

std::vector<std::string> names(const std::vector<SharedObject>& objects) {
    std::vector<std::string> out;
    for (const auto& object : objects) out.push_back(codec::object_meta(*object).name());
    return out;
}

class InformerTest : public ::testing::Test {
protected:
    Client client_{std::make_unique<FakeHttp>()};
    Informer informer_{client_, pods()};

    void apply(std::vector<Delta> deltas, bool synced = false) {
        Batch batch;
        batch.kind = &pods();
        batch.synced = synced;
        batch.deltas = std::move(deltas);
        informer_.apply(batch);
    }
    void index_by_node() {
        informer_.add_index("node", [](const google::protobuf::Message& object) {
            return std::vector<std::string>{static_cast<const corev1::Pod&>(object).spec().nodename()};
        });
    }
};

TEST_F(InformerTest, KeepsTheLatestOfEachKey) {
    apply({there(pod("a", "n1")), there(pod("b", "n1"))});
    apply({there(pod("a", "n2")), gone("b"), gone("never-there")});
    EXPECT_EQ(informer_.size(), 1U);
    ASSERT_NE(informer_.get("ns/a"), nullptr);
    EXPECT_EQ(as<corev1::Pod>(informer_.get("ns/a"))->spec().nodename(), "n2");
    EXPECT_EQ(informer_.get("ns/b"), nullptr);
    EXPECT_THAT(names(informer_.list()), ElementsAre("a"));
}

TEST_F(InformerTest, HandlersHearBeforeAndAfterInOrder) {
    std::vector<std::string> heard;
    informer_.add_handler([&](const SharedObject& before, const SharedObject& after) {
        const auto node = [](const SharedObject& object) {
            return object == nullptr ? std::string("-") : as<corev1::Pod>(object)->spec().nodename();
        };
        heard.push_back(node(before) + ">" + node(after));
    });
    apply({there(pod("a", "n1"))});
    apply({there(pod("a", "n2"))});
    apply({gone("a"), gone("a")});
    EXPECT_THAT(heard, ElementsAre("->n1", "n1>n2", "n2>-"));
}

TEST_F(InformerTest, TheCacheIsAheadOfItsHandlers) {
    bool seen = false;
    informer_.add_handler([&](const SharedObject&, const SharedObject& after) {
        seen = informer_.get("ns/a") == after;
    });
    apply({there(pod("a", "n1"))});
    EXPECT_TRUE(seen);
}

TEST_F(InformerTest, ALateHandlerHearsFirstWhatExists) {
    apply({there(pod("a", "n1")), there(pod("b", "n1"))});
    std::vector<std::string> heard;
    informer_.add_handler([&](const SharedObject& before, const SharedObject& after) {
        EXPECT_EQ(before, nullptr);
        heard.push_back(codec::object_meta(*after).name());
    });
    EXPECT_THAT(heard, UnorderedElementsAre("a", "b"));
}

TEST_F(InformerTest, IndexesFollowChanges) {
    index_by_node();
    apply({there(pod("a", "n1")), there(pod("b", "n1")), there(pod("c", "n2"))});
    EXPECT_THAT(names(informer_.by_index("node", "n1")), UnorderedElementsAre("a", "b"));
    apply({there(pod("a", "n2")), gone("b")});
    EXPECT_THAT(names(informer_.by_index("node", "n1")), ElementsAre());
    EXPECT_THAT(names(informer_.by_index("node", "n2")), UnorderedElementsAre("a", "c"));
    EXPECT_THAT(names(informer_.by_index("node", "n3")), ElementsAre());
}

TEST_F(InformerTest, SyncedByTheFirstWholeList) {
    EXPECT_FALSE(informer_.synced());
    apply({there(pod("a", "n1"))});
    EXPECT_FALSE(informer_.synced());
    apply({}, true);
    EXPECT_TRUE(informer_.synced());
    EXPECT_TRUE(informer_.wait_synced({}));
}

TEST_F(InformerTest, WaitingForTheFirstListCanBeStopped) {
    std::stop_source stop;
    stop.request_stop();
    EXPECT_FALSE(informer_.wait_synced(stop.get_token()));
}

TEST(InformerKeyTest, Keys) {
    EXPECT_EQ(object_key(*pod("a", "")), "ns/a");
    corev1::Pod bare;
    bare.mutable_metadata()->set_name("n1");
    EXPECT_EQ(object_key(bare), "n1");
    EXPECT_EQ(split_key("ns/a"), (std::pair<std::string, std::string>("ns", "a")));
    EXPECT_EQ(split_key("n1"), (std::pair<std::string, std::string>("", "n1")));
}

// What vanished while the watch was down is told as deleted when the list is read again.
TEST(InformerListTest, ARelistTellsDeletions) {
    auto http = std::make_unique<FakeHttp>();
    const auto list = [](const std::string& version, const std::vector<std::string>& pods_there) {
        std::string items;
        for (const auto& name : pods_there) {
            items += std::string(items.empty() ? "" : ",") + R"({"metadata":{"namespace":"ns","name":")" +
                     name + R"(","resourceVersion":"1"}})";
        }
        FakeAnswer answer;
        answer.chunks = {R"({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":")" +
                         version + R"("},"items":[)" + items + "]}"};
        return answer;
    };
    FakeAnswer expired;
    expired.status = 410;
    expired.chunks = {R"({"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired",)"
                      R"("message":"too old","code":410})"};
    http->script = {list("5", {"a", "b"}), expired, list("9", {"b", "c"})};
    std::stop_source done;
    http->exhausted = [&] { done.request_stop(); };
    Client client(std::move(http));
    Informer informer(client, pods());
    std::vector<std::string> deleted;
    informer.add_handler([&](const SharedObject& before, const SharedObject& after) {
        if (after == nullptr) deleted.push_back(codec::object_meta(*before).name());
    });
    ReflectorEnvironment environment = ReflectorEnvironment::real();
    environment.sleep = [](std::uint32_t, const std::stop_token& stop) {
        return !stop.stop_requested();
    };
    ReflectorOptions options;
    options.streaming_list = false;
    run_reflector(client, pods(), options, environment,
                  [&](const Batch& batch) {
                      informer.apply(batch);
                      return true;
                  },
                  done.get_token());
    EXPECT_THAT(deleted, ElementsAre("a"));
    EXPECT_THAT(names(informer.list()), UnorderedElementsAre("b", "c"));
}

}  // namespace
}  // namespace sluice::client
