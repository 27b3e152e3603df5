// Asks the upstream servers what the cluster does not know: over UDP with a fresh port and id each
// time, over TCP when the answer is cut short; equal questions that are under way wait for one
// answer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/dns/cache.h"
#include "control/dns/endpoint.h"
#include "control/dns/loop.h"
#include "control/dns/resolver.h"

namespace sluice::dns {

// Questions under way, each with a socket; and who waits for one of them.
inline constexpr std::size_t kMaxPending = 512;
inline constexpr std::size_t kMaxWaiters = 256;
// A server has this long to answer; together less than the 5 s after which resolvers ask again.
inline constexpr std::uint64_t kTryMs = 1'500;
inline constexpr unsigned kMaxTries = 3;
// Datagrams that are no answer to the question, after which it is asked over TCP: somebody guesses
// ids.
inline constexpr unsigned kMaxBogus = 16;
inline constexpr std::uint64_t kProbeIntervalMs = 30'000;

// All on the loop's thread.
class Forwarder {
public:
    // Null: no server answered, or kMaxPending or kMaxWaiters is reached.
    using Done = std::function<void(std::shared_ptr<const UpstreamAnswer> answer)>;

    // What it is given outlives it.
    Forwarder(EventLoop& loop, std::vector<Endpoint> upstreams, Cache& cache, Counters& counters,
              LoopGuard& guard);
    ~Forwarder();
    void ask(const Question& question, bool dnssec_ok, bool checking_disabled, Done done);
    // Sends one probe to each server, to find those that ask this server in turn.
    void probe();

private:
    struct Exchange;
    void begin(std::uint64_t number, std::unique_ptr<Exchange> exchange);
    void send(Exchange& exchange);
    bool open(Exchange& exchange);
    void close(Exchange& exchange);
    void on_event(std::uint64_t number, std::uint32_t events);
    void on_datagrams(Exchange& exchange);
    void on_stream(Exchange& exchange, std::uint32_t events);
    // False if it was not believed. After it or fail(), the exchange may be gone.
    bool on_message(Exchange& exchange, std::span<const std::uint8_t> bytes);
    void fail(Exchange& exchange);
    void finish(Exchange& exchange, std::shared_ptr<const UpstreamAnswer> answer);
    [[nodiscard]] bool next_upstream(Exchange& exchange, bool first) const;
    bool tick(std::uint64_t now_ms);

    EventLoop& loop_;
    const std::vector<Endpoint> upstreams_;
    Cache& cache_;
    Counters& counters_;
    LoopGuard& guard_;
    std::vector<bool> looping_;
    std::size_t preferred_ = 0;
    std::uint64_t next_number_ = 1;
    std::uint64_t next_probe_ms_ = 0;
    std::unordered_map<std::uint64_t, std::unique_ptr<Exchange>> exchanges_;
    std::unordered_map<std::string, std::uint64_t> by_key_;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace sluice::dns
