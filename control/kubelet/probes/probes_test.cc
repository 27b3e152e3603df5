// Probes against real sockets; what they come to by the callbacks. Times are only waited for, never
// asserted.
#include "control/kubelet/probes/probes.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "api/base/fd.h"
#include "api/codec/json.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/probes/http_answer_private.h"
#include "control/kubelet/probes/target_private.h"
#include "control/kubelet/probes/worker_private.h"

namespace sluice::kubelet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using namespace std::chrono_literals;

// Answers each connection on 127.0.0.1 with what the function makes of its request; an empty answer
// closes it.
class Server {
public:
    explicit Server(std::function<std::string(const std::string& request)> answer)
        : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
        EXPECT_EQ(::listen(listener_.get(), 16), 0);
        EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
        port_ = ntohs(address.sin_port);
        thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    }
    ~Server() {
        thread_.request_stop();
        ::shutdown(listener_.get(), SHUT_RDWR);
    }
    [[nodiscard]] int port() const { return port_; }

private:
    void run(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            const Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!connection) return;
            std::string request;
            char chunk[4096];
            while (request.find("\r\n\r\n") == std::string::npos) {
                const ssize_t got = ::recv(connection.get(), chunk, sizeof chunk, 0);
                if (got <= 0) break;
                request.append(chunk, static_cast<std::size_t>(got));
            }
            const std::string out = answer_(request);
            static_cast<void>(::send(connection.get(), out.data(), out.size(), MSG_NOSIGNAL) == 0);
        }
    }
    std::function<std::string(const std::string&)> answer_;
    Fd listener_;
    int port_ = 0;
    std::jthread thread_;
};

std::string answer(int status, const std::string& more = "", const std::string& body = "ok") {
    return fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(), more, body);
}

// A prober and what it told.
class Watched {
public:
    explicit Watched(ExecInContainer exec = {})
        : prober_(Prober::create(
              std::move(exec),
              [this](const ProbeOutcome& outcome) {
                  const std::scoped_lock lock(mutex_);
                  outcomes_.push_back(outcome);
                  changed_.notify_all();
              },
              [this](const ProbeFailure& failure) {
                  const std::scoped_lock lock(mutex_);
                  failures_.push_back(failure);
                  changed_.notify_all();
              })) {}

    void add(const std::string& probes, const std::string& id = "id1", bool started = false,
             bool ready = false) {
        corev1::Pod pod;
        const auto read = codec::decode_json(
            R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"n","uid":"u"},
                "spec":{"containers":[{"name":"c",)" + probes + "}]}}", &pod);
        ASSERT_TRUE(read) << read.error().message;
        prober_->add(pod, pod.spec().containers(0), id, "127.0.0.1", started, ready);
    }
    std::optional<ProbeOutcome> outcome(std::size_t index = 0, std::chrono::milliseconds limit = 20s) {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, limit, [&] { return outcomes_.size() > index; })) return std::nullopt;
        return outcomes_[index];
    }
    std::string failure(std::size_t index = 0) {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, 20s, [&] { return failures_.size() > index; })) return "none";
        return failures_[index].message;
    }
    Prober& prober() { return *prober_; }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<ProbeOutcome> outcomes_;
    std::vector<ProbeFailure> failures_;
    std::unique_ptr<Prober> prober_;
};

std::string http(const std::string& type, int port, const std::string& more = "",
                 const std::string& path = "/", const std::string& times = R"(,"periodSeconds":1)") {
    return fmt::format(R"("{}":{{"httpGet":{{"path":"{}","port":{}{}}}{}}})", type, path, port, more, times);
}

