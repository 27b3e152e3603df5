// One run: its tasks on their lcores, its phases, its samples and what came of it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "dataplane/pktgen/runner.h"
#include "dataplane/pktgen/task_private.h"

namespace sluice::pktgen {

class Run {
public:
    // `ports`, `profile` and `options` outlive this. `before`: counts of ports so far, [port].
    Run(Ports& ports, const Profile& profile, const RunnerOptions& options, std::uint16_t run,
        std::vector<PortCounts> base);

    // Makes the tasks. [port]: where the frames go, the addresses that are answered for.
    Result<void> prepare(const std::vector<Mac>& destinations, const std::vector<OwnedAddresses>& owned);
    // Runs to the end; `neighbours` are the ports' counts of what came before.
    RunResult go(const Observer& observer, const std::vector<PortCounts>& neighbours);

private:
    // Sums over the tasks at one moment.
    struct Totals {
        std::uint64_t sent = 0, sent_bytes = 0, received = 0, received_bytes = 0, missing = 0;
        std::uint64_t connections = 0, behind = 0;
    };
    struct Work {
        std::vector<Task*> tasks;
        const Control* control = nullptr;
    };

    Result<void> prepare_flows(const std::vector<Mac>& destinations, const std::vector<OwnedAddresses>& owned);
    Result<void> prepare_stateful(const std::vector<Mac>& destinations,
                                  const std::vector<OwnedAddresses>& owned);
    void place(std::unique_ptr<Task> task, bool sends, unsigned number);
    static int work(void* argument);
    void turn_of_main();
    [[nodiscard]] bool all_done() const;
    [[nodiscard]] Totals totals() const;
    [[nodiscard]] std::vector<PortCounts> port_counts() const;
    void gather_samples(Histogram& out);
    bool take_sample(const Observer& observer, std::uint64_t now);
    void enter(Phase phase, std::uint64_t now);
    void fill_counts(RunResult& out) const;
    void fill_rates(RunResult& out) const;

    Ports& ports_;
    const Profile& profile_;
    const RunnerOptions& options_;
    std::uint16_t run_, warmup_run_;
    std::vector<PortCounts> base_, neighbours_;
    double hz_;

    std::optional<FlowSpace> flows_;
    std::optional<Capture> capture_;
    std::optional<Windows> windows_;
    Control control_;
    std::vector<std::unique_ptr<Task>> tasks_;
    std::vector<const SendCounts*> senders_;
    std::vector<const Receiver*> receivers_;
    std::vector<StatefulView> stateful_;
    std::vector<Work> works_;  // [0]: of the main lcore

    Phase phase_ = Phase::kReady;
    std::uint64_t counted_from_ = 0, counted_to_ = 0;
    std::uint64_t last_sample_ = 0;
    Totals last_totals_;
    std::vector<Sample> samples_;
};

}  // namespace sluice::pktgen
