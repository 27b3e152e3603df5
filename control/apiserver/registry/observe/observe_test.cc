// Observing kinds, amending objects, and admission before writes, over a real store. The order that is promised: an
// acknowledged write has been seen.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>
#include <mutex>

#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

namespace corev1 = ::k8s::io::api::core::v1;

constexpr const char* kMaps = "/api/v1/namespaces/default/configmaps";

const codec::KindInfo& maps() { return *codec::find_resource("", "v1", "configmaps"); }

std::string map_named(const std::string& name, const std::string& value = "1") {
    return R"({"metadata":{"name":")" + name + R"("},"data":{"v":")" + value + R"("}})";
}

// What an observer was told last of each object.
struct Seen {
    std::mutex mutex;
    std::map<std::string, std::string> values;

    Observer observer() {
        return [this](const Observed& observed) {
            const std::lock_guard lock(mutex);
            const std::string key = observed.name_space + "/" + observed.name;
            if (observed.object == nullptr) {
                values.erase(key);
            } else {
                values[key] = static_cast<const corev1::ConfigMap&>(*observed.object).data().at("v");
            }
        };
    }
    std::string at(const std::string& key) {
        const std::lock_guard lock(mutex);
        const auto found = values.find(key);
        return found == values.end() ? "" : found->second;
    }
};

TEST(Observe, WhatIsThereAndWhatIsAcknowledgedHasBeenSeen) {
    Cluster cluster;
    cluster.call("POST", kMaps, map_named("before"));
    Seen seen;
    auto observation = cluster.api().observe(maps(), true, seen.observer());
    ASSERT_TRUE(observation) << observation.error().to_string();
    EXPECT_EQ(seen.at("default/before"), "1");
    for (int i = 0; i < 200; ++i) {
        const std::string name = "m" + std::to_string(i);
        ASSERT_EQ(cluster.call("POST", kMaps, map_named(name)).status, 201);
        ASSERT_EQ(seen.at("default/" + name), "1");
        ASSERT_EQ(cluster.call("PUT", std::string(kMaps) + "/" + name, map_named(name, "2")).status, 200);
        ASSERT_EQ(seen.at("default/" + name), "2");
        ASSERT_EQ(cluster.call("DELETE", std::string(kMaps) + "/" + name).status, 200);
        ASSERT_EQ(seen.at("default/" + name), "");
    }
    // Nobody waits for an observation that has ended.
    observation->reset();
    EXPECT_EQ(cluster.call("POST", kMaps, map_named("after")).status, 201);
    EXPECT_EQ(seen.at("default/after"), "");
}

TEST(Amend, MakesChangesAndLeaves) {
    Cluster cluster;
    const auto amend = [&](const std::string& name, const std::string& value) {
        std::promise<Result<void>> done;
        cluster.api().amend(
            maps(), "default", name,
            [&](const google::protobuf::Message* existing) -> std::unique_ptr<google::protobuf::Message> {
                if (value.empty()) return nullptr;
                auto out = std::make_unique<corev1::ConfigMap>();
                if (existing != nullptr) out->CopyFrom(*existing);
                out->mutable_metadata()->set_namespace_("default");
                out->mutable_metadata()->set_name(name);
                (*out->mutable_data())["v"] = value;
                return out;
            },
            [&](Result<void> result) { done.set_value(std::move(result)); });
        return done.get_future().get();
    };
    EXPECT_TRUE(amend("a", "1"));
    EXPECT_EQ(cluster.call("GET", std::string(kMaps) + "/a").at("/data/v"), "1");
    EXPECT_TRUE(amend("a", "2"));
    EXPECT_EQ(cluster.call("GET", std::string(kMaps) + "/a").at("/data/v"), "2");
    EXPECT_TRUE(amend("a", ""));
    EXPECT_EQ(cluster.call("GET", std::string(kMaps) + "/a").at("/data/v"), "2");
    const auto refused = amend("No Name", "1");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("configmaps default/No Name"), std::string::npos);
}

class Refusing final : public Admission {
public:
    [[nodiscard]] Answer<void> check(const AdmissionRequest& request) const override {
        last = std::string(request.operation == Operation::kCreate   ? "create "
                           : request.operation == Operation::kUpdate ? "update "
                                                                     : "delete ") +
               std::string(request.name_space) + "/" + std::string(request.name) +
               (request.object == nullptr ? "" : " now") + (request.old == nullptr ? "" : " old") +
               (request.dry_run ? " dry" : "");
        if (request.name != "closed") return {};
        return refuse(forbidden(request.kind, request.name, "closed"));
    }
    mutable std::string last;
};

TEST(Admission, SeesEveryWriteWithItsObjects) {
    Cluster cluster;
    cluster.call("POST", kMaps, map_named("closed"));
    const Refusing admission;
    cluster.api().set_admission(&admission);
    const std::string open = std::string(kMaps) + "/open";
    const std::string closed = std::string(kMaps) + "/closed";
    EXPECT_EQ(cluster.call("POST", kMaps, map_named("open")).status, 201);
    EXPECT_EQ(admission.last, "create default/open now");
    EXPECT_EQ(cluster.call("PUT", open, map_named("open", "2")).status, 200);
    EXPECT_EQ(admission.last, "update default/open now old");
    const Headers merge = {{"content-type", "application/merge-patch+json"}};
    EXPECT_EQ(cluster.call("PATCH", open + "?dryRun=All", R"({"data":{"v":"3"}})", merge).status, 200);
    EXPECT_EQ(admission.last, "update default/open now old dry");
    // A change that changes nothing is asked about all the same.
    EXPECT_EQ(cluster.call("PATCH", closed, "{}", merge).status, 403);
    EXPECT_EQ(cluster.call("PUT", closed, map_named("closed", "2")).status, 403);
    const auto refused = cluster.call("DELETE", closed);
    EXPECT_EQ(refused.status, 403);
    EXPECT_EQ(refused.at("/message"), "configmaps \"closed\" is forbidden: closed");
    EXPECT_EQ(admission.last, "delete default/closed old");
    EXPECT_EQ(cluster.call("GET", closed).at("/data/v"), "1");
    // Of a collection each object is asked about.
    EXPECT_EQ(cluster.call("DELETE", kMaps).status, 403);
    cluster.api().set_admission(nullptr);
}

}  // namespace
}  // namespace sluice::registry::testing
