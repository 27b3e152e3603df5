// Any bytes as an ICMP error's message, cut anywhere: what is understood is translated to one that quotes the other
// half's tuple and has the checksum that it had, right or wrong.
// clang-format off: the view must come before what uses it.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/icmp.h"
// clang-format on

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

constexpr std::size_t kHit = 4 + 16 + 16 + 4;

void require(bool good) {
    if (!good) {
        std::abort();
    }
}

// What the one's complement checksum goes by: the same for 0 and 0xffff.
std::uint32_t sum_of(const sluice_quote& quote) {
    std::uint64_t sum = 0;
    for (const std::uint16_t half : quote.half) {
        sum += half;
    }
    return static_cast<std::uint32_t>(sum % 0xffff);
}

sluice_address address(const std::uint8_t* bytes, bool v6) {
    sluice_address out{};
    std::memcpy(out.word_be, bytes, sizeof out.word_be);
    if (!v6) {
        sluice_set_v4(&out, out.word_be[3]);
    } else {
        out.word_be[0] |= 1U;  // no mapped address
    }
    return out;
}

bool equal(const sluice_address& a, const sluice_address& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void run(const std::uint8_t* data, std::size_t size, const bool v6) {
    sluice_flow_hit hit{};
    hit.new_src = address(data, v6);
    hit.new_dst = address(data + 16, v6);
    std::memcpy(&hit.new_ports.both_be, data + 32, 4);
    data += kHit - 4;
    size -= kHit - 4;
    sluice_quote quote{};
    quote.length = static_cast<__u32>(std::min<std::size_t>(size, SLUICE_ICMP_BYTES));
    std::memcpy(quote.word, data, quote.length);
    if (quote.length < SLUICE_ICMP_LEAST || !(v6 ? sluice_quote_parse(&quote, 1) : sluice_quote_parse(&quote, 0))) {
        return;
    }
    require(quote.l4 >= (v6 ? 12U : 7U) && quote.l4 * 4 + 8 <= quote.length);
    require(equal(quote.turned.src, quote.quoted.dst) && equal(quote.turned.dst, quote.quoted.src));
    const std::uint32_t before = sum_of(quote);
    sluice_tuple outer{};
    outer.src = outer.dst = hit.new_src;
    if (v6) {
        sluice_quote_translate(&quote, &hit, &outer, &outer.src, &outer.dst, 1);
    } else {
        sluice_quote_translate(&quote, &hit, &outer, &outer.src, &outer.dst, 0);
    }
    require(sum_of(quote) == before);
    sluice_quote again{};
    std::memcpy(again.word, quote.word, sizeof again.word);
    again.length = quote.length;
    require(v6 ? sluice_quote_parse(&again, 1) : sluice_quote_parse(&again, 0));
    require(equal(again.quoted.src, hit.new_dst) && equal(again.quoted.dst, hit.new_src));
    require(again.quoted.ports.port_be[0] == hit.new_ports.port_be[1] &&
            again.quoted.ports.port_be[1] == hit.new_ports.port_be[0]);
    require(again.quoted.protocol == quote.quoted.protocol && again.l4 == quote.l4 &&
            again.l4_end == quote.l4_end);
}

}  // namespace

// Family, the half that was found, the message.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > kHit) {
        run(data + 1, size - 1, (data[0] & 1U) != 0);
    }
    return 0;
}