TEST(Probes, HttpBecomesReady) {
    std::mutex mutex;
    std::string seen;
    const Server server([&](const std::string& request) {
        const std::scoped_lock lock(mutex);
        seen = request;
        return answer(200);
    });
    Watched watched;
    // A named port, and headers.
    watched.add(fmt::format(R"("ports":[{{"name":"web","containerPort":{}}}],
        "readinessProbe":{{"httpGet":{{"port":"web","path":"health?a=b c",
        "httpHeaders":[{{"name":"Host","value":"example.org"}},{{"name":"X-A","value":"1"}}]}}}})",
                            server.port()));
    const auto outcome = watched.outcome();
    ASSERT_TRUE(outcome);
    EXPECT_TRUE(outcome->success);
    EXPECT_EQ(outcome->type, ProbeType::kReadiness);
    EXPECT_EQ(outcome->container_id, "id1");
    const std::scoped_lock lock(mutex);
    EXPECT_THAT(seen, AllOf(HasSubstr("GET /health?a=b%20c HTTP/1.1\r\n"), HasSubstr("Host: example.org\r\n"),
                            HasSubstr("X-A: 1\r\n"), HasSubstr("User-Agent: kube-probe/1.32\r\n"),
                            HasSubstr("Connection: close\r\n")));
}

TEST(Probes, FailuresHaveKubernetesWords) {
    const Server down([](const std::string&) { return answer(503); });
    const Server silent([](const std::string&) { return std::string(); });
    const Server strange([](const std::string&) { return "SSH-2.0-x\r\n\r\n"; });
    const auto message = [](const std::string& probes) {
        Watched watched;
        watched.add(probes);
        return watched.failure();
    };
    EXPECT_EQ(message(http("readinessProbe", down.port())),
              "Readiness probe failed: HTTP probe failed with statuscode: 503");
    EXPECT_EQ(message(http("livenessProbe", silent.port(), "", "/x")),
              fmt::format("Liveness probe failed: Get \"http://127.0.0.1:{}/x\": EOF", silent.port()));
    EXPECT_THAT(message(http("startupProbe", strange.port())),
                HasSubstr("Startup probe failed: Get \"http://127.0.0.1:"));
    EXPECT_EQ(message(http("readinessProbe", 1)),
              "Readiness probe failed: Get \"http://127.0.0.1:1/\": dial tcp 127.0.0.1:1: connect: connection refused");
    EXPECT_EQ(message(R"("readinessProbe":{"periodSeconds":1,"tcpSocket":{"port":1}})"),
              "Readiness probe failed: dial tcp 127.0.0.1:1: connect: connection refused");
    EXPECT_EQ(message(R"("readinessProbe":{"periodSeconds":1,"httpGet":{"port":"none"}})"),
              "Readiness probe errored and resulted in unknown state: port none not found");
}

TEST(Probes, ATimeoutIsAFailure) {
    // Accepts by its backlog and never answers.
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener.get(), 16), 0);
    ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    Watched watched;
    watched.add(http("livenessProbe", ntohs(address.sin_port)));
    EXPECT_THAT(watched.failure(), HasSubstr("(Client.Timeout exceeded while awaiting headers)"));
}

TEST(Probes, RedirectsStayOnTheHost) {
    const Server other([](const std::string&) { return answer(500); });
    const Server server([&](const std::string& request) {
        if (request.starts_with("GET /a ")) return answer(302, "Location: b\r\n");
        if (request.starts_with("GET /b ")) return answer(200);
        if (request.starts_with("GET /loop ")) return answer(301, "Location: /loop\r\n");
        if (request.starts_with("GET /port ")) {
            return answer(307, fmt::format("Location: http://127.0.0.1:{}/\r\n", other.port()));
        }
        return answer(302, "Location: http://203.0.113.1/\r\n");
    });
    for (const std::string path : {"/a", "/away"}) {
        Watched watched;
        watched.add(http("readinessProbe", server.port(), "", path));
        const auto outcome = watched.outcome();
        ASSERT_TRUE(outcome) << path;
        EXPECT_TRUE(outcome->success) << path;
    }
    Watched loop;
    loop.add(http("readinessProbe", server.port(), "", "/loop"));
    EXPECT_THAT(loop.failure(), HasSubstr("stopped after 10 redirects"));
    Watched port;
    port.add(http("readinessProbe", server.port(), "", "/port"));
    EXPECT_THAT(port.failure(), HasSubstr("statuscode: 500"));
}

