// Conversations and what disturbs them. See scenario.h; services.cc makes the node and its services.
#include "tests/differential/scenario.h"

#include <algorithm>

#include <fmt/format.h>

namespace sluice::differential {
namespace {

using oracle::kAck;
using oracle::kFin;
using oracle::kRst;
using oracle::kSyn;

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kMaxTalks = 48;
// Different datagrams in fragments: few, so that no engine's memory of them is full.
constexpr std::size_t kMaxDatagrams = 24;
constexpr std::uint16_t kClientPorts[] = {1024, 2000, 2001, 2030, 2063, 2064, 5000, 29999, 30000, 40000, 40001, 65535};

IpAddress ip(const std::string& text) { return *IpAddress::parse(text); }

std::uint8_t chunk_of(std::uint8_t flags) {
    if ((flags & kRst) != 0) {
        return 6;
    }
    if ((flags & kFin) != 0) {
        return 7;
    }
    return (flags & kSyn) == 0 ? 0 : (flags & kAck) != 0 ? 2 : 1;
}

}  // namespace

Generator::Generator(std::uint64_t seed) : random_(seed) {
    random_state_ = random_.next() | 1U;
    make_world();
    wanted_ = 4 + random_.below(10);
}

IpAddress Generator::client(bool v6, Place place) {
    const std::uint64_t n = random_.below(5);
    const auto host = [&](const char* four, const char* six, std::uint64_t from) {
        return ip(fmt::format("{}{}", v6 ? six : four, from + n));
    };
    if (random_.chance(2)) {
        constexpr const char* kBad4[] = {"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1"};
        constexpr const char* kBad6[] = {"::1", "::", "ff02::1", "2001:db8::1", "fe80::7", "fe81::8"};
        return ip(v6 ? random_.pick(kBad6) : random_.pick(kBad4));
    }
    switch (place) {
        case Place::kPod: return host("10.244.1.", "fd01::", 4);
        case Place::kKernel: return ip(v6 ? "2001:db8::1" : "192.0.2.1");
        case Place::kUplink: break;
    }
    switch (random_.below(10)) {
        case 0: return host("10.244.2.", "fd02::", 5);
        case 1: return host("192.0.2.", "2001:db8::", 50);
        default: return host("198.51.100.", "2001:db8:1::", 1);
    }
}

Place Generator::place_of(const IpAddress& address) const {
    const std::string text = address.to_string();
    if (text.starts_with("10.244.1.") || text.starts_with("fd01:")) {
        return Place::kPod;
    }
    return text == "192.0.2.1" || text == "2001:db8::1" ? Place::kKernel : Place::kUplink;
}

Recipe Generator::recipe(const Tuple& tuple) {
    Recipe out;
    out.tuple = tuple;
    out.payload = static_cast<std::uint32_t>(random_.below(40));
    if (random_.chance(2)) {
        out.payload = static_cast<std::uint32_t>(500 + random_.below(1100));
    }
    if (random_.chance(2)) {
        out.ttl = static_cast<std::uint8_t>(random_.below(3));
    }
    out.tos = static_cast<std::uint8_t>(random_.chance(10) ? random_.below(256) : 0);
    out.whole_only = random_.chance(70);
    out.id = static_cast<std::uint32_t>(random_.below(65536));
    if (random_.chance(2)) {
        if (tuple.src.is_v4()) {
            out.options = static_cast<std::uint32_t>(1 + random_.below(10));
        } else {
            constexpr std::uint8_t kHeaders[] = {0, 60, 43, 44, 51};
            for (std::uint64_t i = 0; i <= random_.below(7); ++i) {
                out.extensions.push_back(random_.pick(kHeaders));
            }
        }
    }
    out.no_checksum = random_.chance(4);
    out.padding = random_.chance(10) ? static_cast<std::uint32_t>(random_.below(20)) : 0;
    return out;
}

Step Generator::frame_step(Place place, Bytes frame) {
    Step step;
    step.place = place;
    step.frame = std::move(frame);
    return step;
}

Step Generator::from_client(Talk& talk) {
    constexpr std::uint8_t kLater[] = {kAck, kAck, kAck, kAck | 8, kFin | kAck, kRst, kSyn};
    const std::uint8_t flags = talk.step == 0 ? (random_.chance(90) ? kSyn : kAck) : random_.pick(kLater);
    Recipe out = recipe(talk.client);
    ++talk.step;
    out.flags = flags;
    out.chunk = chunk_of(flags);
    out.seq = talk.seq++;
    out.ack = talk.step > 1 ? 5000 : 0;
    Bytes frame = build(out);
    talk.last_from_client = frame;
    learning_ = static_cast<int>(&talk - talks_.data());
    return frame_step(talk.client_place, std::move(frame));
}

Step Generator::new_talk() {
    const bool v6 = random_.chance(50);
    const Frontend frontend = some_frontend(v6);
    Talk talk;
    const std::uint64_t place = random_.below(100);
    talk.client_place = place < 55 ? Place::kUplink : place < 85 ? Place::kPod : Place::kKernel;
    talk.client = {client(v6, talk.client_place), frontend.address, random_.pick(kClientPorts), frontend.port,
                   frontend.protocol};
    if (talks_.size() >= kMaxTalks) {
        talks_.erase(talks_.begin() + static_cast<std::ptrdiff_t>(random_.below(talks_.size())));
    }
    talks_.push_back(std::move(talk));
    return from_client(talks_.back());
}

void Generator::learn(View packet) {
    if (learning_ < 0 || static_cast<std::size_t>(learning_) >= talks_.size()) {
        learning_ = -1;
        return;
    }
    Talk& talk = talks_[static_cast<std::size_t>(learning_)];
    learning_ = -1;
    if (packet.size() < 20) {
        return;
    }
    Bytes frame(kEthernet, 0);
    frame.insert(frame.end(), packet.begin(), packet.end());
    const bool v6 = packet[0] / 16 == 6;
    const oracle::Packet read = oracle::read_ip(frame, kEthernet, v6 ? oracle::kEtherIpv6 : oracle::kEtherIpv4);
    if (read.shape == oracle::Shape::kPorts && read.tuple.dst != talk.client.dst &&
        read.tuple.dst != talk.client.src) {
        talk.behind = read.tuple;
        talk.backend_place = place_of(read.tuple.dst);
        frame.resize(read.end);
        talk.last_to_backend = std::move(frame);
    }
}

Step Generator::from_backend(Talk& talk) {
    if (talk.behind.protocol == 0) {
        return from_client(talk);
    }
    constexpr std::uint8_t kLater[] = {kSyn | kAck, kAck, kAck, kAck | 8, kFin | kAck, kRst};
    Recipe out = recipe(talk.behind.turned());
    out.flags = talk.step <= 1 ? kSyn | kAck : random_.pick(kLater);
    out.chunk = chunk_of(out.flags);
    out.seq = 5000;
    out.ack = talk.seq;
    return frame_step(talk.backend_place, build(out));
}

// About what the backend, or the client, was sent last; by itself or by a router on the way.
Step Generator::error_about(Talk& talk) {
    const bool of_client = random_.chance(50) && talk.behind.protocol != 0;
    const Bytes* about = &talk.last_to_backend;
    Bytes answer;
    Tuple quoted = talk.behind;
    Place place = talk.backend_place;
    if (!of_client || about->empty()) {
        quoted = talk.client.turned();
        answer = build(recipe(quoted));
        about = &answer;
        place = talk.client_place;
    }
    const bool v6 = !quoted.src.is_v4();
    const bool router = random_.chance(40);
    const IpAddress from = router ? ip(v6 ? "2001:db8:99::1" : "198.18.0.1") : quoted.dst;
    const IpAddress to = random_.chance(95) ? quoted.src : client(v6, Place::kUplink);
    const auto type = static_cast<std::uint8_t>(v6 ? 1 + random_.below(4) : random_.chance(70) ? 3 : 11);
    const std::size_t most = random_.chance(80) ? 60 : 8 + random_.below(200);
    Bytes frame = icmp_error(from, to, type, static_cast<std::uint8_t>(random_.below(5)),
                             static_cast<std::uint32_t>(random_.below(1500)), *about, most);
    return frame_step(place, std::move(frame));
}

Step Generator::direct_to_backend(Talk& talk) {
    if (talk.behind.protocol == 0) {
        return from_client(talk);
    }
    Tuple tuple = talk.client;
    tuple.dst = talk.behind.dst;
    tuple.dport = talk.behind.dport;
    Recipe out = recipe(tuple);
    out.flags = random_.chance(70) ? kSyn : kAck;
    out.chunk = chunk_of(out.flags);
    return frame_step(talk.client_place, build(out));
}

Step Generator::fragment() {
    if (!pieces_.empty()) {
        const std::size_t at = random_.chance(80) ? 0 : random_.below(pieces_.size());
        Bytes piece = pieces_[at];
        pieces_.erase(pieces_.begin() + static_cast<std::ptrdiff_t>(at));
        return frame_step(pieces_place_, std::move(piece));
    }
    const bool v6 = random_.chance(50);
    Recipe out;
    if (!talks_.empty() && random_.chance(70)) {
        Talk& talk = random_.pick(talks_);
        const bool back = talk.behind.protocol != 0 && random_.chance(40);
        out.tuple = back ? talk.behind.turned() : talk.client;
        pieces_place_ = back ? talk.backend_place : talk.client_place;
    } else {
        pieces_place_ = random_.chance(50) ? Place::kPod : Place::kUplink;
        const Frontend frontend = some_frontend(v6);
        out.tuple = {client(v6, pieces_place_), frontend.address, random_.pick(kClientPorts), frontend.port,
                     frontend.protocol};
    }
    if (datagrams_ >= kMaxDatagrams) {
        return frame_step(pieces_place_, build(out));
    }
    ++datagrams_;
    out.payload = static_cast<std::uint32_t>(40 + random_.below(60));
    out.flags = kAck;
    pieces_ = cut(build(out), 32, static_cast<std::uint32_t>(1 + random_.below(4)));
    return fragment();
}

// Pings, other protocols, answers and errors that belong to nobody; ports that no service has.
Step Generator::portless() {
    const bool v6 = random_.chance(50);
    const Place place = random_.chance(60) ? Place::kUplink : random_.chance(70) ? Place::kPod : Place::kKernel;
    const Frontend frontend = some_frontend(v6);
    Recipe out = recipe({client(v6, place), frontend.address, 0, 0, 0});
    switch (random_.below(6)) {
        case 0: out.tuple.protocol = 47; break;
        case 1:
        case 2:
            out.tuple.protocol = v6 ? oracle::kIcmpv6 : oracle::kIcmp;
            out.icmp_type = static_cast<std::uint8_t>(random_.chance(60) ? (v6 ? 128 : 8) : random_.below(256));
            break;
        default:
            out.tuple.sport = random_.pick(kClientPorts);
            out.tuple.dport = static_cast<std::uint16_t>(random_.chance(50) ? 81 : frontend.port);
            out.tuple.protocol = random_.chance(50) ? oracle::kTcp : random_.chance(50) ? oracle::kUdp : oracle::kSctp;
            if (random_.chance(20)) {
                out.tuple.dst = ip(v6 ? "fd00::ff0" : "10.96.200.1");
            }
            out.flags = random_.chance(60) ? kSyn : static_cast<std::uint8_t>(random_.below(64));
    }
    return frame_step(place, build(out));
}

Step Generator::stranger() {
    const bool v6 = random_.chance(50);
    const Place place = random_.chance(50) ? Place::kUplink : Place::kPod;
    Recipe out = recipe({client(v6, place), ip(v6 ? "2001:db8:77::1" : "203.0.113.200"), random_.pick(kClientPorts),
                         443, random_.chance(50) ? oracle::kTcp : oracle::kUdp});
    if (random_.chance(20)) {
        Bytes arp(60, 0);
        arp[12] = 8;
        arp[13] = 6;
        return frame_step(place, std::move(arp));
    }
    return frame_step(place, build(out));
}

// What another node sends for direct return.
Step Generator::other_nodes() {
    const bool v6 = random_.chance(50);
    Frontend frontend = some_frontend(v6);
    for (int i = 0; i < 6 && !frontend.direct; ++i) {
        frontend = some_frontend(v6);
    }
    constexpr std::uint16_t kPorts[] = {8080, 80, 8443};
    IpAddress pod = ip(fmt::format("{}{}", v6 ? "fd01::" : "10.244.1.", 5 + random_.below(5)));
    std::uint16_t port = random_.pick(kPorts);
    for (const image::Service& service : services_) {
        for (const image::Backend& backend : service.inside.backends) {
            if (backend.local && backend.address.is_v4() == !v6 && random_.chance(40)) {
                pod = backend.address;
                port = backend.port;
            }
        }
    }
    const IpAddress node = ip(v6 ? "2001:db8::2" : "192.0.2.2");
    if (random_.chance(20) && frontend.port > 30000) {
        frontend.address = node;
    }
    Recipe out = recipe({client(v6, Place::kUplink), frontend.address, random_.pick(kClientPorts), frontend.port,
                         frontend.protocol});
    out.flags = random_.chance(60) ? kSyn : random_.chance(80) ? kAck : kFin | kAck;
    out.chunk = chunk_of(out.flags);
    const Bytes frame = build(out);
    if (random_.chance(50)) {
        return frame_step(Place::kUplink, tunnelled(frame, node, pod, port));
    }
    out.padding = 0;
    return frame_step(Place::kUplink, with_option(build(out), pod, port));
}

void Generator::damage(Bytes& frame) {
    const std::uint64_t kind = random_.below(4);
    if (kind == 0 && frame.size() > kEthernet + 2) {
        frame.resize(kEthernet + 1 + random_.below(frame.size() - kEthernet - 1));
        return;
    }
    const std::size_t reach = std::min<std::size_t>(frame.size(), 90) - kEthernet;
    const std::uint64_t times = kind == 1 ? 1 : 1 + random_.below(3);
    for (std::uint64_t i = 0; i < times; ++i) {
        const std::size_t at = kEthernet + random_.below(reach);
        frame[at] = static_cast<std::uint8_t>(random_.chance(50) ? random_.next() : frame[at] ^ 1U << random_.below(8));
    }
    // With its header's checksum put right, so that more than that is looked at.
    if (kind == 3 && frame.size() >= kEthernet + 20 && frame[kEthernet] / 16 == 4) {
        const std::size_t header = frame[kEthernet] % 16U * 4U;
        if (header >= 20 && kEthernet + header <= frame.size()) {
            oracle::put16(frame, kEthernet + 10, 0);
            oracle::put16(frame, kEthernet + 10, oracle::checksum(frame, kEthernet, kEthernet + header));
        }
    }
}

Step Generator::some_frame() {
    const std::uint64_t kind = random_.below(100);
    if (talks_.empty() || kind < 15) {
        return new_talk();
    }
    Talk& talk = random_.pick(talks_);
    if (kind < 40) {
        return from_client(talk);
    }
    if (kind < 63) {
        return from_backend(talk);
    }
    if (kind < 70) {
        return error_about(talk);
    }
    if (kind < 75) {
        return direct_to_backend(talk);
    }
    if (kind < 81) {
        return fragment();
    }
    if (kind < 89) {
        return portless();
    }
    return kind < 93 ? stranger() : other_nodes();
}

Step Generator::next() {
    learning_ = -1;
    if (wanted_ > 0) {
        --wanted_;
        return change();
    }
    const std::uint64_t kind = random_.below(1000);
    if (kind < 8) {
        return change();
    }
    if (kind < 16) {
        Step step;
        step.kind = Step::Kind::kTime;
        constexpr std::uint32_t kTicks[] = {0, 1, 5, 10, 11, 29, 30, 31, 32, 60, 61, 119, 121, 180, 181};
        step.ticks = random_.pick(kTicks);
        if (!long_passed_ && random_.chance(1)) {
            // Once: ages are told to half of 65,536 s.
            long_passed_ = true;
            step.ticks = 28801;
        }
        step.affinity_units = static_cast<std::uint32_t>(80 * random_.below(3));
        return step;
    }
    Step step = some_frame();
    step.by_xdp = random_.chance(75);
    step.priority = random_.chance(2);
    if (random_.chance(4)) {
        damage(step.frame);
        learning_ = -1;
    }
    return step;
}

std::string describe(const Step& step) {
    switch (step.kind) {
        case Step::Kind::kTime: return fmt::format("time {} s, {} units", step.ticks, step.affinity_units);
        case Step::Kind::kRemove: return fmt::format("remove {}", step.key.display());
        case Step::Kind::kUpsert: return "upsert " + describe(step.service);
        case Step::Kind::kFrame: break;
    }
    constexpr const char* kPlaces[] = {"pod", "uplink", "kernel"};
    std::string out = fmt::format("frame from {}{}{}", kPlaces[static_cast<std::size_t>(step.place)],
                                  step.by_xdp ? "" : ", no XDP", step.priority ? ", priority tag" : "");
    if (step.frame.size() > kEthernet) {
        const auto ethertype = static_cast<std::uint16_t>(oracle::get16(step.frame, 12));
        const oracle::Packet packet = oracle::read_ip(step.frame, kEthernet, ethertype);
        if (packet.shape != oracle::Shape::kNotOurs) {
            out += fmt::format(": [{}]:{} to [{}]:{} protocol {} flags {} ttl {} fragment {}",
                               packet.tuple.src.to_string(), packet.tuple.sport, packet.tuple.dst.to_string(),
                               packet.tuple.dport, packet.tuple.protocol, packet.flags, packet.ttl,
                               static_cast<int>(packet.fragment));
        }
    }
    for (std::size_t i = 0; i < step.frame.size(); ++i) {
        out += i % 32 == 0 ? fmt::format("\n      {:04x} ", i) : "";
        out += fmt::format("{}{:02x}", i % 2 == 0 ? " " : "", step.frame[i]);
    }
    return out;
}

}  // namespace sluice::differential
