// See resolver.h.
#include "dataplane/dpdk/routing/resolver.h"

#include <algorithm>

#include "dataplane/dpdk/routing/check.h"

namespace sluice::dpdk {
namespace {

constexpr std::size_t kLeastFrame = 60;
constexpr std::size_t kMaxTags = 2;

// The IP packet behind the Ethernet header and tags; empty if it is none.
std::span<const std::uint8_t> ip_packet(std::span<const std::uint8_t> frame) {
    std::size_t at = 12;
    for (std::size_t tags = 0; tags <= kMaxTags; ++tags, at += 4) {
        if (frame.size() < at + 3) return {};
        const unsigned type = static_cast<unsigned>(frame[at]) << 8U | frame[at + 1];
        if (type == 0x8100 || type == 0x88a8) continue;
        const unsigned version = frame[at + 2] >> 4U;
        if ((type == 0x0800 && version == 4) || (type == 0x86dd && version == 6))
            return frame.subspan(at + 2);
        return {};
    }
    return {};
}

OutFrame ip_frame(const Interface& interface, std::uint16_t index, const Mac& to,
                  std::span<const std::uint8_t> packet) {
    OutFrame out;
    out.interface = index;
    out.bytes.reserve(std::max(packet.size() + 18, kLeastFrame));
    const auto add16 = [&](std::uint16_t value) {
        out.bytes.push_back(static_cast<std::uint8_t>(value >> 8U));
        out.bytes.push_back(static_cast<std::uint8_t>(value & 0xffU));
    };
    out.bytes.insert(out.bytes.end(), to.begin(), to.end());
    out.bytes.insert(out.bytes.end(), interface.mac.begin(), interface.mac.end());
    if (interface.vlan != 0) {
        add16(0x8100);
        add16(interface.vlan);
    }
    add16(packet[0] >> 4U == 4 ? 0x0800 : 0x86dd);
    out.bytes.insert(out.bytes.end(), packet.begin(), packet.end());
    out.bytes.resize(std::max(out.bytes.size(), kLeastFrame));
    return out;
}

bool is_resolved(NeighbourState state) {
    return state == NeighbourState::kReachable || state == NeighbourState::kStale ||
           state == NeighbourState::kProbe || state == NeighbourState::kPermanent;
}

}  // namespace

std::string_view state_name(NeighbourState state) {
    switch (state) {
        case NeighbourState::kIncomplete: return "INCOMPLETE";
        case NeighbourState::kReachable: return "REACHABLE";
        case NeighbourState::kStale: return "STALE";
        case NeighbourState::kProbe: return "PROBE";
        case NeighbourState::kFailed: return "FAILED";
        case NeighbourState::kPermanent: return "PERMANENT";
        case NeighbourState::kFree: break;
    }
    return "FREE";
}

// ---- the table

Resolver::Entry* Resolver::find(const Key& key) {
    const auto found = places_.find(key);
    return found == places_.end() ? nullptr : &entries_[found->second];
}

Resolver::Entry* Resolver::create(const Key& key, bool active, Milliseconds now) {
    if (places_.size() >= kMaxNeighbours) {
        // Who only says that he is there displaces nobody.
        if (!active || unproven_.empty()) {
            ++counters_.neighbours_refused;
            return nullptr;
        }
        ++counters_.neighbours_evicted;
        forget(entries_[unproven_.begin()->second]);
    }
    if (free_.empty()) {
        free_.push_back(static_cast<std::uint32_t>(entries_.size()));
        entries_.emplace_back();
    }
    Entry& entry = entries_[free_.back()];
    entry = Entry{};
    entry.place = free_.back();
    entry.born = now;
    entry.neighbour.interface = key.first;
    entry.neighbour.address = key.second;
    free_.pop_back();
    places_.emplace(key, entry.place);
    return &entry;
}

void Resolver::unlink(Entry& entry) {
    timers_.erase({entry.due, entry.place});
    unproven_.erase({entry.born, entry.place});
    if (entry.state == NeighbourState::kIncomplete) --incomplete_;
}

void Resolver::forget(Entry& entry) {
    unlink(entry);
    drop_waiting(entry, counters_.waiting_failed);
    const bool was_resolved = is_resolved(entry.state);
    entry.state = NeighbourState::kFree;
    entry.neighbour.resolved = false;
    if (was_resolved) resolved_changed(entry);
    places_.erase({entry.neighbour.interface, entry.neighbour.address});
    free_.push_back(entry.place);
}

void Resolver::set_state(Entry& entry, NeighbourState state, Milliseconds due) {
    unlink(entry);
    entry.state = state;
    entry.due = due;
    entry.neighbour.resolved = is_resolved(state);
    if (state == NeighbourState::kIncomplete) ++incomplete_;
    if (state == NeighbourState::kPermanent) return;
    timers_.emplace(due, entry.place);
    const bool asked_for =
        state == NeighbourState::kIncomplete || state == NeighbourState::kReachable;
    if (!entry.proven && !asked_for &&
        !gateways_.contains({entry.neighbour.interface, entry.neighbour.address})) {
        unproven_.emplace(entry.born, entry.place);
    }
}

void Resolver::resolved_changed(const Entry& entry) {
    changes_.push_back({entry.place, is_resolved(entry.state) ? entry.neighbour : Neighbour{}});
}

bool Resolver::may_be(const Key& key) const {
    if (key.first >= interfaces_.size()) return false;
    const IpAddress& address = key.second;
    if (address.is_unspecified() || address.is_multicast() || address.is_loopback() ||
        (address.is_v4() && address.bytes[12] == 255)) {
        return false;
    }
    return on_link(interfaces_[key.first], address) || gateways_.contains(key);
}

void Resolver::use(std::span<const Interface> interfaces,
                   std::span<const std::pair<std::uint16_t, IpAddress>> gateways,
                   Milliseconds now) {
    interfaces_.assign(interfaces.begin(), interfaces.end());
    gateways_.clear();
    for (const Key& gateway : gateways) {
        if (gateways_.size() < kMaxGateways) gateways_.insert(gateway);
    }
    for (Entry& entry : entries_) {
        if (entry.state == NeighbourState::kFree || entry.state == NeighbourState::kPermanent)
            continue;
        const Key key{entry.neighbour.interface, entry.neighbour.address};
        if (!may_be(key) || has_address(interfaces_[key.first], key.second)) {
            forget(entry);
        } else {
            // Being a gateway or none decides who may make room.
            set_state(entry, entry.state, entry.due);
        }
    }
    for (const Key& gateway : gateways_) {
        if (!may_be(gateway) || find(gateway) != nullptr) continue;
        if (Entry* const entry = create(gateway, true, now)) begin(*entry, now);
    }
}

// ---- asking

IpAddress Resolver::source_for(const Interface& interface, const IpAddress& target) const {
    const InterfaceAddress* best = nullptr;
    int best_rank = 0;
    for (const InterfaceAddress& own : interface.addresses) {
        if (own.address.is_v4() != target.is_v4()) continue;
        // In the target's prefix, else (IPv6) link-local, else any.
        const int rank = prefix_of(own).contains(target) ? 3 : own.address.is_link_local() ? 2 : 1;
        if (rank > best_rank) {
            best = &own;
            best_rank = rank;
        }
    }
    return best == nullptr ? IpAddress{} : best->address;
}

void Resolver::ask(Entry& entry, Milliseconds now) {
    ++entry.asked;
    set_state(entry, entry.state, now + kRetransMs);
    const Neighbour& neighbour = entry.neighbour;
    const Interface& interface = interfaces_[neighbour.interface];
    const IpAddress source = source_for(interface, neighbour.address);
    // ARP can ask without an address of its own; a solicitation cannot, it would say that the
    // target is to be ours.
    if (!neighbour.address.is_v4() && source.is_unspecified()) {
        ++counters_.unresolved_unroutable;
        return;
    }
    std::optional<Mac> unicast;
    if (entry.state == NeighbourState::kProbe) unicast = neighbour.mac;
    frames_.push_back(
        make_question(neighbour.interface, interface, source, neighbour.address, unicast));
    ++counters_.solicitations_sent;
}

void Resolver::begin(Entry& entry, Milliseconds now) {
    entry.asked = 0;
    if (incomplete_ >= kMaxIncomplete) {
        // Only gateways come here with so many asked for already; they wait for their turn.
        set_state(entry, NeighbourState::kFailed, now + kFailedMs);
        return;
    }
    set_state(entry, NeighbourState::kIncomplete, now);
    ask(entry, now);
}

void Resolver::fail(Entry& entry, Milliseconds now) {
    ++counters_.neighbours_failed;
    drop_waiting(entry, counters_.waiting_failed);
    const bool gateway = gateways_.contains({entry.neighbour.interface, entry.neighbour.address});
    set_state(entry, NeighbourState::kFailed, now + (gateway ? kGatewayRetryMs : kFailedMs));
}

void Resolver::wait(std::uint16_t interface, const IpAddress& neighbour,
                    std::span<const std::uint8_t> frame, Milliseconds now) {
    const Key key{interface, neighbour};
    const auto packet = ip_packet(frame);
    if (packet.empty() || interface >= interfaces_.size() || neighbour.is_unspecified()) {
        ++counters_.unresolved_unroutable;
        return;
    }
    Entry* entry = find(key);
    if (entry == nullptr) {
        // A route "on the link" may name neighbours beyond the prefixes of the interface's
        // addresses.
        if (incomplete_ >= kMaxIncomplete) {
            ++counters_.neighbours_refused;
            return;
        }
        entry = create(key, true, now);
        if (entry == nullptr) return;
        begin(*entry, now);
    }
    if (is_resolved(entry->state)) {
        // The lcore used an older snapshot.
        frames_.push_back(
            ip_frame(interfaces_[interface], interface, entry->neighbour.mac, packet));
        ++counters_.unresolved_known;
        return;
    }
    if (entry->state == NeighbourState::kFailed) {
        ++counters_.unresolved_failed;
        return;
    }
    // The newest are the likeliest to be of use still.
    while (entry->waiting.size() >= kMaxWaitingEach) {
        waiting_bytes_ -= entry->waiting.front().size();
        entry->waiting.pop_front();
        ++counters_.waiting_replaced;
    }
    if (waiting_bytes_ + packet.size() > kMaxWaitingBytes) {
        ++counters_.waiting_full;
        return;
    }
    waiting_bytes_ += packet.size();
    entry->waiting.emplace_back(packet.begin(), packet.end());
    ++counters_.waiting_queued;
}

void Resolver::send_waiting(Entry& entry) {
    const Neighbour& to = entry.neighbour;
    for (const auto& packet : entry.waiting) {
        waiting_bytes_ -= packet.size();
        frames_.push_back(ip_frame(interfaces_[to.interface], to.interface, to.mac, packet));
        ++counters_.waiting_sent;
    }
    entry.waiting.clear();
}

void Resolver::drop_waiting(Entry& entry, std::uint64_t& counter) {
    for (const auto& packet : entry.waiting) waiting_bytes_ -= packet.size();
    counter += entry.waiting.size();
    entry.waiting.clear();
}

void Resolver::tick(Milliseconds now) {
    std::size_t budget = kQuestionsPerTick;
    while (!timers_.empty() && timers_.begin()->first <= now && budget > 0) {
        Entry& entry = entries_[timers_.begin()->second];
        const bool gateway =
            gateways_.contains({entry.neighbour.interface, entry.neighbour.address});
        --budget;
        switch (entry.state) {
            case NeighbourState::kIncomplete:
                entry.asked < kTries ? ask(entry, now) : fail(entry, now);
                break;
            case NeighbourState::kReachable:
                set_state(entry, NeighbourState::kStale, now + kDelayMs);
                break;
            case NeighbourState::kStale:
                entry.asked = 0;
                set_state(entry, NeighbourState::kProbe, now);
                ask(entry, now);
                break;
            case NeighbourState::kProbe:
                if (entry.asked < kTries) {
                    ask(entry, now);
                } else if (gateway) {
                    ++counters_.neighbours_failed;
                    begin(entry, now);
                    resolved_changed(entry);
                } else {
                    ++counters_.neighbours_failed;
                    forget(entry);
                }
                break;
            case NeighbourState::kFailed: gateway ? begin(entry, now) : forget(entry); break;
            case NeighbourState::kPermanent:
            case NeighbourState::kFree: SLUICE_ASSERT(false && "such an entry has no timer");
        }
    }
}

std::optional<Milliseconds> Resolver::next() const {
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->first;
}

// ---- learning

void Resolver::become(Entry& entry, const Mac& mac, bool confirmed, Milliseconds now) {
    const bool changed = !is_resolved(entry.state) || entry.neighbour.mac != mac;
    entry.neighbour.mac = mac;
    entry.updated = now;
    entry.asked = 0;
    entry.proven = entry.proven || confirmed;
    if (confirmed) {
        // Spread, so that many neighbours that came together are not probed together.
        const auto spread = (entry.place * 397U + entry.neighbour.address.bytes[15] * 31U) % 1000U;
        set_state(entry, NeighbourState::kReachable,
                  now + kReachableMs / 2 + kReachableMs * spread / 1000);
    } else {
        set_state(entry, NeighbourState::kStale, now + kDelayMs);
    }
    if (changed) {
        ++counters_.neighbours_learnt;
        resolved_changed(entry);
    }
    send_waiting(entry);
}

// RFC 4861, section 7.2.5.
void Resolver::update(Entry& entry, const Mac& mac, bool solicited, bool overrides,
                      Milliseconds now) {
    if (entry.state == NeighbourState::kPermanent) return;
    if (!is_resolved(entry.state)) {
        become(entry, mac, solicited, now);
        return;
    }
    const bool differs = entry.neighbour.mac != mac;
    if (differs && !overrides) {
        if (entry.state == NeighbourState::kReachable)
            set_state(entry, NeighbourState::kStale, now + kDelayMs);
        return;
    }
    if (solicited) {
        become(entry, mac, true, now);
    } else if (differs) {
        become(entry, mac, false, now);
    }
}

void Resolver::learn_unasked(const Key& key, const Mac& mac, bool create_it, bool overrides,
                             Milliseconds now) {
    Entry* entry = find(key);
    if (entry == nullptr) {
        if (!create_it) return;
        entry = create(key, false, now);
        if (entry == nullptr) return;
    }
    update(*entry, mac, false, overrides, now);
}

void Resolver::learn(std::uint16_t interface, const Discovery& said, bool ours, Milliseconds now) {
    if (interface >= interfaces_.size()) return;
    const Interface& at = interfaces_[interface];
    const bool advertises = said.kind == Discovery::Kind::kAdvertisement;
    const IpAddress& who = advertises ? said.target : said.sender;
    if (who.is_unspecified()) return;
    // Our own frame, come back.
    if (said.mac == at.mac || said.source == at.mac) return;
    const Key key{interface, who};
    if (has_address(at, who)) return;
    if (!may_be(key)) {
        ++counters_.discovery_foreign;
        return;
    }
    Entry* const entry = find(key);
    if (advertises) {
        if (entry == nullptr) return;
        if (!said.mac && !is_resolved(entry->state)) return;
        update(*entry, said.mac.value_or(entry->neighbour.mac), said.solicited, said.overrides,
               now);
        return;
    }
    if (!said.mac) return;
    if (said.kind == Discovery::Kind::kSolicitation) {
        if (ours) learn_unasked(key, *said.mac, true, true, now);
        return;
    }
    const bool overrides = entry == nullptr || now - entry->updated > kLockMs;
    if (said.kind == Discovery::Kind::kArpRequest) {
        learn_unasked(key, *said.mac, ours, overrides, now);
    } else if (entry != nullptr) {
        update(*entry, *said.mac, ours && said.destination == at.mac, overrides, now);
    }
}

void Resolver::hint(const Neighbour& neighbour, Milliseconds now) {
    const Key key{neighbour.interface, neighbour.address};
    if (!may_be(key) || !is_station(neighbour.mac) ||
        has_address(interfaces_[key.first], key.second))
        return;
    const Entry* const entry = find(key);
    const bool overrides = entry == nullptr || entry->state != NeighbourState::kReachable;
    learn_unasked(key, neighbour.mac, true, overrides, now);
}

void Resolver::set_permanent(std::span<const Neighbour> neighbours, Milliseconds now) {
    std::map<Key, Mac> wanted;
    for (const Neighbour& neighbour : neighbours) {
        const Key key{neighbour.interface, neighbour.address};
        if (!check_neighbour(neighbour, interfaces_) || !neighbour.resolved ||
            neighbour.address.is_unspecified()) {
            ++counters_.kernel_skipped;
            continue;
        }
        wanted.emplace(key, neighbour.mac);
    }
    for (Entry& entry : entries_) {
        if (entry.state != NeighbourState::kPermanent) continue;
        const Key key{entry.neighbour.interface, entry.neighbour.address};
        if (wanted.contains(key)) continue;
        may_be(key) ? set_state(entry, NeighbourState::kStale, now) : forget(entry);
    }
    for (const auto& [key, mac] : wanted) {
        Entry* entry = find(key);
        if (entry == nullptr) entry = create(key, true, now);
        if (entry == nullptr) continue;
        const bool changed = !is_resolved(entry->state) || entry->neighbour.mac != mac;
        entry->neighbour.mac = mac;
        set_state(*entry, NeighbourState::kPermanent, now);
        if (changed) resolved_changed(*entry);
        send_waiting(*entry);
    }
}

std::vector<NeighbourChange> Resolver::take_changes() {
    return std::exchange(changes_, {});
}
std::vector<OutFrame> Resolver::take_frames() {
    return std::exchange(frames_, {});
}

std::vector<Neighbour> Resolver::all() const {
    std::vector<Neighbour> out;
    out.reserve(entries_.size());
    for (const Entry& entry : entries_)
        out.push_back(is_resolved(entry.state) ? entry.neighbour : Neighbour{});
    return out;
}

std::vector<Resolver::View> Resolver::views() const {
    std::vector<View> out;
    for (const auto& [key, place] : places_)
        out.push_back({entries_[place].neighbour, entries_[place].state});
    return out;
}

}  // namespace sluice::dpdk
