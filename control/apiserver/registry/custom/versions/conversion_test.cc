// Custom resources in versions that a webhook converts, over a real store and a webhook on the loopback. Expectations
// are kube-apiserver's: what its conversion webhooks are asked, which answers it takes, and what it calls the others.
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "api/codec/json.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "control/apiserver/registry/test_util.h"
#include "control/http/status_body.h"
#include "control/http/test_client.h"

namespace sluice::registry::testing {
namespace {

namespace json = boost::json;

constexpr char kDefinitions[] = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
constexpr char kV1[] = "/apis/stable.example.com/v1/namespaces/default/e2es";
constexpr char kV2[] = "/apis/stable.example.com/v2/namespaces/default/e2es";

// hostPort "a:b" of v1 is host "a" and port "b" of v2, as in the conformance suite.
json::object converted(json::object object, const std::string& to) {
    object["apiVersion"] = to;
    if (to.ends_with("/v2")) {
        const std::string both(object["hostPort"].as_string());
        object.erase("hostPort");
        object["host"] = both.substr(0, both.find(':'));
        object["port"] = both.substr(both.find(':') + 1);
    } else {
        object["hostPort"] =
            std::string(object["host"].as_string()) + ":" + std::string(object["port"].as_string());
        object.erase("host");
        object.erase("port");
    }
    return object;
}

// What the webhook makes of a review it was asked; by default what converted() says.
using Answering = std::function<json::object(const json::object& request)>;

json::object well(const json::object& request) {
    json::array out;
    for (const auto& object : request.at("objects").as_array()) {
        out.push_back(converted(object.as_object(), std::string(request.at("desiredAPIVersion").as_string())));
    }
    return {{"uid", request.at("uid")}, {"result", {{"status", "Success"}}}, {"convertedObjects", out}};
}

class Conversion : public ::testing::Test {
protected:
    Conversion() {
        server_ = std::move(*http::listen(http::testing::server_options(), [this](auto request, auto responder) {
            const auto review = json::parse(request->body).as_object();
            Answering answering;
            {
                const std::lock_guard lock(mutex_);
                seen_.push_back(review.at("request").as_object());
                if (failing_ != 0) {
                    http::Response out;
                    out.status = failing_;
                    return responder->send(std::move(out));
                }
                answering = answering_;
            }
            const json::object answer{{"kind", review.at("kind")},
                                      {"apiVersion", review.at("apiVersion")},
                                      {"response", answering(review.at("request").as_object())}};
            responder->send(http::json_response(json::serialize(answer)));
        }));
    }

