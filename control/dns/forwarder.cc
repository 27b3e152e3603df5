// See forwarder.h.
#include "control/dns/forwarder.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "api/base/log.h"
#include "control/dns/response.h"

namespace sluice::dns {
namespace {

constexpr std::string_view kComponent = "dns";

void count(std::atomic<std::uint64_t>& counter) {
    counter.fetch_add(1, std::memory_order_relaxed);
}

void append_u16(std::vector<std::uint8_t>* out, std::size_t value) {
    out->push_back(static_cast<std::uint8_t>(value >> 8U));
    out->push_back(static_cast<std::uint8_t>(value));
}

}  // namespace

struct Forwarder::Exchange {
    std::uint64_t number = 0;
    std::string key;  // empty: a probe
    Question question;
    bool dnssec_ok = false;
    bool checking_disabled = false;
    std::vector<Done> waiters;
    std::size_t probe_of = 0;  // of a probe: the server asked

    unsigned tries = 0;
    std::size_t upstream = 0;
    std::uint16_t id = 0;
    bool edns = true;
    bool tcp = false;
    unsigned bogus = 0;
    std::uint64_t deadline_ms = 0;
    Fd fd;
    std::uint64_t watch = 0;
    std::vector<std::uint8_t> out;  // TCP: with its length before it
    std::size_t written = 0;
    std::vector<std::uint8_t> in;
};

Forwarder::Forwarder(EventLoop& loop, std::vector<Endpoint> upstreams, Cache& cache,
                     Counters& counters, LoopGuard& guard)
    : loop_(loop),
      upstreams_(std::move(upstreams)),
      cache_(cache),
      counters_(counters),
      guard_(guard),
      looping_(upstreams_.size(), false),
      buffer_(kMaxMessageBytes) {
    loop_.add_ticker([this](std::uint64_t now) { return tick(now); });
}

Forwarder::~Forwarder() = default;

void Forwarder::ask(const Question& question, bool dnssec_ok, bool checking_disabled, Done done) {
    std::string key = upstream_key(question, dnssec_ok, checking_disabled);
    if (const auto same = by_key_.find(key); same != by_key_.end()) {
        auto& waiters = exchanges_.at(same->second)->waiters;
        if (waiters.size() < kMaxWaiters) {
            waiters.push_back(std::move(done));
            return;
        }
        count(counters_.forward_full);
        done(nullptr);
        return;
    }
    // It may have been answered while this question waited for the loop.
    if (auto known = cache_.find(key, steady_seconds())) {
        done(std::move(known));
        return;
    }
    if (exchanges_.size() >= kMaxPending) {
        count(counters_.forward_full);
        done(nullptr);
        return;
    }
    auto exchange = std::make_unique<Exchange>();
    exchange->key = key;
    exchange->question = question;
    exchange->dnssec_ok = dnssec_ok;
    exchange->checking_disabled = checking_disabled;
    exchange->waiters.push_back(std::move(done));
    exchange->upstream = preferred_;
    const std::uint64_t number = next_number_++;
    by_key_.emplace(std::move(key), number);
    begin(number, std::move(exchange));
}

void Forwarder::probe() {
    for (std::size_t i = 0; i < upstreams_.size(); ++i) {
        auto exchange = std::make_unique<Exchange>();
        exchange->question = {guard_.probe(i), type::kHinfo, kClassIn};
        exchange->upstream = exchange->probe_of = i;
        begin(next_number_++, std::move(exchange));
    }
}

void Forwarder::begin(std::uint64_t number, std::unique_ptr<Exchange> exchange) {
    exchange->number = number;
    Exchange& kept = *exchange;
    exchanges_.emplace(number, std::move(exchange));
    if (!kept.key.empty() && !next_upstream(kept, true)) {
        finish(kept, nullptr);
        return;
    }
    send(kept);
}

// The first server from this one on that is in no loop.
bool Forwarder::next_upstream(Exchange& exchange, bool first) const {
    for (std::size_t i = first ? 0 : 1; i <= upstreams_.size(); ++i) {
        const std::size_t candidate = (exchange.upstream + i) % upstreams_.size();
        if (looping_[candidate]) continue;
        exchange.upstream = candidate;
        return true;
    }
    return false;
}

void Forwarder::send(Exchange& exchange) {
    close(exchange);
    exchange.id = static_cast<std::uint16_t>(random_u64());
    exchange.deadline_ms = EventLoop::now_ms() + kTryMs;
    Reply query;
    query.id = exchange.id;
    query.flags.recursion_desired = true;
    query.flags.checking_disabled = exchange.checking_disabled;
    // Asks for the bit AD in the answer (RFC 6840, 5.7).
    query.flags.authentic = exchange.dnssec_ok;
    query.question = &exchange.question;
    query.edns = exchange.edns;
    query.dnssec_ok = exchange.edns && exchange.dnssec_ok;
    std::vector<std::uint8_t> message;
    encode(query, kPlainUdpBytes, &message);
    exchange.out.clear();
    if (exchange.tcp) append_u16(&exchange.out, message.size());
    exchange.out.insert(exchange.out.end(), message.begin(), message.end());
    exchange.written = 0;
    exchange.in.clear();
    if (!open(exchange)) fail(exchange);
}

bool Forwarder::open(Exchange& exchange) {
    const auto address = to_socket_address(upstreams_[exchange.upstream]);
    if (!address) return false;
    // A socket of its own for each question: the kernel picks its port at random, takes datagrams
    // of this server only, and tells when nobody listens there.
    const int kind = (exchange.tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    exchange.fd = Fd(::socket(address->storage.ss_family, kind, 0));
    if (!exchange.fd) return false;
    if (::connect(exchange.fd.get(), reinterpret_cast<const sockaddr*>(&address->storage),
                  address->size) != 0 &&
        errno != EINPROGRESS) {
        return false;
    }
    if (!exchange.tcp &&
        ::send(exchange.fd.get(), exchange.out.data(), exchange.out.size(), 0) < 0) {
        return false;
    }
    exchange.watch = loop_.add(
        exchange.fd.get(), exchange.tcp ? EPOLLOUT : EPOLLIN,
        [this, number = exchange.number](std::uint32_t events) { on_event(number, events); });
    return exchange.watch != 0;
}

void Forwarder::close(Exchange& exchange) {
    if (exchange.watch != 0) loop_.remove(exchange.watch, exchange.fd.get());
    exchange.watch = 0;
    exchange.fd = Fd();
}

void Forwarder::on_event(std::uint64_t number, std::uint32_t events) {
    const auto at = exchanges_.find(number);
    if (at == exchanges_.end()) return;
    if (at->second->tcp) {
        on_stream(*at->second, events);
    } else {
        on_datagrams(*at->second);
    }
}

void Forwarder::on_datagrams(Exchange& exchange) {
    while (true) {
        const ssize_t size = ::recv(exchange.fd.get(), buffer_.data(), buffer_.size(), 0);
        if (size < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) return;
            fail(exchange);
            return;
        }
        if (on_message(exchange, {buffer_.data(), static_cast<std::size_t>(size)})) return;
        count(counters_.upstream_bogus);
        if (++exchange.bogus >= kMaxBogus) {
            exchange.tcp = true;
            send(exchange);
            return;
        }
    }
}

void Forwarder::on_stream(Exchange& exchange, std::uint32_t events) {
    const int fd = exchange.fd.get();
    if (exchange.written < exchange.out.size()) {
        const ssize_t size = ::send(fd, exchange.out.data() + exchange.written,
                                    exchange.out.size() - exchange.written, MSG_NOSIGNAL);
        if (size < 0) {
            if (errno != EAGAIN && errno != EINTR) fail(exchange);
            return;
        }
        exchange.written += static_cast<std::size_t>(size);
        if (exchange.written == exchange.out.size()) loop_.modify(exchange.watch, fd, EPOLLIN);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    const ssize_t size = ::recv(fd, buffer_.data(), buffer_.size(), 0);
    if (size <= 0) {
        if (size == 0 || (errno != EAGAIN && errno != EINTR)) fail(exchange);
        return;
    }
    exchange.in.insert(exchange.in.end(), buffer_.begin(), buffer_.begin() + size);
    if (exchange.in.size() < 2) return;
    const std::size_t length = (std::size_t{exchange.in[0]} << 8U) | exchange.in[1];
    if (exchange.in.size() < length + 2) return;
    const std::vector<std::uint8_t> message(
        exchange.in.begin() + 2, exchange.in.begin() + 2 + static_cast<std::ptrdiff_t>(length));
    if (!on_message(exchange, message)) {
        count(counters_.upstream_bogus);
        fail(exchange);
    }
}

bool Forwarder::on_message(Exchange& exchange, std::span<const std::uint8_t> bytes) {
    const auto message = parse_message(bytes);
    if (!message) return false;
    auto answer = std::make_shared<UpstreamAnswer>();
    switch (judge_response(*message, exchange.id, exchange.question, exchange.edns, exchange.tcp,
                           answer.get())) {
        case Verdict::kBogus: return false;
        case Verdict::kTruncated:
            exchange.tcp = true;
            send(exchange);
            return true;
        case Verdict::kNoEdns:
            exchange.edns = false;
            send(exchange);
            return true;
        case Verdict::kFailed: fail(exchange); return true;
        case Verdict::kAccepted: break;
    }
    answer->received_s = steady_seconds();
    finish(exchange, std::move(answer));
    return true;
}

void Forwarder::fail(Exchange& exchange) {
    // The next questions go to another server first.
    if (exchange.upstream == preferred_ && !exchange.key.empty()) {
        preferred_ = (preferred_ + 1) % upstreams_.size();
    }
    if (exchange.key.empty() || ++exchange.tries >= kMaxTries || !next_upstream(exchange, false)) {
        finish(exchange, nullptr);
        return;
    }
    exchange.tcp = false;
    exchange.edns = true;
    exchange.bogus = 0;
    send(exchange);
}

void Forwarder::finish(Exchange& exchange, std::shared_ptr<const UpstreamAnswer> answer) {
    close(exchange);
    // Out of the tables first: who waits may ask at once again.
    const auto at = exchanges_.find(exchange.number);
    const std::unique_ptr<Exchange> owned = std::move(at->second);
    exchanges_.erase(at);
    if (owned->key.empty()) {
        const std::size_t upstream = owned->probe_of;
        const bool looping = guard_.take(upstream);
        if (looping && !looping_[upstream]) {
            count(counters_.loops);
            log::error(
                kComponent,
                "upstream server {} sends its questions back to this server; it is not asked "
                "until that ends",
                upstreams_[upstream].to_string());
        }
        if (!looping && looping_[upstream]) {
            log::info(kComponent, "upstream server {} is no longer in a loop with this server",
                      upstreams_[upstream].to_string());
        }
        looping_[upstream] = looping;
        return;
    }
    by_key_.erase(owned->key);
    if (answer) {
        cache_.put(owned->key, answer);
    } else {
        count(counters_.forward_failed);
    }
    for (const auto& waiter : owned->waiters) waiter(answer);
}

bool Forwarder::tick(std::uint64_t now_ms) {
    if (now_ms >= next_probe_ms_ && !upstreams_.empty()) {
        next_probe_ms_ = now_ms + kProbeIntervalMs;
        probe();
    }
    std::vector<std::uint64_t> late;
    for (const auto& [number, exchange] : exchanges_) {
        if (exchange->deadline_ms <= now_ms) late.push_back(number);
    }
    for (const std::uint64_t number : late) {
        if (const auto at = exchanges_.find(number); at != exchanges_.end()) fail(*at->second);
    }
    return !exchanges_.empty();
}

}  // namespace sluice::dns
