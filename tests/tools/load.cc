// The client end: workers that connect or send again and again, and count what came of it.
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <system_error>
#include <thread>

#include "tests/tools/modes.h"
#include "tests/tools/sockets.h"

namespace sluice::testpeer {
namespace {

using Clock = std::chrono::steady_clock;

struct Tally {
    std::uint64_t attempts = 0, ok = 0, failed = 0, wrong_peer = 0;
    std::map<std::string, std::uint64_t> errors, servers, clients;
    std::vector<double> latency_us;

    void fail(const char* what, int error) {
        ++failed;
        ++errors[fmt::format("{}: {}", what, std::generic_category().message(error))];
    }
    void answered(std::string_view text) {
        ++ok;
        const std::size_t space = text.find(' ');
        ++servers[std::string(text.substr(0, space))];
        if (space != std::string_view::npos) {
            const std::string_view rest = text.substr(space + 1);
            ++clients[std::string(rest.substr(0, rest.find(' ')))];
        }
    }
    void add(const Tally& other) {
        attempts += other.attempts;
        ok += other.ok;
        failed += other.failed;
        wrong_peer += other.wrong_peer;
        for (const auto& [key, n] : other.errors) errors[key] += n;
        for (const auto& [key, n] : other.servers) servers[key] += n;
        for (const auto& [key, n] : other.clients) clients[key] += n;
        latency_us.insert(latency_us.end(), other.latency_us.begin(), other.latency_us.end());
    }
};

std::string json_counts(const std::map<std::string, std::uint64_t>& counts) {
    std::string text = "{";
    for (const auto& [key, n] : counts) {
        text += fmt::format("{}\"{}\":{}", text.size() > 1 ? "," : "", key, n);
    }
    return text + "}";
}

class Worker {
public:
    explicit Worker(const LoadOptions& options)
        : options_(options),
          target_(make_endpoint(options.address, options.port, options.v4_mapped)),
          family_(options.address.is_v4() && !options.v4_mapped ? AF_INET : AF_INET6) {}

    void run(Clock::time_point until) {
        if (options_.unconnected) shared_ = open_socket();
        while (Clock::now() < until && (options_.count == 0 || tally.attempts < options_.count)) {
            ++tally.attempts;
            const auto begin = Clock::now();
            if (options_.udp) {
                one_datagram();
            } else {
                one_connection(until);
            }
            tally.latency_us.push_back(
                std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
            if (options_.pause_us > 0) {
                std::this_thread::sleep_for(std::chrono::microseconds(options_.pause_us));
            }
        }
    }

    Tally tally;

private:
    Fd open_socket() const {
        Fd fd(::socket(family_, (options_.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
        set_timeout(fd.get(), std::chrono::milliseconds(options_.timeout_ms));
        return fd;
    }

    void check_peer(const sockaddr_storage& peer) {
        if (address_of(peer) != options_.address || port_of(peer) != options_.port) {
            ++tally.wrong_peer;
        }
    }

    void one_connection(Clock::time_point until) {
        Fd fd = open_socket();
        // Reset on close: thousands of connections a second would use up the ports in TIME_WAIT.
        const linger hard{1, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        if (::connect(fd.get(), target_.raw(), target_.length) != 0) {
            return tally.fail("connect", errno == EINPROGRESS ? ETIMEDOUT : errno);
        }
        sockaddr_storage peer{};
        socklen_t length = sizeof peer;
        ::getpeername(fd.get(), reinterpret_cast<sockaddr*>(&peer), &length);  // NOLINT
        check_peer(peer);
        std::array<char, 512> buffer;
        const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
        if (got <= 0) return tally.fail("recv", got == 0 ? ECONNRESET : errno);
        if (options_.hold && !echo_until(fd.get(), until)) return;
        tally.answered({buffer.data(), static_cast<std::size_t>(got)});
    }

    bool echo_until(int fd, Clock::time_point until) {
        std::array<char, 64> buffer{};
        while (Clock::now() < until) {
            if (::send(fd, buffer.data(), buffer.size(), MSG_NOSIGNAL) < 0) {
                tally.fail("held send", errno);
                return false;
            }
            std::size_t have = 0;
            while (have < buffer.size()) {
                const ssize_t got = ::recv(fd, buffer.data(), buffer.size() - have, 0);
                if (got <= 0) {
                    tally.fail("held recv", got == 0 ? ECONNRESET : errno);
                    return false;
                }
                have += static_cast<std::size_t>(got);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        return true;
    }

    void one_datagram() {
        std::optional<Fd> own;
        if (!options_.unconnected) own = open_socket();
        const int fd = own ? own->get() : shared_.get();
        ssize_t sent = -1;
        if (options_.unconnected) {
            sent = ::sendto(fd, "?", 1, 0, target_.raw(), target_.length);
        } else if (::connect(fd, target_.raw(), target_.length) == 0) {
            sent = ::send(fd, "?", 1, 0);
        }
        if (sent != 1) return tally.fail("send", errno);
        std::array<char, 512> buffer;
        sockaddr_storage from{};
        socklen_t length = sizeof from;
        const ssize_t got = ::recvfrom(fd, buffer.data(), buffer.size(), 0,
                                       reinterpret_cast<sockaddr*>(&from), &length);  // NOLINT
        if (got <= 0) return tally.fail("recv", errno);
        check_peer(from);
        tally.answered({buffer.data(), static_cast<std::size_t>(got)});
    }

    const LoadOptions& options_;
    Endpoint target_;
    int family_;
    Fd shared_;
};

}  // namespace

Result<void> load(const LoadOptions& options) {
    std::vector<Worker> workers;
    workers.reserve(static_cast<std::size_t>(options.workers));
    for (int i = 0; i < options.workers; ++i) workers.emplace_back(options);
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(options.seconds));
    {
        std::vector<std::jthread> threads;
        threads.reserve(workers.size());
        for (Worker& worker : workers) threads.emplace_back([&worker, until] { worker.run(until); });
    }
    Tally total;
    for (const Worker& worker : workers) total.add(worker.tally);
    std::printf("%s\n",
                fmt::format("{{\"attempts\":{},\"ok\":{},\"failed\":{},\"wrong_peer\":{},"
                            "\"errors\":{},\"servers\":{},\"clients\":{},"
                            "\"p50_us\":{:.1f},\"p99_us\":{:.1f},\"max_us\":{:.1f}}}",
                            total.attempts, total.ok, total.failed, total.wrong_peer,
                            json_counts(total.errors), json_counts(total.servers),
                            json_counts(total.clients), percentile(total.latency_us, 50),
                            percentile(total.latency_us, 99), percentile(total.latency_us, 100))
                    .c_str());
    return {};
}

}  // namespace sluice::testpeer