    [[nodiscard]] std::string definition(bool v2_stored = false) const {
        const auto version = [](const std::string& name, bool stored, const std::string& properties) {
            return R"({"name":")" + name + R"(","served":true,"storage":)" + (stored ? "true" : "false") +
                   R"(,"schema":{"openAPIV3Schema":{"type":"object","properties":{)" + properties + "}}}}";
        };
        ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1::WebhookClientConfig client;
        client.set_url("https://127.0.0.1:" + std::to_string(server_->port()) + "/convert");
        client.set_cabundle(http::testing::credentials().ca.certificate_pem);
        return R"({"metadata":{"name":"e2es.stable.example.com"},"spec":{"group":"stable.example.com",
            "scope":"Namespaced","names":{"plural":"e2es","kind":"E2e"},"versions":[)" +
               version("v1", !v2_stored, R"("hostPort":{"type":"string"})") + "," +
               version("v2", v2_stored, R"("host":{"type":"string"},"port":{"type":"string"},
                                           "late":{"type":"string","default":"v2 only"})") +
               R"(],"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v3","v1","v1beta1"],
            "clientConfig":)" + codec::encode_json(client) + "}}}}";
    }
    void define() {
        const Reply made = cluster_.call("POST", kDefinitions, definition());
        ASSERT_EQ(made.status, 201) << made.body;
        for (int i = 0; i < 2'000 && cluster_.call("GET", kV2).status != 200; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        ASSERT_EQ(cluster_.call("GET", kV2).status, 200);
    }
    void store_in_v2() {
        Reply made;
        do {
            const std::string version = cluster_.call("GET", std::string(kDefinitions) + "/e2es.stable.example.com")
                                            .at("/metadata/resourceVersion");
            json::object wanted = json::parse(definition(true)).as_object();
            wanted["metadata"].as_object()["resourceVersion"] = version;
            made = cluster_.call("PUT", std::string(kDefinitions) + "/e2es.stable.example.com",
                                 json::serialize(wanted));
        } while (made.status == 409);
        ASSERT_EQ(made.status, 200) << made.body;
        // The kinds follow by themselves.
        for (int i = 0; i < 2'000; ++i) {
            cluster_.call("POST", kV2, R"({"metadata":{"name":"probe"},"host":"h","port":"1"})");
            const auto stored = cluster_.store().get("/registry/stable.example.com/e2es/default/probe");
            const bool done = (*stored)->value->find("stable.example.com/v2") != std::string::npos;
            ASSERT_EQ(cluster_.call("DELETE", std::string(kV2) + "/probe").status, 200);
            if (done) return;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        FAIL() << "nothing is stored in v2";
    }
    Reply make_v1(const std::string& name, const std::string& host_port = "localhost:8080") {
        return cluster_.call("POST", kV1,
                             R"({"apiVersion":"stable.example.com/v1","kind":"E2e","metadata":{"name":")" + name +
                                 R"("},"hostPort":")" + host_port + "\"}");
    }
    void answer(Answering answering) {
        const std::lock_guard lock(mutex_);
        answering_ = std::move(answering);
    }
    void fail(int status) {
        const std::lock_guard lock(mutex_);
        failing_ = status;
    }
    // The reviews since the last call.
    std::vector<json::object> seen() {
        const std::lock_guard lock(mutex_);
        return std::exchange(seen_, {});
    }

    std::mutex mutex_;
    Answering answering_ = well;
    int failing_ = 0;
    std::vector<json::object> seen_;
    std::unique_ptr<http::Server> server_;
    Cluster cluster_;
};

