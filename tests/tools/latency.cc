// How long connect(), or the first sendto() of a new flow, keeps its caller.
#include <netinet/in.h>

#include <cerrno>
#include <cstdio>
#include <numeric>

#include "tests/tools/modes.h"
#include "tests/tools/sockets.h"

namespace sluice::testpeer {
namespace {

using Clock = std::chrono::steady_clock;

// Microseconds of the one system call; negative if it failed.
double time_once(const Endpoint& target, int family, bool udp) {
    const Fd fd(::socket(family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
    set_timeout(fd.get(), std::chrono::milliseconds(1000));
    if (!udp) {
        const linger hard{1, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    const auto begin = Clock::now();
    const long result = udp ? ::sendto(fd.get(), "?", 1, 0, target.raw(), target.length) - 1
                            : ::connect(fd.get(), target.raw(), target.length);
    const auto end = Clock::now();
    return result == 0 ? std::chrono::duration<double, std::micro>(end - begin).count() : -1;
}

}  // namespace

Result<void> latency(const LatencyOptions& options) {
    const Endpoint target = make_endpoint(options.address, options.port);
    const int family = options.address.is_v4() ? AF_INET : AF_INET6;
    const Endpoint other = make_endpoint(options.against.value_or(options.address),
                                         options.against_port);
    std::vector<double> samples;
    std::vector<double> other_samples;
    samples.reserve(options.count);
    std::uint64_t failed = 0;
    const auto take = [&](const Endpoint& endpoint, bool counts, std::vector<double>& into) {
        const double microseconds = time_once(endpoint, family, options.udp);
        if (!counts) return;
        if (microseconds < 0) {
            ++failed;
        } else {
            into.push_back(microseconds);
        }
    };
    for (std::uint64_t i = 0; i < options.warmup + options.count; ++i) {
        take(target, i >= options.warmup, samples);
        if (options.against) take(other, i >= options.warmup, other_samples);
    }
    const double sum = std::accumulate(samples.begin(), samples.end(), 0.0);
    const double mean = samples.empty() ? 0 : sum / static_cast<double>(samples.size());
    std::printf("%s\n",
                fmt::format("{{\"count\":{},\"failed\":{},\"min_us\":{:.3f},\"p50_us\":{:.3f},"
                            "\"p90_us\":{:.3f},\"p99_us\":{:.3f},\"mean_us\":{:.3f},"
                            "\"against_p50_us\":{:.3f}}}",
                            samples.size(), failed, percentile(samples, 0), percentile(samples, 50),
                            percentile(samples, 90), percentile(samples, 99), mean,
                            percentile(other_samples, 50))
                    .c_str());
    return {};
}

}  // namespace sluice::testpeer
