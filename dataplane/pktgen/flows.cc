#include "dataplane/pktgen/flows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace sluice::pktgen {
namespace {

__extension__ using U128 = unsigned __int128;

std::uint64_t splitmix(std::uint64_t& state) {
    state += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state;
    z = (z ^ z >> 30U) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27U) * 0x94d049bb133111ebULL;
    return z ^ z >> 31U;
}

std::uint64_t load_be64(const std::uint8_t* bytes) {
    std::uint64_t out = 0;
    std::memcpy(&out, bytes, 8);
    return __builtin_bswap64(out);
}

// Addresses of a range; the highest number if they are more.
std::uint64_t addresses(const AddressRange& range) {
    const std::uint64_t high =
        load_be64(range.last.bytes.data()) - load_be64(range.first.bytes.data());
    const std::uint64_t low_first = load_be64(range.first.bytes.data() + 8);
    const std::uint64_t low_last = load_be64(range.last.bytes.data() + 8);
    const U128 span = (U128{high} << 64U) + low_last - low_first;
    const U128 most = std::numeric_limits<std::uint64_t>::max();
    return static_cast<std::uint64_t>(span >= most ? most : span + 1);
}

std::uint64_t ports(const PortRange& range) {
    return std::uint64_t{range.last} - range.first + 1;
}

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
    const U128 product = U128{a} * b;
    const U128 most = std::numeric_limits<std::uint64_t>::max();
    return static_cast<std::uint64_t>(std::min(product, most));
}

std::uint32_t divisor(std::uint64_t count) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 0xffffffffU));
}

// Most profiles range over one or two of the four: a branch is cheaper than a division.
std::uint32_t divide(std::uint32_t value, std::uint32_t by) { return by == 1 ? value : value / by; }

// Seeds of different uses and senders must differ in more than a bit; splitmix64 does the rest.
std::uint64_t seed_of(const Profile& profile, unsigned sender, std::uint64_t use) {
    return std::uint64_t{profile.seed} << 32U ^ std::uint64_t{sender} << 8U ^ use;
}

}  // namespace

Random::Random(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
        word = splitmix(seed);
    }
}

std::uint64_t Random::next() {
    const std::uint64_t out = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17U;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return out;
}

std::uint64_t Random::below(std::uint64_t bound) {
    return static_cast<std::uint64_t>(U128{next()} * bound >> 64U);
}

double Random::unit() { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }

std::uint64_t combinations(const Profile& profile) {
    return times(times(addresses(profile.source), addresses(profile.destination)),
                 times(ports(profile.source_port), ports(profile.destination_port)));
}

FlowSpace::FlowSpace(const Profile& profile)
    : v6_(!profile.source.first.is_v4()),
      count_(profile.flows == 0 ? combinations(profile) : profile.flows),
      source_(widen(profile.source.first)),
      destination_(widen(profile.destination.first)),
      source_port_(profile.source_port.first),
      destination_port_(profile.destination_port.first),
      sources_(addresses(profile.source)),
      destinations_(addresses(profile.destination)),
      source_ports_(ports(profile.source_port)),
      destination_ports_(ports(profile.destination_port)),
      by_destination_(divisor(destinations_)),
      by_source_port_(divisor(source_ports_)),
      by_destination_port_(divisor(destination_ports_)) {}

FlowSpace::Wide FlowSpace::widen(const IpAddress& address) {
    if (address.is_v4()) {
        return {0, load_be64(address.bytes.data() + 8) & 0xffffffffU};
    }
    return {load_be64(address.bytes.data()), load_be64(address.bytes.data() + 8)};
}

std::array<std::uint8_t, 16> FlowSpace::address(Wide base, std::uint64_t offset) const {
    std::array<std::uint8_t, 16> out{};
    const std::uint64_t low = base.low + offset;
    if (!v6_) {
        const std::uint32_t v4 = __builtin_bswap32(static_cast<std::uint32_t>(low));
        std::memcpy(out.data(), &v4, 4);
        return out;
    }
    const std::uint64_t high_be = __builtin_bswap64(base.high + (low < offset ? 1 : 0));
    const std::uint64_t low_be = __builtin_bswap64(low);
    std::memcpy(out.data(), &high_be, 8);
    std::memcpy(out.data() + 8, &low_be, 8);
    return out;
}

