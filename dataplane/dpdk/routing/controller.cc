// See controller.h.
#include "dataplane/dpdk/routing/controller.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <set>
#include <utility>

#include "dataplane/dpdk/routing/announced.h"
#include "dataplane/dpdk/routing/check.h"
#include "dataplane/dpdk/routing/discovery.h"
#include "dataplane/dpdk/routing/resolver.h"
#include "dataplane/dpdk/routing/responder.h"
#include "dataplane/dpdk/routing/static_config.h"

namespace sluice::dpdk {
namespace {

// Where an IP packet goes; false if the frame has none.
bool destination_of(const Frame& frame, sluice_address* out, bool* v6) {
    std::size_t at = 12;
    for (int tags = 0; tags <= 2; ++tags, at += 4) {
        if (frame.length < at + 2) return false;
        const unsigned type = static_cast<unsigned>(frame.data[at]) << 8U | frame.data[at + 1];
        if (type == 0x8100 || type == 0x88a8) continue;
        const std::uint8_t* const ip = frame.data + at + 2;
        const std::size_t length = frame.length - at - 2;
        *out = {};
        if (type == 0x0800 && length >= 20 && ip[0] >> 4U == 4) {
            *v6 = false;
            std::uint32_t v4_be = 0;
            std::memcpy(&v4_be, ip + 16, sizeof v4_be);
            std::memcpy(out->word_be, IpAddress::from_v4_be(v4_be).bytes.data(),
                        sizeof out->word_be);
            return true;
        }
        if (type == 0x86dd && length >= 40 && ip[0] >> 4U == 6) {
            *v6 = true;
            std::memcpy(out->word_be, ip + 24, 16);
            return true;
        }
        return false;
    }
    return false;
}

class RoutingController final : public Controller {
public:
    RoutingController(Replaced replaced, std::vector<Interface> configured)
        : replaced_(std::move(replaced)), configured_(std::move(configured)) {}

    Result<void> begin(const ControllerOptions& options, Milliseconds now);

    void use(const image::Tables& tables) override { announced_.use(tables); }
    Outcome on_control_frame(Frame& frame, Milliseconds now) override;
    void on_unresolved(const Frame& frame, Milliseconds now) override;
    int fd() const override { return mirror_ ? mirror_->fd() : -1; }
    Milliseconds next_tick(Milliseconds now) const override;
    void tick(Milliseconds now) override;
    std::vector<OutFrame> take_frames_to_send() override;
    const Forwarding* current() const override { return current_.get(); }
    const RoutingCounters& counters() const override { return counters_; }
    std::vector<NeighbourView> neighbours() const override;
    std::vector<std::pair<std::string, IpAddress>> announced() const override;
    std::vector<Route> routes() const override { return routes_; }
    std::vector<std::string> take_complaints() override { return std::exchange(complaints_, {}); }

private:
    using Key = std::pair<std::uint16_t, IpAddress>;
    struct Announcement {
        Milliseconds due{};
        Key what;
        unsigned left = 0;
    };

    void look_at_kernel(Milliseconds now);
    void join_interfaces();
    void join_routes();
    void use_interfaces(Milliseconds now);
    void use_neighbours(Milliseconds now);
    void announce(const Key& what, Milliseconds now);
    void send_announcements(Milliseconds now);
    void publish(Milliseconds now);
    void put_in_force(std::unique_ptr<Forwarding> next, Milliseconds now);
    // Said once until the matter is settled.
    void complain(const std::string& about, const Error& error);
    void settled(const std::string& about) { complained_.erase(about); }

