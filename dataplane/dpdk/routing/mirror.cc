// See mirror.h.
#include "dataplane/dpdk/routing/mirror.h"

#include <algorithm>
#include <map>
#include <set>

#include "dataplane/dpdk/routing/check.h"
#include "dataplane/netlink/tables.h"

namespace sluice::dpdk {
namespace {

bool never_forwarded(const IpPrefix& prefix) {
    if (prefix.bits == 0) return false;
    const IpAddress& address = prefix.address;
    return address.is_multicast() || address.is_loopback() ||
           (!address.is_v4() && address.is_link_local());
}

// A table of the kernel: whether it may have changed, and when it may be read again.
struct Table {
    bool pending = true;
    std::optional<Milliseconds> not_before;

    [[nodiscard]] bool due(Milliseconds now) const {
        return pending && (!not_before || *not_before <= now);
    }
    void was_read(Milliseconds now, std::size_t entries) {
        pending = false;
        not_before = now + kMirrorLeast + Milliseconds(entries / kMirrorEntriesPerMs);
    }
    void failed(Milliseconds now) { not_before = now + kMirrorRetry; }
};

class KernelMirror final : public Mirror {
public:
    KernelMirror(std::vector<Twin> twins, std::unique_ptr<netlink::TableWatch> watch,
                 RoutingCounters& counters)
        : twins_(std::move(twins)), watch_(std::move(watch)), counters_(counters) {}

    int fd() const override { return watch_->fd(); }
    const Mirrored& state() const override { return state_; }

    std::optional<Milliseconds> next() const override {
        std::optional<Milliseconds> out;
        for (const Table* table : {&devices_, &addresses_, &routes_, &neighbours_}) {
            if (!table->pending) continue;
            const Milliseconds at = table->not_before.value_or(Milliseconds(0));
            if (!out || at < *out) out = at;
        }
        return out;
    }

    Result<Changed> update(Milliseconds now) override;

private:
    bool find_devices(Milliseconds now);
    Result<void> read_addresses(Milliseconds now, Changed& changed);
    Result<void> read_routes(Milliseconds now, Changed& changed);
    Result<void> read_neighbours(Milliseconds now, Changed& changed);
    void join_routes(Changed& changed);

