// What lands at the API server when components tell of things that happened.
#include "api/client/event_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <mutex>

#include "api/client/event_correlator.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/event.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"

namespace sluice::client {
namespace {

using ::k8s::io::api::core::v1::Event;
using ::k8s::io::api::core::v1::Pod;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Verdict = EventCorrelator::Verdict;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNow = 1'700'000'000 * kSecond;

// Answers every request in turn with the statuses given, then with 200 or 201; tells when a number has been asked.
class Server final : public HttpClient {
public:
    std::deque<int> statuses;

    Result<std::unique_ptr<HttpStream>> stream(const HttpRequest&, std::stop_token) override {
        return make_error(Code::kUnimplemented, "not a stream");
    }
    Result<HttpResponse> request(const HttpRequest& request, std::stop_token) override {
        const std::scoped_lock lock(mutex_);
        requests_.push_back(request);
        changed_.notify_all();
        int status = request.method == "POST" ? 201 : 200;
        if (!statuses.empty()) {
            status = statuses.front();
            statuses.pop_front();
        }
        if (status == 0) return make_error(Code::kUnavailable, "connection refused");
        HttpResponse response;
        response.head.status = status;
        response.head.headers = {{"content-type", "application/json"}};
        response.body = R"({"kind":"Event","apiVersion":"v1"})";
        return response;
    }
    [[nodiscard]] const ClientConfig& config() const override { return config_; }

    std::vector<HttpRequest> wait_for(std::size_t number) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::seconds(20),
                          [&] { return requests_.size() >= number; });
        return requests_;
    }

private:
    ClientConfig config_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<HttpRequest> requests_;
};

Event sent(const HttpRequest& request) {
    Event event;
    const auto envelope = codec::open_envelope(request.body);
    EXPECT_TRUE(envelope);
    if (envelope) {
        EXPECT_TRUE(codec::decode_protobuf_raw(envelope->raw, &event));
    }
    return event;
}

Pod web() {
    Pod pod;
    pod.mutable_metadata()->set_name("web-0");
    pod.mutable_metadata()->set_namespace_("shop");
    pod.mutable_metadata()->set_uid("1234");
    pod.mutable_metadata()->set_resourceversion("77");
    return pod;
}

struct Bench {
    Bench() {
        auto owned = std::make_unique<Server>();
        server = owned.get();
        client = std::make_unique<Client>(std::move(owned));
    }
    Server* server;
    std::unique_ptr<Client> client;
};

