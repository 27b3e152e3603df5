// See resolver.h.
#include "control/dns/resolver.h"

#include <sys/random.h>

#include <algorithm>
#include <chrono>

namespace sluice::dns {
namespace {

// The name ends in .invalid (RFC 6761): no server that is not in a loop bothers another with it for
// long.
constexpr std::string_view kProbeSuffix = "sluice-dns-loop.invalid";

void count(std::atomic<std::uint64_t>& counter) {
    counter.fetch_add(1, std::memory_order_relaxed);
}

bool is_meta(std::uint16_t question_type) {
    return question_type == type::kOpt || question_type == 0 ||
           (question_type >= type::kFirstMeta && question_type <= type::kLastMeta);
}

// RFC 8482: one record that says why there are not all.
Record any_record(const Name& name) {
    using namespace std::string_literals;
    return {name, type::kHinfo, kClassIn, kTtlSeconds, "\x07RFC8482\x00"s};
}

Flags reply_flags(const Flags& query, bool recursion) {
    Flags flags;
    flags.response = true;
    flags.opcode = query.opcode;
    flags.recursion_desired = query.recursion_desired;
    flags.checking_disabled = query.checking_disabled;
    flags.recursion_available = recursion;
    return flags;
}

}  // namespace

std::uint64_t steady_seconds() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

std::uint64_t random_u64() {
    std::uint64_t value = 0;
    // Eight bytes are never cut short, and fail only before the kernel has gathered its first
    // entropy, when it waits.
    SLUICE_ASSERT(::getrandom(&value, sizeof value, 0) == static_cast<ssize_t>(sizeof value));
    return value;
}

LoopGuard::LoopGuard(std::size_t upstreams) : suffix_(*Name::parse(kProbeSuffix)) {
    SLUICE_ASSERT(upstreams <= 32);
    for (std::size_t i = 0; i < upstreams; ++i) {
        const std::string secret = fmt::format("{:016x}{:016x}", random_u64(), random_u64());
        probes_.push_back(*Name::join({secret}, suffix_));
    }
}

bool LoopGuard::came_in(const Name& name) {
    if (!name.is_within(suffix_)) return false;
    for (std::size_t i = 0; i < probes_.size(); ++i) {
        if (probes_[i].equals(name)) {
            seen_.fetch_or(1U << i);
            return true;
        }
    }
    return false;
}

Resolver::Resolver(const Shared& shared)
    : shared_(shared),
      reader_(shared.zone),
      random_(static_cast<std::uint32_t>(random_u64()) | 1U) {}

Resolver::Step Resolver::error(const Header& header, std::uint16_t code, const Message* message,
                               std::size_t limit, std::vector<std::uint8_t>* out) {
    Reply reply;
    reply.id = header.id;
    reply.flags = reply_flags(header.flags, shared_.forwards);
    reply.rcode = code;
    if (message != nullptr && message->questions.size() == 1) {
        reply.question = &message->questions.front();
    }
    reply.edns = message != nullptr && message->edns.has_value();
    encode(reply, limit, out);
    count(code == rcode::kFormErr ? shared_.counters.malformed : shared_.counters.refused);
    return Step::kReply;
}

Resolver::Step Resolver::handle(std::span<const std::uint8_t> query, bool tcp,
                                std::vector<std::uint8_t>* out, ForwardJob* job) {
    count(shared_.counters.queries);
    const auto header = parse_header(query);
    // To answer a response would let two servers talk for ever.
    if (!header || header->flags.response) {
        count(shared_.counters.dropped);
        return Step::kDrop;
    }
    const std::size_t plain = tcp ? kMaxMessageBytes : kPlainUdpBytes;
    if (header->flags.opcode != 0) return error(*header, rcode::kNotImp, nullptr, plain, out);
    const auto message = parse_message(query);
    if (!message || message->questions.size() != 1 || !message->answers.empty() ||
        !message->authority.empty() || header->flags.truncated) {
        return error(*header, rcode::kFormErr, nullptr, plain, out);
    }
    std::size_t limit = plain;
    if (message->edns && !tcp) {
        limit = std::clamp<std::size_t>(message->edns->udp_bytes, kPlainUdpBytes, kMaxUdpBytes);
    }
    const Question& question = message->questions.front();
    if (message->edns && message->edns->version != 0) {
        return error(*header, rcode::kBadVers, &*message, limit, out);
    }
    // Signed queries (TSIG, SIG(0)) come with records of their own, which nothing here can check.
    if (question.klass != kClassIn || is_meta(question.type) || !message->additional.empty() ||
        shared_.guard.came_in(question.name)) {
        return error(*header, rcode::kRefused, &*message, limit, out);
    }
    Reply reply;
    reply.id = header->id;
    reply.flags = reply_flags(header->flags, shared_.forwards);
    reply.question = &question;
    reply.edns = message->edns.has_value();
    reply.dnssec_ok = reply.edns && message->edns->dnssec_ok;

    // xorshift: only spreads clients over addresses.
    random_ ^= random_ << 13U;
    random_ ^= random_ >> 17U;
    random_ ^= random_ << 5U;
    Answer answer = resolve(reader_.current(), shared_.config, question, random_, limit);
    if (answer.kind == Answer::Kind::kUnknown) {
        reply.rcode = rcode::kServFail;
        encode(reply, limit, out);
        return Step::kReply;
    }
    const bool foreign = answer.kind == Answer::Kind::kForeign;
    const bool recurse = header->flags.recursion_desired && shared_.forwards;
    if (foreign && !recurse) return error(*header, rcode::kRefused, &*message, limit, out);
    if (question.type == type::kAny && answer.rcode == rcode::kNoError) {
        const Record record = any_record(question.name);
        reply.flags.authoritative = !foreign;
        reply.answers = {&record, 1};
        encode(reply, limit, out);
        return Step::kReply;
    }
    if (!foreign && !(answer.elsewhere && recurse)) {
        reply.flags.authoritative = true;
        reply.rcode = answer.rcode;
        reply.answers = answer.answers;
        reply.authority = answer.authority;
        reply.additional = answer.additional;
        encode(reply, limit, out);
        count(shared_.counters.cluster);
        return Step::kReply;
    }
    job->id = header->id;
    job->flags = reply.flags;
    job->question = question;
    job->aliases = std::move(answer.answers);
    job->upstream = {answer.elsewhere ? *answer.elsewhere : question.name, question.type, kClassIn};
    job->edns = reply.edns;
    job->dnssec_ok = reply.dnssec_ok;
    job->limit = limit;
    const std::uint64_t now = steady_seconds();
    const auto known = shared_.cache.find(
        upstream_key(job->upstream, job->dnssec_ok, job->flags.checking_disabled), now);
    if (known) {
        finish(*job, known.get(), now, out);
        count(shared_.counters.cached);
        return Step::kReply;
    }
    count(shared_.counters.forwarded);
    return Step::kForward;
}

void Resolver::finish(const ForwardJob& job, const UpstreamAnswer* answer, std::uint64_t now_s,
                      std::vector<std::uint8_t>* out) {
    Reply reply;
    reply.id = job.id;
    reply.flags = job.flags;
    reply.question = &job.question;
    reply.edns = job.edns;
    reply.dnssec_ok = job.dnssec_ok;
    if (answer == nullptr) {
        reply.rcode = rcode::kServFail;
    } else {
        reply.rcode = answer->rcode;
        // What was not asked for is not claimed.
        reply.flags.authentic = answer->authentic && job.aliases.empty() && job.dnssec_ok;
        reply.first_answers = job.aliases;
        reply.answers = answer->answers;
        reply.authority = answer->authority;
        reply.age_s = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(now_s - std::min(now_s, answer->received_s), 0xffffffffU));
    }
    encode(reply, job.limit, out);
}

}  // namespace sluice::dns
