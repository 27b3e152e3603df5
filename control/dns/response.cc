// See response.h.
#include "control/dns/response.h"

#include <algorithm>

namespace sluice::dns {
namespace {

constexpr std::size_t kMaxChain = 16;

// The names that the answers lead to from the question's, in order. Records may come in any order.
std::vector<Name> follow(const Message& response, const Question& question) {
    std::vector<Name> chain{question.name};
    if (question.type == type::kCname) return chain;
    for (bool found = true; found && chain.size() < kMaxChain;) {
        found = false;
        for (const auto& record : response.answers) {
            if (record.type != type::kCname || !record.name.equals(chain.back())) continue;
            const Name target = target_of(record);
            const bool seen = std::any_of(chain.begin(), chain.end(),
                                          [&](const Name& name) { return name.equals(target); });
            if (seen) continue;
            chain.push_back(target);
            found = true;
            break;
        }
    }
    return chain;
}

bool belongs(const Record& record, const std::vector<Name>& chain, std::uint16_t question_type) {
    if (record.klass != kClassIn) return false;
    if (record.type == type::kDname) {
        return std::any_of(chain.begin(), chain.end(),
                           [&](const Name& name) { return name.is_within(record.name); });
    }
    if (record.type != question_type && record.type != type::kCname &&
        record.type != type::kRrsig) {
        return false;
    }
    return std::any_of(chain.begin(), chain.end(),
                       [&](const Name& name) { return name.equals(record.name); });
}

bool proves_absence(const Record& record, const std::vector<Name>& chain) {
    if (record.klass != kClassIn) return false;
    if (record.type == type::kSoa) {
        return std::any_of(chain.begin(), chain.end(),
                           [&](const Name& name) { return name.is_within(record.name); });
    }
    return record.type == type::kNsec || record.type == type::kNsec3 || record.type == type::kRrsig;
}

}  // namespace

Verdict judge_response(const Message& response, std::uint16_t id, const Question& question,
                       bool sent_edns, bool tcp, UpstreamAnswer* out) {
    if (response.id != id || !response.flags.response || response.flags.opcode != 0) {
        return Verdict::kBogus;
    }
    std::uint16_t code = response.flags.rcode;
    if (response.edns) {
        code = static_cast<std::uint16_t>(code | (response.edns->extended_rcode << 4U));
    }
    // Some servers give no question back with an error.
    const bool bare = response.questions.empty() && code != rcode::kNoError;
    if (!bare) {
        if (response.questions.size() != 1) return Verdict::kBogus;
        const Question& echoed = response.questions.front();
        if (echoed.type != question.type || echoed.klass != question.klass ||
            !echoed.name.equals(question.name)) {
            return Verdict::kBogus;
        }
    }
    if (sent_edns && !response.edns && (code == rcode::kFormErr || code == rcode::kNotImp)) {
        return Verdict::kNoEdns;
    }
    if (response.flags.truncated) return tcp ? Verdict::kFailed : Verdict::kTruncated;
    if (bare || (code != rcode::kNoError && code != rcode::kNxDomain)) return Verdict::kFailed;
    *out = {};
    out->rcode = code;
    out->authentic = response.flags.authentic;
    const auto chain = follow(response, question);
    for (const auto& record : response.answers) {
        if (belongs(record, chain, question.type)) out->answers.push_back(record);
    }
    // A referral is no answer: whoever is asked for recursion must do it.
    const bool data =
        std::any_of(out->answers.begin(), out->answers.end(),
                    [&](const Record& record) { return record.type == question.type; });
    if (!data) {
        for (const auto& record : response.authority) {
            if (proves_absence(record, chain)) out->authority.push_back(record);
        }
    }
    return Verdict::kAccepted;
}

}  // namespace sluice::dns
