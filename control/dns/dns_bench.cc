// What an answer costs: the work on one query without sockets, in a cluster of 10,000 Services, a
// change of one Service there, and queries over loopback.
#include <benchmark/benchmark.h>
#include <poll.h>

#include <array>

#include "control/dns/server.h"
#include "control/dns/test_util.h"

namespace sluice::dns {
namespace {

using namespace testing;

constexpr int kServices = 10'000;

struct Cluster {
    Cluster() : builder(testing::name("cluster.local")) {
        for (int i = 0; i < kServices; ++i) set(i, i);
        const auto headless = service("default", "db", {"None"});
        builder.set_service("default/db", &headless);
        auto endpoints = slice("default", "db");
        for (int i = 0; i < 20; ++i) add_endpoint(&endpoints, fmt::format("10.200.0.{}", i));
        builder.set_slice("default/db", &endpoints);
        builder.set_complete();
        zone.publish(builder.publish(1));
        config.domain = testing::name("cluster.local");
    }
    void set(int i, int address) {
        auto object = service("default", fmt::format("web-{}", i),
                              {fmt::format("10.{}.{}.{}", 96 + address / 65'536,
                                           address / 256 % 256, address % 256)});
        add_port(&object, "http", 80);
        builder.set_service(fmt::format("default/web-{}", i), &object);
    }
    Builder builder;
    Published zone;
    ZoneConfig config;
    Cache cache;
    Counters counters;
    LoopGuard guard{0};
};

Cluster& cluster() {
    static Cluster one;
    return one;
}

std::vector<std::uint8_t> query(const std::string& text, std::uint16_t question_type) {
    const Question question{testing::name(text), question_type, kClassIn};
    Reply out;
    out.flags.recursion_desired = true;
    out.question = &question;
    out.edns = true;
    std::vector<std::uint8_t> bytes;
    encode(out, 512, &bytes);
    return bytes;
}

void answer(benchmark::State& state, const std::string& text, std::uint16_t question_type) {
    auto& all = cluster();
    Resolver resolver({all.zone, all.config, all.cache, all.counters, all.guard, false});
    const auto bytes = query(text, question_type);
    std::vector<std::uint8_t> out;
    ForwardJob job;
    for (auto _ : state) benchmark::DoNotOptimize(resolver.handle(bytes, false, &out, &job));
    state.SetItemsProcessed(state.iterations());
}

void service_address(benchmark::State& state) {
    answer(state, "web-5000.default.svc.cluster.local", type::kA);
}
void no_such_name(benchmark::State& state) {
    answer(state, "web-5000.default.svc.cluster.local.default.svc.cluster.local", type::kA);
}
void headless_20(benchmark::State& state) {
    answer(state, "db.default.svc.cluster.local", type::kA);
}
void srv(benchmark::State& state) {
    answer(state, "_http._tcp.web-5000.default.svc.cluster.local", type::kSrv);
}
BENCHMARK(service_address);
BENCHMARK(no_such_name);
BENCHMARK(headless_20);
BENCHMARK(srv);

void one_change(benchmark::State& state) {
    auto& all = cluster();
    int i = 0;
    for (auto _ : state) {
        all.set(77, kServices + (++i % 2));
        all.zone.publish(all.builder.publish(1));
    }
}
BENCHMARK(one_change);

// One client with 64 questions under way; both ends share the machine.
void loopback(benchmark::State& state) {
    ServerOptions options;
    options.listen = {{ip("127.0.0.1"), 0, ""}};
    options.domain = testing::name("cluster.local");
    const auto server = Server::start(options, cluster().zone);
    if (!server) {
        state.SkipWithError("cannot listen on loopback");
        return;
    }
    constexpr std::size_t kWindow = 64;
    const auto address = *to_socket_address((*server)->endpoints()[0]);
    std::array<Fd, 8> sockets;
    for (auto& fd : sockets) {
        fd = Fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage),
                      address.size) != 0) {
            state.SkipWithError("cannot connect");
            return;
        }
    }
    auto bytes = query("web-5000.default.svc.cluster.local", type::kA);
    std::array<mmsghdr, kWindow / 8> messages{};
    std::array<std::array<std::uint8_t, 512>, kWindow / 8> buffers{};
    std::array<iovec, kWindow / 8> data{};
    std::int64_t answered = 0;
    for (auto _ : state) {
        for (const auto& fd : sockets) {
            for (std::size_t i = 0; i < messages.size(); ++i) {
                data[i] = {bytes.data(), bytes.size()};
                messages[i].msg_hdr.msg_iov = &data[i];
                messages[i].msg_hdr.msg_iovlen = 1;
            }
            ::sendmmsg(fd.get(), messages.data(), messages.size(), 0);
        }
        for (const auto& fd : sockets) {
            for (std::size_t got = 0; got < messages.size();) {
                pollfd waiting{fd.get(), POLLIN, 0};
                if (::poll(&waiting, 1, 1'000) != 1) {
                    state.SkipWithError("an answer was lost");
                    return;
                }
                for (std::size_t i = 0; i < messages.size(); ++i)
                    data[i] = {buffers[i].data(), 512};
                const int n =
                    ::recvmmsg(fd.get(), messages.data(),
                               static_cast<unsigned>(messages.size() - got), MSG_DONTWAIT, nullptr);
                if (n > 0) got += static_cast<std::size_t>(n);
            }
        }
        answered += static_cast<std::int64_t>(kWindow);
    }
    state.SetItemsProcessed(answered);
}
BENCHMARK(loopback)->UseRealTime();

}  // namespace
}  // namespace sluice::dns
