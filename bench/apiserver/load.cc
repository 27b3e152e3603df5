#include "bench/apiserver/load.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <latch>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "api/codec/protobuf.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/pod.pb.h"

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

void work(const Run& run, const Load& load, int client, std::uint64_t count, std::latch& ready, std::latch& go,
          Shared& shared) {
    auto connection = Client::connect(run.target);
    // The handshake and the first answer are not what is measured.
    if (connection) {
        if (const auto warm = (*connection)->exchange({"GET", "/version", kJson, {}, {}}); !warm) {
            connection = warm.error();
        }
    }
    ready.count_down();
    go.wait();
    if (!connection) {
        const std::lock_guard lock(shared.mutex);
        shared.broken = connection.error();
        return;
    }
    std::vector<double> latency;
    latency.reserve(count);
    std::string body;
    std::string answer;
    std::uint64_t failed = 0;
    std::string first;
    for (std::uint64_t n = 0; n < count; ++n) {
        const std::uint64_t number = static_cast<std::uint64_t>(client) * count + n;
        const std::string name = fmt::format("{}-{}", run.prefix, run.objects == 0 ? number : number % run.objects);
        const Request request = load.make(run, name, n, &body);
        const auto began = Clock::now();
        const auto status = (*connection)->exchange(request, &answer);
        latency.push_back(std::chrono::duration<double, std::milli>(Clock::now() - began).count());
        if (!status) {
            const std::lock_guard lock(shared.mutex);
            shared.broken = status.error();
            return;
        }
        if (*status != load.expected && failed++ == 0) first = fmt::format("{}: {}", *status, answer);
    }
    const std::lock_guard lock(shared.mutex);
    Outcome& out = shared.outcome;
    out.requests += count;
    out.failed += failed;
    if (out.first_failure.empty()) out.first_failure = first;
    out.bytes += (*connection)->bytes_received();
    out.latency_ms.insert(out.latency_ms.end(), latency.begin(), latency.end());
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
    std::latch ready(run.clients);
    std::latch go(1);
    std::vector<std::jthread> threads;
    const std::uint64_t each = std::max<std::uint64_t>(1, run.requests / static_cast<std::uint64_t>(run.clients));
    for (int i = 0; i < run.clients; ++i) {
        threads.emplace_back([&, i] { work(run, *load, i, each, ready, go, shared); });
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
