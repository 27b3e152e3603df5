// Finding a half of a flow in a bucket whose head is at hand. Internal to this folder.
//
// As sluice_flow_find of bpf/lib/flow.h, which a BPF verifier has to follow, but with the tags of a bucket compared at
// once. The protocol is the same: what was read counts only if the slot's word is then still the same half's.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

// clang-format off: the views must come before what uses them.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
// clang-format on

namespace sluice::dpdk {

// A bit for each slot whose word has the tag, which is in bits 16-31.
inline std::uint32_t slots_with_tag(const sluice_flow_set& set, std::uint32_t tag) {
#if defined(__SSE2__)
    const __m128i mask = _mm_set1_epi32(static_cast<int>(0xffff0000U));
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(tag));
    const auto* words = reinterpret_cast<const __m128i*>(set.word);
    const __m128i low = _mm_cmpeq_epi32(_mm_and_si128(_mm_loadu_si128(words), mask), wanted);
    const __m128i high = _mm_cmpeq_epi32(_mm_and_si128(_mm_loadu_si128(words + 1), mask), wanted);
    return static_cast<std::uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(low)) |
                                      _mm_movemask_ps(_mm_castsi128_ps(high)) << 4);
#else
    std::uint32_t slots = 0;
    for (std::uint32_t i = 0; i < SLUICE_FLOW_WAYS; ++i) {
        slots |= static_cast<std::uint32_t>((SLUICE_READ_ONCE(set.word[i]) & 0xffff0000U) == tag) << i;
    }
    return slots;
#endif
}

template <int V6>
const void* record_at(sluice_flow_set* set, std::uint32_t slot) {
    if constexpr (V6 != 0) {
        return sluice_flow_record6(set, slot);
    } else {
        return sluice_flow_record4(set, slot);
    }
}

// 0 if the record's key is the tuple of the packet at `ip`, which has no options or extension headers, and whose
// protocol this is. Without a branch, and 64 bits at once.
inline std::uint32_t key_differs(const sluice_flow4& record, const std::uint8_t* ip, std::uint8_t protocol) {
    std::uint64_t key = 0;
    std::uint64_t packet = 0;
    std::memcpy(&key, &record, sizeof key);
    std::memcpy(&packet, ip + 12, sizeof packet);
    const std::uint64_t differs = (key ^ packet) | (record.ports_be ^ sluice_load32(ip + 20)) |
                                  static_cast<std::uint32_t>(record.meta.protocol ^ protocol);
    return static_cast<std::uint32_t>(differs | differs >> 32U);
}
inline std::uint32_t key_differs(const sluice_flow6& record, const std::uint8_t* ip, std::uint8_t protocol) {
    std::array<std::uint64_t, 4> key;
    std::array<std::uint64_t, 4> packet;
    std::memcpy(key.data(), &record, sizeof key);
    std::memcpy(packet.data(), ip + 8, sizeof packet);
    const std::uint64_t differs = (key[0] ^ packet[0]) | (key[1] ^ packet[1]) | (key[2] ^ packet[2]) |
                                  (key[3] ^ packet[3]) | (record.ports_be ^ sluice_load32(ip + 40)) |
                                  static_cast<std::uint32_t>(record.meta.protocol ^ protocol);
    return static_cast<std::uint32_t>(differs | differs >> 32U);
}
static_assert(offsetof(sluice_flow4, src_be) == 0 && offsetof(sluice_flow4, dst_be) == 4 &&
              offsetof(sluice_flow6, src_be) == 0 && offsetof(sluice_flow6, dst_be) == 16);

// Finds the half keyed by the tuple among slots of its bucket. True, and the hit filled in, or false.
template <int V6>
[[gnu::always_inline]] inline bool find_in(const sluice_flow_view& view, sluice_flow_set* set, std::uint32_t slots,
                                           const sluice_tuple& tuple, std::uint64_t hash, sluice_flow_hit& hit) {
    for (; slots != 0; slots &= slots - 1) {
        const auto slot = static_cast<std::uint32_t>(__builtin_ctz(slots));
        const std::uint32_t word = SLUICE_READ_ONCE(set->word[slot]);
        if ((word & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY) continue;
        sluice_read_barrier();
        if (sluice_flow_key_equal(set, slot, &tuple, V6) == 0) continue;
        sluice_flow_copy(set, slot, &hit, V6);
        hit.seen = SLUICE_READ_ONCE(set->seen[slot]);
        sluice_read_barrier();
        const std::uint32_t again = SLUICE_READ_ONCE(set->word[slot]);
        if (((again ^ word) & SLUICE_FLOW_ID_MASK) != 0 || ((again ^ sluice_flow_tag_of(hash)) & 0xffff0000U) != 0)
            return false;
        hit.id = word & SLUICE_FLOW_ID_MASK;
        hit.slot = sluice_flow_bucket_of(&view, hash, V6) * SLUICE_FLOW_WAYS + slot;
        hit.state = static_cast<std::uint8_t>(again & SLUICE_FLOW_STATE_MASK);
        return hit.state > SLUICE_FLOW_BUSY;
    }
    return false;
}

}  // namespace sluice::dpdk
