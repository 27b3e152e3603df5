// Read-only access to the pinned image and flow tables, for `sluice` and for metrics: works without the agent, and
// while it publishes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::dataplane {

// What was counted. Connections are choices of a backend; packets and bytes are those translated on devices, in both
// directions: what a socket hook has translated is not seen again.
struct Traffic {
    std::uint64_t connections = 0, packets = 0, bytes = 0;
    bool operator==(const Traffic&) const = default;
};

struct BackendView {
    IpAddress address;
    std::uint16_t port = 0;
    bool local = false;
    bool terminating = false;
    std::string target;
    double share = 0;  // of new flows, by the set's size or its weights; 1 is all
    Traffic traffic{};
    std::uint32_t index = 0;
};

struct FrontendView {
    IpAddress address;  // unspecified for a NodePort
    std::uint16_t port = 0;
    bool nodeport = false;
    bool external = false;
    bool masquerade = false;
    bool restricted = false;         // only ServiceView::sources may come in
    std::string forwarding = "nat";  // "nat", "tunnel", "option", "link"
};

struct ServiceView {
    std::string name;  // "namespace/name:port"
    Protocol protocol = Protocol::kTcp;
    IpFamily family = IpFamily::kIpv4;
    std::uint16_t port = 0;
    std::vector<FrontendView> frontends;
    std::vector<BackendView> internal;
    std::vector<BackendView> external;  // external frontends, clients from outside
    bool internal_drop_when_empty = false;
    bool external_drop_when_empty = false;
    std::uint64_t connections = 0, packets = 0, bytes = 0, refused = 0;
    std::vector<BackendView> inside;  // external frontends, clients in pods or on this node
    bool inside_drop_when_empty = false;
    std::string choice = "random";     // "random", "weighted", "tuple" or "client" (consistent hash)
    std::vector<std::string> sources;  // "first-last", or one prefix
    std::uint32_t affinity_timeout_s = 0;
};

struct DropView {
    std::string reason;
    std::uint64_t count = 0;
    std::string text;  // what it means
};

// A flow of the packet path. Connections that a socket hook has translated have none.
struct FlowView {
    Protocol protocol = Protocol::kTcp;
    IpAddress client, destination, backend, source;  // source: the client as the backend sees it
    std::uint16_t client_port = 0, destination_port = 0, backend_port = 0, source_port = 0;
    std::string state;  // "new", "answered", "established", "closing", "closed"
    std::uint32_t idle_s = 0;     // since the last packet of either direction
    std::uint32_t timeout_s = 0;  // it is forgotten when idle for longer
    bool source_nat = false;
    bool plain = false;  // no service's: only its source port was changed, to tell it from a flow
    std::string forwarding = "nat";
    bool serving = true;  // the backend still serves; else the flow is only finished with it
    std::string service;
    std::string target;
    std::uint32_t service_index = 0, backend_index = 0, incarnation = 0;
};

struct FlowFilter {
    std::string service;  // "namespace/name" or with ":port"; empty: all
    std::optional<IpAddress> backend;
    std::optional<IpAddress> client;
    std::string state;  // empty: all
    std::size_t limit = 0;
};

struct FlowList {
    std::vector<FlowView> flows;  // at most FlowFilter::limit
    std::uint64_t matched = 0;
};

// How full a flow table is.
struct FlowTableUse {
    IpFamily family = IpFamily::kIpv4;
    std::uint64_t capacity = 0;   // flows
    std::uint64_t flows = 0;      // not closed, not over
    std::uint64_t lingering = 0;  // closed or expired: their places are free for others
    std::uint64_t displaced = 0;  // flows that gave way before their time
};

// Rows of a table of the image.
struct TableUse {
    std::string table;
    std::uint64_t used = 0, capacity = 0;
};

struct BackendTraffic {
    IpAddress address;
    std::uint16_t port = 0;
    std::string target;
    Traffic traffic{};
    std::uint64_t flows = 0;  // active on the packet path
};

struct ServiceTraffic {
    std::string name;
    Protocol protocol = Protocol::kTcp;
    IpFamily family = IpFamily::kIpv4;
    Traffic traffic{};  // also of backends that have left
    std::uint64_t refused = 0;
    std::uint64_t flows = 0;  // also to backends that have left
    std::vector<BackendTraffic> backends;
};

struct TrafficReport {
    std::vector<ServiceTraffic> services;  // sorted by name, protocol and family
    std::vector<FlowTableUse> flow_tables;
    std::vector<TableUse> tables;
};

// Where a packet comes from. kGuess: by its source address.
enum class Origin : std::uint8_t { kGuess, kPod, kNode, kOutside };

struct Question {
    IpAddress source;
    IpAddress destination;
    std::uint16_t destination_port = 0;
    Protocol protocol = Protocol::kTcp;
    Origin origin = Origin::kGuess;
    std::uint16_t source_port = 0;          // 0: not known
    std::vector<IpAddress> node_addresses{};  // of all devices of this node
    std::uint64_t node_netns = 0;           // cookie of its network namespace
};

struct Candidate {
    BackendView backend;  // share: how probable it is
    bool source_nat = false;
    std::string forwarding = "nat";
};

// What the tables say about a packet; decided with the very code of bpf/lib.
struct Explanation {
    std::string verdict;  // "translate", "refuse", "drop", "pass"
    std::string reason;   // one sentence: why
    std::optional<ServiceView> service;
    std::optional<FrontendView> frontend;
    std::vector<Candidate> candidates;  // one if the choice is certain
    bool masquerade = false;            // the source becomes masquerade_address
    std::optional<IpAddress> masquerade_address;
    std::vector<std::string> steps;  // each look-up in order, for people
    std::string origin;              // "pod", "node", "outside"
    std::string set;                 // "internal", "external", "inside"; empty without a service
    std::optional<FlowView> flow;    // that the packet is part of
    bool answer = false;             // the packet is of the flow's other direction, from the backend
};

struct ImageStatus {
    std::uint64_t generation = 0;
    std::uint32_t layout_version = 0;
    std::size_t services = 0, frontends = 0, backends = 0;
    std::vector<IpAddress> node_addresses;
    std::vector<std::string> service_cidrs;
    std::vector<std::string> programs;  // pinned links and what they are attached to
    std::uint64_t kernel_bytes = 0;     // memory of all maps, as the kernel accounts it
    std::string detect_local;           // "none", "device", or the pods' ranges
    std::vector<FlowTableUse> flow_tables;
};

class Inspector {
public:
    virtual ~Inspector() = default;
    // kNotFound, naming the directory and what to start, when nothing is pinned.
    static Result<std::unique_ptr<Inspector>> open(const std::string& bpffs);
    [[nodiscard]] virtual Result<ImageStatus> status() const = 0;
    [[nodiscard]] virtual Result<std::vector<ServiceView>> services() const = 0;
    [[nodiscard]] virtual Result<std::vector<DropView>> drops() const = 0;
    // Counters and active flows; scans the flow tables (some ms each).
    [[nodiscard]] virtual Result<TrafficReport> traffic() const = 0;
    [[nodiscard]] virtual Result<FlowList> flows(const FlowFilter& filter) const = 0;
    // Question::node_addresses and node_netns are filled in by the inspector, from where it runs.
    [[nodiscard]] virtual Result<Explanation> explain(Question question) const = 0;
    // Names of a service and of a backend's target by index, empty if there is none; for events.
    [[nodiscard]] virtual std::string service_name(std::uint32_t index) const = 0;
    [[nodiscard]] virtual std::string backend_target(std::uint32_t index) const = 0;
};

}  // namespace sluice::dataplane
