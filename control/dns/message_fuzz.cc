// Hostile messages: reading ends, within bounds, and what was read can be written and is then read
// as the same.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "control/dns/message.h"
#include "control/dns/response.h"

namespace {

bool same(const std::vector<sluice::dns::Record>& a, const std::vector<sluice::dns::Record>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!a[i].name.equals(b[i].name) || a[i].type != b[i].type || a[i].klass != b[i].klass ||
            a[i].ttl != b[i].ttl || a[i].rdata.size() != b[i].rdata.size()) {
            return false;
        }
    }
    return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::dns;
    const auto message = parse_message({data, size});
    if (!message) return 0;
    Reply reply;
    reply.id = message->id;
    reply.flags = message->flags;
    reply.rcode = message->flags.rcode;
    if (!message->questions.empty()) reply.question = &message->questions.front();
    reply.answers = message->answers;
    reply.authority = message->authority;
    reply.additional = message->additional;
    reply.edns = message->edns.has_value();
    std::vector<std::uint8_t> bytes;
    encode(reply, kPlainUdpBytes, &bytes);
    if (bytes.size() > kPlainUdpBytes || !parse_message(bytes)) __builtin_trap();
    encode(reply, kMaxMessageBytes, &bytes);
    const auto again = parse_message(bytes);
    if (!again) __builtin_trap();
    if (!again->flags.truncated &&
        (!same(again->answers, message->answers) || !same(again->authority, message->authority))) {
        __builtin_trap();
    }
    UpstreamAnswer answer;
    if (!message->questions.empty()) {
        static_cast<void>(judge_response(*message, message->id, message->questions.front(), true,
                                         false, &answer));
    }
    return 0;
}