TEST(EventRecorder, WritesAnEventAsKubernetesComponentsDo) {
    Bench bench;
    const auto recorder = EventRecorder::start(*bench.client, "kubelet", "node-1");
    recorder->record(web(), EventType::kWarning, "BackOff", "Back-off restarting", "spec.containers{web}");
    const auto requests = bench.server->wait_for(1);
    ASSERT_EQ(requests.size(), 1U);
    EXPECT_EQ(requests[0].method, "POST");
    EXPECT_EQ(requests[0].target, "/api/v1/namespaces/shop/events");
    const Event event = sent(requests[0]);
    EXPECT_THAT(event.metadata().name(), StartsWith("web-0."));
    EXPECT_EQ(event.metadata().namespace_(), "shop");
    EXPECT_EQ(event.involvedobject().kind(), "Pod");
    EXPECT_EQ(event.involvedobject().apiversion(), "v1");
    EXPECT_EQ(event.involvedobject().uid(), "1234");
    EXPECT_EQ(event.involvedobject().resourceversion(), "77");
    EXPECT_EQ(event.involvedobject().fieldpath(), "spec.containers{web}");
    EXPECT_EQ(event.type(), "Warning");
    EXPECT_EQ(event.reason(), "BackOff");
    EXPECT_EQ(event.source().component(), "kubelet");
    EXPECT_EQ(event.source().host(), "node-1");
    EXPECT_EQ(event.reportingcomponent(), "kubelet");
    EXPECT_EQ(event.count(), 1);
    EXPECT_GT(event.firsttimestamp().seconds(), 1'600'000'000);
    EXPECT_EQ(event.firsttimestamp().seconds(), event.lasttimestamp().seconds());
}

TEST(EventRecorder, CountsEqualEventsUpInOneObject) {
    Bench bench;
    const auto recorder = EventRecorder::start(*bench.client, "kubelet");
    recorder->record(web(), EventType::kNormal, "Pulled", "there");
    recorder->record(web(), EventType::kNormal, "Pulled", "there");
    recorder->record(web(), EventType::kNormal, "Pulled", "elsewhere");
    const auto requests = bench.server->wait_for(3);
    ASSERT_EQ(requests.size(), 3U);
    EXPECT_EQ(requests[1].method, "PATCH");
    EXPECT_EQ(requests[1].target,
              "/api/v1/namespaces/shop/events/" + sent(requests[0]).metadata().name());
    EXPECT_THAT(requests[1].body, HasSubstr("\"count\":2"));
    EXPECT_EQ(requests[2].method, "POST");
}

TEST(EventRecorder, TellsAnewWhatTheServerHasForgotten) {
    Bench bench;
    bench.server->statuses = {201, 404};
    const auto recorder = EventRecorder::start(*bench.client, "kubelet");
    recorder->record(web(), EventType::kNormal, "Pulled", "there");
    recorder->record(web(), EventType::kNormal, "Pulled", "there");
    recorder->record(web(), EventType::kNormal, "Pulled", "there");
    const auto requests = bench.server->wait_for(4);
    ASSERT_EQ(requests.size(), 4U);
    const Event again = sent(requests[2]);
    EXPECT_EQ(again.count(), 2);
    EXPECT_NE(again.metadata().name(), sent(requests[0]).metadata().name());
    EXPECT_THAT(requests[3].target, HasSubstr(again.metadata().name()));
}

TEST(EventRecorder, TriesAgainWhileTheServerIsAwayAndNotWhenItRefuses) {
    Bench bench;
    bench.server->statuses = {0, 201, 403, 201};
    const auto recorder = EventRecorder::start(*bench.client, "kubelet");
    recorder->record(web(), EventType::kNormal, "One", "lost at first");
    recorder->record(web(), EventType::kNormal, "Two", "forbidden");
    recorder->record(web(), EventType::kNormal, "Three", "fine");
    const auto requests = bench.server->wait_for(4);
    ASSERT_EQ(requests.size(), 4U);
    EXPECT_EQ(sent(requests[0]).reason(), "One");
    EXPECT_EQ(sent(requests[1]).reason(), "One");
    EXPECT_EQ(sent(requests[2]).reason(), "Two");
    EXPECT_EQ(sent(requests[3]).reason(), "Three");
    EXPECT_EQ(recorder->dropped(), 1U);
}

TEST(EventRecorder, TheEndWritesWhatIsQueued) {
    Bench bench;
    {
        const auto recorder = EventRecorder::start(*bench.client, "kubelet");
        for (int i = 0; i < 20; ++i) {
            recorder->record(web(), EventType::kNormal, "Reason" + std::to_string(i), "m");
        }
    }
    EXPECT_EQ(bench.server->wait_for(0).size(), 20U);
}

TEST(EventRecorder, BytesThatAreNoTextAreReplacedAndLongMessagesCut) {
    Bench bench;
    const auto recorder = EventRecorder::start(*bench.client, "kubelet");
    recorder->record(web(), EventType::kNormal, "R", "a\xff" "b\xc3\xa9");
    recorder->record(web(), EventType::kNormal, "R", std::string(4'095, 'x') + "\xc3\xa9");
    const auto requests = bench.server->wait_for(2);
    ASSERT_EQ(requests.size(), 2U);
    EXPECT_EQ(sent(requests[0]).message(), "a?b\xc3\xa9");
    EXPECT_EQ(sent(requests[1]).message(), std::string(4'095, 'x'));
}

TEST(EventRecorder, EventsAboutClusterObjectsLiveInDefault) {
    Bench bench;
    const auto recorder = EventRecorder::start(*bench.client, "kubelet");
    Pod pod;
    pod.mutable_metadata()->set_name("alone");
    recorder->record(pod, EventType::kNormal, "R", "m");
    const auto requests = bench.server->wait_for(1);
    ASSERT_EQ(requests.size(), 1U);
    EXPECT_EQ(requests[0].target, "/api/v1/namespaces/default/events");
    EXPECT_FALSE(sent(requests[0]).involvedobject().has_namespace_());
}

Event about(const std::string& name, const std::string& message) {
    Event event;
    event.mutable_involvedobject()->set_name(name);
    event.set_message(message);
    return event;
}

TEST(EventCorrelator, ASourceMayBurstAndThenGetsOneInFiveMinutes) {
    EventCorrelator correlator(100);
    int written = 0;
    for (int i = 0; i < 40; ++i) {
        Event event = about("web", "message " + std::to_string(i));
        written += correlator.correlate(kNow, &event) == Verdict::kCreate ? 1 : 0;
    }
    EXPECT_EQ(written, 25);
    Event other = about("db", "x");
    EXPECT_EQ(correlator.correlate(kNow, &other), Verdict::kCreate);
    Event early = about("web", "early");
    EXPECT_EQ(correlator.correlate(kNow + 299 * kSecond, &early), Verdict::kSuppress);
    Event later = about("web", "later");
    EXPECT_EQ(correlator.correlate(kNow + 301 * kSecond, &later), Verdict::kCreate);
    Event twice = about("web", "twice");
    EXPECT_EQ(correlator.correlate(kNow + 302 * kSecond, &twice), Verdict::kSuppress);
}

TEST(EventCorrelator, CountsGoOnWhileNothingIsWritten) {
    EventCorrelator correlator(100);
    for (int i = 0; i < 40; ++i) {
        Event event = about("web", "same");
        correlator.correlate(kNow, &event);
    }
    Event event = about("web", "same");
    EXPECT_EQ(correlator.correlate(kNow + 400 * kSecond, &event), Verdict::kCountUp);
    EXPECT_EQ(event.count(), 41);
    EXPECT_EQ(event.firsttimestamp().seconds(), kNow / kSecond);
    EXPECT_EQ(event.lasttimestamp().seconds(), kNow / kSecond + 400);
}

TEST(EventCorrelator, TheLeastRecentlySeenIsForgottenFirst) {
    EventCorrelator correlator(2);
    for (const char* name : {"a", "b", "a", "c"}) {
        Event event = about(name, "m");
        correlator.correlate(kNow, &event);
    }
    Event a = about("a", "m");
    EXPECT_EQ(correlator.correlate(kNow, &a), Verdict::kCountUp);
    EXPECT_EQ(a.count(), 3);
    Event b = about("b", "m");
    EXPECT_EQ(correlator.correlate(kNow, &b), Verdict::kCreate);
}

}  // namespace
}  // namespace sluice::client
