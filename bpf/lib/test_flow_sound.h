// For tests: what must hold of a flow table when nobody is at it.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

// clang-format off: the view must come before what uses it.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
// clang-format on

namespace sluice {

// Empty if: nothing is busy or claimed; no key is there twice; each half's other half is there and points back (or, of
// one-way flows, is itself); each is in the bucket, and under the tag, of its key. Else what is wrong, and where.
inline std::string flow_fault(const sluice_flow_view& view, int v6, std::uint64_t* halves = nullptr) {
    const std::uint32_t buckets = v6 != 0 ? view.bucket_count6 : view.bucket_count4;
    const auto at = [](std::uint32_t bucket, std::uint32_t slot, const char* what) {
        return "bucket " + std::to_string(bucket) + " slot " + std::to_string(slot) + ": " + what;
    };
    for (std::uint32_t b = 0; b < buckets; ++b) {
        sluice_flow_set* set = sluice_flow_head(&view, b, v6);
        if (set->claim != 0) {
            return at(b, 0, "claimed");
        }
        for (std::uint32_t i = 0; i < SLUICE_FLOW_WAYS; ++i) {
            const std::uint32_t word = set->word[i];
            const std::uint32_t state = word & SLUICE_FLOW_STATE_MASK;
            if (state == SLUICE_FLOW_FREE) {
                continue;
            }
            if (state == SLUICE_FLOW_BUSY) {
                return at(b, i, "busy");
            }
            if (halves != nullptr) {
                ++*halves;
            }
            sluice_tuple key{};
            sluice_flow_key(set, i, &key, v6);
            const std::uint64_t hash = sluice_flow_hash(&view, &key, v6);
            const std::uint32_t home = sluice_flow_bucket_of(&view, hash, v6);
            const bool spilled = home != b && sluice_flow_second_of(&view, hash, v6) == b &&
                                 sluice_flow_spilled(sluice_flow_head(&view, home, v6)) != 0;
            if ((home != b && !spilled) || sluice_flow_tag_of(hash) != (word & 0xffff0000U)) {
                return at(b, i, "not where its key belongs");
            }
            for (std::uint32_t j = 0; spilled && j < SLUICE_FLOW_WAYS; ++j) {
                sluice_flow_set* first = sluice_flow_head(&view, home, v6);
                if ((first->word[j] & SLUICE_FLOW_STATE_MASK) > SLUICE_FLOW_BUSY &&
                    sluice_flow_key_equal(first, j, &key, v6) != 0) {
                    return at(b, i, "its key is there twice, in its home too");
                }
            }
            const sluice_flow_meta meta = *sluice_flow_meta_of(set, i, v6);
            const std::uint32_t slot = meta.peer % SLUICE_FLOW_WAYS;
            if (meta.peer / SLUICE_FLOW_WAYS >= buckets) {
                return at(b, i, "its other half is outside the table");
            }
            sluice_flow_set* other = sluice_flow_head(&view, meta.peer / SLUICE_FLOW_WAYS, v6);
            const sluice_flow_meta back = *sluice_flow_meta_of(other, slot, v6);
            if ((other->word[slot] & SLUICE_FLOW_ID_MASK) != meta.peer_id ||
                (other->word[slot] & SLUICE_FLOW_STATE_MASK) <= SLUICE_FLOW_BUSY) {
                return at(b, i, "its other half is gone");
            }
            if (back.peer != b * SLUICE_FLOW_WAYS + i || back.peer_id != (word & SLUICE_FLOW_ID_MASK)) {
                return at(b, i, "its other half is another's");
            }
            const bool one_way = (meta.flags & SLUICE_FLOW_ONE_WAY) != 0;
            if (one_way != (meta.peer == b * SLUICE_FLOW_WAYS + i) ||
                (!one_way && ((meta.flags ^ back.flags) & SLUICE_FLOW_REVERSE) == 0)) {
                return at(b, i, "two halves of one direction");
            }
            for (std::uint32_t j = 0; j < i; ++j) {
                if ((set->word[j] & SLUICE_FLOW_STATE_MASK) > SLUICE_FLOW_BUSY &&
                    sluice_flow_key_equal(set, j, &key, v6) != 0) {
                    return at(b, i, "its key is there twice");
                }
            }
        }
    }
    return {};
}

}  // namespace sluice
