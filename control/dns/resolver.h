// From the bytes of a query to the bytes of its answer: what is malformed or not served is refused,
// names of the cluster come from the zone, others from the cache; the rest is handed back as a job
// for the upstream servers. No sockets.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "control/dns/cache.h"
#include "control/dns/message.h"
#include "control/dns/zone.h"

namespace sluice::dns {

// One writer at least; read at any time.
struct Counters {
    std::atomic<std::uint64_t> queries{0};
    std::atomic<std::uint64_t> dropped{0};    // no answer: too short, a response, port 0
    std::atomic<std::uint64_t> malformed{0};  // FORMERR
    std::atomic<std::uint64_t> refused{0};    // REFUSED and NOTIMP
    std::atomic<std::uint64_t> cluster{0};    // answered from the zone
    std::atomic<std::uint64_t> cached{0};
    std::atomic<std::uint64_t> forwarded{0};
    std::atomic<std::uint64_t> forward_failed{0};  // SERVFAIL: no upstream server answered
    std::atomic<std::uint64_t> forward_full{0};    // SERVFAIL: kMaxPending or kMaxPosted reached
    std::atomic<std::uint64_t> upstream_bogus{0};  // responses that were not believed
    std::atomic<std::uint64_t> loops{0};           // upstream servers found to ask this one
    std::atomic<std::uint64_t> tcp_refused{0};     // connections beyond kMaxConnections
};

// Finds upstream servers that send what they are asked back to this server: each is asked for a
// secret name of its own now and then, and that name is never to come in as a query.
class LoopGuard {
public:
    // REQUIRES: at most 32 upstreams.
    explicit LoopGuard(std::size_t upstreams);
    [[nodiscard]] const Name& probe(std::size_t upstream) const { return probes_[upstream]; }
    // Whether the name is a probe's; its upstream is then marked.
    bool came_in(const Name& name);
    // Whether it came in since the last call.
    bool take(std::size_t upstream) {
        const std::uint32_t bit = 1U << upstream;
        return (seen_.fetch_and(~bit) & bit) != 0;
    }

private:
    Name suffix_;
    std::vector<Name> probes_;
    std::atomic<std::uint32_t> seen_{0};
};

// What is left to do when the answer must come from upstream.
struct ForwardJob {
    std::uint16_t id = 0;
    Flags flags;
    Question question;            // the client's
    std::vector<Record> aliases;  // answers that this server knows already
    Question upstream;            // what to ask
    bool edns = false;
    bool dnssec_ok = false;
    std::size_t limit = kPlainUdpBytes;
};

// One a thread.
class Resolver {
public:
    enum class Step : std::uint8_t { kDrop, kReply, kForward };
    struct Shared {
        const Published& zone;
        const ZoneConfig& config;
        Cache& cache;
        Counters& counters;
        LoopGuard& guard;
        bool forwards = false;  // there are upstream servers
    };
    explicit Resolver(const Shared& shared);

    // kReply: out is the answer. kForward: job is what to do. Cost of a name of the cluster:
    // microseconds.
    Step handle(std::span<const std::uint8_t> query, bool tcp, std::vector<std::uint8_t>* out,
                ForwardJob* job);

    // The answer to a job; null: nobody knows.
    static void finish(const ForwardJob& job, const UpstreamAnswer* answer, std::uint64_t now_s,
                       std::vector<std::uint8_t>* out);

private:
    Step error(const Header& header, std::uint16_t code, const Message* message, std::size_t limit,
               std::vector<std::uint8_t>* out);

    const Shared shared_;
    Reader reader_;
    std::uint32_t random_;
};

// Seconds of a clock that never goes back.
[[nodiscard]] std::uint64_t steady_seconds();
// From the kernel's generator.
[[nodiscard]] std::uint64_t random_u64();

}  // namespace sluice::dns