// As Kubernetes since 1.31: what cannot be trusted keeps a new kind from being served, and is refused once it is.
TEST_F(Conversion, AuthoritiesThatCannotBeRead) {
    const std::string name = std::string(kDefinitions) + "/e2es.stable.example.com";
    const auto condition = [&](const std::string& member) {
        const json::value object = json::parse(cluster_.call("GET", name).body);
        boost::system::error_code none;
        const json::value* conditions = object.find_pointer("/status/conditions", none);
        if (conditions == nullptr || !conditions->is_array()) return std::string();
        for (const auto& one : conditions->as_array()) {
            if (one.at("type") == "Established") return std::string(one.at(member).as_string());
        }
        return std::string();
    };
    const auto set = [&](const std::string& bundle) {
        return cluster_.call("PATCH", name,
                             R"({"spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":)" + bundle + "}}}}}",
                             kMerge);
    };
    json::object wanted = json::parse(definition()).as_object();
    json::value& client = wanted["spec"].at("conversion").at("webhook").at("clientConfig");
    const std::string good = json::serialize(client.at("caBundle"));
    client.as_object()["caBundle"] = "Cg==";  // a line break
    ASSERT_EQ(cluster_.call("POST", kDefinitions, json::serialize(wanted)).status, 201);
    for (int i = 0; i < 2'000 && condition("status").empty(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(condition("status"), "False");
    EXPECT_EQ(condition("reason"), "InvalidCABundle");
    EXPECT_EQ(condition("message"), "The conversion webhook CABundle is invalid");
    EXPECT_EQ(cluster_.call("GET", kV1).status, 404);
    // While it is not served, it may be changed from bad to bad, and from bad to good.
    EXPECT_EQ(set(R"("CgoK")").status, 200);
    EXPECT_EQ(set(good).status, 200);
    // It is served a moment before its status says so.
    for (int i = 0; i < 2'000 && (cluster_.call("GET", kV1).status != 200 || condition("status") != "True"); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(cluster_.call("GET", kV1).status, 200);
    EXPECT_EQ(condition("status"), "True");
    const Reply refused = set(R"("Cg==")");
    EXPECT_EQ(refused.status, 422);
    EXPECT_EQ(refused.at("/message"),
              "CustomResourceDefinition.apiextensions.k8s.io \"e2es.stable.example.com\" is invalid: "
              "spec.conversion.webhookClientConfig.caBundle: Invalid value: []byte{0xa}: unable to load root "
              "certificates: unable to parse bytes as PEM block");
    EXPECT_EQ(refused.at("/details/causes/0/field"), "spec.conversion.webhookClientConfig.caBundle");
    // None at all stands for whom the server trusts anyway; it is no bad one that another bad one may follow.
    EXPECT_EQ(set("null").status, 200);
    EXPECT_EQ(set(R"("Cg==")").status, 422);
}

TEST_F(Conversion, ReadsOfAnotherVersionGoThroughTheWebhook) {
    define();
    ASSERT_EQ(make_v1("a").status, 201);
    EXPECT_TRUE(seen().empty());  // v1 is how it is stored
    const Reply read = cluster_.call("GET", std::string(kV2) + "/a");
    EXPECT_EQ(read.status, 200) << read.body;
    EXPECT_EQ(read.at("/apiVersion"), "stable.example.com/v2");
    EXPECT_EQ(read.at("/host"), "localhost");
    EXPECT_EQ(read.at("/port"), "8080");
    EXPECT_EQ(read.at("/hostPort"), "");
    // Defaults are those of the version that was stored.
    EXPECT_EQ(read.at("/late"), "");
    EXPECT_NE(read.at("/metadata/resourceVersion"), "");
    const auto asked = seen();
    ASSERT_EQ(asked.size(), 1U);
    EXPECT_EQ(asked[0].at("desiredAPIVersion"), "stable.example.com/v2");
    const auto& object = asked[0].at("objects").as_array().at(0).as_object();
    EXPECT_EQ(object.at("apiVersion"), "stable.example.com/v1");
    EXPECT_EQ(object.at("kind"), "E2e");
    EXPECT_EQ(object.at("hostPort"), "localhost:8080");
    // The same again is known already.
    EXPECT_EQ(cluster_.call("GET", std::string(kV2) + "/a").at("/host"), "localhost");
    EXPECT_TRUE(seen().empty());
}

TEST_F(Conversion, WritesOfAnotherVersionAreStoredConverted) {
    define();
    const Reply made =
        cluster_.call("POST", kV2, R"({"metadata":{"name":"b"},"host":"far","port":"443","unknown":1})");
    ASSERT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.at("/host"), "far");
    const auto stored = cluster_.store().get("/registry/stable.example.com/e2es/default/b");
    const auto lies = json::parse(*(*stored)->value).as_object();
    EXPECT_EQ(lies.at("apiVersion"), "stable.example.com/v1");
    EXPECT_EQ(lies.at("hostPort"), "far:443");
    EXPECT_FALSE(lies.contains("host"));
    EXPECT_FALSE(lies.contains("late"));  // v1 knows nothing of it
    const Reply merged = cluster_.call("PATCH", std::string(kV2) + "/b", R"({"port":"444"})", kMerge);
    ASSERT_EQ(merged.status, 200) << merged.body;
    EXPECT_EQ(merged.at("/port"), "444");
    EXPECT_EQ(cluster_.call("GET", std::string(kV1) + "/b").at("/hostPort"), "far:444");
    Reply now = cluster_.call("GET", std::string(kV2) + "/b");
    auto whole = now.json().as_object();
    whole["host"] = "near";
    const Reply put = cluster_.call("PUT", std::string(kV2) + "/b", json::serialize(whole));
    ASSERT_EQ(put.status, 200) << put.body;
    EXPECT_EQ(cluster_.call("GET", std::string(kV1) + "/b").at("/hostPort"), "near:444");
    EXPECT_EQ(cluster_.call("DELETE", std::string(kV2) + "/b").status, 200);
    EXPECT_EQ(cluster_.call("GET", std::string(kV1) + "/b").status, 404);
}

TEST_F(Conversion, AListOfMixedVersionsIsConvertedInOneCall) {
    define();
    for (const char* name : {"a", "b", "c"}) ASSERT_EQ(make_v1(name).status, 201);
    store_in_v2();
    ASSERT_EQ(cluster_.call("POST", kV2, R"({"metadata":{"name":"d"},"host":"h","port":"1"})").status, 201);
    seen();
    const Reply list = cluster_.call("GET", kV2);
    ASSERT_EQ(list.status, 200) << list.body;
    EXPECT_EQ(list.json().at("items").as_array().size(), 4U);
    EXPECT_EQ(list.at("/items/0/host"), "localhost");
    EXPECT_EQ(list.at("/items/3/host"), "h");
    const auto asked = seen();
    ASSERT_EQ(asked.size(), 1U);
    EXPECT_EQ(asked[0].at("objects").as_array().size(), 3U);
    const Reply older = cluster_.call("GET", kV1);
    EXPECT_EQ(older.at("/items/3/hostPort"), "h:1");
    EXPECT_EQ(older.at("/items/0/hostPort"), "localhost:8080");
}

TEST_F(Conversion, WatchesAreConvertedToo) {
    define();
    ASSERT_EQ(make_v1("a").status, 201);
    const auto watch = cluster_.start("GET", std::string(kV2) + "?watch=true");
    ASSERT_EQ(watch->wait_lines(1).size(), 1U);
    ASSERT_EQ(make_v1("b", "x:1").status, 201);
    ASSERT_EQ(cluster_.call("DELETE", std::string(kV1) + "/a").status, 200);
    const auto lines = watch->wait_lines(3);
    ASSERT_EQ(lines.size(), 3U);
    const auto event = [&](std::size_t at) { return json::parse(lines[at]).as_object(); };
    EXPECT_EQ(event(0).at("object").at("host"), "localhost");
    EXPECT_EQ(event(1).at("type"), "ADDED");
    EXPECT_EQ(event(1).at("object").at("host"), "x");
    EXPECT_EQ(event(1).at("object").at("apiVersion"), "stable.example.com/v2");
    EXPECT_EQ(event(2).at("type"), "DELETED");
    EXPECT_EQ(event(2).at("object").at("port"), "8080");
    watch->hang_up();
}

TEST_F(Conversion, AnswersThatCannotBeTakenAreNamed) {
    define();
    ASSERT_EQ(make_v1("a").status, 201);
    const std::string what = "conversion webhook for stable.example.com/v1, Kind=E2e ";
    const auto refusal = [&](Answering answering) {
        answer(std::move(answering));
        const Reply read = cluster_.call("GET", std::string(kV2) + "/a");
        EXPECT_EQ(read.status, 500) << read.body;
        const std::string message = read.at("/message");
        EXPECT_TRUE(message.starts_with(what)) << message;
        return message.substr(std::min(what.size(), message.size()));
    };
    // One object of a good answer, changed.
    const auto with = [](std::function<void(json::object&)> change) {
        return [change = std::move(change)](const json::object& request) {
            json::object out = well(request);
            change(out["convertedObjects"].as_array()[0].as_object());
            return out;
        };
    };
    EXPECT_EQ(refusal([](const json::object& request) {
                  return json::object{{"uid", request.at("uid")},
                                      {"result", {{"status", "Failure"}, {"message", "no way"}}}};
              }),
              "failed: no way");
    EXPECT_EQ(refusal([](const json::object& request) {
                  json::object out = well(request);
                  out["uid"] = "another";
                  return out;
              }).substr(0, 31),
              "failed: expected response.uid=\"");
    EXPECT_EQ(refusal([](const json::object& request) {
                  json::object out = well(request);
                  out["convertedObjects"] = json::array();
                  return out;
              }),
              "returned 0 objects, expected 1");
    EXPECT_EQ(refusal(with([](json::object& object) { object["apiVersion"] = "stable.example.com/v1"; })),
              "returned invalid object at index 0: invalid groupVersion (expected stable.example.com/v2, received "
              "stable.example.com/v1)");
    EXPECT_EQ(refusal(with([](json::object& object) { object["kind"] = "Other"; })),
              "returned invalid object at index 0: invalid kind (expected E2e, received Other)");
    EXPECT_EQ(refusal(with([](json::object& object) { object["metadata"].as_object()["name"] = "z"; })),
              "returned invalid object: must have the same name: a != z");
    EXPECT_EQ(refusal(with([](json::object& object) { object["metadata"].as_object()["labels"] = {{"k", 1}}; })),
              "returned invalid metadata: metadata.labels[k] must be a string, but is int64 in converted object");
    EXPECT_NE(refusal(with([](json::object& object) {
                  object["metadata"].as_object()["labels"] = {{"k", "not a value!"}};
              })).find("metadata.labels: Invalid value: \"not a value!\""),
              std::string::npos);
    fail(404);
    EXPECT_EQ(refusal(well), "failed: the server could not find the requested resource");
    const Reply list = cluster_.call("GET", kV2);
    EXPECT_EQ(list.status, 500);
    EXPECT_EQ(cluster_.call("POST", kV2, R"({"metadata":{"name":"q"},"host":"h","port":"1"})").status, 500);
    EXPECT_EQ(cluster_.call("GET", std::string(kV1) + "/q").status, 404);
    EXPECT_EQ(cluster_.call("GET", kV1).status, 200);
    const std::string metrics = cluster_.api().metrics();
    EXPECT_NE(metrics.find("apiserver_conversion_webhook_request_total{result=\"failure\","
                           "failure_type=\"conversion_webhook_partial_response_failure\"} 1\n"),
              std::string::npos)
        << metrics;
    EXPECT_NE(metrics.find("apiserver_crd_conversion_webhook_duration_seconds_count{crd_name="
                           "\"e2es.stable.example.com\",from_version=\"v1\",to_version=\"v2\",succeeded=\"false\"} "),
              std::string::npos)
        << metrics;
}

TEST_F(Conversion, OnlyLabelsAndAnnotationsOfAnAnswersMetadataAreTaken) {
    define();
    ASSERT_EQ(cluster_.call("POST", kV1, R"({"metadata":{"name":"a","labels":{"was":"here"},"finalizers":["x.io/y"]},
                                             "hostPort":"a:1"})").status,
              201);
    answer([](const json::object& request) {
        json::object out = well(request);
        auto& meta = out["convertedObjects"].as_array()[0].as_object()["metadata"].as_object();
        meta["labels"] = {{"is", "new"}};
        meta["annotations"] = {{"from", "v1"}};
        meta["finalizers"] = json::array();
        meta["generation"] = 77;
        return out;
    });
    const Reply read = cluster_.call("GET", std::string(kV2) + "/a");
    EXPECT_EQ(read.at("/metadata/labels"), R"({"is":"new"})");
    EXPECT_EQ(read.at("/metadata/annotations/from"), "v1");
    EXPECT_EQ(read.at("/metadata/finalizers"), R"(["x.io/y"])");
    EXPECT_EQ(read.at("/metadata/generation"), "1");
}

TEST_F(Conversion, ManyObjectsTakeSeveralCalls) {
    define();
    constexpr int kMany = 501;
    // Straight into the store, and small: the test's server takes 64 KiB of somebody it does not know.
    for (int i = 0; i < kMany; ++i) {
        store::Write write;
        write.key = "/registry/stable.example.com/e2es/default/m" + std::to_string(i);
        write.value = R"({"apiVersion":"stable.example.com/v1","kind":"E2e","metadata":{"name":"m)" +
                      std::to_string(i) + R"("},"hostPort":"a:1"})";
        std::promise<bool> done;
        cluster_.store().write(std::move(write), [&done](const auto& result) { done.set_value(result.has_value()); });
        ASSERT_TRUE(done.get_future().get());
    }
    const Reply list = cluster_.call("GET", kV2);
    EXPECT_EQ(list.json().at("items").as_array().size(), static_cast<std::size_t>(kMany));
    const auto asked = seen();
    ASSERT_EQ(asked.size(), 2U);
    EXPECT_EQ(asked[0].at("objects").as_array().size(), 500U);
    EXPECT_EQ(asked[1].at("objects").as_array().size(), 1U);
}

}  // namespace
}  // namespace sluice::registry::testing
