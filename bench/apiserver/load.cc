#include "bench/apiserver/load.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <latch>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "api/codec/protobuf.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "bench/apiserver/poller.h"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kProtobuf = "application/vnd.kubernetes.protobuf";
constexpr std::string_view kTable = "application/json;as=Table;v=v1;g=meta.k8s.io";
constexpr const char* kConfigMaps = "/api/v1/namespaces/default/configmaps";
constexpr const char* kPods = "/api/v1/namespaces/default/pods";

// One request, as the n-th of a client; `body` is kept until it was answered.
using Make = std::function<Request(const Run&, const std::string& name, std::uint64_t n, std::string* body)>;

struct Load {
    const char* name;
    const char* meaning;
    int expected;  // status
    Make make;
};

std::string configmap(const std::string& name, int bytes) {
    return fmt::format(
        R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},"data":{{"value":"{}"}}}})", name,
        std::string(static_cast<std::size_t>(bytes), 'v'));
}

// A pod of an ordinary Deployment; bound already, so that no scheduler is waited for.
std::string pod(const std::string& name) {
    ::k8s::io::api::core::v1::Pod out;
    out.mutable_metadata()->set_name(name);
    (*out.mutable_metadata()->mutable_labels())["app"] = "load";
    out.mutable_spec()->set_nodename("node-1");
    auto* container = out.mutable_spec()->add_containers();
    container->set_name("main");
    container->set_image("registry.example/app:1.0");
    for (const char* variable : {"A", "B", "C"}) {
        auto* env = container->add_env();
        env->set_name(variable);
        env->set_value("some value");
    }
    auto* port = container->add_ports();
    port->set_containerport(8080);
    (*container->mutable_resources()->mutable_requests())["cpu"].set_string("100m");
    (*container->mutable_resources()->mutable_requests())["memory"].set_string("64Mi");
    return codec::encode_protobuf(out, {"", "v1", "Pod"});
}

Make patch_with(std::string_view type) {
    return [type](const Run&, const std::string& name, std::uint64_t n, std::string* body) {
        const bool apply = type == "application/apply-patch+yaml";
        *body = apply ? fmt::format(R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}"}},)"
                                    R"("data":{{"applied":"{}"}}}})", name, n)
                      : fmt::format(R"({{"data":{{"patched":"{}"}}}})", n);
        return Request{"PATCH", fmt::format("{}/{}{}", kConfigMaps, name, apply ? "?fieldManager=load&force=true" : ""),
                       kJson, type, *body};
    };
}

Make list_as(std::string_view accept) {
    return [accept](const Run&, const std::string&, std::uint64_t, std::string*) {
        return Request{"GET", fmt::format("{}?resourceVersion=0", kPods), accept, {}, {}};
    };
}

Make object_at(const char* method, const char* where, std::string_view accept, const char* query = "") {
    return [method, where, accept, query](const Run&, const std::string& name, std::uint64_t, std::string*) {
        return Request{method, fmt::format("{}/{}{}", where, name, query), accept, {}, {}};
    };
}

const std::vector<Load>& all_loads() {
    static const std::vector<Load> all = {
        {"create", "POST a ConfigMap, JSON", 201,
         [](const Run& run, const std::string& name, std::uint64_t, std::string* body) {
             *body = configmap(name, run.value_bytes);
             return Request{"POST", kConfigMaps, kJson, kJson, *body};
         }},
        {"create-pod", "POST a Pod, protobuf", 201,
         [](const Run&, const std::string& name, std::uint64_t, std::string* body) {
             *body = pod(name);
             return Request{"POST", kPods, kProtobuf, kProtobuf, *body};
         }},
        {"get", "GET a ConfigMap that create made, JSON", 200, object_at("GET", kConfigMaps, kJson)},
        {"get-pod", "GET a Pod at version 0, protobuf", 200,
         object_at("GET", kPods, kProtobuf, "?resourceVersion=0")},
        {"merge-patch", "PATCH a ConfigMap, merge", 200, patch_with("application/merge-patch+json")},
        {"strategic-patch", "PATCH a ConfigMap, strategic merge", 200,
         patch_with("application/strategic-merge-patch+json")},
        {"apply", "PATCH a ConfigMap, server-side apply", 200, patch_with("application/apply-patch+yaml")},
        {"list-json", "GET all Pods at version 0, JSON", 200, list_as(kJson)},
        {"list-protobuf", "GET all Pods at version 0, protobuf", 200, list_as(kProtobuf)},
        {"list-table", "GET all Pods at version 0 as kubectl does", 200, list_as(kTable)},
        {"delete", "DELETE a ConfigMap", 200, object_at("DELETE", kConfigMaps, kJson)},
        {"delete-pod", "DELETE a Pod without grace", 200,
         object_at("DELETE", kPods, kJson, "?gracePeriodSeconds=0")},
    };
    return all;
}

struct Shared {
    std::mutex mutex;
    Outcome outcome;
    Result<void> broken;
};

// A client on its way through its requests.
struct Asking {
    std::unique_ptr<Client> client;
    int number = 0;
    std::uint64_t done = 0;
    Clock::time_point began;
    std::string body;    // of the request under way
    std::string answer;  // what came of it, up to kKeptBytes
    Answer::Take keep;
};

