// apiserver_load: one run of load against an API server, Sluice's or another, as a line of JSON.
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "bench/apiserver/load.h"

namespace {

using namespace sluice::bench;

double at(const std::vector<double>& sorted, double part) {
    if (sorted.empty()) return 0;
    return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1))];
}

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return out + '"';
}

void print(const Outcome& out) {
    std::printf("%s\n", fmt::format(
        R"({{"seconds":{:.6f},"requests":{},"failed":{},"first_failure":{},"per_s":{:.1f},"bytes":{},)"
        R"("client_cpu_s":{:.3f},)"
        R"("p50_ms":{:.4f},"p90_ms":{:.4f},"p99_ms":{:.4f},"max_ms":{:.4f}}})",
        out.seconds, out.requests, out.failed, quoted(out.first_failure),
        static_cast<double>(out.requests) / out.seconds, out.bytes, out.client_cpu_s,
        at(out.latency_ms, 0.5), at(out.latency_ms, 0.9), at(out.latency_ms, 0.99), at(out.latency_ms, 1)).c_str());
}

void print(const WatchOutcome& out) {
    std::printf("%s\n", fmt::format(
        R"({{"seconds":{:.6f},"changes":{},"delivered":{},"missing":{},"ended":{},"client_cpu_s":{:.3f},)"
        R"("request_p50_ms":{:.4f},"request_p99_ms":{:.4f},"answer_p50_ms":{:.4f},"answer_p99_ms":{:.4f}}})",
        out.seconds, out.changes, out.delivered, out.missing, out.ended, out.client_cpu_s,
        at(out.from_request_ms, 0.5), at(out.from_request_ms, 0.99), at(out.from_answer_ms, 0.5),
        at(out.from_answer_ms, 0.99)).c_str());
}

}  // namespace

int main(int argc, char** argv) {
    std::string meanings;
    for (const auto& [name, meaning] : loads()) meanings += fmt::format("\n  {:16} {}", name, meaning);
    CLI::App app{"One run of load against an API server; prints a line of JSON. Loads:" + meanings +
                 "\n  watch            ConfigMaps made while others watch them"};
    Run run;
    WatchRun watch;
    app.add_option("load", run.what, "What to ask for")->required();
    app.add_option("--host", run.target.host, "IPv4 address")->capture_default_str();
    app.add_option("--port", run.target.port)->capture_default_str();
    app.add_option("--ca", run.target.ca_file, "PEM")->required();
    app.add_option("--cert", run.target.cert_file, "PEM")->required();
    app.add_option("--key", run.target.key_file, "PEM")->required();
    app.add_option("--clients", run.clients, "Connections, of watch: writers")->check(CLI::Range(1, 1024));
    app.add_option("--threads", run.threads, "For all clients together, of watch: for the watchers")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    app.add_option("--requests", run.requests, "Of all clients together")->required();
    app.add_option("--prefix", run.prefix, "Of the objects' names")->capture_default_str();
    app.add_option("--objects", run.objects, "Names that exist, asked for in turn; 0 is as many as requests");
    app.add_option("--value-bytes", run.value_bytes)->check(CLI::Range(0, 1 << 20))->capture_default_str();
    app.add_option("--watchers", watch.watchers, "Of watch")->check(CLI::Range(1, 10'000));
    app.add_option("--rate", watch.changes_per_s, "Of watch: changes a second; 0 is as fast as can be");
    CLI11_PARSE(app, argc, argv);
    if (run.what == "watch") {
        watch.target = run.target;
        watch.writers = run.clients;
        watch.threads = run.threads;
        watch.changes = run.requests;
        watch.prefix = run.prefix;
        watch.value_bytes = run.value_bytes;
        const auto out = run_watch(watch);
        if (!out) {
            std::fprintf(stderr, "apiserver_load: %s\n", out.error().message.c_str());
            return 1;
        }
        print(*out);
        return 0;
    }
    const auto out = run_load(run);
    if (!out) {
        std::fprintf(stderr, "apiserver_load: %s\n", out.error().message.c_str());
        return 1;
    }
    print(*out);
    return 0;
}