    std::vector<Twin> twins_;
    std::unique_ptr<netlink::TableWatch> watch_;
    RoutingCounters& counters_;
    std::map<int, std::uint16_t> interface_of_;  // by the device's number
    Table devices_, addresses_, routes_, neighbours_;
    std::vector<Route> of_table_;  // the main table's
    std::map<std::pair<std::uint16_t, IpAddress>, Mac>
        found_;                      // the kernel's neighbours, as last read
    std::vector<Route> of_devices_;  // addresses of devices that are no twins
    Mirrored state_;
};

// Whether some device came or went.
bool KernelMirror::find_devices(Milliseconds now) {
    std::map<int, std::uint16_t> found;
    bool all = true;
    for (const Twin& twin : twins_) {
        const auto index = netlink::device_index(twin.device);
        if (index) {
            found.emplace(*index, twin.interface);
        } else {
            all = false;
        }
    }
    devices_.was_read(now, 0);
    // The kernel also tells when a link appears; this is for a rename, which comes before the name
    // can be found.
    if (!all) {
        devices_.pending = true;
        devices_.failed(now);
    }
    if (found == interface_of_) return false;
    interface_of_ = std::move(found);
    return true;
}

Result<void> KernelMirror::read_addresses(Milliseconds now, Changed& changed) {
    ++counters_.kernel_dumps;
    auto listed = netlink::list_addresses();
    if (!listed) {
        addresses_.failed(now);
        return listed.error();
    }
    addresses_.was_read(now, listed->size());
    std::vector<std::pair<std::uint16_t, InterfaceAddress>> own;
    std::vector<Route> others;
    for (const auto& entry : *listed) {
        const auto twin = interface_of_.find(entry.ifindex);
        if (twin != interface_of_.end()) {
            own.emplace_back(twin->second, InterfaceAddress{entry.address, entry.prefix_length});
        } else if (!entry.address.is_loopback() && !entry.address.is_link_local()) {
            const auto bits = static_cast<std::uint8_t>(entry.address.is_v4() ? 32 : 128);
            others.push_back({{entry.address, bits}, {}, kToKernel, 0});
        }
    }
    std::sort(own.begin(), own.end());
    if (own != state_.addresses) {
        state_.addresses = std::move(own);
        changed.addresses = true;
    }
    if (others != of_devices_) {
        of_devices_ = std::move(others);
        join_routes(changed);
    }
    return {};
}

Result<void> KernelMirror::read_routes(Milliseconds now, Changed& changed) {
    ++counters_.kernel_dumps;
    auto listed = netlink::list_all_routes();
    if (!listed) {
        routes_.failed(now);
        return listed.error();
    }
    routes_.was_read(now, listed->size());
    std::vector<Route> routes;
    for (const auto& entry : *listed) {
        if (never_forwarded(entry.destination)) continue;
        const auto twin = interface_of_.find(entry.ifindex);
        if (twin == interface_of_.end()) {
            routes.push_back({entry.destination, {}, kToKernel, entry.metric});
        } else if (!entry.gateway.is_unspecified() &&
                   entry.gateway.is_v4() != entry.destination.address.is_v4()) {
            ++counters_.kernel_skipped;
        } else {
            routes.push_back({entry.destination, entry.gateway, twin->second, entry.metric});
        }
    }
    if (routes != of_table_) {
        of_table_ = std::move(routes);
        join_routes(changed);
    }
    return {};
}

void KernelMirror::join_routes(Changed& changed) {
    state_.routes = of_table_;
    state_.routes.insert(state_.routes.end(), of_devices_.begin(), of_devices_.end());
    changed.routes = true;
}

Result<void> KernelMirror::read_neighbours(Milliseconds now, Changed& changed) {
    ++counters_.kernel_dumps;
    auto listed = netlink::list_neighbours();
    if (!listed) {
        neighbours_.failed(now);
        return listed.error();
    }
    neighbours_.was_read(now, listed->size());
    std::vector<Neighbour> permanent;
    std::vector<Neighbour> hints;
    std::map<std::pair<std::uint16_t, IpAddress>, Mac> found;
    for (const auto& entry : *listed) {
        const auto twin = interface_of_.find(entry.ifindex);
        if (twin == interface_of_.end() || entry.address.is_multicast()) continue;
        if (!is_station(entry.mac)) {
            ++counters_.kernel_skipped;
            continue;
        }
        const Neighbour neighbour{twin->second, entry.address, entry.mac, true};
        if (entry.permanent) {
            permanent.push_back(neighbour);
            continue;
        }
        // What the kernel goes on believing is no news, or the resolver would doubt what it knows
        // better again and again.
        const std::pair key{neighbour.interface, neighbour.address};
        const auto before = found_.find(key);
        if (before == found_.end() || before->second != neighbour.mac) hints.push_back(neighbour);
        found.emplace(key, neighbour.mac);
    }
    found_ = std::move(found);
    changed.neighbours = permanent != state_.permanent || !hints.empty();
    state_.permanent = std::move(permanent);
    state_.hints = std::move(hints);
    return {};
}

Result<Mirror::Changed> KernelMirror::update(Milliseconds now) {
    Changed changed;
    std::optional<Error> first;
    const auto keep = [&](const Result<void>& result) {
        if (result) return;
        ++counters_.kernel_failed;
        if (!first) first = result.error();
    };
    if (const auto news = watch_->drain()) {
        devices_.pending |= news->links;
        addresses_.pending |= news->addresses;
        routes_.pending |= news->routes;
        neighbours_.pending |= news->neighbours;
        // Routes go with their link without a message of their own.
        routes_.pending |= news->links || news->addresses;
        if (news->links) devices_.not_before.reset();
    } else {
        keep(news.error());
    }
    if (devices_.due(now) && find_devices(now))
        addresses_.pending = routes_.pending = neighbours_.pending = true;
    if (addresses_.due(now)) keep(read_addresses(now, changed));
    if (routes_.due(now)) keep(read_routes(now, changed));
    if (neighbours_.due(now)) keep(read_neighbours(now, changed));
    // What could be read is in force in any case: the caller asks state() again.
    if (first && !changed.addresses && !changed.routes && !changed.neighbours) return *first;
    return changed;
}

}  // namespace

Result<std::unique_ptr<Mirror>> Mirror::make(std::vector<Twin> twins, RoutingCounters& counters) {
    std::set<std::string_view> devices;
    std::set<std::uint16_t> interfaces;
    for (const Twin& twin : twins) {
        if (twin.device.empty()) {
            return make_error(Code::kInvalidArgument, "the twin of interface {} has no device name",
                              twin.interface);
        }
        if (!devices.insert(twin.device).second) {
            return make_error(Code::kInvalidArgument, "twin {}: two interfaces have this device",
                              twin.device);
        }
        if (!interfaces.insert(twin.interface).second) {
            return make_error(Code::kInvalidArgument, "twin {}: interface {} has another",
                              twin.device, twin.interface);
        }
    }
    SLUICE_TRY_ASSIGN(auto watch, netlink::TableWatch::create());
    return std::unique_ptr<Mirror>(
        std::make_unique<KernelMirror>(std::move(twins), std::move(watch), counters));
}

}  // namespace sluice::dpdk
