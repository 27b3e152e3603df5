// What to make of a response from an upstream server: nothing in it is believed that the question
// does not cover.
#pragma once

#include <cstdint>

#include "control/dns/cache.h"
#include "control/dns/message.h"

namespace sluice::dns {

enum class Verdict : std::uint8_t {
    kAccepted,
    kBogus,      // no response to this question: somebody guesses; wait for the real one
    kTruncated,  // ask again over TCP
    kNoEdns,     // ask again without EDNS
    kFailed,     // ask another server
};

// Kept: answers of the chain that begins at the question's name (aliases, then records at their
// end, with signatures), and what proves that a name does not exist. Dropped: everything else,
// above all additional addresses. out is set if accepted.
[[nodiscard]] Verdict judge_response(const Message& response, std::uint16_t id,
                                     const Question& question, bool sent_edns, bool tcp,
                                     UpstreamAnswer* out);

}  // namespace sluice::dns
