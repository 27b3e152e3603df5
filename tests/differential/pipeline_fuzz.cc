// Frames that coverage leads to, through the native pipeline and the oracle: the same verdicts, bytes and counters. The
// input: two bytes are the seed of a scenario; then, for each of its frames, what is changed in it from the IP header
// on. So services, conversations and tuples of flows are there from the start, and what is found is how to
// damage them.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/differential/compare.h"

namespace {

using sluice::differential::Comparison;
using sluice::differential::Step;

constexpr std::size_t kFrames = 48;
constexpr std::size_t kEthernet = 14;
constexpr std::size_t kMostAdded = 64;
constexpr std::size_t kTries = 500;

class Reader {
public:
    Reader(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
    std::uint8_t byte() { return at_ == end_ ? std::uint8_t{0} : *at_++; }
    std::size_t word() {
        const std::size_t low = byte();
        return low | std::size_t{byte()} << 8U;
    }

private:
    const std::uint8_t* at_;
    const std::uint8_t* end_;
};

void damage(Step& step, Reader& reader) {
    sluice::oracle::Bytes& frame = step.frame;
    for (std::size_t edits = reader.byte() % 4U; edits > 0 && frame.size() > kEthernet; --edits) {
        const std::uint8_t how = reader.byte();
        const std::size_t at = kEthernet + reader.word() % (frame.size() - kEthernet);
        switch (how % 4) {
            case 0: frame[at] = reader.byte(); break;
            case 1: frame[at] ^= static_cast<std::uint8_t>(1U << how / 4 % 8); break;
            case 2: frame.resize(at); break;
            default: {
                const std::size_t count = 1 + how / 4U % kMostAdded;
                frame.insert(frame.begin() + static_cast<std::ptrdiff_t>(at), count, 0);
                for (std::size_t i = 0; i < count; ++i) {
                    frame[at + i] = reader.byte();
                }
            }
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const auto native = sluice::differential::make_native();
    Reader reader(data, size);
    Comparison comparison({native.get()});
    const std::uint64_t seed = reader.word();
    const auto mismatch = comparison.run(seed, kFrames, [&](Step& step) { damage(step, reader); });
    if (mismatch) {
        const auto fewest = comparison.minimise(seed, comparison.steps(), kTries);
        const auto last = comparison.replay(seed, fewest);
        std::fprintf(stderr, "%s", report(seed, fewest, last ? *last : *mismatch).c_str());
        std::abort();
    }
    return 0;
}
