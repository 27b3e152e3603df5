// What a node does with packets for Services: a plain, slow model, written from what a Service means
// (docs/semantics.md) and what becomes of a packet (docs/packet-life.md). It shares no packet code with the engines.
//
// Where an engine may choose (a backend at random, a source port) the oracle asks what it chose, judges whether that
// is allowed, and goes on from there. All else it predicts: verdict, bytes from the IP header on, and every counter.
//
// Not modelled: tables that are full. Who compares gives the engines room.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/image/desired.h"
#include "tests/oracle/packet.h"

namespace sluice::oracle {

enum class Place : std::uint8_t { kPod, kUplink, kKernel };

enum class Verdict : std::uint8_t {
    kStack,  // the node's own stack has it, as it came or translated
    kSend,   // out of a device: sent on, or answered
    kDrop,
};

struct Route {
    enum class Kind : std::uint8_t { kForward, kLocal, kNone };
    IpPrefix prefix;
    Kind kind = Kind::kForward;
    std::uint16_t mtu = 1500;
};

struct World {
    image::Node node;
    std::uint16_t port_min = 1024;
    std::uint16_t port_max = 29999;
    std::vector<Route> routes;
};

struct Served {
    std::uint64_t connections = 0;
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    auto operator<=>(const Served&) const = default;
};

// A backend from the moment a service gets it until it leaves; should it come back, it is another.
struct BackendLife {
    image::Backend backend;
    bool serves = true;
    Served served;
};
struct ServiceLife {
    image::Service desired;
    std::map<std::pair<IpAddress, std::uint16_t>, std::shared_ptr<BackendLife>> backends;
    std::uint64_t refused = 0;
};

// The flow that an engine has under a tuple: what the packet becomes.
using Witness = std::function<std::optional<Tuple>(const Tuple&)>;

struct Answer {
    Verdict verdict = Verdict::kStack;
    Bytes packet;        // from the IP header on; empty if dropped
    std::string illegal;  // what the engine chose and must not; the rest is then void
};

class Oracle {
public:
    explicit Oracle(World world) : world_(std::move(world)) {}

    void upsert(const image::Service& service);
    void remove(const image::ServiceKey& key);
    // Seconds of the flows' clock and units of the affinity's.
    void pass(std::uint64_t ticks, std::uint64_t affinity_units);

    // The frame comes untagged: tags are its device's.
    Answer judge(Place place, View frame, const Witness& witness);

    [[nodiscard]] std::uint64_t drops(std::size_t reason) const { return drops_[reason]; }
    [[nodiscard]] std::shared_ptr<ServiceLife> service(const image::ServiceKey& key) const;
    [[nodiscard]] std::size_t flows() const { return halves_.size(); }
    // Whether a packet of this tuple belongs to a flow.
    [[nodiscard]] bool knows(const Tuple& tuple) const { return halves_.contains(tuple); }

private:
    enum class State : std::uint8_t { kNew, kAnswered, kEstablished, kClosing, kClosed };
    enum class Direct : std::uint8_t { kNo, kTunnel, kOption, kLink };
    struct Flow {
        Tuple forward;
        Tuple reverse;  // what the backend answers with
        State state = State::kNew;
        std::uint64_t seen = 0;
        std::array<bool, 2> fin{};  // [reverse]
        Direct direct = Direct::kNo;
        bool snat = false;
        bool returns = false;      // the backend's node of direct return by option
        bool no_service = false;   // between two ends that talk to each other directly
        std::shared_ptr<BackendLife> backend;
    };
    struct Half {
        std::shared_ptr<Flow> flow;
        bool reverse = false;
        [[nodiscard]] Tuple becomes() const { return (reverse ? flow->forward : flow->reverse).turned(); }
    };
    // What a destination is.
    struct Match {
        enum class Kind : std::uint8_t { kPass, kService, kRefuse, kDrop };
        Kind kind = Kind::kPass;
        sluice_drop_reason reason = SLUICE_DROP_NONE;
        std::shared_ptr<ServiceLife> service;  // also with kRefuse, kDrop for want of endpoints
        image::Frontend frontend;
        const image::BackendSet* set = nullptr;
        bool node_port = false;
    };
    struct Job {  // one packet on its way
        Place place = Place::kPod;
        Bytes frame;
        Packet packet;
        const Witness* witness = nullptr;
        Answer answer;
    };
    enum class Hop : std::uint8_t { kForward, kStay, kTooBig };
    struct Way {
        Hop hop = Hop::kStay;
        std::uint32_t mtu = 0;
    };

