// A device as a formula, in place of ports: what goes through at a rate, and how long it takes. For
// tests of all that knows no more than runner.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {

class ModelDevice : public Runner {
public:
    // What the sender can do at most, in packets or connections a second.
    double sender_limit = 20e6;
    // The share of the packets offered at this rate that is lost. By default none.
    std::function<double(double rate, std::uint32_t frame_bytes)> loss = [](double, std::uint32_t) {
        return 0.0;
    };
    std::function<std::uint64_t(double rate)> latency_ns = [](double) {
        return std::uint64_t{1000};
    };
    // Of each run, in order.
    std::vector<double> rates;
    std::vector<Profile> profiles;

    // Loses what is beyond the capacity.
    static std::function<double(double, std::uint32_t)> capacity(double per_second) {
        return [=](double rate, std::uint32_t) {
            return rate <= per_second ? 0.0 : 1 - per_second / rate;
        };
    }

    Result<RunResult> run(const Profile& profile, const Observer& observer) override {
        const bool stateful = profile.life_cycle == LifeCycle::kStateful;
        const double asked = stateful ? profile.connections_per_second : profile.packets_per_second;
        const double rate = asked == 0 ? sender_limit : std::min(asked, sender_limit);
        rates.push_back(rate);
        profiles.push_back(profile);
        const std::uint32_t bytes = profile.sizes.front().frame_bytes;
        const double lost_share = loss(rate, bytes);
        RunResult out;
        out.profile = profile;
        const auto seconds = static_cast<std::uint64_t>(std::ceil(profile.duration_s));
        for (std::uint64_t second = 0; second < seconds; ++second) {
            Sample sample;
            sample.interval_s = std::min(1.0, profile.duration_s - static_cast<double>(second));
            sample.at_s = static_cast<double>(second) + sample.interval_s;
            sample.sent = static_cast<std::uint64_t>(std::llround(rate * sample.interval_s));
            sample.lost = static_cast<std::uint64_t>(
                std::ceil(static_cast<double>(sample.sent) * lost_share));
            sample.received = sample.sent - sample.lost;
            sample.sent_bytes = sample.sent * bytes;
            sample.received_bytes = sample.received * bytes;
            sample.p50_ns = sample.p99_ns = latency_ns(rate);
            sample.connections = stateful ? sample.received : 0;
            out.samples.push_back(sample);
            out.sent += sample.sent;
            out.received += sample.received;
            out.lost += sample.lost;
            out.seconds += sample.interval_s;
            if (observer && !observer(sample)) {
                break;
            }
        }
        out.sent_bytes = out.sent * bytes;
        out.received_bytes = out.received * bytes;
        out.offered_pps = asked;
        out.sent_pps = static_cast<double>(out.sent) / out.seconds;
        out.received_pps = static_cast<double>(out.received) / out.seconds;
        out.sent_bps = out.sent_pps * 8 * (bytes + 20);
        out.received_bps = out.received_pps * 8 * (bytes + 20);
        out.latency.record(latency_ns(rate), out.received);
        if (stateful) {
            out.connections.opened = out.sent;
            out.connections.established = out.received;
            out.connections.closed = out.received;
            out.connections.timed_out = out.lost;
        }
        PortCounts port;
        port.name = "model0";
        port.sent = port.port_sent = out.sent;
        port.received = port.port_received = out.received;
        port.sent_bytes = port.port_sent_bytes = out.sent_bytes;
        port.received_bytes = port.port_received_bytes = out.received_bytes;
        out.ports.push_back(port);
        return out;
    }
};

}  // namespace sluice::pktgen
