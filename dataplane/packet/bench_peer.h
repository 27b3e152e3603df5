// Katran's balancer as a peer of packet_bench: an object file that its own build made, loaded unchanged and filled with
// the services of our tunnel cases. docs/bench/README.md says what the object must hold.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

struct bpf_object;

namespace sluice::dataplane {

// The services that it balances, on TCP port 80: those of packet_bench's tunnel cases.
inline constexpr const char* kPeerService4 = "203.0.113.10";
inline constexpr const char* kPeerService6 = "2001:db8:5::10";

class BenchPeer {
public:
    // `lru_entries`: the size of the flow table of each CPU. Null, with the reason on stderr, if it cannot be loaded.
    static std::unique_ptr<BenchPeer> load(const std::string& object, std::uint32_t lru_entries);
    BenchPeer(const BenchPeer&) = delete;
    BenchPeer& operator=(const BenchPeer&) = delete;
    ~BenchPeer();

    [[nodiscard]] int program() const;

private:
    BenchPeer() = default;
    bpf_object* object_ = nullptr;
};

}  // namespace sluice::dataplane
