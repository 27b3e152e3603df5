// Takes over from a kube-proxy: says what it left on this node, and removes it when told to.
//
// Nothing has to be removed for traffic to move: socket hooks and tc come before netfilter, so a connection that
// begins is translated before kube-proxy's rules could match it. One that has begun through them goes on, for conntrack
// knows it and, where find_kube_proxy() found something at start, our programs leave to it TCP packets that begin
// nothing. Hence the order: start the agent, end kube-proxy, and then --cleanup-kube-proxy at leisure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::migrate {

// One kind of traces in one family.
struct Trace {
    std::string mechanism;  // "iptables-legacy", "iptables-nft", "nftables", "ipvs"
    IpFamily family = IpFamily::kIpv4;
    std::uint64_t chains = 0;  // of nftables: tables; of IPVS: virtual servers
    std::uint64_t rules = 0;
    // "34 chains with 60 rules in nat, filter".
    std::string description;
};

struct Found {
    std::vector<Trace> traces;
    std::vector<std::string> unclear;  // what could not be looked at, and why
};

struct Cleaned {
    std::vector<std::string> removed;
    std::vector<std::string> failed;  // what is still there, and why
};

// What it does to the machine; replaced in tests.
struct MigrateMachine {
    using Take = std::function<Result<void>(std::string_view)>;
    std::function<bool(const std::string& program)> has_program;
    // Runs an iptables program by its name.
    std::function<Result<void>(const std::vector<std::string>& words, std::string_view input, const Take& take)> run;
    // Runs commands of nftables, all or none; what they print.
    std::function<Result<std::string>(const std::string& commands)> nftables;
    std::function<Result<std::string>(const std::string& path)> read_file;
    std::function<bool(const std::string& link)> has_link;
    static MigrateMachine real();
};

// In the calling thread's network namespace. Reads only. Takes a second or so on a node with 10,000 Services in
// iptables.
Found find_kube_proxy(const MigrateMachine& machine = MigrateMachine::real());

// One transaction for each table, family and variant of iptables, one for nftables. What cannot be removed does not
// keep the rest from going. Harmless when nothing is there.
Cleaned clean_up_kube_proxy(const MigrateMachine& machine = MigrateMachine::real());

// Lines for /metrics: sluice_kube_proxy_left{mechanism,ip_family}.
[[nodiscard]] std::string render_metrics(const Found& found);

}  // namespace sluice::migrate
