// For tests of the flow table: a table as plain memory, and flows to put into it.
#pragma once

// clang-format off: the view must come before what uses it.
#include "bpf/lib/view_memory.h"
#include "bpf/lib/flow_memory.h"
#include "bpf/lib/flow.h"
// clang-format on

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace sluice {

inline sluice_address to_abi(const std::string& text) {
    sluice_address out{};
    if (text.find(':') != std::string::npos) {
        inet_pton(AF_INET6, text.c_str(), out.word_be);
    } else {
        out.word_be[2] = htonl(0xffff);
        inet_pton(AF_INET, text.c_str(), &out.word_be[3]);
    }
    return out;
}

class Table {
public:
    explicit Table(std::uint32_t buckets) : buckets4_(buckets), buckets6_(buckets) {
        view_.seed = 0x1234567;
        view_.bucket_count4 = buckets;
        view_.bucket_count6 = buckets;
        view_.now = 1000;
        view_.buckets4 = buckets4_.data();
        view_.buckets6 = buckets6_.data();
    }
    sluice_flow_view& view() { return view_; }

    [[nodiscard]] bool find(const sluice_tuple& tuple, sluice_flow_hit& hit, bool v6) const {
        return v6 ? sluice_flow_find(&view_, &tuple, sluice_flow_hash(&view_, &tuple, 1), &hit, 1)
                  : sluice_flow_find(&view_, &tuple, sluice_flow_hash(&view_, &tuple, 0), &hit, 0);
    }
    int find_soon(const sluice_tuple& tuple, sluice_flow_hit& hit, bool v6) {
        return v6 ? sluice_flow_find_soon(&view_, &tuple, sluice_flow_hash(&view_, &tuple, 1), &hit, 1)
                  : sluice_flow_find_soon(&view_, &tuple, sluice_flow_hash(&view_, &tuple, 0), &hit, 0);
    }
    int insert(sluice_flow_pair& pair, bool v6) {
        return v6 ? sluice_flow_insert6(&view_, &pair) : sluice_flow_insert4(&view_, &pair);
    }
    void set_now(std::uint16_t now) { view_.now = now; }
    int follow(sluice_flow_hit& hit, std::uint8_t flags, bool v6) {
        return v6 ? sluice_flow_follow(&view_, &hit, flags, 1)
                  : sluice_flow_follow(&view_, &hit, flags, 0);
    }
    // Halves of IPv4 flows; nothing may be claimed.
    [[nodiscard]] std::size_t occupied() const {
        std::size_t count = 0;
        for (const auto& bucket : buckets4_) {
            for (const auto word : bucket.set.word) {
                EXPECT_NE(word & SLUICE_FLOW_STATE_MASK, SLUICE_FLOW_BUSY);
                count += (word & SLUICE_FLOW_STATE_MASK) != SLUICE_FLOW_FREE ? 1 : 0;
            }
            EXPECT_EQ(bucket.set.claim, 0U);
        }
        return count;
    }
    // A view of this table with another beside it.
    [[nodiscard]] sluice_flow_view beside(Table& other, sluice_flow_mode mode) const {
        sluice_flow_view view = view_;
        view.mode = static_cast<__u16>(mode);
        view.other_count4 = other.view_.bucket_count4;
        view.other_count6 = other.view_.bucket_count6;
        view.others4 = other.buckets4_.data();
        view.others6 = other.buckets6_.data();
        return view;
    }

private:
    std::vector<sluice_flow_bucket4> buckets4_;
    std::vector<sluice_flow_bucket6> buckets6_;
    sluice_flow_view view_{};
};

inline sluice_flow_pair pair_of(bool v6, std::uint16_t sport, std::uint8_t protocol = 6) {
    sluice_flow_pair pair{};
    pair.forward.src = to_abi(v6 ? "fd01::5" : "10.244.1.5");
    pair.forward.dst = to_abi(v6 ? "fd00::10" : "10.96.0.10");
    pair.forward.ports.port_be[0] = SLUICE_HTON16(sport);
    pair.forward.ports.port_be[1] = SLUICE_HTON16(80);
    pair.forward.protocol = protocol;
    pair.reverse.src = to_abi(v6 ? "fd01::99" : "10.244.2.9");
    pair.reverse.dst = pair.forward.src;
    pair.reverse.ports.port_be[0] = SLUICE_HTON16(8080);
    pair.reverse.ports.port_be[1] = pair.forward.ports.port_be[0];
    pair.reverse.protocol = protocol;
    pair.service = 3;
    pair.backend = 4;
    pair.incarnation = 5;
    pair.port_min = 1024;
    pair.port_max = 29999;
    pair.state = SLUICE_FLOW_NEW;
    return pair;
}

inline bool same(const sluice_address& a, const sluice_address& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace sluice
