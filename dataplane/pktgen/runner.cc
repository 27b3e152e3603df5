// The Runner on DPDK: checks a profile, asks for neighbours, runs.
#include "dataplane/pktgen/runner.h"

#include <rte_cycles.h>

#include <algorithm>

#include "dataplane/pktgen/resolve_private.h"
#include "dataplane/pktgen/run_private.h"

namespace sluice::pktgen {
namespace {

class DpdkRunner final : public Runner {
public:
    DpdkRunner(const RunnerOptions& options, std::unique_ptr<Ports> ports)
        : options_(options),
          ports_(std::move(ports)),
          run_(static_cast<std::uint16_t>(rte_rdtsc() >> 4U)) {}

    Result<RunResult> run(const Profile& profile, const Observer& observer) override {
        SLUICE_TRY(check(profile));
        SLUICE_TRY(check_ports(profile));
        SLUICE_TRY(ports_->wait_for_links(options_.link_wait_s));
        std::vector<PortCounts> base = ports_->counted();
        std::vector<PortCounts> neighbours(base.size());
        const std::vector<OwnedAddresses> owned = addresses(profile);
        std::vector<Mac> destinations(base.size());
        for (std::size_t i = 0; i < destinations.size(); ++i) {
            if (ports_->all()[i].sends() && profile.pcap.empty()) {
                SLUICE_TRY_ASSIGN(destinations[i],
                                  destination(profile, ports_->all()[i], owned, neighbours));
            }
        }
        // The warm-up has the number after the run's, so that what is left of it is told apart.
        run_ = static_cast<std::uint16_t>(run_ + 2);
        Run it(*ports_, profile, options_, run_, std::move(base));
        SLUICE_TRY(it.prepare(destinations, owned));
        return it.go(observer, neighbours);
    }

private:
    [[nodiscard]] Result<void> check_ports(const Profile& profile) const {
        for (const SizeShare& share : profile.sizes) {
            if (profile.pcap.empty() && share.frame_bytes > options_.max_frame_bytes) {
                return make_error(Code::kInvalidArgument,
                                  "profile: sizes: {} bytes are more than the {} that the ports were made "
                                  "ready for (max_frame_bytes)",
                                  share.frame_bytes, options_.max_frame_bytes);
            }
        }
        const bool receives = std::any_of(ports_->all().begin(), ports_->all().end(),
                                          [](const Port& port) { return port.receives(); });
        if (profile.life_cycle == LifeCycle::kStateful && !receives) {
            return make_error(Code::kInvalidArgument, "runner: roles: no port is the server");
        }
        return {};
    }

    [[nodiscard]] std::vector<OwnedAddresses> addresses(const Profile& profile) const {
        std::vector<OwnedAddresses> out;
        for (const Port& port : ports_->all()) {
            OwnedAddresses owned;
            const bool stateful = profile.life_cycle == LifeCycle::kStateful;
            if (profile.pcap.empty()) {
                if (port.sends()) {
                    owned.add(port.reversed && !stateful ? profile.destination : profile.source);
                }
                if (port.role == Role::kReceive || (stateful && port.receives())) {
                    owned.add(profile.destination);
                }
            }
            for (const AddressRange& range : profile.answer_for) {
                owned.add(range);
            }
            out.push_back(std::move(owned));
        }
        return out;
    }

    Result<Mac> destination(const Profile& profile, Port& port, const std::vector<OwnedAddresses>& owned,
                            std::vector<PortCounts>& neighbours) {
        if (!profile.destination_mac.empty()) {
            return parse_mac(profile.destination_mac);
        }
        NeighbourQuestion question;
        question.port = &port;
        question.mac = port.mac;
        question.vlan = profile.vlan;
        const bool reversed = port.reversed && profile.life_cycle != LifeCycle::kStateful;
        question.sender = reversed ? profile.destination.first : profile.source.first;
        // The next hop is the one of the ports that send from the sources.
        question.target = reversed                            ? profile.source.first
                          : profile.next_hop.is_unspecified() ? profile.destination.first
                                                              : profile.next_hop;
        return ask_neighbour(*ports_, question, owned, options_.neighbour_wait_s, neighbours);
    }

    RunnerOptions options_;
    std::unique_ptr<Ports> ports_;
    std::uint16_t run_;
};

}  // namespace

Result<std::unique_ptr<Runner>> make_runner(const RunnerOptions& options) {
    SLUICE_TRY_ASSIGN(auto ports, Ports::make(options));
    return std::unique_ptr<Runner>(std::make_unique<DpdkRunner>(options, std::move(ports)));
}

}  // namespace sluice::pktgen
