// An engine under test: the table image, and one frame at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/image/publisher.h"
#include "tests/differential/scenario.h"
#include "tests/differential/state.h"

namespace sluice::differential {

struct Outcome {
    oracle::Verdict verdict = oracle::Verdict::kStack;
    View packet;  // from the IP header on; valid until the next frame
};

class Side {
public:
    virtual ~Side() = default;
    [[nodiscard]] virtual const char* name() const = 0;

    // An empty node of this kind: no services, no flows, counters zero.
    void begin(const oracle::World& world, std::uint64_t random_state);
    void upsert(const image::Service& service);
    void remove(const image::ServiceKey& key);
    virtual void pass(std::uint32_t ticks, std::uint32_t affinity_units) = 0;
    virtual Outcome run(const Step& step) = 0;

    [[nodiscard]] std::optional<oracle::Tuple> flow(const oracle::Tuple& tuple) const { return flow_of(state_, tuple); }
    [[nodiscard]] std::uint64_t drops(std::uint32_t reason) const { return image::sum_drops(*tables_, reason); }
    // Where the counters of this process's packets are: one row.
    [[nodiscard]] const std::uint64_t* drop_row() const { return tables_->drops; }
    [[nodiscard]] const image::Tables& tables() const { return *tables_; }

protected:
    // The image is there; `tables` and the publisher are the engine's.
    void hold(const image::Tables* tables, const image::Capacities& capacities, std::uint64_t hash_seed,
              std::uint32_t cpus);
    // The world's routes, for engines that do not ask the kernel.
    virtual void travel(const oracle::World&) {}
    // Forgets flows, affinity, datagrams; sets the generator.
    virtual void forget(std::uint64_t random_state) = 0;

    EngineState state_;
    std::unique_ptr<image::Publisher> publisher_;

private:
    const image::Tables* tables_ = nullptr;
    image::Capacities capacities_;
    std::uint64_t hash_seed_ = 0;
    std::uint32_t cpus_ = 0;
};

// The capacities that scenarios need, with which every engine's image is made.
image::Capacities capacities();
inline constexpr std::uint64_t kHashSeed = 42;
// Of the flow tables: which bucket a flow is in decides which source ports a search passes over.
inline constexpr std::uint64_t kFlowSeed = 0x5eed0f10e5ULL;

// An IP packet in a frame that may have a tag; empty if there is none.
View packet_of(View frame);

// The native pipeline (dataplane/dpdk/pipeline).
std::unique_ptr<Side> make_native();
// The BPF programs, by BPF_PROG_TEST_RUN. Null, with the reason on stderr, without privileges. One a process: it is in
// a network namespace of its own from then on.
std::unique_ptr<Side> make_ebpf();

}  // namespace sluice::differential
