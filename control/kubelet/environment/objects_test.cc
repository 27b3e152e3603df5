// Following objects at a scripted server: what is read, what is told, and what is served while the
// server is away.
#include "control/kubelet/objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "api/client/fake_http.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "control/kubelet/environment/object_references_private.h"

namespace sluice::kubelet {
namespace {

using testing::HasSubstr;

// Answers GETs of one ConfigMap by its present content; a watch tells of it and then goes on when
// the content changes.
class Server final : public client::HttpClient {
public:
    void put(int version, const std::string& value) {
        const std::scoped_lock lock(mutex_);
        version_ = version;
        value_ = value;
        changed_.notify_all();
    }
    void go_away() {
        const std::scoped_lock lock(mutex_);
        away_ = true;
        changed_.notify_all();
    }
    std::atomic<int> gets = 0;
    std::atomic<int> watches = 0;

    Result<std::unique_ptr<client::HttpStream>> stream(const client::HttpRequest& request,
                                                       std::stop_token stop) override {
        std::unique_lock lock(mutex_);
        if (away_) return make_error(Code::kUnavailable, "away");
        client::FakeAnswer answer;
        if (request.target.find("watch=") != std::string::npos) {
            ++watches;
            EXPECT_THAT(request.target, HasSubstr("/namespaces/n/configmaps?"));
            EXPECT_THAT(request.target, HasSubstr("fieldSelector=metadata.name%3Dcm"));
            // Each watch tells of one change and ends; the client asks for the next one.
            const int known = told_;
            changed_.wait(lock, stop, [&] { return version_ > known || away_; });
            if (stop.stop_requested()) return make_error(Code::kCancelled, "stopped");
            if (away_) return make_error(Code::kUnavailable, "away");
            told_ = version_;
            answer.chunks = {R"({"type":"MODIFIED","object":)" + object() + "}\n"};
        } else if (request.target.find("/configmaps/cm") != std::string::npos) {
            ++gets;
            answer.status = version_ == 0 ? 404 : 200;
            answer.chunks = {version_ == 0 ? R"({"kind":"Status","apiVersion":"v1","reason":"NotFound","code":404})"
                                           : object()};
        } else {
            told_ = version_;
            answer.chunks = {R"({"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":")" +
                             std::to_string(version_ + 1) + R"("},"items":[)" + (version_ == 0 ? "" : object()) + "]}"};
        }
        return std::unique_ptr<client::HttpStream>(std::make_unique<client::FakeStream>(std::move(answer)));
    }
    Result<client::HttpResponse> request(const client::HttpRequest& request, std::stop_token stop) override {
        SLUICE_TRY_ASSIGN(auto answer, stream(request, std::move(stop)));
        client::HttpResponse response{answer->head(), ""};
        std::string chunk(65'536, '\0');
        while (true) {
            SLUICE_TRY_ASSIGN(const std::size_t got, answer->read(chunk.data(), chunk.size(), 1));
            if (got == 0) return response;
            response.body.append(chunk, 0, got);
        }
    }
    [[nodiscard]] const client::ClientConfig& config() const override { return config_; }

private:
    std::string object() const {
        return R"({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"cm","namespace":"n",)"
               R"("uid":"o","resourceVersion":")" +
               std::to_string(version_) + R"("},"data":{"k":")" + value_ + R"("}})";
    }
    std::mutex mutex_;
    std::condition_variable_any changed_;
    int version_ = 0;
    int told_ = 0;
    std::string value_;
    bool away_ = false;
    client::ClientConfig config_;
};

corev1::Pod pod_with(const std::string& uid) {
    corev1::Pod pod;
    pod.mutable_metadata()->set_namespace_("n");
    pod.mutable_metadata()->set_uid(uid);
    auto* source = pod.mutable_spec()->add_volumes()->mutable_volumesource();
    source->mutable_configmap()->mutable_localobjectreference()->set_name("cm");
    return pod;
}

TEST(Objects, AreReadOnceFollowedAndServedThroughAnOutage) {
    auto http = std::make_unique<Server>();
    Server& server = *http;
    client::Client client(std::move(http));
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::string> told;
    const auto source = ObjectSource::create(client);
    source->on_change([&](const std::string& uid) {
        const std::scoped_lock lock(mutex);
        told.push_back(uid);
        changed.notify_all();
    });
    source->follow_pod(pod_with("u1"));
    source->follow_pod(pod_with("u2"));
    source->follow_pod(pod_with("u2"));

    const auto missing = source->config_map("n", "cm");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kNotFound);
    EXPECT_EQ(missing.error().message, "configmap \"cm\" not found");

    server.put(5, "one");
    auto found = source->config_map("n", "cm");
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ((*found)->data().at("k"), "one");
    const int gets = server.gets;
    ASSERT_TRUE(source->config_map("n", "cm"));
    EXPECT_EQ(server.gets, gets) << "known objects are not read again";
    EXPECT_EQ(source->counts().followed, 1U);

    {
        std::unique_lock lock(mutex);
        told.clear();
    }
    server.put(9, "two");
    {
        std::unique_lock lock(mutex);
        ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return told.size() >= 2; }));
        EXPECT_THAT(told, testing::UnorderedElementsAre("u1", "u2"));
    }
    EXPECT_EQ((*source->config_map("n", "cm"))->data().at("k"), "two");
    EXPECT_GT(server.watches, 0);

    server.go_away();
    ASSERT_TRUE(source->config_map("n", "cm"));
    EXPECT_EQ((*source->config_map("n", "cm"))->data().at("k"), "two");

    source->forget_pod("u1");
    EXPECT_EQ(source->counts().followed, 1U);
    source->forget_pod("u2");
    EXPECT_EQ(source->counts().followed, 0U);
    EXPECT_EQ(source->counts().watched, 0U);
    const auto unknown = source->config_map("n", "cm");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, Code::kUnavailable);
}

TEST(Objects, AllReferencesOfAPod) {
    corev1::Pod pod = pod_with("u");
    pod.mutable_spec()->add_imagepullsecrets()->set_name("pull");
    auto* init = pod.mutable_spec()->add_initcontainers();
    init->add_envfrom()->mutable_secretref()->mutable_localobjectreference()->set_name("init");
    auto* variable = pod.mutable_spec()->add_containers()->add_env();
    variable->mutable_valuefrom()->mutable_configmapkeyref()->mutable_localobjectreference()->set_name("env");
    auto* projected = pod.mutable_spec()->add_volumes()->mutable_volumesource()->mutable_projected();
    projected->add_sources()->mutable_secret()->mutable_localobjectreference()->set_name("projected");
    EXPECT_THAT(objects_of(pod), testing::ElementsAre(ObjectKey{false, "n", "cm"}, ObjectKey{false, "n", "env"},
                                                      ObjectKey{true, "n", "init"}, ObjectKey{true, "n", "projected"},
                                                      ObjectKey{true, "n", "pull"}));
}

}  // namespace
}  // namespace sluice::kubelet