    void rebuild();
    [[nodiscard]] Match classify(const IpAddress& dst, std::uint16_t port, std::uint8_t protocol, bool inside) const;
    [[nodiscard]] Match follow_frontend(const std::shared_ptr<ServiceLife>& service, const image::Frontend& frontend,
                                        bool inside) const;
    [[nodiscard]] bool source_allowed(const Match& match, const IpAddress& src) const;
    [[nodiscard]] bool from_pod(const Job& job) const;
    [[nodiscard]] bool from_inside(const Job& job) const;
    [[nodiscard]] bool in_cluster(const IpAddress& address) const;
    [[nodiscard]] IpAddress node_address(bool v6) const;
    [[nodiscard]] Way route(const IpAddress& dst, std::size_t length) const;

    [[nodiscard]] const Half* find(const Tuple& tuple) const;
    [[nodiscard]] std::uint64_t timeout(const Flow& flow) const;
    [[nodiscard]] bool expired(const Flow& flow) const;
    void forget(const std::shared_ptr<Flow>& flow);
    [[nodiscard]] bool usable(const Half& half, const Packet& packet) const;
    void follow(const Half& half, const Packet& packet);
    // The flow with its source port: none if there is no port left, and then answer.illegal may say that there is one.
    enum class Ports : std::uint8_t { kOwn, kOwnOrOther, kFixed };
    bool insert(Job& job, std::shared_ptr<Flow> flow, Ports ports);
    [[nodiscard]] bool reverse_free(const Tuple& reverse) const;
    // No source port is left towards reverse.src; of a range too large to be searched, hardly one.
    [[nodiscard]] bool exhausted(const Tuple& reverse) const;

    void with_ports(Job& job);
    void admit(Job& job);
    void begin_flow(Job& job, const Match& match);
    bool avoid_flow(Job& job);
    std::shared_ptr<BackendLife> choose(Job& job, const Match& match);
    // A flow to the backend as it would be inserted. lacks_address: the backend shall see the node, which has none.
    std::shared_ptr<Flow> plan(const Job& job, const Match& match, const image::Backend& backend,
                               bool* lacks_address) const;
    [[nodiscard]] bool cannot_be(const Job& job, const Match& match, const image::Backend& backend) const;
    [[nodiscard]] bool wants_snat(const Job& job, const Match& match, const image::Backend& backend) const;
    void portless(Job& job);
    bool turn_error(Job& job);

    // Direct return, the backend's node. False: the packet is done with.
    bool receive_direct(Job& job);
    enum class Accepted : std::uint8_t { kPass, kAccept, kDrop };
    Accepted accept(Job& job, const Packet& inner, const IpAddress& pod, std::uint16_t port, bool option);
    void strip_option(Job& job, const Packet& inner, const IpAddress& pod);

    // quote: of an ICMP error about the flow, else null.
    void send_on(Job& job, const Half& half, const Quote* quote);
    void send_direct(Job& job, const Half& half);
    void drop(Job& job, sluice_drop_reason reason);
    void turn_away(Job& job, const Match& match, bool refuse, sluice_drop_reason reason);
    // Answers instead of sending on; `icmp` empty: as a refusal.
    void reply(Job& job, std::optional<IcmpAnswer> icmp);
    void to_stack(Job& job);
    void count(const Flow& flow, const Packet& packet);
    [[nodiscard]] bool recall(Job& job);
    void remember(const Job& job);

    World world_;
    std::map<image::ServiceKey, std::shared_ptr<ServiceLife>> services_;
    struct Claim {
        std::shared_ptr<ServiceLife> service;
        image::Frontend frontend;
    };
    using Destination = std::tuple<IpAddress, std::uint16_t, std::uint8_t>;
    std::map<Destination, Claim> frontends_;
    std::map<std::tuple<bool, std::uint16_t, std::uint8_t>, Claim> node_ports_;  // v6, port, protocol
    std::set<IpAddress> owned_;
    std::map<Tuple, Half> halves_;
    struct Remembered {
        std::shared_ptr<ServiceLife> service;  // so that the key is no other's meanwhile
        std::shared_ptr<BackendLife> backend;
        std::uint64_t used = 0;
    };
    std::map<std::pair<IpAddress, ServiceLife*>, Remembered> affinity_;
    using DatagramKey = std::tuple<IpAddress, IpAddress, std::uint32_t, std::uint8_t>;
    struct Datagram {
        std::uint16_t sport = 0, dport = 0;
        std::uint8_t protocol = 0;
        std::uint64_t seen = 0;
    };
    std::map<DatagramKey, Datagram> datagrams_;
    std::map<std::vector<image::Backend>, std::vector<std::uint32_t>> rings_;
    std::array<std::uint64_t, SLUICE_DROP_REASON_COUNT> drops_{};
    std::uint64_t now_ = 100000;
    std::uint64_t affinity_now_ = 1000000;
    std::uint64_t answers_ = 0;  // in this tick
};

}  // namespace sluice::oracle
