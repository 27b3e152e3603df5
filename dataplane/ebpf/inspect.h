// Read-only access to the pinned image, for `sluice`: works without the agent, and while it
// publishes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::dataplane {

struct BackendView {
    IpAddress address;
    std::uint16_t port = 0;
    bool local = false;
    bool terminating = false;
    std::string target;
};

struct FrontendView {
    IpAddress address;  // unspecified for a NodePort
    std::uint16_t port = 0;
    bool nodeport = false;
    bool external = false;
    bool masquerade = false;
};

struct ServiceView {
    std::string name;  // "namespace/name:port"
    Protocol protocol = Protocol::kTcp;
    IpFamily family = IpFamily::kIpv4;
    std::uint16_t port = 0;
    std::vector<FrontendView> frontends;
    std::vector<BackendView> internal;
    std::vector<BackendView> external;
    bool internal_drop_when_empty = false;
    bool external_drop_when_empty = false;
    std::uint64_t connections = 0, packets = 0, bytes = 0, refused = 0;
};

struct DropView {
    std::string reason;
    std::uint64_t count = 0;
};

// What the tables say about a packet; decided with the very look-up code of bpf/lib.
struct Explanation {
    std::string verdict;  // "translate", "refuse", "drop", "pass"
    std::string reason;   // one sentence: why
    std::optional<ServiceView> service;
    std::optional<FrontendView> frontend;
    std::vector<BackendView> candidates;  // each equally likely
    bool masquerade = false;              // the source becomes masquerade_address
    std::optional<IpAddress> masquerade_address;
    std::vector<std::string> steps;  // each look-up in order, for people
};

struct ImageStatus {
    std::uint64_t generation = 0;
    std::uint32_t layout_version = 0;
    std::size_t services = 0, frontends = 0, backends = 0;
    std::vector<IpAddress> node_addresses;
    std::vector<std::string> service_cidrs;
    std::vector<std::string> programs;  // pinned links and what they are attached to
    std::uint64_t kernel_bytes = 0;     // memory of all maps, as the kernel accounts it
};

class Inspector {
public:
    virtual ~Inspector() = default;
    // kNotFound, naming the directory and what to start, when nothing is pinned.
    static Result<std::unique_ptr<Inspector>> open(const std::string& bpffs);
    [[nodiscard]] virtual Result<ImageStatus> status() const = 0;
    [[nodiscard]] virtual Result<std::vector<ServiceView>> services() const = 0;
    [[nodiscard]] virtual Result<std::vector<DropView>> drops() const = 0;
    // Ports in host order. from_outside: as if it came in on a node device rather than from a pod
    // or the node.
    [[nodiscard]] virtual Result<Explanation> explain(IpAddress source, IpAddress destination,
                                                      std::uint16_t destination_port,
                                                      Protocol protocol,
                                                      bool from_outside) const = 0;
};

}  // namespace sluice::dataplane
