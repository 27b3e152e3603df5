// The plugin ServiceAccount over a real store, with the words of Kubernetes 1.32.
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <latch>
#include <thread>

#include "control/apiserver/admission/admission.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/test_util.h"

namespace sluice::admission {
namespace {

using registry::Answer;
using registry::testing::Cluster;
using registry::testing::kMerge;
using registry::testing::Reply;

const std::string kCore = "/api/v1/namespaces/default/";
const std::string kTokenMount =
    R"({"name":"VOLUME","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"})";

class ServiceAccounts : public testing::Test {
protected:
    ServiceAccounts() { cluster_.api().set_admission(&plugins_); }

    Reply post(const std::string& resource, const std::string& body) {
        return cluster_.call("POST", kCore + resource, body);
    }
    void account(const std::string& name, const std::string& more = "", const std::string& meta = "") {
        const Reply made =
            post("serviceaccounts", R"({"metadata":{"name":")" + name + "\"" + meta + "}" + more + "}");
        EXPECT_EQ(made.status, 201) << made.body;
    }
    Reply pod(const std::string& spec, const std::string& containers = R"({"name":"c","image":"i"})",
              const std::string& meta = "") {
        return post("pods", "{\"metadata\":{\"name\":\"p" + std::to_string(++pods_) + "\"" + meta + R"(},"spec":{)" +
                                spec + R"("containers":[)" + containers + "]}}");
    }
    void refused(const Reply& reply, const std::string& why) {
        EXPECT_EQ(reply.status, 403) << reply.body;
        EXPECT_EQ(reply.at("/message"), "pods \"p" + std::to_string(pods_) + "\" is forbidden: " + why);
    }
    static std::string mount_of(const Reply& made) {
        std::string out = kTokenMount;
        return out.replace(out.find("VOLUME"), 6, made.at("/spec/volumes/0/name"));
    }

    authorization::Authorizer authorizer_{{authorization::Mode::kAlwaysAllow}};
    Plugins plugins_{authorizer_};
    Cluster cluster_;
    int pods_ = 0;
};

TEST_F(ServiceAccounts, APodGetsATokenOfTheDefaultAccount) {
    const Reply made = pod(R"("initContainers":[{"name":"first","image":"i"}],)");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/serviceAccountName"), "default");
    EXPECT_EQ(made.at("/spec/serviceAccount"), "default");
    EXPECT_EQ(made.at("/spec/volumes/0/name").substr(0, 16), "kube-api-access-");
    EXPECT_EQ(made.at("/spec/volumes/0/name").size(), 21U);
    EXPECT_EQ(made.at("/spec/volumes/0/projected"),
              R"({"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},)"
              R"({"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},)"
              R"({"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1",)"
              R"("fieldPath":"metadata.namespace"}}]}}],"defaultMode":420})");
    EXPECT_EQ(made.at("/spec/containers/0/volumeMounts"), "[" + mount_of(made) + "]");
    EXPECT_EQ(made.at("/spec/initContainers/0/volumeMounts"), "[" + mount_of(made) + "]");
    // The account that every namespace has was made for it, once.
    EXPECT_EQ(cluster_.call("GET", kCore + "serviceaccounts/default").status, 200);
    EXPECT_EQ(pod("").status, 201);
}

// Where requests come in, to get hold of what serves them.
class Holding final : public registry::Admission {
public:
    Answer<void> check(const registry::AdmissionRequest& request) const override {
        core = request.call.core;
        return {};
    }
    mutable registry::Core* core = nullptr;
};

TEST_F(ServiceAccounts, AllWorkersMayMakeAccountsAtOnce) {
    const std::size_t workers = std::clamp(std::size_t{std::thread::hardware_concurrency()}, std::size_t{2},
                                           std::size_t{8});
    Holding holding;
    cluster_.api().set_admission(&holding);
    for (std::size_t i = 0; i < workers; ++i) {
        const Reply made =
            cluster_.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"n)" + std::to_string(i) + "\"}}");
        ASSERT_EQ(made.status, 201) << made.body;
    }
    cluster_.api().set_admission(&plugins_);
    ASSERT_NE(holding.core, nullptr);
    std::latch together(static_cast<std::ptrdiff_t>(workers));
    std::vector<std::promise<std::shared_ptr<registry::testing::Recorder>>> answers(workers);
    for (std::size_t i = 0; i < workers; ++i) {
        holding.core->executor.post([&, i] {
            together.arrive_and_wait();
            answers[i].set_value(
                cluster_.start("POST", "/api/v1/namespaces/n" + std::to_string(i) + "/pods",
                               R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})"));
        });
    }
    for (auto& answer : answers) EXPECT_EQ(answer.get_future().get()->wait().status, 201);
}