std::uint64_t FlowSpace::offset(Wide base, const std::array<std::uint8_t, 16>& bytes) const {
    if (!v6_) {
        std::uint32_t v4 = 0;
        std::memcpy(&v4, bytes.data(), 4);
        return std::uint64_t{__builtin_bswap32(v4)} - base.low;
    }
    const U128 span = (U128{load_be64(bytes.data())} << 64U | load_be64(bytes.data() + 8)) -
                      (U128{base.high} << 64U | base.low);
    const U128 most = std::numeric_limits<std::uint64_t>::max();
    return static_cast<std::uint64_t>(std::min(span, most));
}

FlowTuple FlowSpace::at(std::uint64_t index) const {
    const auto flow = static_cast<std::uint32_t>(index);
    const std::uint32_t destinations = divide(flow, by_destination_port_);
    const std::uint32_t ports = divide(destinations, by_destination_);
    const std::uint32_t sources = divide(ports, by_source_port_);
    FlowTuple out;
    out.destination_port =
        static_cast<std::uint16_t>(destination_port_ + (flow - destinations * by_destination_port_));
    out.destination = address(destination_, destinations - ports * by_destination_);
    out.source_port =
        static_cast<std::uint16_t>(source_port_ + (ports - sources * by_source_port_));
    out.source = address(source_, sources);
    return out;
}

std::optional<std::uint64_t> FlowSpace::find(const FlowTuple& tuple) const {
    // Differences below zero wrap to numbers that no range reaches.
    const std::uint64_t source = offset(source_, tuple.source);
    const std::uint64_t destination = offset(destination_, tuple.destination);
    const std::uint64_t source_port = std::uint64_t{tuple.source_port} - source_port_;
    const std::uint64_t destination_port = std::uint64_t{tuple.destination_port} - destination_port_;
    if (source >= sources_ || destination >= destinations_ || source_port >= source_ports_ ||
        destination_port >= destination_ports_) {
        return std::nullopt;
    }
    const U128 index = ((U128{source} * source_ports_ + source_port) * destinations_ + destination) *
                           destination_ports_ + destination_port;
    if (index >= count_) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(index);
}

Zipf::Zipf(std::uint64_t count, double exponent)
    : count_(static_cast<double>(count)), exponent_(exponent) {
    first_ = area(1.5) - 1;
    last_ = area(count_ + 0.5);
    shortcut_ = 2 - area_inverse(area(2.5) - height(2));
}

double Zipf::height(double x) const { return std::exp(-exponent_ * std::log(x)); }

// (x^(1-e) - 1) / (1-e), which goes to log(x) as e goes to 1: expm1(t)/t keeps the digits near it.
double Zipf::area(double x) const {
    const double log_x = std::log(x);
    const double t = (1 - exponent_) * log_x;
    return (std::abs(t) > 1e-8 ? std::expm1(t) / t : 1 + t / 2) * log_x;
}

double Zipf::area_inverse(double y) const {
    const double t = std::max(y * (1 - exponent_), -1.0);
    return std::exp((std::abs(t) > 1e-8 ? std::log1p(t) / t : 1 - t / 2) * y);
}

std::uint64_t Zipf::next(Random& random) const {
    while (true) {
        const double u = last_ + random.unit() * (first_ - last_);
        const double x = area_inverse(u);
        const double rank = std::clamp(std::floor(x + 0.5), 1.0, count_);
        if (rank - x <= shortcut_ || u >= area(rank + 0.5) - height(rank)) {
            return static_cast<std::uint64_t>(rank) - 1;
        }
    }
}

FlowChooser::FlowChooser(const Profile& profile, std::uint64_t count, unsigned sender,
                         unsigned senders)
    : choice_(profile.choice),
      count_(count),
      next_(static_cast<std::uint64_t>(U128{count} * sender / std::max(senders, 1U))),
      random_(seed_of(profile, sender, 1)),
      zipf_(count, profile.choice == Choice::kZipf ? profile.zipf_exponent : 1.0) {}

std::uint64_t FlowChooser::draw() {
    return choice_ == Choice::kUniform ? random_.below(count_) : zipf_.next(random_);
}

SizeChooser::SizeChooser(const Profile& profile, unsigned sender)
    : random_(seed_of(profile, sender, 2)) {
    std::uint64_t sum = 0;
    for (const SizeShare& share : profile.sizes) {
        sum += share.weight;
        cumulative_.push_back(sum);
    }
}

std::uint32_t SizeChooser::draw() {
    const std::uint64_t drawn = random_.below(cumulative_.back());
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), drawn);
    return static_cast<std::uint32_t>(found - cumulative_.begin());
}

}  // namespace sluice::pktgen