    RoutingCounters counters_;
    Replaced replaced_;
    std::vector<Interface> configured_;
    std::vector<Route> configured_routes_;
    std::vector<Neighbour> configured_neighbours_;
    std::unique_ptr<Mirror> mirror_;     // null without twins
    std::vector<Interface> interfaces_;  // configured ones with their twins' addresses
    std::vector<Route> routes_;
    Announced announced_{counters_};
    Responder responder_{announced_, counters_};
    Resolver resolver_{counters_};
    std::vector<NeighbourChange> changes_;  // not yet in a snapshot
    bool remake_ = true;                    // a change of neighbours is not all
    std::unique_ptr<const Forwarding> current_;
    std::uint64_t generation_ = 0;
    Milliseconds publish_not_before_{};
    Milliseconds announce_look_{};
    std::deque<Announcement> announcements_;  // by due
    std::vector<OutFrame> frames_;
    std::set<std::string> complained_;
    std::vector<std::string> complaints_;
};

void RoutingController::complain(const std::string& about, const Error& error) {
    if (!complained_.insert(about).second || complaints_.size() >= kMaxComplaints) return;
    complaints_.push_back(error.with_context(about).to_string());
}

Result<void> RoutingController::begin(const ControllerOptions& options, Milliseconds now) {
    SLUICE_TRY(check_interfaces(configured_));
    if (options.routes.size() > kMaxRoutes) {
        return make_error(Code::kResourceExhausted, "{} configured routes are more than {}",
                          options.routes.size(), kMaxRoutes);
    }
    if (options.neighbours.size() > kMaxNeighbours) {
        return make_error(Code::kResourceExhausted, "{} configured neighbours are more than {}",
                          options.neighbours.size(), kMaxNeighbours);
    }
    for (const std::string& text : options.routes) {
        SLUICE_TRY_ASSIGN(const Route route, parse_route(text, configured_));
        configured_routes_.push_back(route);
    }
    for (const std::string& text : options.neighbours) {
        SLUICE_TRY_ASSIGN(const Neighbour neighbour, parse_neighbour(text, configured_));
        configured_neighbours_.push_back(neighbour);
    }
    if (!options.twins.empty()) {
        for (const Twin& twin : options.twins) {
            if (twin.interface >= configured_.size()) {
                return make_error(Code::kInvalidArgument, "twin {}: interface {} is none of {}",
                                  twin.device, twin.interface, configured_.size());
            }
        }
        SLUICE_TRY_ASSIGN(mirror_, Mirror::make(options.twins, counters_));
        // A device that is not there is no error; a table that cannot be read is one here.
        SLUICE_TRY(mirror_->update(now));
    }
    join_interfaces();
    join_routes();
    use_interfaces(now);
    use_neighbours(now);
    changes_.clear();
    (void)resolver_.take_changes();
    SLUICE_TRY_ASSIGN(auto first,
                      Forwarding::make(interfaces_, routes_, resolver_.all(), ++generation_));
    put_in_force(std::move(first), now);
    remake_ = false;
    return {};
}

void RoutingController::join_interfaces() {
    interfaces_ = configured_;
    if (!mirror_) return;
    for (const auto& [index, address] : mirror_->state().addresses) {
        Interface& interface = interfaces_[index];
        if (has_address(interface, address.address)) continue;
        // Alone, so that one address that cannot be used does not cost the others.
        Interface trial = configured_[index];
        trial.addresses = {address};
        if (!check_interfaces({&trial, 1})) {
            ++counters_.kernel_skipped;
            continue;
        }
        interface.addresses.push_back(address);
    }
}

void RoutingController::join_routes() {
    routes_ = configured_routes_;
    if (!mirror_) return;
    for (const Route& route : mirror_->state().routes) {
        if (routes_.size() >= kMaxRoutes || !check_route(route, interfaces_)) {
            ++counters_.kernel_skipped;
            continue;
        }
        routes_.push_back(route);
    }
}

void RoutingController::use_interfaces(Milliseconds now) {
    std::set<Key> gateways;
    for (const Route& route : routes_) {
        if (route.interface == kToKernel) continue;
        const bool host = route.prefix.bits == (route.prefix.address.is_v4() ? 32 : 128);
        if (!route.gateway.is_unspecified()) {
            gateways.emplace(route.interface, route.gateway);
        } else if (host) {
            // A pod behind its link: no prefix of the interface has it, yet it is a neighbour there.
            gateways.emplace(route.interface, route.prefix.address);
        }
    }
    const std::vector<Key> list(gateways.begin(), gateways.end());
    resolver_.use(interfaces_, list, now);
    announced_.use(interfaces_);
    remake_ = true;
}

void RoutingController::use_neighbours(Milliseconds now) {
    // What is configured goes before what the kernel says of the same.
    std::vector<Neighbour> permanent = configured_neighbours_;
    if (mirror_) {
        permanent.insert(permanent.end(), mirror_->state().permanent.begin(),
                         mirror_->state().permanent.end());
    }
    resolver_.set_permanent(permanent, now);
    if (!mirror_) return;
    for (const Neighbour& hint : mirror_->state().hints) resolver_.hint(hint, now);
}

void RoutingController::look_at_kernel(Milliseconds now) {
    if (!mirror_) return;
    const auto changed = mirror_->update(now);
    if (!changed) {
        complain("reading the kernel's tables", changed.error());
        return;
    }
    settled("reading the kernel's tables");
    if (changed->addresses) {
        std::set<Key> former;
        for (std::size_t i = 0; i < interfaces_.size(); ++i) {
            for (const auto& own : interfaces_[i].addresses) former.emplace(i, own.address);
        }
        join_interfaces();
        for (std::size_t i = 0; i < interfaces_.size(); ++i) {
            for (const auto& own : interfaces_[i].addresses) {
                const Key key{static_cast<std::uint16_t>(i), own.address};
                if (!former.contains(key)) announce(key, now);
            }
        }
    }
    if (changed->addresses || changed->routes) {
        join_routes();
        use_interfaces(now);
    }
    if (changed->addresses || changed->neighbours) use_neighbours(now);
}

void RoutingController::announce(const Key& what, Milliseconds now) {
    if (announcements_.size() >= kMaxAnnounced) {
        ++counters_.announced_full;
        return;
    }
    announcements_.push_front({now, what, kAnnounceTimes});
}

void RoutingController::send_announcements(Milliseconds now) {
    for (std::size_t sent = 0; sent < kAnnouncementsPerTick && !announcements_.empty(); ++sent) {
        Announcement next = announcements_.front();
        if (next.due > now) return;
        announcements_.pop_front();
        const Interface& interface = interfaces_[next.what.first];
        // It may have left since.
        if (!responder_.answers_for(next.what.first, interface, next.what.second)) continue;
        frames_.push_back(make_announcement(next.what.first, interface, next.what.second));
        ++counters_.announcements_sent;
        if (--next.left == 0) continue;
        next.due = now + kAnnounceInterval;
        announcements_.push_back(next);
    }
}

void RoutingController::put_in_force(std::unique_ptr<Forwarding> next, Milliseconds now) {
    ++counters_.snapshots;
    const auto wait =
        remake_ ? Milliseconds(routes_.size() / kSnapshotRoutesPerMs) : Milliseconds(0);
    publish_not_before_ = now + kSnapshotLeast + wait;
    std::unique_ptr<const Forwarding> before = std::exchange(current_, std::move(next));
    if (replaced_) replaced_(current_.get(), std::move(before));
}

void RoutingController::publish(Milliseconds now) {
    auto news = resolver_.take_changes();
    changes_.insert(changes_.end(), news.begin(), news.end());
    if ((!remake_ && changes_.empty()) || now < publish_not_before_) return;
    // A whole one also when so many changes have gathered that it costs less.
    const bool whole = remake_ || changes_.size() > kMaxNeighbours;
    auto next = whole ? Forwarding::make(interfaces_, routes_, resolver_.all(), generation_ + 1)
                      : current_->change(changes_, generation_ + 1);
    if (!next) {
        ++counters_.snapshots_failed;
        complain("making a snapshot of the routes", next.error());
        // Changes that do not go together are settled by what they led to; what cannot be made is
        // tried when it changes.
        remake_ = !whole;
        changes_.clear();
        publish_not_before_ = now + kSnapshotLeast;
        return;
    }
    settled("making a snapshot of the routes");
    ++generation_;
    put_in_force(std::move(*next), now);
    changes_.clear();
    remake_ = false;
}

void RoutingController::tick(Milliseconds now) {
    look_at_kernel(now);
    resolver_.tick(now);
    if (now >= announce_look_) {
        announced_.step();
        announce_look_ = now + (announced_.behind() ? kSnapshotLeast : kAnnounceLook);
        for (const Key& added : announced_.take_added()) announce(added, now);
    }
    send_announcements(now);
    publish(now);
}

Milliseconds RoutingController::next_tick(Milliseconds now) const {
    Milliseconds next = std::max(announce_look_, now - kAnnounceLook);
    if (const auto resolver = resolver_.next()) next = std::min(next, *resolver);
    if (mirror_) {
        if (const auto mirror = mirror_->next()) next = std::min(next, *mirror);
    }
    if (!announcements_.empty()) next = std::min(next, announcements_.front().due);
    if (remake_ || !changes_.empty() || resolver_.has_changes())
        next = std::min(next, publish_not_before_);
    return next;
}

Controller::Outcome RoutingController::on_control_frame(Frame& frame, Milliseconds now) {
    Discovery said;
    const Read read = read_discovery(frame, &said);
    if (read == Read::kMalformed || frame.interface >= interfaces_.size()) {
        ++counters_.discovery_malformed;
        return Outcome::kDrop;
    }
    if (read == Read::kOther) return Outcome::kKernel;
    const std::uint16_t index = frame.interface;
    const Interface& interface = interfaces_[index];
    if (auto defence = responder_.defend(said, index, interface, now))
        frames_.push_back(std::move(*defence));
    resolver_.learn(index, said, responder_.answers_for(index, interface, said.target), now);
    return responder_.answer(frame, said, index, interface) ? Outcome::kReply : Outcome::kKernel;
}

void RoutingController::on_unresolved(const Frame& frame, Milliseconds now) {
    sluice_address destination{};
    bool v6 = false;
    std::uint16_t interface = 0;
    IpAddress neighbour;
    // Asked anew, for the routes may have changed since.
    if (!destination_of(frame, &destination, &v6) ||
        !current_->next_hop(destination, v6, &interface, &neighbour)) {
        ++counters_.unresolved_unroutable;
        return;
    }
    resolver_.wait(interface, neighbour, {frame.data, frame.length}, now);
}

std::vector<OutFrame> RoutingController::take_frames_to_send() {
    std::vector<OutFrame> out = std::exchange(frames_, {});
    for (OutFrame& frame : resolver_.take_frames()) out.push_back(std::move(frame));
    return out;
}

std::vector<Controller::NeighbourView> RoutingController::neighbours() const {
    std::vector<NeighbourView> out;
    for (const auto& view : resolver_.views()) {
        out.push_back({interfaces_[view.neighbour.interface].name, view.neighbour.address,
                       view.neighbour.mac, std::string(state_name(view.state))});
    }
    return out;
}

std::vector<std::pair<std::string, IpAddress>> RoutingController::announced() const {
    std::vector<std::pair<std::string, IpAddress>> out;
    for (const auto& [index, address] : announced_.list())
        out.emplace_back(interfaces_[index].name, address);
    return out;
}

}  // namespace

Result<std::unique_ptr<Controller>> Controller::make(const ControllerOptions& options,
                                                     Replaced replaced, Milliseconds now) {
    auto controller = std::make_unique<RoutingController>(std::move(replaced), options.interfaces);
    SLUICE_TRY(controller->begin(options, now));
    return std::unique_ptr<Controller>(std::move(controller));
}

}  // namespace sluice::dpdk