TEST(Probes, LivenessFailsAfterItsThresholdAndStops) {
    const Server server([](const std::string&) { return answer(500); });
    Watched watched;
    watched.add(http("livenessProbe", server.port(), "", "/",
                     R"(,"periodSeconds":1,"failureThreshold":2,"terminationGracePeriodSeconds":3)"));
    const auto outcome = watched.outcome();
    ASSERT_TRUE(outcome);
    EXPECT_FALSE(outcome->success);
    EXPECT_EQ(outcome->type, ProbeType::kLiveness);
    EXPECT_EQ(outcome->termination_grace_seconds, 3);
    EXPECT_THAT(watched.failure(1), HasSubstr("statuscode: 500"));
    EXPECT_FALSE(watched.outcome(1, 1500ms));
}

TEST(Probes, StartupHoldsTheOthersBack) {
    std::atomic<bool> up = false;
    std::atomic<int> ready_asked = 0;
    const Server server([&](const std::string& request) {
        if (request.starts_with("GET /ready")) ++ready_asked;
        return answer(request.starts_with("GET /start") && !up ? 500 : 200);
    });
    Watched watched;
    watched.add(http("startupProbe", server.port(), "", "/start") + "," +
                http("readinessProbe", server.port(), "", "/ready"));
    EXPECT_THAT(watched.failure(), HasSubstr("Startup probe failed"));
    EXPECT_EQ(ready_asked, 0);
    up = true;
    ASSERT_TRUE(watched.outcome(1));
    EXPECT_EQ(watched.outcome(0)->type, ProbeType::kStartup);
    EXPECT_TRUE(watched.outcome(0)->success);
    EXPECT_EQ(watched.outcome(1)->type, ProbeType::kReadiness);
    EXPECT_TRUE(watched.outcome(1)->success);
}

TEST(Probes, ExecByExitCode) {
    std::atomic<int> code = 0;
    Watched watched([&](const std::string& id, const std::vector<std::string>& command,
                        std::uint32_t) -> Result<ExecResult> {
        EXPECT_EQ(id, "id1");
        EXPECT_THAT(command, testing::ElementsAre("cat", "/x"));
        if (code == 2) return make_error(Code::kDeadlineExceeded, "late");
        return ExecResult{code, "no such file"};
    });
    watched.add(R"("readinessProbe":{"exec":{"command":["cat","/x"]},"periodSeconds":1,"failureThreshold":1})");
    ASSERT_TRUE(watched.outcome());
    EXPECT_TRUE(watched.outcome()->success);
    code = 1;
    EXPECT_EQ(watched.failure(), "Readiness probe failed: no such file");
    ASSERT_TRUE(watched.outcome(1));
    EXPECT_FALSE(watched.outcome(1)->success);
    code = 2;
    std::size_t index = 1;
    while (watched.failure(index).find("no such file") != std::string::npos) ++index;
    EXPECT_EQ(watched.failure(index), "Readiness probe failed: command timed out: \"cat /x\" timed out after 1s");
}

TEST(Probes, GrpcHealth) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    // Without any service of its own the server would have nothing that polls.
    grpc::CallbackGenericService others;
    builder.RegisterCallbackGenericService(&others);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    const auto server = builder.BuildAndStart();
    ASSERT_NE(server, nullptr);
    server->GetHealthCheckService()->SetServingStatus("down", false);
    Watched healthy;
    healthy.add(fmt::format(R"("readinessProbe":{{"grpc":{{"port":{}}},"periodSeconds":1}})", port));
    ASSERT_TRUE(healthy.outcome());
    EXPECT_TRUE(healthy.outcome()->success);
    Watched unhealthy;
    unhealthy.add(fmt::format(R"("livenessProbe":{{"grpc":{{"port":{},"service":"down"}},"periodSeconds":1}})", port));
    EXPECT_EQ(unhealthy.failure(), "Liveness probe failed: service unhealthy (responded with \"NOT_SERVING\")");
    Watched nobody;
    nobody.add(R"("livenessProbe":{"grpc":{"port":1},"periodSeconds":1})");
    EXPECT_THAT(nobody.failure(), HasSubstr("failed to connect service"));
    server->Shutdown();
}