// The clients of one thread. One alone waits in its read; of several, those are served that have something to read.
class Worker {
public:
    Worker(const Run& run, const Load& load, std::uint64_t each) : run_(run), load_(load), each_(each) {}

    Result<void> connect(int first, int last) {
        asking_.resize(static_cast<std::size_t>(last - first));
        for (Asking& one : asking_) {
            one.number = first++;
            SLUICE_TRY_ASSIGN(one.client, Client::connect(run_.target));
            one.keep = [&one](std::string_view part) {
                if (one.answer.size() < kKeptBytes) one.answer.append(part.substr(0, kKeptBytes - one.answer.size()));
            };
            // The handshake and the first answer are not what is measured.
            SLUICE_TRY_ASSIGN(const int status, one.client->exchange({"GET", "/version", kJson, {}, {}}));
            (void)status;
        }
        latency_ms_.reserve(each_ * asking_.size());
        return {};
    }

    Result<void> run() {
        if (asking_.size() > 1) {
            for (std::size_t i = 0; i < asking_.size(); ++i) poller_.add(*asking_[i].client, i);
        }
        for (Asking& one : asking_) SLUICE_TRY(ask(one));
        Result<void> broken;
        constexpr std::chrono::milliseconds kForever{-1};
        while (broken && finished_ < asking_.size()) {
            if (asking_.size() == 1) {
                broken = hear(asking_.front());
                continue;
            }
            poller_.wait(kForever, [&](std::size_t i) {
                if (broken && asking_[i].done < each_) broken = hear(asking_[i]);
            });
        }
        return broken;
    }

    void add_to(Outcome* out) const {
        out->requests += latency_ms_.size();
        out->failed += failed_;
        if (out->first_failure.empty()) out->first_failure = first_failure_;
        for (const Asking& one : asking_) out->bytes += one.client->bytes_received();
        out->latency_ms.insert(out->latency_ms.end(), latency_ms_.begin(), latency_ms_.end());
    }

private:
    Result<void> ask(Asking& one) {
        const std::uint64_t number = static_cast<std::uint64_t>(one.number) * each_ + one.done;
        const std::string name = fmt::format("{}-{}", run_.prefix, run_.objects == 0 ? number : number % run_.objects);
        const Request request = load_.make(run_, name, one.done, &one.body);
        one.answer.clear();
        one.began = Clock::now();
        return one.client->send(request);
    }

    // Reads what there is; behind a whole answer goes the next request.
    Result<void> hear(Asking& one) {
        SLUICE_TRY_ASSIGN(const bool over, one.client->receive(one.keep));
        if (!over) return {};
        latency_ms_.push_back(std::chrono::duration<double, std::milli>(Clock::now() - one.began).count());
        if (one.client->status() != load_.expected && failed_++ == 0) {
            first_failure_ = fmt::format("{}: {}", one.client->status(), one.answer);
        }
        if (++one.done < each_) return ask(one);
        ++finished_;
        return {};
    }

    const Run& run_;
    const Load& load_;
    const std::uint64_t each_;  // requests of a client
    Poller poller_;
    std::vector<Asking> asking_;
    std::size_t finished_ = 0;
    std::vector<double> latency_ms_;
    std::uint64_t failed_ = 0;
    std::string first_failure_;
};

// The clients from first to before last.
void work(const Run& run, const Load& load, std::uint64_t each, int first, int last, std::latch& ready,
          std::latch& go, Shared& shared) {
    Worker worker(run, load, each);
    Result<void> done = worker.connect(first, last);
    ready.count_down();
    go.wait();
    if (done) done = worker.run();
    const std::lock_guard lock(shared.mutex);
    if (!done) {
        shared.broken = done.error();
        return;
    }
    worker.add_to(&shared.outcome);
}

}  // namespace

double own_cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        constexpr double kMicro = 1e-6;
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * kMicro;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::vector<std::pair<std::string, std::string>> loads() {
    std::vector<std::pair<std::string, std::string>> out;
    for (const Load& load : all_loads()) out.emplace_back(load.name, load.meaning);
    return out;
}

Result<Outcome> run_load(const Run& run) {
    const auto load = std::find_if(all_loads().begin(), all_loads().end(),
                                   [&](const Load& one) { return one.name == run.what; });
    if (load == all_loads().end()) return make_error(Code::kInvalidArgument, "load \"{}\" is unknown", run.what);
    Shared shared;
    const int workers = std::min(run.threads, run.clients);
    std::latch ready(workers);
    std::latch go(1);
    std::vector<std::jthread> threads;
    const std::uint64_t each = std::max<std::uint64_t>(1, run.requests / static_cast<std::uint64_t>(run.clients));
    for (int i = 0; i < workers; ++i) {
        const int first = run.clients * i / workers;
        const int last = run.clients * (i + 1) / workers;
        threads.emplace_back([&, first, last] { work(run, *load, each, first, last, ready, go, shared); });
    }
    ready.wait();
    const double cpu = own_cpu_seconds();
    const auto began = Clock::now();
    go.count_down();
    threads.clear();
    shared.outcome.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    shared.outcome.client_cpu_s = own_cpu_seconds() - cpu;
    SLUICE_TRY(shared.broken);
    std::sort(shared.outcome.latency_ms.begin(), shared.outcome.latency_ms.end());
    return std::move(shared.outcome);
}

}  // namespace sluice::bench