TEST_F(ServiceAccounts, ADryRunMakesNoAccount) {
    const Reply made =
        post("pods?dryRun=All", R"({"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}})");
    EXPECT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/serviceAccountName"), "default");
    EXPECT_EQ(cluster_.call("GET", kCore + "serviceaccounts/default").status, 404);
}

TEST_F(ServiceAccounts, AnAccountMustExist) {
    refused(pod(R"("serviceAccountName":"robot",)"),
            "error looking up service account default/robot: serviceaccount \"robot\" not found");
    account("robot");
    EXPECT_EQ(pod(R"("serviceAccountName":"robot",)").at("/spec/serviceAccountName"), "robot");
}

TEST_F(ServiceAccounts, PodsAndAccountsOptOut) {
    account("mute", R"(,"automountServiceAccountToken":false)");
    EXPECT_EQ(pod(R"("serviceAccountName":"mute",)").at("/spec/volumes"), "");
    EXPECT_NE(pod(R"("serviceAccountName":"mute","automountServiceAccountToken":true,)").at("/spec/volumes"), "");
    EXPECT_EQ(pod(R"("automountServiceAccountToken":false,)").at("/spec/volumes"), "");
}

TEST_F(ServiceAccounts, WhatIsMountedThereStays) {
    const std::string own =
        R"({"name":"own","image":"i","volumeMounts":[{"name":"v",)"
        R"("mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}]})";
    const Reply alone = pod(R"("volumes":[{"name":"v","emptyDir":{}}],)", own);
    ASSERT_EQ(alone.status, 201) << alone.body;
    EXPECT_EQ(alone.at("/spec/volumes/1"), "");
    const Reply beside = pod(R"("volumes":[{"name":"v","emptyDir":{}}],)", own + R"(,{"name":"c","image":"i"})");
    EXPECT_EQ(beside.at("/spec/containers/0/volumeMounts/0/name"), "v");
    EXPECT_EQ(beside.at("/spec/containers/1/volumeMounts/0/name"), beside.at("/spec/volumes/1/name"));
    // A Pod that was read and is made again has the volume already.
    const Reply again = pod(R"("volumes":[{"name":"kube-api-access-abcde","emptyDir":{}}],)");
    EXPECT_EQ(again.at("/spec/volumes/1"), "");
    EXPECT_EQ(again.at("/spec/containers/0/volumeMounts/0/name"), "kube-api-access-abcde");
}

TEST_F(ServiceAccounts, ImagePullSecrets) {
    account("puller", R"(,"imagePullSecrets":[{"name":"registry"}])");
    EXPECT_EQ(pod(R"("serviceAccountName":"puller",)").at("/spec/imagePullSecrets"), R"([{"name":"registry"}])");
    EXPECT_EQ(pod(R"("serviceAccountName":"puller","imagePullSecrets":[{"name":"own"}],)").at("/spec/imagePullSecrets"),
              R"([{"name":"own"}])");
}

TEST_F(ServiceAccounts, AccountsThatListTheirSecrets) {
    account("strict", R"(,"secrets":[{"name":"mine"}])",
            R"(,"annotations":{"kubernetes.io/enforce-mountable-secrets":"true"})");
    const std::string as = R"("serviceAccountName":"strict",)";
    refused(pod(as + R"("volumes":[{"name":"v","secret":{"secretName":"other"}}],)"),
            "volume with secret.secretName=\"other\" is not allowed because service account strict does not reference "
            "that secret");
    refused(pod(as, R"({"name":"c","image":"i","env":[{"name":"E","valueFrom":)"
                    R"({"secretKeyRef":{"name":"other","key":"k"}}}]})"),
            "container c with envVar E referencing secret.secretName=\"other\" is not allowed because service account "
            "strict does not reference that secret");
    refused(pod(as + R"("imagePullSecrets":[{"name":"pull"}],)"),
            "imagePullSecrets[0].name=\"pull\" is not allowed because service account strict does not reference that "
            "imagePullSecret");
    EXPECT_EQ(pod(as + R"("volumes":[{"name":"v","secret":{"secretName":"mine"}}],)").status, 201);
}

TEST_F(ServiceAccounts, MirrorPodsHaveNone) {
    const std::string mirror = R"(,"annotations":{"kubernetes.io/config.mirror":"x"})";
    const std::string container = R"({"name":"c","image":"i"})";
    const Reply made = pod(R"("nodeName":"n",)", container, mirror);
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/spec/serviceAccountName"), "");
    EXPECT_EQ(made.at("/spec/volumes"), "");
    refused(pod(R"("serviceAccountName":"default",)", container, mirror),
            "a mirror pod may not reference service accounts");
    refused(pod(R"("volumes":[{"name":"v","secret":{"secretName":"s"}}],)", container, mirror),
            "a mirror pod may not reference secrets");
    refused(pod(R"("volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"t"}}]}}],)",
                container, mirror),
            "a mirror pod may not use ServiceAccountToken volume projections");
}

}  // namespace
}  // namespace sluice::admission