TEST(Probes, NothingIsToldOfWhatWasRemoved) {
    std::atomic<bool> up = false;
    const Server server([&](const std::string&) { return answer(up ? 200 : 500); });
    Watched watched;
    watched.add(http("readinessProbe", server.port()));
    EXPECT_THAT(watched.failure(), HasSubstr("500"));
    watched.prober().remove("u", "c");
    up = true;
    EXPECT_FALSE(watched.outcome(0, 1500ms));
    // A new id begins anew; the same one twice is one.
    watched.add(http("readinessProbe", server.port()), "id2");
    watched.add(http("readinessProbe", server.port()), "id2");
    ASSERT_TRUE(watched.outcome());
    EXPECT_EQ(watched.outcome()->container_id, "id2");
    EXPECT_FALSE(watched.outcome(1, 1200ms));
}

TEST(Hook, NamesTheUrl) {
    const Server server([](const std::string& request) {
        return answer(request.starts_with("GET /ok") ? 200 : 404);
    });
    corev1::Pod pod;
    pod.mutable_status()->set_podip("127.0.0.1");
    const corev1::Container container;
    const std::string port = std::to_string(server.port());
    EXPECT_TRUE(http_get_hook(pod, container, "", "HTTP", port, "/ok", 5000));
    const auto missing = http_get_hook(pod, container, "", "", port, "no", 5000);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kFailedPrecondition);
    EXPECT_THAT(missing.error().message, HasSubstr("http://127.0.0.1:" + port + "/no"));
    const auto refused = http_get_hook(pod, container, "", "", "1", "/", 5000);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kUnavailable);
}

TEST(Worker, EarlyFailuresDoNotCount) {
    using Status = AttemptResult::Status;
    ProbeTimes times;
    times.failure_threshold = 1;
    const ProbeClock::time_point start{};
    ProbeWorker worker(ProbeType::kReadiness, times, start, true, false);
    std::vector<std::int64_t> at;
    while (worker.due() < start + 10s) {
        at.push_back((worker.due() - start) / 1ms);
        const auto verdict = worker.take(Status::kFailure, worker.due());
        EXPECT_FALSE(verdict.report);
    }
    EXPECT_THAT(at, testing::ElementsAre(0, 50, 150, 350, 750, 1550, 3150, 6350));
    EXPECT_EQ(worker.due(), start + 10s);
    const auto counted = worker.take(Status::kFailure, worker.due());
    EXPECT_TRUE(counted.report);
    EXPECT_FALSE(counted.outcome) << "it is unready already";
    EXPECT_EQ(*worker.take(Status::kSuccess, worker.due()).outcome, true);
    EXPECT_EQ(*worker.take(Status::kFailure, worker.due()).outcome, false);
}

TEST(Worker, ThresholdsCountInARow) {
    using Status = AttemptResult::Status;
    ProbeTimes times;
    times.success_threshold = 2;
    times.failure_threshold = 3;
    ProbeWorker worker(ProbeType::kReadiness, times, {}, false, true);
    const auto take = [&](Status status) { return worker.take(status, worker.due()).outcome; };
    EXPECT_FALSE(take(Status::kFailure));
    EXPECT_FALSE(take(Status::kFailure));
    EXPECT_FALSE(take(Status::kSuccess));
    EXPECT_FALSE(take(Status::kFailure));
    EXPECT_FALSE(take(Status::kUnknown));
    EXPECT_FALSE(take(Status::kFailure));
    EXPECT_EQ(take(Status::kFailure), false);
    EXPECT_FALSE(take(Status::kSuccess));
    EXPECT_EQ(take(Status::kSuccess), true);
}

TEST(AnswerHead, Parses) {
    const auto head = parse_answer_head("HTTP/1.1 204 No Content\r\nlocation:  /x \r\nTransfer-Encoding: chunked");
    ASSERT_TRUE(head);
    EXPECT_EQ(head->status, 204);
    EXPECT_EQ(head->location, "/x");
    EXPECT_TRUE(head->chunked);
    EXPECT_FALSE(parse_answer_head("HTTP/1.1 2x0 OK"));
    EXPECT_FALSE(parse_answer_head(""));
    const auto url = resolve_redirect(false, "h", 8080, "/a/b?q", "c?d");
    ASSERT_TRUE(url);
    EXPECT_EQ(url->path, "/a/c?d");
    EXPECT_EQ(url->port, 8080);
    EXPECT_FALSE(resolve_redirect(false, "h", 1, "/", "ftp://h/"));
}

}  // namespace
}  // namespace sluice::kubelet
