// See responder.h.
#include "dataplane/dpdk/routing/responder.h"

namespace sluice::dpdk {

bool Responder::answers_for(std::uint16_t index, const Interface& interface,
                            const IpAddress& address) const {
    return has_address(interface, address) ||
           (interface.announce && announced_.owns(index, address));
}

bool Responder::answer(Frame& frame, const Discovery& asked, std::uint16_t index,
                       const Interface& interface) {
    const bool arp = asked.kind == Discovery::Kind::kArpRequest;
    if (!arp && asked.kind != Discovery::Kind::kSolicitation) return false;
    // An announcement of the sender's own address is no question.
    if (arp && asked.sender == asked.target) return false;
    // Our own question, come back by a loop or a mirror port.
    if (asked.source == interface.mac) return false;
    if (!answers_for(index, interface, asked.target)) return false;
    if (!write_answer(frame, asked, interface)) {
        ++counters_.discovery_no_room;
        return false;
    }
    ++(arp ? counters_.arp_answered : counters_.nd_answered);
    return true;
}

std::optional<OutFrame> Responder::defend(const Discovery& said, std::uint16_t index,
                                          const Interface& interface,
                                          std::chrono::milliseconds now) {
    const bool advertises = said.kind == Discovery::Kind::kAdvertisement;
    const IpAddress& claimed = advertises ? said.target : said.sender;
    if (claimed.is_unspecified() || said.source == interface.mac || said.mac == interface.mac)
        return std::nullopt;
    if (!answers_for(index, interface, claimed)) return std::nullopt;
    ++counters_.address_conflicts;
    auto& last = defended_[index];
    if (last && now - *last < kDefendMs) return std::nullopt;
    last = now;
    ++counters_.announcements_sent;
    return make_announcement(index, interface, claimed);
}

}  // namespace sluice::dpdk
