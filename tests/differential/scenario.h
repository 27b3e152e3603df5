// Random states and packets: a node, services that change, and conversations with all that may happen to them.
//
// The topology is that of dataplane/packet/harness.h with two networks more: one behind a link of small MTU, one that
// is unreachable. Every choice follows from the seed, and from what became of earlier packets (learn()).
#pragma once

#include <string>
#include <vector>

#include "tests/differential/frames.h"
#include "tests/oracle/oracle.h"

namespace sluice::differential {

using oracle::Place;
using oracle::View;

struct Step {
    enum class Kind : std::uint8_t { kFrame, kTime, kUpsert, kRemove };
    Kind kind = Kind::kFrame;
    Place place = Place::kUplink;
    bool by_xdp = true;     // of kUplink: the device has XDP
    bool priority = false;  // arrives with a tag of VLAN 0
    Bytes frame;
    std::uint32_t ticks = 0;           // of kTime
    std::uint32_t affinity_units = 0;
    image::Service service;            // of kUpsert
    image::ServiceKey key;             // of kRemove
};

// For people: hex of frames, services in a line.
std::string describe(const Step& step);
std::string describe(const image::Service& service);

class Generator {
public:
    explicit Generator(std::uint64_t seed);

    [[nodiscard]] const oracle::World& world() const { return world_; }
    [[nodiscard]] std::uint64_t random_state() const { return random_state_; }
    // Services come first; then frames, with changes and time between them.
    Step next();
    // What became of the frame of the last step; empty: it was dropped.
    void learn(View packet);

private:
    struct Talk {  // between a client and a service, or whoever is there
        Place client_place = Place::kUplink;
        Tuple client;    // as the client sends it
        Tuple behind;    // as the backend got it; unknown while its protocol is 0
        Place backend_place = Place::kUplink;
        std::uint32_t seq = 1000;
        Bytes last_to_backend;  // frames as they arrived there, for errors to quote
        Bytes last_from_client;
        unsigned step = 0;
    };
    struct Frontend {
        IpAddress address;
        std::uint16_t port = 0;
        std::uint8_t protocol = 0;
        bool direct = false;
    };

    void make_world();
    image::Service make_service(std::size_t number);
    std::vector<image::Backend> some_backends(bool v6, bool weights);
    [[nodiscard]] IpAddress client(bool v6, Place place);
    [[nodiscard]] Place place_of(const IpAddress& address) const;
    Frontend some_frontend(bool v6);
    Recipe recipe(const Tuple& tuple);

    Step frame_step(Place place, Bytes frame);
    Step new_talk();
    Step from_client(Talk& talk);
    Step from_backend(Talk& talk);
    Step error_about(Talk& talk);
    Step direct_to_backend(Talk& talk);
    Step fragment();
    Step portless();
    Step stranger();
    Step other_nodes();
    Step change();
    Step some_frame();
    void damage(Bytes& frame);

    Random random_;
    oracle::World world_;
    std::uint64_t random_state_ = 1;
    std::vector<image::Service> services_;  // in force
    std::size_t wanted_ = 0;
    std::vector<Talk> talks_;
    int learning_ = -1;  // the talk whose client's packet is under way
    Bytes sent_;
    std::vector<Bytes> pieces_;  // of a datagram, to be sent
    Place pieces_place_ = Place::kUplink;
    std::size_t datagrams_ = 0;
    bool long_passed_ = false;
};

}  // namespace sluice::differential
