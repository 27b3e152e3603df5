// Which flows there are and which one comes next. No packets here: a flow is a number and the tuple
// that belongs to it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "dataplane/pktgen/profile.h"

namespace sluice::pktgen {

// xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64: the same numbers for the same seed on
// every machine.
class Random {
public:
    explicit Random(std::uint64_t seed);
    std::uint64_t next();
    // 0 to bound - 1; the bias is below bound / 2^64 (Lemire 2019, without the rejection).
    std::uint64_t below(std::uint64_t bound);
    double unit();  // 0 <= x < 1, 53 bits

private:
    std::array<std::uint64_t, 4> state_;
};

struct FlowTuple {
    // Network order; of IPv4 the first four bytes count.
    std::array<std::uint8_t, 16> source{}, destination{};
    std::uint16_t source_port = 0, destination_port = 0;  // host order
    bool operator==(const FlowTuple&) const = default;
};

// How many combinations the ranges have; the highest number that fits if they are more.
std::uint64_t combinations(const Profile& profile);

// The flows of a profile, 0 to count() - 1.
class FlowSpace {
public:
    // REQUIRES: check(profile), and no capture.
    explicit FlowSpace(const Profile& profile);
    [[nodiscard]] std::uint64_t count() const { return count_; }
    [[nodiscard]] bool v6() const { return v6_; }
    // REQUIRES: index < count(). Four divisions at most, no memory.
    [[nodiscard]] FlowTuple at(std::uint64_t index) const;
    // The flow with this tuple; nothing if it is none of ours.
    [[nodiscard]] std::optional<std::uint64_t> find(const FlowTuple& tuple) const;

private:
    // An address as two numbers; an IPv4 address is in `low`.
    struct Wide {
        std::uint64_t high = 0, low = 0;
    };
    static Wide widen(const IpAddress& address);
    [[nodiscard]] std::array<std::uint8_t, 16> address(Wide base, std::uint64_t offset) const;
    [[nodiscard]] std::uint64_t offset(Wide base, const std::array<std::uint8_t, 16>& bytes) const;

    bool v6_;
    std::uint64_t count_;
    Wide source_, destination_;
    std::uint16_t source_port_, destination_port_;
    // How many there are of each.
    std::uint64_t sources_, destinations_, source_ports_, destination_ports_;
    // The same as divisors of numbers below kMaxFlows: whatever is larger divides to 0 as it should.
    std::uint32_t by_destination_, by_source_port_, by_destination_port_;
};

// Draws 0 to count - 1 with probability proportional to 1 / (rank + 1)^exponent, without tables, by
// rejection-inversion (Hörmann, Derflinger, "Rejection-inversion to generate variates from monotone
// discrete distributions", 1996).
class Zipf {
public:
    // REQUIRES: count >= 1, exponent > 0.
    Zipf(std::uint64_t count, double exponent);
    std::uint64_t next(Random& random) const;

private:
    [[nodiscard]] double area(double x) const;          // integral of x^-exponent
    [[nodiscard]] double area_inverse(double y) const;
    [[nodiscard]] double height(double x) const;

    double count_, exponent_;
    double first_ = 0, last_ = 0, shortcut_ = 0;
};

// The order of flows of one sender; deterministic by seed and sender.
class FlowChooser {
public:
    // Round robin begins at a place of its own for each of `senders`, so that they do not walk in step.
    FlowChooser(const Profile& profile, std::uint64_t count, unsigned sender, unsigned senders);
    std::uint64_t next() {
        if (choice_ == Choice::kRoundRobin) {
            const std::uint64_t out = next_;
            next_ = next_ + 1 == count_ ? 0 : next_ + 1;
            return out;
        }
        return draw();
    }

private:
    std::uint64_t draw();

    Choice choice_;
    std::uint64_t count_;
    std::uint64_t next_;
    Random random_;
    Zipf zipf_;
};

// Draws sizes by their weights.
class SizeChooser {
public:
    SizeChooser(const Profile& profile, unsigned sender);
    // An index into Profile::sizes.
    std::uint32_t next() { return cumulative_.size() == 1 ? 0 : draw(); }

private:
    std::uint32_t draw();
    std::vector<std::uint64_t> cumulative_;
    Random random_;
};

}  // namespace sluice::pktgen
